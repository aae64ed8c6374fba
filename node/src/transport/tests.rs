mod hostile;
mod relays;

use super::*;
use crate::peer_handle::FaultHandle;
use futures::{AsyncReadExt, AsyncWriteExt};
use serde_bytes::{ByteArray, ByteBuf};
use starling_protocol::admission::certificate::{Chain, Refusal, Role, Terms};
use starling_protocol::admission::invite::JoinRefusal;
use starling_protocol::admission::ticket::{Secret, Ticket, prefix_of};
use starling_protocol::admission::wire::{Opening, Refused, Reply, Verdict};
use starling_protocol::config::Genesis;
use starling_protocol::genesis::SignedGenesis;
use starling_protocol::ids::OpId;
use starling_protocol::member::{Record, View};
use starling_protocol::message::{Call, Class, FRAME_MAX, Gossip, GossipBody, Repair, WIRE_VERSION};
use starling_protocol::signature::{NumberedKey, Signer};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;
use streams::{Event, OpenError, Protocols, Purpose};
use swarm::BehaviourEvent;
use tokio::io::AsyncWriteExt as _;

/// Far more than anything here takes; reached only when it never comes.
const DEADLINE: Duration = Duration::from_secs(60);
const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

fn genesis(name: &str) -> SignedGenesis {
    let founder = NumberedKey::new(1);
    let genesis = Genesis { name: name.into(), ..Genesis::made_up(founder.peer()) };
    SignedGenesis::sign(genesis, &founder).unwrap()
}

fn founder() -> NumberedKey {
    NumberedKey::new(1)
}

/// Another serial each time.
fn terms() -> Terms {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).unwrap();
    let now = crate::network::wall_ms();
    let serial = ByteArray::new(serial);
    Terms { role: Role::Storage, serial, not_before_ms: now - 1_000_000, not_after_ms: now + 1_000_000 }
}

fn chain(network: &str, peer: PeerId, terms: Terms) -> Chain {
    Chain::default().issue(&genesis(network), &founder(), peer, terms).unwrap()
}

fn admitted(
    keys: &Keys,
    network: &str,
    terms: Option<Terms>,
) -> (tempfile::TempDir, Arc<crate::admission::Admission>) {
    let home = tempfile::tempdir().unwrap();
    let chain = terms.map(|terms| chain(network, keys.peer(), terms)).unwrap_or_default();
    crate::admission::save_certificate(home.path(), &chain).unwrap();
    let admission = crate::admission::Admission::open(home.path(), keys.clone(), genesis(network)).unwrap();
    (home, Arc::new(admission))
}

/// Bytes that wait for a node to take them.
const WORK_ROOM: u32 = 1 << 20;

struct Node {
    me: PeerId,
    keys: Keys,
    admission: Arc<crate::admission::Admission>,
    /// Where its certificate is.
    _home: tempfile::TempDir,
    transport: Transport,
    urgent: mpsc::Receiver<Batch>,
    work: mpsc::Receiver<Batch>,
    /// Taken from one of them, and not looked at yet.
    taken: VecDeque<Input>,
    faults: FaultHandle,
}

/// Everything that a test may choose about a node.
struct Plan {
    secret: [u8; 32],
    listen: &'static str,
    network: &'static str,
    named: Vec<String>,
    limits: Limits,
    nat: NatOptions,
    silence: Duration,
    /// What it was given by the founder; `None`: nothing.
    terms: Option<Terms>,
}

fn plan(listen: &'static str) -> Plan {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).unwrap();
    Plan {
        secret,
        listen,
        network: "test",
        named: vec![],
        limits: Limits::default(),
        nat: NatOptions { upnp: false, ..NatOptions::default() },
        silence: SILENCE,
        terms: Some(terms()),
    }
}

impl Node {
    async fn start(plan: Plan) -> Self {
        let faults = FaultHandle::new(Default::default());
        let keys = Keys::from_secret(plan.secret);
        let me = keys.peer();
        let (home, admission) = admitted(&keys, plan.network, plan.terms);
        let config = Config {
            keys: keys.clone(),
            admission: admission.clone(),
            listen: vec![plan.listen.parse().unwrap()],
            named: plan.named.iter().map(|at| vec![at.parse().unwrap()]).collect(),
            mdns: false,
            limits: plan.limits,
            nat: plan.nat,
            silence: plan.silence,
            faults: Some(faults.clone()),
        };
        let ((to_urgent, urgent), (to_work, work)) = (Queue::new(), Queue::with_room(WORK_ROOM));
        let transport = Transport::start(config, Inputs { urgent: to_urgent, work: to_work }).await.unwrap();
        let taken = VecDeque::new();
        Self { me, keys, admission, _home: home, transport, urgent, work, taken, faults }
    }

    /// The next input that `wanted` takes; others are skipped.
    async fn until<T>(&mut self, wanted: impl Fn(Input) -> Option<T>) -> T {
        let found = async {
            loop {
                while let Some(input) = self.taken.pop_front() {
                    if let Some(found) = wanted(input) {
                        return found;
                    }
                }
                let batch = tokio::select! {
                    batch = self.urgent.recv() => batch,
                    batch = self.work.recv() => batch,
                };
                self.taken.extend(batch.expect("the transport runs").inputs);
            }
        };
        timeout(DEADLINE, found).await.expect("what is waited for comes in time")
    }

    async fn until_input(&mut self, wanted: Input) {
        self.until(|input| (input == wanted).then_some(())).await;
    }

    async fn next_message(&mut self) -> (PeerId, Message) {
        self.until(|input| match input {
            Input::Received { from, message } => Some((from, message)),
            _ => None,
        })
        .await
    }

    fn connect_to(&self, other: &Node) {
        self.transport.connect(other.me, other.transport.listening());
    }

    fn received(&self) -> u64 {
        self.transport.stats().received.load(Ordering::Relaxed)
    }

    fn address(&self) -> Address {
        self.transport.listening().last().unwrap().parse().unwrap()
    }
}

fn ping(seq: u64) -> Message {
    Message::Gossip(Gossip {
        view: View::default(),
        records: vec![],
        accusations: vec![],
        sent: None,
        body: GossipBody::Ping { seq },
    })
}

fn call(op: u64, size: usize) -> Message {
    let keys = vec![ByteBuf::from(vec![7; size])];
    Message::Call(Call::KeysFound { op: OpId(op), keys, more: false })
}

async fn pair(listen: &'static str) -> (Node, Node) {
    let mut a = Node::start(plan(listen)).await;
    let mut b = Node::start(plan(listen)).await;
    a.connect_to(&b);
    a.until_input(Input::Connected { peer: b.me }).await;
    b.until_input(Input::Connected { peer: a.me }).await;
    (a, b)
}

/// Asks `check` again and again until it holds.
async fn eventually(what: &str, check: impl Fn() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < DEADLINE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn exchange_over(listen: &'static str) {
    let (mut a, mut b) = pair(listen).await;
    for seq in 0..500 {
        a.transport.send(b.me, &ping(seq));
        b.transport.send(a.me, &ping(seq));
    }
    for seq in 0..500 {
        assert_eq!(b.next_message().await, (a.me, ping(seq)));
        assert_eq!(a.next_message().await, (b.me, ping(seq)));
    }
    a.transport.send(b.me, &call(1, 10_000_000));
    assert_eq!(b.next_message().await, (a.me, call(1, 10_000_000)));
}

#[tokio::test]
async fn frames_arrive_in_order_over_tcp() {
    exchange_over(TCP).await;
}

#[tokio::test]
async fn frames_arrive_in_order_over_quic() {
    exchange_over(QUIC).await;
}

#[tokio::test]
async fn sending_to_a_peer_that_has_come_back_connects_again() {
    let (mut a, b) = pair(TCP).await;
    let secret = [9; 32];
    let c = Node::start(Plan { secret, ..plan(TCP) }).await;
    a.connect_to(&c);
    a.until_input(Input::Connected { peer: c.me }).await;
    let c_id = c.me;
    let at = c.transport.listening();
    c.transport.stop().await;
    a.until_input(Input::Disconnected { peer: c_id }).await;

    let listen = Box::leak(at[0].clone().into_boxed_str());
    let mut c = Node::start(Plan { secret, ..plan(listen) }).await;
    a.transport.send(c_id, &ping(1));
    assert_eq!(c.next_message().await, (a.me, ping(1)));
    assert_eq!(a.received(), 0, "nothing came from {} or {}", b.me, c_id);
}

#[tokio::test]
async fn frames_for_a_peer_that_is_gone_are_dropped_and_counted() {
    let (mut a, b) = pair(TCP).await;
    let b_id = b.me;
    b.transport.stop().await;
    a.until_input(Input::Disconnected { peer: b_id }).await;
    a.transport.connect(b_id, vec!["/ip4/127.0.0.1/tcp/1".into()]);
    a.until_input(Input::Unreachable { peer: b_id }).await;
    a.transport.send(b_id, &ping(0));
    a.until_input(Input::Unreachable { peer: b_id }).await;
    eventually("the frame that waited is counted as dropped", || {
        a.transport.stats().dropped.load(Ordering::Relaxed) == 1
    })
    .await;
}

/// Whether a dial of this peer was refused by its machine, once it has failed.
async fn is_refused(a: &mut Node, peer: PeerId, addresses: Vec<String>) -> bool {
    a.transport.connect(peer, addresses);
    a.until(|input| match input {
        Input::Refused { .. } => Some(true),
        Input::Unreachable { .. } => Some(false),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn where_a_peer_was_connected_a_refusal_says_that_it_is_gone() {
    let (mut a, b) = pair(TCP).await;
    let (b_id, at) = (b.me, b.transport.listening());
    b.transport.stop().await;
    a.until_input(Input::Disconnected { peer: b_id }).await;
    assert!(is_refused(&mut a, b_id, at.clone()).await);
    a.until_input(Input::Unreachable { peer: b_id }).await;
    let other = Keys::generate().peer();
    assert!(!is_refused(&mut a, other, at).await, "it never was there");
}

#[tokio::test]
async fn where_a_connection_breaks_at_once_it_is_tried_again_before_that_is_believed() {
    let (mut a, b) = pair(TCP).await;
    let (b_id, at) = (b.me, b.transport.listening());
    let socket = address::tcp_socket(&b.address()).unwrap();
    b.transport.stop().await;
    a.until_input(Input::Disconnected { peer: b_id }).await;
    let ending = std::net::TcpListener::bind(socket).unwrap();
    let ends = std::thread::spawn(move || {
        let taken = ending.accept().unwrap();
        drop(ending);
        drop(taken);
    });
    assert!(is_refused(&mut a, b_id, at).await);
    ends.join().unwrap();
}

/// As when its process is killed: nothing says so over QUIC.
#[tokio::test]
async fn one_that_is_silent_over_quic_is_asked_for_over_tcp_and_gone_if_refused() {
    let (mut a, b) = pair("/ip4/127.0.0.1/udp/0/quic-v1").await;
    b.faults.block([a.me].into());
    let gone = async {
        let nobody_there = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        loop {
            a.transport.connect(b.me, vec![format!("/ip4/127.0.0.1/tcp/{}", nobody_there.port())]);
            let refused = a.until_input(Input::Refused { peer: b.me });
            if timeout(Duration::from_millis(50), refused).await.is_ok() {
                return;
            }
        }
    };
    timeout(SILENCE, gone).await.expect("sooner than its silence is believed");
    a.until_input(Input::Disconnected { peer: b.me }).await;
}

#[tokio::test]
async fn a_transport_that_ends_by_itself_says_so() {
    let mut a = Node::start(plan(TCP)).await;
    a.transport.driver.abort();
    timeout(DEADLINE, a.transport.ended()).await.expect("it says so");
}

#[tokio::test]
async fn a_peer_without_an_address_is_unreachable() {
    let mut a = Node::start(plan(TCP)).await;
    let nobody = Keys::generate().peer();
    a.transport.send(nobody, &ping(0));
    a.until_input(Input::Unreachable { peer: nobody }).await;
    a.transport.connect(nobody, vec!["nonsense".into()]);
    a.until_input(Input::Unreachable { peer: nobody }).await;
}

#[tokio::test]
async fn whoever_answers_under_another_key_is_not_the_peer_that_was_meant() {
    let mut a = Node::start(plan(TCP)).await;
    let b = Node::start(plan(TCP)).await;
    let other = Keys::generate().peer();
    a.transport.connect(other, b.transport.listening());
    a.transport.send(other, &ping(0));
    a.until_input(Input::Unreachable { peer: other }).await;
    assert_eq!(b.received(), 0);
}

#[tokio::test]
async fn an_address_that_a_person_named_is_tried_until_somebody_answers() {
    let b = Node::start(plan(TCP)).await;
    let at = b.address().to_string();
    let secret = [5; 32];
    b.transport.stop().await;
    let mut a = Node::start(Plan { named: vec![at.clone()], ..plan(TCP) }).await;
    let listen = Box::leak(at.into_boxed_str());
    let b = Node::start(Plan { secret, ..plan(listen) }).await;
    a.until_input(Input::Connected { peer: b.me }).await;
}

/// One that a person has given an address, and who was there is lost.
async fn named_and_lost() -> (Node, &'static str) {
    let b = Node::start(plan(TCP)).await;
    let at = b.address().to_string();
    let mut a = Node::start(Plan { named: vec![at.clone()], ..plan(TCP) }).await;
    a.until_input(Input::Connected { peer: b.me }).await;
    b.transport.stop().await;
    a.until_input(Input::Disconnected { peer: b.me }).await;
    (a, Box::leak(at.into_boxed_str()))
}

/// A name may lead elsewhere by then, and nobody else may know where the peer is.
#[tokio::test]
async fn an_address_that_a_person_named_is_tried_again_when_who_was_there_is_lost() {
    let (mut a, listen) = named_and_lost().await;
    let c = Node::start(plan(listen)).await;
    a.until_input(Input::Connected { peer: c.me }).await;
}

/// An address of a provider is lent to others for a while.
#[tokio::test]
async fn an_address_that_a_person_named_is_tried_again_after_strangers_had_it() {
    let (mut a, listen) = named_and_lost().await;
    let stranger = Node::start(Plan { network: "other", ..plan(listen) }).await;
    let came = || stranger.transport.stats().connections.load(Ordering::Relaxed);
    eventually("it comes, sees who is there, and comes again", || came() > 1).await;
    stranger.transport.stop().await;
    let c = Node::start(plan(listen)).await;
    a.until_input(Input::Connected { peer: c.me }).await;
}

#[tokio::test]
async fn two_that_dial_each_other_at_once_are_connected_once() {
    let mut a = Node::start(plan(TCP)).await;
    let mut b = Node::start(plan(TCP)).await;
    a.connect_to(&b);
    b.connect_to(&a);
    a.until_input(Input::Connected { peer: b.me }).await;
    b.until_input(Input::Connected { peer: a.me }).await;
    for seq in 0..100 {
        a.transport.send(b.me, &ping(seq));
        b.transport.send(a.me, &ping(seq));
    }
    let mut inputs = Vec::new();
    while inputs.len() < 100 {
        inputs.push(b.until(Some).await);
    }
    let connected = inputs.iter().filter(|input| matches!(input, Input::Connected { .. })).count();
    assert_eq!(connected, 0, "it was connected already");
}

#[tokio::test]
async fn a_connection_that_is_not_believed_is_replaced_without_anybody_noticing() {
    let mut a = Node::start(Plan { silence: Duration::ZERO, ..plan(TCP) }).await;
    let mut b = Node::start(plan(TCP)).await;
    a.connect_to(&b);
    a.until_input(Input::Connected { peer: b.me }).await;
    b.until_input(Input::Connected { peer: a.me }).await;
    let made = |node: &Node, n| node.transport.stats().connections.load(Ordering::Relaxed) == n;
    eventually("a second connection", || {
        // Silent is who leaves a ping without an answer.
        a.transport.send(b.me, &ping(0));
        a.connect_to(&b);
        made(&a, 2) && made(&b, 2)
    })
    .await;
    // What is sent in the very moment may be lost; what is sent after it is not.
    let mut tries = 0;
    loop {
        a.transport.send(b.me, &ping(1));
        let sent = Input::Received { from: a.me, message: ping(1) };
        let came = b.until(|input| (input == sent).then_some(()));
        match timeout(Duration::from_millis(200), came).await {
            Ok(()) => break,
            Err(_) => tries += 1,
        }
        assert!(tries < 100, "nothing ever arrived");
    }
    let first = loop {
        b.transport.send(a.me, &ping(7));
        if let Ok(input) = timeout(Duration::from_millis(200), a.until(Some)).await {
            break input;
        }
        tries += 1;
        assert!(tries < 100, "nothing ever arrived");
    };
    assert_eq!(first, Input::Received { from: b.me, message: ping(7) });
}

#[tokio::test]
async fn a_peer_that_starts_anew_is_answered_where_it_called_from() {
    let mut a = Node::start(plan(QUIC)).await;
    let first = plan(QUIC);
    let again = Plan { secret: first.secret, ..plan(QUIC) };
    let b = Node::start(first).await;
    a.connect_to(&b);
    a.until_input(Input::Connected { peer: b.me }).await;
    a.transport.send(b.me, &call(1, 10));
    // Old enough that the two can't have dialled each other at once.
    tokio::time::sleep(driver::AT_ONCE).await;
    // The first life says nothing when it ends; here it does not even end.
    let mut anew = Node::start(again).await;
    anew.connect_to(&a);
    anew.until_input(Input::Connected { peer: a.me }).await;
    anew.transport.send(a.me, &call(2, 10));
    a.until(|input| (input == Input::Received { from: b.me, message: call(2, 10) }).then_some(())).await;
    let answered = || a.transport.send(b.me, &call(3, 10));
    let answer = Input::Received { from: a.me, message: call(3, 10) };
    for _ in 0..100 {
        answered();
        let came = anew.until(|input| (input == answer).then_some(()));
        if timeout(Duration::from_millis(20), came).await.is_ok() {
            return;
        }
    }
    panic!("within 2 s nothing came, though silence is believed only after {SILENCE:?}");
}

#[tokio::test]
async fn a_cut_swallows_frames_both_ways_and_closes_nothing() {
    let (mut a, mut b) = pair(TCP).await;
    a.transport.send(b.me, &ping(1));
    assert_eq!(b.next_message().await, (a.me, ping(1)));
    b.transport.send(a.me, &ping(1));
    a.next_message().await;

    // Only one side knows of the cut; that must be enough.
    a.faults.block([b.me].into());
    let received = a.received();
    b.transport.send(a.me, &ping(2));
    a.transport.send(b.me, &ping(3));
    let swallowed = || a.transport.stats().swallowed.load(Ordering::Relaxed) == 2;
    eventually("both are swallowed", swallowed).await;

    a.faults.block(Default::default());
    a.transport.send(b.me, &ping(4));
    assert_eq!(b.next_message().await, (a.me, ping(4)), "3 was swallowed");
    b.transport.send(a.me, &ping(5));
    assert_eq!(a.next_message().await, (b.me, ping(5)), "2 was swallowed");
    assert_eq!(a.received(), received + 1);
}

#[tokio::test]
async fn a_cut_keeps_new_connections_out_until_it_heals() {
    let mut a = Node::start(plan(TCP)).await;
    let mut b = Node::start(plan(TCP)).await;
    a.faults.block([b.me].into());
    b.connect_to(&a);
    b.until_input(Input::Unreachable { peer: a.me }).await;
    a.connect_to(&b);
    a.faults.block(Default::default());
    b.connect_to(&a);
    a.until_input(Input::Connected { peer: b.me }).await;
    b.until_input(Input::Connected { peer: a.me }).await;
}

#[tokio::test]
async fn a_dial_that_gets_through_when_a_cut_has_begun_is_none_and_is_made_again() {
    let (mut a, b) = (Node::start(plan(TCP)).await, Node::start(plan(TCP)).await);
    let between = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("/ip4/127.0.0.1/tcp/{}", between.local_addr().unwrap().port());
    a.transport.connect(b.me, vec![at]);
    let (mut dialled, _) = between.accept().await.unwrap();
    a.faults.block([b.me].into());
    let mut on = tokio::net::TcpStream::connect(address::tcp_socket(&b.address()).unwrap()).await.unwrap();
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut dialled, &mut on).await });
    a.until_input(Input::Unreachable { peer: b.me }).await;
    a.faults.block(Default::default());
    let connected = async {
        loop {
            // What is asked for before the driver knows that the cut has healed is not done.
            a.connect_to(&b);
            let connected = a.until_input(Input::Connected { peer: b.me });
            if timeout(Duration::from_millis(50), connected).await.is_ok() {
                return;
            }
        }
    };
    timeout(DEADLINE, connected).await.expect("it is dialled again");
}

#[tokio::test]
async fn a_peer_that_died_behind_a_cut_is_missed_when_the_cut_heals() {
    let (mut a, b) = pair(TCP).await;
    let b_id = b.me;
    a.faults.block([b_id].into());
    b.transport.stop().await;
    a.faults.block(Default::default());
    a.until_input(Input::Disconnected { peer: b_id }).await;
}

#[tokio::test]
async fn peers_of_another_network_are_never_connected() {
    let mut a = Node::start(plan(TCP)).await;
    let mut b = Node::start(Plan { network: "other", ..plan(TCP) }).await;
    a.connect_to(&b);
    a.transport.send(b.me, &ping(1));
    a.until_input(Input::Unreachable { peer: b.me }).await;
    // A third one of b's network shows that b would have told of a by now.
    let c = Node::start(Plan { network: "other", ..plan(TCP) }).await;
    b.connect_to(&c);
    let first = b.until(|input| match input {
        Input::Connected { peer } | Input::Received { from: peer, .. } => Some(peer),
        _ => None,
    });
    assert_eq!(first.await, c.me);
    assert_eq!(b.received(), 0);
}

#[tokio::test]
async fn whoever_asks_is_told_the_genesis_record() {
    let mut a = Node::start(plan(TCP)).await;
    let told = ask_genesis(&a.address(), DEADLINE).await.unwrap();
    assert_eq!(told, (genesis("test"), a.me));
    // The one who asked is no peer: the next that is heard of is a real one.
    let b = Node::start(Plan { named: vec![a.address().to_string()], ..plan(TCP) }).await;
    let first = a.until(|input| match input {
        Input::Listening { .. } => None,
        other => Some(other),
    });
    assert_eq!(first.await, Input::Connected { peer: b.me });
}

#[tokio::test]
async fn asking_where_nobody_is_says_why() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("/ip4/127.0.0.1/tcp/{free}").parse().unwrap();
    let error = ask_genesis(&address, DEADLINE).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

/// A libp2p peer that speaks the network's protocols by hand.
struct Stranger {
    keys: Keys,
    swarm: Swarm<Behaviour>,
    connection: (libp2p::PeerId, libp2p::swarm::ConnectionId),
}

impl Stranger {
    async fn dial(to: &Node, network: &str) -> Self {
        Self::dial_at(to.address(), network).await
    }

    async fn dial_at(at: Address, network: &str) -> Self {
        let protocols = Protocols::of(&genesis(network).network_id());
        let keys = Keys::generate();
        let mut swarm = swarm::build(&keys, protocols, &Limits::default(), &swarm::Extras::default());
        swarm.dial(at).unwrap();
        let connection = timeout(DEADLINE, async {
            loop {
                if let SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } =
                    swarm.select_next_some().await
                {
                    return (peer_id, connection_id);
                }
            }
        });
        Self { keys, connection: connection.await.unwrap(), swarm }
    }

    /// A stranger that has shown a certificate and was let in.
    async fn inside(to: &Node) -> Self {
        let mut stranger = Self::dial(to, "test").await;
        let chain = chain("test", stranger.keys.peer(), terms());
        assert!(matches!(stranger.hello(&chain).await, Some(Reply::Welcome { .. })));
        stranger
    }

    /// Shows a chain; the answer, after which it is content.
    async fn hello(&mut self, chain: &Chain) -> Option<Reply> {
        let mut stream = self.open(Purpose::Admission).await.unwrap();
        let (chain, revoked) = (ByteBuf::from(chain.encode()), ByteArray::new([0; 32]));
        let said = async {
            admission::write(&mut stream, &Opening::Hello { chain, revoked }).await.ok()?;
            let reply: Reply = admission::read(&mut stream).await.ok()?;
            if let Reply::Welcome { .. } = reply {
                admission::write(&mut stream, &Verdict::Welcome).await.ok()?;
                stream.close().await.ok()?;
            }
            Some(reply)
        };
        tokio::select! {
            reply = timeout(DEADLINE, said) => reply.expect("it is answered in time"),
            () = genesis::drive(&mut self.swarm) => None,
        }
    }

    /// Until the other side has closed the connection.
    async fn closed(&mut self) {
        let closed = async {
            while !matches!(self.swarm.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {}
        };
        timeout(DEADLINE, closed).await.expect("the connection is closed in time");
    }

    async fn open(&mut self, purpose: Purpose) -> Result<libp2p::Stream, OpenError> {
        let (peer, connection) = self.connection;
        self.swarm.behaviour_mut().streams.open(peer, connection, purpose);
        timeout(DEADLINE, async {
            loop {
                if let SwarmEvent::Behaviour(BehaviourEvent::Streams(Event::Opened { result, .. })) =
                    self.swarm.select_next_some().await
                {
                    return result;
                }
            }
        })
        .await
        .unwrap()
    }

    /// Writes, and says whether the other side then ended the stream.
    async fn say(&mut self, class: Class, bytes: &[u8]) -> bool {
        let mut stream = self.open(Purpose::Frames(class)).await.unwrap();
        let said = async {
            // It may be cut off in the middle of what it says.
            let _ = stream.write_all(bytes).await;
            let _ = stream.flush().await;
            matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
        };
        let swarm = &mut self.swarm;
        let drive = async {
            loop {
                swarm.select_next_some().await;
            }
        };
        tokio::select! {
            ended = timeout(DEADLINE, said) => ended.unwrap_or(false),
            () = drive => false,
        }
    }
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

#[tokio::test]
async fn malformed_frames_cost_the_sender_its_stream_and_nobody_else_anything() {
    let (mut a, mut b) = pair(TCP).await;
    let mut stranger = Stranger::inside(&a).await;
    let wrong_version = [&[99][..], &ping(1).encode()[1..]].concat();
    let left_over = [ping(1).encode(), vec![0]].concat();
    let bad: Vec<Vec<u8>> = vec![
        framed(b""),
        framed(b"\x01garbage"),
        framed(&wrong_version),
        framed(&left_over),
        framed(&call(1, 8).encode()),
        (FRAME_MAX as u32 + 1).to_be_bytes().to_vec(),
        u32::MAX.to_be_bytes().to_vec(),
    ];
    for (count, bytes) in bad.iter().enumerate() {
        assert!(stranger.say(Class::Probe, bytes).await, "{bytes:?} was taken");
        assert_eq!(a.transport.stats().malformed.load(Ordering::Relaxed), count as u64 + 1);
    }
    a.transport.send(b.me, &ping(7));
    assert_eq!(b.next_message().await, (a.me, ping(7)));
    b.transport.send(a.me, &ping(8));
    assert_eq!(a.next_message().await, (b.me, ping(8)), "nothing of the stranger's was delivered");
}

#[tokio::test]
async fn frames_of_another_wire_version_are_refused_and_counted() {
    let (mut a, b) = pair(TCP).await;
    let mut older = Stranger::inside(&a).await;
    let others = [WIRE_VERSION - 1, WIRE_VERSION + 1];
    for (n, version) in (1..).zip(others) {
        let frame = [&[version][..], &ping(1).encode()[1..]].concat();
        assert!(older.say(Class::Probe, &framed(&frame)).await, "version {version} was taken");
        assert_eq!(a.transport.stats().malformed.load(Ordering::Relaxed), n);
    }
    b.transport.send(a.me, &ping(8));
    assert_eq!(a.next_message().await, (b.me, ping(8)), "nothing of the other's was delivered");
}

#[tokio::test]
async fn a_stranger_without_our_protocols_gets_no_stream() {
    let a = Node::start(plan(TCP)).await;
    let mut stranger = Stranger::dial(&a, "another network").await;
    let result = stranger.open(Purpose::Frames(Class::Request)).await;
    assert!(matches!(result, Err(OpenError::Unsupported)), "{result:?}");
}

#[tokio::test]
async fn garbage_and_floods_on_the_port_leave_the_peer_alive() {
    let limits = Limits { pending_incoming: 8, ..Limits::default() };
    let mut a = Node::start(Plan { limits, ..plan(TCP) }).await;
    let at = a.address().to_string();
    let port: u16 = at.rsplit('/').next().unwrap().parse().unwrap();
    let mut half_open = Vec::new();
    for n in 0..64u8 {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // Some say nothing, some garbage, some the beginning of a real handshake.
        let words: &[u8] = match n % 3 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff",
            _ => b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff",
        };
        // It may be closed already.
        let _ = stream.write_all(words).await;
        half_open.push(stream);
    }
    drop(half_open);
    let b = Node::start(Plan { named: vec![at], ..plan(TCP) }).await;
    a.until_input(Input::Connected { peer: b.me }).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let (a, keys) = (Node::start(plan(TCP)).await, Keys::generate());
    for listen in [vec![a.address()], vec![TCP.parse().unwrap(), a.address()]] {
        let config = Config {
            admission: admitted(&keys, "test", Some(terms())).1,
            keys: keys.clone(),
            listen,
            named: vec![],
            mdns: false,
            limits: Limits::default(),
            nat: NatOptions::default(),
            silence: SILENCE,
            faults: None,
        };
        let inputs = Inputs { urgent: Queue::new().0, work: Queue::new().0 };
        let error = Transport::start(config, inputs).await.err().unwrap();
        assert!(error.in_use, "{error}");
        assert_eq!(error.address, a.address());
    }
}

/// As when the event loop ends: it is behind, and then it takes nothing any more.
#[tokio::test]
async fn a_transport_that_waits_to_be_heard_stops_when_nobody_listens_any_more() {
    let keys = Keys::generate();
    let (_home, admission) = admitted(&keys, "test", Some(terms()));
    let config = Config {
        admission,
        keys: keys.clone(),
        listen: vec![TCP.parse().unwrap()],
        named: vec![],
        mdns: false,
        limits: Limits::default(),
        nat: NatOptions { upnp: false, ..NatOptions::default() },
        silence: SILENCE,
        faults: None,
    };
    let ((to_urgent, mut urgent), (to_work, work)) = (Queue::new(), Queue::new());
    let inputs = Inputs { urgent: to_urgent.clone(), work: to_work };
    let transport = Transport::start(config, inputs).await.unwrap();
    let mut b = Node::start(plan(TCP)).await;
    b.transport.connect(keys.peer(), transport.listening());
    while timeout(DEADLINE, urgent.recv()).await.unwrap().unwrap().inputs[0]
        != (Input::Connected { peer: b.me })
    {}
    b.until_input(Input::Connected { peer: keys.peer() }).await;
    // All the room.
    assert!(to_urgent.send(vec![Input::Timeout], usize::MAX).await);
    b.transport.stop().await;
    eventually("it has noticed that b is gone", || transport.paths().of(&b.me).is_none()).await;
    drop((urgent, work));
    timeout(DEADLINE, transport.stop()).await.expect("it waits for nobody");
}

#[tokio::test]
async fn a_queue_for_a_peer_that_does_not_read_is_bounded() {
    let (mut a, mut b) = pair(TCP).await;
    // b's work is not taken: its queue fills, then the stream, then a's queue.
    for op in 0..40_000 {
        a.transport.send(b.me, &call(op, 10_000));
    }
    eventually("frames are dropped", || a.transport.stats().dropped.load(Ordering::Relaxed) > 0).await;
    let received = || b.transport.stats().received.load(Ordering::Relaxed);
    let fit = u64::from(WORK_ROOM) / 10_000;
    eventually("b's queue is full", || received() > fit).await;
    a.transport.send(b.me, &ping(1));
    let probe = timeout(DEADLINE, b.urgent.recv()).await.unwrap().unwrap();
    assert_eq!(probe.inputs, [Input::Received { from: a.me, message: ping(1) }], "probes go on");
    b.transport.send(a.me, &call(1, 1));
    assert_eq!(a.next_message().await, (b.me, call(1, 1)), "the other direction goes on");
    // That nothing more comes can only be waited for.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(received() <= fit + 64, "b reads no more than fits into its queue, and a batch: {}", received());
}

#[tokio::test]
async fn probes_go_on_over_quic_while_neither_requests_nor_repair_are_taken() {
    let (a, mut b) = pair(QUIC).await;
    for op in 0..2_000 {
        a.transport.send(b.me, &call(op, 10_000));
        a.transport.send(b.me, &Message::Repair(Repair::Ask { partitions: vec![9_999; 3_000] }));
    }
    // When as much as may be is on its way, nobody tells.
    let begun = Instant::now();
    for seq in (0..).take_while(|_| begun.elapsed() < Duration::from_secs(1)) {
        a.transport.send(b.me, &ping(seq));
        let probe = timeout(DEADLINE, b.urgent.recv()).await.expect("it is read in time").unwrap();
        assert_eq!(probe.inputs, [Input::Received { from: a.me, message: ping(seq) }]);
    }
}

#[tokio::test]
async fn a_stranger_with_everything_but_a_good_certificate_is_told_why_and_closed() {
    let mut a = Node::start(plan(TCP)).await;
    let other = Keys::generate().peer();
    let ended = Terms { not_after_ms: 1, not_before_ms: 0, ..terms() };
    let early = Terms { not_before_ms: u64::MAX - 1, not_after_ms: u64::MAX, ..terms() };
    type Made = fn(PeerId, PeerId, Terms) -> Chain;
    let cases: [(Made, Terms, Refusal); 6] = [
        (|_, _, _| Chain::default(), terms(), Refusal::NoCertificate),
        (|me, _, terms| chain("test", me, terms), ended, Refusal::Expired),
        (|me, _, terms| chain("test", me, terms), early, Refusal::NotYetValid),
        (|_, other, terms| chain("test", other, terms), terms(), Refusal::OtherPeer),
        (|me, _, terms| chain("another", me, terms), terms(), Refusal::OtherNetwork),
        (|me, _, terms| untrusted(me, terms), terms(), Refusal::Untrusted),
    ];
    for (made, terms, refusal) in cases {
        let mut stranger = Stranger::dial(&a, "test").await;
        let shown = made(stranger.keys.peer(), other, terms);
        // What it sends before it is let in is never read.
        let early = stranger.open(Purpose::Frames(Class::Probe)).await.unwrap();
        let reply = stranger.hello(&shown).await;
        let refused = Refused { refusal, revocation: None };
        assert_eq!(reply, Some(Reply::Refused(refused)));
        drop(early);
        stranger.closed().await;
    }
    assert_eq!(a.received(), 0);
    let b = Node::start(Plan { named: vec![a.address().to_string()], ..plan(TCP) }).await;
    let first = a.until(|input| if matches!(input, Input::Listening { .. }) { None } else { Some(input) });
    assert_eq!(first.await, Input::Connected { peer: b.me }, "nothing was ever heard of the strangers");
}

/// Signed by one who is not the founder.
fn untrusted(peer: PeerId, terms: Terms) -> Chain {
    let own = SignedGenesis::sign(
        Genesis { founder: NumberedKey::new(2).peer(), ..genesis("test").genesis().clone() },
        &NumberedKey::new(2),
    );
    let chain = Chain::default().issue(&own.unwrap(), &NumberedKey::new(2), peer, terms).unwrap();
    // Of the right network, as far as it says itself.
    let text = chain.encode();
    let own_id = chain.own().unwrap().network;
    let at = text.windows(32).position(|bytes| bytes == own_id.0).unwrap();
    let mut changed = text;
    changed[at..at + 32].copy_from_slice(&genesis("test").network_id().0);
    Chain::decode(&changed).unwrap()
}

#[tokio::test]
async fn frames_that_come_before_the_certificate_wait_for_it() {
    let mut a = Node::start(plan(TCP)).await;
    let mut b = Stranger::dial(&a, "test").await;
    let mut early = b.open(Purpose::Frames(Class::Probe)).await.unwrap();
    early.write_all(&framed(&ping(1).encode())).await.unwrap();
    early.flush().await.unwrap();
    let shown = chain("test", b.keys.peer(), terms());
    assert!(matches!(b.hello(&shown).await, Some(Reply::Welcome { .. })));
    let me = b.keys.peer();
    let drive = async move {
        genesis::drive(&mut b.swarm).await;
    };
    tokio::select! {
        message = a.next_message() => assert_eq!(message, (me, ping(1))),
        () = drive => {}
    }
}

#[tokio::test]
async fn a_stranger_that_says_nothing_is_closed() {
    let a = Node::start(plan(TCP)).await;
    let mut stranger = Stranger::dial(&a, "test").await;
    stranger.closed().await;
    assert_eq!(a.received(), 0);
}

#[tokio::test]
async fn a_revocation_spreads_and_parts_the_revoked_peer_from_all() {
    // One that may revoke: a peer that has let another in.
    let (mut a, mut b) = pair(TCP).await;
    let mut c = Node::start(plan(TCP)).await;
    c.connect_to(&a);
    c.connect_to(&b);
    for node in [&mut a, &mut b] {
        node.until_input(Input::Connected { peer: c.me }).await;
    }
    // c takes its own certificate back, as one that leaves may.
    c.admission.revoke(c.me).unwrap();
    let (c_id, b_id) = (c.me, b.me);
    for node in [&mut a, &mut b] {
        node.until_input(Input::Disconnected { peer: c_id }).await;
    }
    assert_eq!(a.admission.revoked_digest(), b.admission.revoked_digest());
    // While its connection stands, as far as it knows, it makes no other.
    c.until_input(Input::Disconnected { peer: a.me }).await;
    c.connect_to(&a);
    c.until_input(Input::Unreachable { peer: a.me }).await;
    a.transport.send(b_id, &ping(7));
    assert_eq!(b.next_message().await, (a.me, ping(7)), "the others go on");
}

/// It has been let in as a storage peer once; now it has another certificate.
#[tokio::test]
async fn what_a_peer_says_of_itself_under_another_certificate_than_it_has_shown_is_not_heard() {
    let (mut a, b) = pair(TCP).await;
    let record = |certificates: ByteBuf| Record { id: b.me, certificates, ..Record::numbered(1) };
    let (shown, other) = (b.admission.own_chain(), ByteBuf::from(chain("test", b.me, terms()).encode()));
    let of_another = Record { id: a.me, ..record(other.clone()) };
    for (said, heard) in [
        (vec![record(shown.clone()), of_another.clone()], vec![record(shown), of_another.clone()]),
        (vec![record(other), of_another.clone()], vec![of_another]),
    ] {
        let (view, accusations, body) = (View::default(), Vec::new(), GossipBody::Ping { seq: 1 });
        let gossip = |records| {
            let (accusations, body) = (accusations.clone(), body.clone());
            Message::Gossip(Gossip { view, records, accusations, sent: None, body })
        };
        b.transport.send(a.me, &gossip(said));
        assert_eq!(a.next_message().await, (b.me, gossip(heard)));
    }
}

#[tokio::test]
async fn one_who_was_away_learns_of_revocations_from_whom_it_meets() {
    let a = Node::start(plan(TCP)).await;
    let gone = Node::start(plan(TCP)).await;
    gone.admission.revoke(gone.me).unwrap();
    a.admission.learn(&gone.admission.revocations()).unwrap();
    let mut b = Node::start(plan(TCP)).await;
    b.connect_to(&a);
    b.until_input(Input::Connected { peer: a.me }).await;
    eventually("both know of it", || a.admission.revoked_digest() == b.admission.revoked_digest()).await;
    // And the one that is dialled learns it as well.
    let (mut d, e) = (Node::start(plan(TCP)).await, Node::start(plan(TCP)).await);
    a.connect_to(&d);
    d.until_input(Input::Connected { peer: a.me }).await;
    eventually("d knows of it", || a.admission.revoked_digest() == d.admission.revoked_digest()).await;
    e.admission.revoke(e.me).unwrap();
    d.admission.learn(&e.admission.revocations()).unwrap();
    eventually("a is told by d", || a.admission.revoked_digest() == d.admission.revoked_digest()).await;
}

#[tokio::test]
async fn a_peer_that_is_refused_tells_its_own_user_why() {
    let a = Node::start(plan(TCP)).await;
    let mut b = Node::start(plan(TCP)).await;
    // a learns that b is out before b does: b itself signs it, elsewhere.
    let elsewhere = tempfile::tempdir().unwrap();
    crate::admission::save_certificate(elsewhere.path(), &Chain::decode(&b.admission.own_chain()).unwrap())
        .unwrap();
    let keys = b.keys.clone();
    let copy = crate::admission::Admission::open(elsewhere.path(), keys, genesis("test")).unwrap();
    copy.revoke(b.me).unwrap();
    a.admission.learn(&copy.revocations()).unwrap();
    b.connect_to(&a);
    b.until_input(Input::Unreachable { peer: a.me }).await;
    assert_eq!(b.admission.refusals(), [(a.me, Refusal::Revoked)]);
    assert_eq!(b.admission.own_grant(), Err(Refusal::Revoked), "it was given the proof");
}

#[tokio::test]
async fn a_newcomer_that_listens_on_its_lan_says_why_nobody_was_reached() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = vec![format!("/ip4/127.0.0.1/tcp/{free}").parse().unwrap()];
    let (network, secret) = (prefix_of(&genesis("test").network_id()), Secret([1; 16]));
    let inviter = Keys::generate().peer();
    let ticket = Ticket { network, inviter, secret, expires_s: 0, addresses: vec![] };
    let joined = join(&Keys::generate(), &ticket, at, true, Duration::from_secs(2)).await;
    let why = joined.unwrap_err().to_string();
    assert!(why.contains("refused"), "{why}");
}

/// Lets in one.
fn ticket(inviter: &Node) -> Ticket {
    let wish = crate::admission::Wish { role: Role::Storage, uses: 1, ttl: DEADLINE };
    let (secret, _) = inviter.admission.invite(wish).unwrap();
    Ticket {
        network: prefix_of(&inviter.admission.genesis().network_id()),
        inviter: inviter.me,
        secret,
        expires_s: 0,
        addresses: ticket_addresses(&inviter.transport.listening()),
    }
}

#[tokio::test]
async fn a_ticket_brings_a_newcomer_in_through_its_inviter_alone() {
    let a = Node::start(plan(TCP)).await;
    let b = Node::start(plan(TCP)).await;
    let ticket = ticket(&a);
    let keys = Keys::generate();
    let at_b = vec![b.address()];
    let elsewhere = join(&keys, &ticket, at_b, false, DEADLINE).await.unwrap_err();
    assert!(matches!(elsewhere, JoinError::Ask(_)), "{elsewhere}");
    for _ in 0..2 {
        let (genesis, chain) = join(&keys, &ticket, addresses_of(&ticket), false, DEADLINE).await.unwrap();
        assert_eq!(genesis.network_id(), a.admission.genesis().network_id());
        assert!(b.admission.check(keys.peer(), &chain.encode()).is_ok());
    }
    let late = join(&Keys::generate(), &ticket, addresses_of(&ticket), false, DEADLINE).await;
    assert!(matches!(late, Err(JoinError::Refused(JoinRefusal::Spent))), "{late:?}");
    let forged = Ticket { secret: Secret([0; 16]), ..ticket.clone() };
    let forged = join(&keys, &forged, addresses_of(&ticket), false, DEADLINE).await;
    assert!(matches!(forged, Err(JoinError::Refused(JoinRefusal::Unknown))), "{forged:?}");
}
