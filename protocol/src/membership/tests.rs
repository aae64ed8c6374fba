use super::signing::Unsigned;
use super::*;
use crate::admission::certificate::CHAIN_BYTES_MAX;
use crate::member::{Accusation, WEIGHT_MAX};
use net::{Net, gossip, id, play, record};

mod apart;
mod forged;
mod net;
mod newcomers;
mod papers;
mod quiet;
mod replayed;
mod scenarios;
mod signed;
mod twins;

const PERIOD: Duration = Duration::from_millis(500);

/// One peer, without a network: what it says goes nowhere.
struct Alone {
    peer: Membership,
    now: Time,
    out: Vec<Out>,
}

impl Alone {
    /// Host 0, which knows hosts 1 up to `hosts` as members that are alive, and has said so often enough.
    fn among(hosts: usize) -> Self {
        Self::with(hosts, Config::default())
    }

    /// As `among`, and never quiet, as in the papers.
    fn at_full_pace(hosts: usize) -> Self {
        Self::with(hosts, Config { quiet_periods: 1, ..Config::default() })
    }

    /// Host 0, which waits and knows nobody.
    fn new() -> Self {
        Self::that_is(record(0, 1), 1, Config::default())
    }

    fn with(hosts: usize, config: Config) -> Self {
        Self::that_is(member(0, 1), hosts, config)
    }

    fn that_is(me: Record, hosts: usize, config: Config) -> Self {
        let known = (1..hosts).map(|host| member(host, 1)).collect();
        let now = Time(0);
        let mut alone = Self {
            peer: Membership::new(me, known, Arc::new(Unsigned), config, 7, now),
            now,
            out: Vec::new(),
        };
        alone.peer.rumors = Dissemination::default();
        alone.timeout();
        alone.out.clear();
        alone
    }

    fn timeout(&mut self) {
        self.peer.timeout(self.now, &mut self.out);
    }

    /// Time passes; what is said meanwhile.
    fn run(&mut self, span: Duration) -> Vec<Out> {
        self.run_answering(span, |_| Vec::new())
    }

    /// Time passes, and others answer what is said to them: with whom, and what.
    fn run_answering(
        &mut self,
        span: Duration,
        answers: impl Fn(&Out) -> Vec<(PeerId, GossipBody)>,
    ) -> Vec<Out> {
        let (until, mut said) = (self.now + span, Vec::new());
        while let Some(at) = self.peer.next_timeout().filter(|at| *at <= until) {
            self.now = at;
            self.timeout();
            let out = std::mem::take(&mut self.out);
            for (from, body) in out.iter().flat_map(&answers) {
                let gossip = Gossip { view: self.peer.view(), ..gossip(Vec::new(), body) };
                self.peer.received(self.now, from, gossip, &mut self.out);
            }
            said.extend(out);
        }
        self.now = until;
        said
    }

    fn receive(&mut self, from: usize, records: Vec<Record>, body: GossipBody) -> Vec<Out> {
        self.receive_all(from, gossip(records, body))
    }

    fn receive_all(&mut self, from: usize, gossip: Gossip) -> Vec<Out> {
        let gossip = Gossip { view: self.peer.view(), ..gossip };
        self.peer.received(self.now, id(from), gossip, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn health(&self, host: usize) -> Health {
        self.peer.health(id(host))
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn member(host: usize, incarnation: u64) -> Record {
    let standing = Standing { version: 1, step: Step::Member };
    Record { incarnation, standing, ..record(host, 1) }
}

fn with_health(host: usize, incarnation: u64, health: Health) -> Record {
    Record { health, ..member(host, incarnation) }
}

fn sent(out: &[Out]) -> Vec<(PeerId, &Gossip)> {
    let sent = |out| match out {
        &Out::Send { to, ref gossip } => Some((to, gossip)),
        _ => None,
    };
    out.iter().filter_map(sent).collect()
}

fn pings(out: &[Out]) -> Vec<(PeerId, u64)> {
    let ping = |(to, gossip): (PeerId, &Gossip)| match gossip.body {
        GossipBody::Ping { seq } => Some((to, seq)),
        _ => None,
    };
    sent(out).into_iter().filter_map(ping).collect()
}

/// Everybody answers its pings.
fn all_answer(out: &Out) -> Vec<(PeerId, GossipBody)> {
    let pings = pings(std::slice::from_ref(out));
    pings.into_iter().map(|(to, seq)| (to, GossipBody::Ack { seq })).collect()
}

fn misbehaved(out: &[Out]) -> bool {
    out.iter().any(|out| matches!(out, Out::Misbehaved { .. }))
}

#[test]
fn a_step_is_saved_before_anybody_is_told() {
    let mut alone = Alone::among(3);
    alone.peer.take_step(alone.now, Step::Leaving, &mut alone.out);
    assert!(matches!(alone.out[..], [Out::Changed, Out::Send { .. }, Out::Send { .. }]), "{:?}", alone.out);
}

#[test]
fn the_last_that_leave_may_accuse_one_another() {
    let mut alone = Alone::among(3);
    let left = |host| Record { standing: Standing { version: 2, step: Step::Left }, ..member(host, 1) };
    alone.receive(1, vec![left(1)], GossipBody::Update);
    alone.receive(2, vec![left(2)], GossipBody::Update);
    alone.peer.take_step(alone.now, Step::Left, &mut alone.out);
    let accusations = vec![Accusation { suspect: id(1), incarnation: 1, by: id(2) }];
    alone.receive_all(2, Gossip { accusations, ..gossip(vec![], GossipBody::Update) });
    assert_eq!(alone.health(1), Health::Suspect);
}
