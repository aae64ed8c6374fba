//! What is said while all is quiet, and that it ends as soon as anything is not.

use super::*;
use std::cell::Cell;

const QUIET: Duration = Duration::from_millis(1500);

/// When each ping was sent, while time passes and all answer.
fn pinged(alone: &mut Alone, span: Duration) -> Vec<(Time, PeerId)> {
    let (until, mut pinged) = (alone.now + span, Vec::new());
    while alone.now < until {
        let said = alone.run_answering(millis(1), all_answer);
        pinged.extend(pings(&said).into_iter().map(|(to, _)| (alone.now, to)));
    }
    pinged
}

/// Host 0 among these, a quiet moment after a probe.
fn quiet(hosts: usize) -> Alone {
    let mut alone = Alone::among(hosts);
    pinged(&mut alone, secs(2));
    while pinged(&mut alone, millis(1)).is_empty() {}
    assert!(alone.peer.is_quiet());
    alone
}

fn accusation() -> Gossip {
    let accusations = vec![Accusation { suspect: id(3), incarnation: 1, by: id(2) }];
    Gossip { accusations, ..gossip(vec![], GossipBody::Update) }
}

fn is_suspected(net: &Net, victim: usize) -> bool {
    net.hosts().any(|host| host != victim && net.health(host, victim) != Health::Alive)
}

#[test]
fn the_neighbour_is_pinged_once_in_three_periods_and_one_at_random_every_thirty_seconds() {
    let mut alone = quiet(10);
    let pinged = pinged(&mut alone, secs(300));
    let neighbour = alone.peer.neighbour().expect("it is not alone");
    let (its, of_others): (Vec<(Time, PeerId)>, Vec<_>) =
        pinged.into_iter().partition(|(_, to)| *to == neighbour);
    let gaps: BTreeSet<Duration> = its.windows(2).map(|two| two[1].0.since(two[0].0)).collect();
    assert!(gaps.iter().all(|gap| *gap <= QUIET), "{gaps:?}");
    assert!((200..=210).contains(&its.len()), "{}", its.len());
    let others: BTreeSet<PeerId> = of_others.iter().map(|(_, to)| *to).collect();
    assert!(others.len() > 3 && (8..=11).contains(&of_others.len()), "{of_others:?}");
}

#[test]
fn doubt_brings_back_the_full_pace_at_once_and_with_it_the_quiet_ends() {
    let mut alone = quiet(10);
    alone.run_answering(PERIOD * 2, all_answer);
    let out = alone.receive_all(2, accusation());
    assert_eq!(pings(&out), []);
    assert_eq!(alone.peer.next_timeout(), Some(alone.now), "its probe would have been due before");
    let pinged = pinged(&mut alone, PERIOD * 3);
    let times: BTreeSet<Time> = pinged.iter().map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 4, "at once, and once in each period: {pinged:?}");
    assert_eq!(pinged.len(), 5, "and once the neighbour beside: {pinged:?}");
}

#[test]
fn the_full_pace_comes_no_sooner_than_it_would_have() {
    let mut alone = quiet(10);
    let began = alone.now;
    alone.run_answering(millis(100), all_answer);
    alone.receive_all(2, accusation());
    assert_eq!(alone.peer.next_timeout(), Some(began + PERIOD));
}

#[test]
fn the_end_of_the_quiet_is_no_pause_of_this_peer() {
    let mut alone = quiet(10);
    let began = alone.now;
    alone.run_answering(QUIET - millis(1), all_answer);
    alone.receive_all(2, accusation());
    // Its machine is a little slow.
    alone.now = began + QUIET + millis(300);
    alone.timeout();
    assert_eq!(alone.peer.probes.score(), 0);
}

#[test]
fn a_probe_in_doubt_is_not_quiet_and_neither_is_news() {
    let mut alone = quiet(10);
    alone.run(QUIET + millis(199));
    assert!(alone.peer.is_quiet());
    alone.run(millis(1));
    assert!(!alone.peer.is_quiet(), "nobody answered the last ping");
    let mut alone = quiet(10);
    alone.receive(1, vec![member(12, 1)], GossipBody::Update);
    assert!(!alone.peer.is_quiet(), "others may not know the newcomer");
    alone.run_answering(secs(20), all_answer);
    assert!(alone.peer.is_quiet(), "all were told");
}

#[test]
fn one_that_falls_silent_is_suspect_within_a_quiet_probe_and_its_answer() {
    let waited = Cell::new(Duration::ZERO);
    net::play(200, |seed| {
        let mut net = Net::settled(seed, 20);
        let victim = net.draw(20);
        net.cut_off(victim);
        waited.set(waited.get() + net.run_until("suspect", QUIET + PERIOD, |net| is_suspected(net, victim)));
    });
    let mean = waited.get() / 200;
    // Half a quiet period, 200 ms for an answer, and at most 300 ms for those of others.
    assert!((millis(800)..millis(1250)).contains(&mean), "{mean:?}");
}

#[test]
fn neighbours_that_fall_silent_together_are_all_found() {
    net::play(50, |seed| {
        let mut net = Net::settled(seed, 20);
        let first = net.draw(20);
        let victims: Vec<usize> = (0..5).map(|next| (first + next) % 20).collect();
        for victim in &victims {
            net.cut_off(*victim);
        }
        let dead = |net: &Net| {
            let mut lives = net.hosts().filter(|host| !victims.contains(host));
            lives.all(|host| victims.iter().all(|victim| net.health(host, *victim) == Health::Dead))
        };
        // Only the first of five in a row has a neighbour left that watches it: at most 10.1 s with these seeds, and
        // 8.7 s at the full pace.
        net.run_until("all five are dead", secs(15), dead);
    });
}

#[test]
fn who_is_busy_watches_its_neighbour_all_the_same() {
    net::play(50, |seed| {
        let mut net = Net::settled(seed, 20);
        let watcher = net.draw(20);
        let neighbour = net.peer(watcher).neighbour().expect("there are others");
        let victim = net.hosts().find(|host| id(*host) == neighbour).expect("it is one of them");
        net.cut_off(victim);
        let begun = net.now;
        while !is_suspected(&net, victim) {
            net.act(watcher, |peer, _, _| peer.rumors.add(Rumor::About(id(99))));
            net.run(millis(100));
            // Its periods have begun anew when it became busy.
            assert!(net.now.since(begun) < QUIET + PERIOD * 2, "not within a quiet probe and its answer");
        }
    });
}

#[test]
fn two_are_quiet_as_well() {
    let mut net = Net::settled(1, 2);
    net.kill(1);
    net.start(1);
    net.run(secs(20));
    assert!(net.agree() && net.hosts().all(|host| net.peer(host).is_quiet()));
}

#[test]
fn a_pause_in_the_quiet_in_which_an_answer_came_accuses_nobody() {
    let mut alone = quiet(10);
    alone.run_answering(QUIET - millis(1), all_answer);
    alone.run(millis(1));
    // Paused before the answer is read. The timeout comes before what lies unread.
    alone.now = alone.now + millis(2200);
    alone.timeout();
    assert_eq!(alone.run(millis(1)), []);
    assert!((1..10).all(|host| alone.health(host) == Health::Alive));
}

#[test]
fn a_connection_that_breaks_twice_is_looked_into_twice() {
    let mut alone = quiet(10);
    for _ in 0..2 {
        alone.peer.disconnected(alone.now, id(3), &mut alone.out);
        let out = std::mem::take(&mut alone.out);
        let [(to, seq)] = pings(&out)[..] else { panic!("one ping: {out:?}") };
        assert_eq!(to, id(3));
        alone.receive(3, Vec::new(), GossipBody::Ack { seq });
        alone.run_answering(PERIOD, all_answer);
    }
}
