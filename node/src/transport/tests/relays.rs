//! Relaying for members, and for nobody else.

use super::*;

/// One that relays, and says that it is reached from everywhere.
fn relay() -> Plan {
    let nat = NatOptions {
        relay: Serve::Yes,
        upnp: false,
        external: vec!["/ip4/5.5.5.5/tcp/1".parse().unwrap()],
        ..NatOptions::default()
    };
    Plan { nat, ..plan("/ip4/0.0.0.0/tcp/0") }
}

/// Whether `a` takes connections for `asks`.
async fn gets_reservation(a: &Node, asks: &mut Stranger) -> bool {
    let at = address::through(a.address(), keys::to_libp2p(&a.me));
    let asked = asks.swarm.listen_on(at).unwrap();
    let answered = async {
        loop {
            match asks.swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == asked => return true,
                SwarmEvent::ListenerClosed { listener_id, .. } if listener_id == asked => return false,
                _ => {}
            }
        }
    };
    timeout(DEADLINE, answered).await.expect("it is answered in time")
}

#[tokio::test]
async fn members_get_reservations_and_strangers_none() {
    let mut a = Node::start(relay()).await;
    assert_eq!(a.transport.listening()[0], "/ip4/5.5.5.5/tcp/1", "a person's word is told first");
    let mut stranger = Stranger::dial(&a, "test").await;
    assert!(!gets_reservation(&a, &mut stranger).await);
    let mut member = Stranger::inside(&a).await;
    a.until_input(Input::Connected { peer: member.keys.peer() }).await;
    assert!(gets_reservation(&a, &mut member).await);
}

#[tokio::test]
async fn who_was_told_not_to_relays_for_nobody() {
    let plan = relay();
    let nat = NatOptions { relay: Serve::No, ..plan.nat.clone() };
    let mut a = Node::start(Plan { nat, ..plan }).await;
    let mut member = Stranger::inside(&a).await;
    a.until_input(Input::Connected { peer: member.keys.peer() }).await;
    assert!(!gets_reservation(&a, &mut member).await);
}

#[tokio::test]
async fn who_is_dialled_from_elsewhere_is_reached_and_relays_unasked() {
    let (mut a, mut b) =
        (Node::start(plan("/ip4/0.0.0.0/tcp/0")).await, Node::start(plan("/ip4/0.0.0.0/tcp/0")).await);
    let is_local = a.address().to_string().contains("/127.");
    b.connect_to(&a);
    a.until_input(Input::Connected { peer: b.me }).await;
    b.until_input(Input::Connected { peer: a.me }).await;
    assert_eq!(b.transport.paths().of(&a.me).map(|path| path.way), Some(Way::Direct));
    let reached = async {
        while a.transport.paths().reachability().external.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // A machine without a network has only loopback, which proves nothing.
    let reached = if is_local { Ok(()) } else { timeout(DEADLINE, reached).await };
    reached.expect("it hears where it was reached");
    assert_eq!(a.transport.paths().reachability().serves, !is_local);
    assert!(a.transport.paths().reachability().seen_as.is_none(), "there is no NAT between");
}

#[test]
fn strangers_have_a_few_connections_relayed_in_a_minute() {
    let (mut recent, now) = (Default::default(), Instant::now());
    let had = (0..1000).filter(|_| nat::one_more(&mut recent, now)).count();
    assert_eq!(had, 30);
    assert!(nat::one_more(&mut recent, now + Duration::from_secs(61)));
}
