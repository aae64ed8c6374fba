//! What peers that lie, or strangers, can do, and what not.

use super::super::table::FORGOTTEN_MAX;
use super::*;
use proptest::prelude::*;

const UPDATE: GossipBody = GossipBody::Update;

#[test]
fn an_incarnation_that_nobody_can_have_reached_is_refused() {
    let mut alone = Alone::among(4);
    for incarnation in [u64::MAX, u64::MAX / 2 - 1, 1 << 40] {
        let out = alone.receive(1, vec![with_health(2, incarnation, Health::Dead)], UPDATE);
        assert!(misbehaved(&out), "{incarnation}");
        let out = alone.receive(1, vec![member(0, incarnation)], UPDATE);
        assert!(misbehaved(&out), "{incarnation}");
    }
    assert_eq!(alone.health(2), Health::Alive);
    assert_eq!(alone.peer.me().incarnation, 1);
}

#[test]
fn a_standing_that_nobody_can_have_reached_is_refused() {
    let mut alone = Alone::among(4);
    let standing = Standing { version: 1 << 40, step: Step::Left };
    for victim in [0, 2, 9] {
        let out = alone.receive(1, vec![Record { standing, ..member(victim, 1) }], UPDATE);
        assert!(misbehaved(&out));
    }
    assert_eq!(alone.peer.records().filter(|r| r.standing.step == Step::Left).count(), 0);
    assert_eq!(alone.peer.get(id(9)), None);
}

#[test]
fn the_highest_incarnation_that_can_be_forged_is_refuted_everywhere() {
    let mut net = Net::settled(1, 5);
    let forged = Record { incarnation: (1 << 32) - 1, ..with_health(2, 1, Health::Suspect) };
    for host in [0, 1, 3] {
        net.receive(host, id(4), vec![forged.clone()], UPDATE);
    }
    net.run_until("it is suspect", Duration::from_millis(10), |net| net.health(0, 2) == Health::Suspect);
    let refuted = |net: &Net| net.agree() && net.peer(0).get(id(2)).is_some_and(|r| r.incarnation == 1 << 32);
    net.run_until("it has refuted", Duration::from_secs(3), refuted);
    for host in net.hosts() {
        assert!(!net.told_dead(host));
    }
}

#[test]
fn what_others_say_of_this_peer_is_refuted_and_never_believed() {
    for health in [Health::Suspect, Health::Dead] {
        let mut alone = Alone::among(4);
        let lie = Record { name: "other".into(), zone: "moon".into(), ..with_health(0, 5, health) };
        let out = alone.receive(1, vec![lie], UPDATE);
        let me = alone.peer.me().clone();
        assert_eq!((me.incarnation, me.health, &*me.name, &*me.zone), (6, Health::Alive, "p1", ""));
        assert!(out.contains(&Out::Refuted { incarnation: 6 }));
        assert!(sent(&out).iter().any(|(to, gossip)| *to == id(1) && gossip.records.contains(&me)));
        let out = alone.receive(1, vec![me], UPDATE);
        assert_eq!(out, [], "what is so is not refuted");
    }
}

#[test]
fn a_lower_claim_about_this_peer_is_answered_but_changes_nothing() {
    let mut alone = Alone::among(4);
    alone.receive(1, vec![with_health(0, 5, Health::Dead)], UPDATE);
    let me = alone.peer.me().clone();
    alone.run(Duration::from_secs(1));
    let out = alone.receive(2, vec![with_health(0, 5, Health::Dead)], UPDATE);
    assert_eq!(*alone.peer.me(), me);
    assert!(matches!(&sent(&out)[..], [(to, gossip)] if *to == id(2) && gossip.records.contains(&me)));
}

#[test]
fn of_a_stranger_only_its_own_record_counts() {
    let mut alone = Alone::among(4);
    let out = alone.receive(9, vec![with_health(1, 1, Health::Dead), member(8, 1)], UPDATE);
    assert_eq!((alone.health(1), alone.peer.get(id(8))), (Health::Alive, None));
    let asks = |(to, gossip): &(PeerId, &Gossip)| {
        *to == id(9) && gossip.body == GossipBody::Exchange { reply: true }
    };
    assert!(sent(&out).iter().any(asks), "it is asked who it is");
    let out = alone.receive(9, vec![member(9, 1), member(8, 1)], GossipBody::Exchange { reply: true });
    assert!(alone.peer.get(id(9)).is_some() && alone.peer.get(id(8)).is_some());
    assert!(out.contains(&Out::Stepped { peer: id(9), step: Step::Member }));
}

#[test]
fn strangers_cannot_make_a_peer_ping_others() {
    let mut alone = Alone::among(4);
    let out = alone.receive(9, Vec::new(), GossipBody::PingReq { seq: 1, target: id(2) });
    assert_eq!(pings(&out), []);
    let out = alone.receive(1, Vec::new(), GossipBody::PingReq { seq: 1, target: id(9) });
    assert_eq!(pings(&out), [], "nor can members make it ping strangers");
    let out = alone.receive(1, Vec::new(), GossipBody::PingReq { seq: 1, target: id(2) });
    assert_eq!(pings(&out).len(), 1);
}

#[test]
fn records_out_of_bounds_are_dropped_whole() {
    let long = "x".repeat(1000);
    let lies: Vec<fn(&mut Record, &str)> = vec![
        |record, long| record.name = long.into(),
        |record, long| record.zone = long.into(),
        |record, long| record.addresses = vec![long.into()],
        |record, _| record.addresses = vec!["a".into(); 17],
        |record, _| record.name = "\u{1b}[2J".into(),
        |record, _| record.weight = 1_000_000,
        |record, _| record.standing.version = u64::MAX,
    ];
    for lie in lies {
        let mut alone = Alone::among(4);
        let mut record = member(9, 1);
        lie(&mut record, &long);
        assert!(misbehaved(&alone.receive(9, vec![record.clone()], UPDATE)), "{record:?}");
        assert!(misbehaved(&alone.receive(1, vec![record], UPDATE)));
        assert_eq!(alone.peer.get(id(9)), None);
    }
}

#[test]
fn a_message_with_too_many_records_is_not_read() {
    let mut alone = Alone::with(4, Config { members_max: 10, ..Config::default() });
    let out = alone.receive(1, vec![with_health(2, 1, Health::Suspect); 2000], UPDATE);
    assert!(matches!(out[..], [Out::Misbehaved { .. }]));
    assert_eq!(alone.health(2), Health::Alive);
    let accusation = Accusation { suspect: id(2), incarnation: 1, by: id(3) };
    let out = alone.receive_all(1, Gossip { accusations: vec![accusation; 1000], ..gossip(vec![], UPDATE) });
    assert!(matches!(out[..], [Out::Misbehaved { .. }]));
}

#[test]
fn a_full_table_takes_nobody_more_but_lives_on() {
    let mut alone = Alone::with(4, Config { members_max: 5, ..Config::default() });
    alone.receive(8, vec![member(8, 1)], UPDATE);
    assert_eq!(alone.peer.records().count(), 5);
    let out = alone.receive(9, vec![member(9, 1)], GossipBody::Exchange { reply: true });
    assert_eq!((alone.peer.get(id(9)), out), (None, vec![]));
    alone.receive(8, vec![member(8, 2), member(7, 1)], UPDATE);
    assert_eq!(alone.peer.get(id(8)).map(|record| record.incarnation), Some(2));
    assert_eq!(alone.peer.records().count(), 5);
}

#[test]
fn nobody_dies_of_another_s_word_without_time_to_refute() {
    let mut alone = Alone::among(5);
    for from in [1, 3, 4] {
        alone.receive(from, vec![with_health(2, 1, Health::Dead)], UPDATE);
        assert_eq!(alone.health(2), Health::Suspect);
    }
    alone.run(Duration::from_millis(1990));
    assert_eq!(alone.health(2), Health::Suspect);
    alone.receive(2, vec![member(2, 2)], UPDATE);
    assert_eq!(alone.health(2), Health::Alive);
    alone.receive(1, vec![with_health(2, 1, Health::Dead)], UPDATE);
    assert_eq!(alone.health(2), Health::Alive, "that was refuted");
}

#[test]
fn forged_accusers_leave_the_least_time_to_refute() {
    let mut alone = Alone::among(10);
    let by = |by| Accusation { suspect: id(2), incarnation: 1, by };
    let made_up = (50..100).map(|host| by(id(host)));
    let accusations = made_up.chain([by(id(2)), by(id(3)), by(id(4)), by(id(5)), by(id(6))]).collect();
    alone.receive_all(1, Gossip { accusations, ..gossip(vec![], UPDATE) });
    assert_eq!(alone.health(2), Health::Suspect);
    alone.run(Duration::from_millis(1990));
    assert_eq!(alone.health(2), Health::Suspect);
    alone.run(Duration::from_millis(20));
    assert_eq!(alone.health(2), Health::Dead);
}

/// One member accuses all others, of every incarnation that they reach, in the name of many, for a minute.
#[test]
fn a_flood_of_suspicions_kills_nobody_and_does_not_multiply() {
    let mut net = Net::settled(1, 5);
    let before = net.sent;
    net.run(Duration::from_secs(60));
    // While there is doubt, all are at their full pace, which is at most so much more.
    let unflooded = (net.sent - before) * u64::from(Config::default().quiet_periods);
    let before = net.sent;
    for round in 0..600usize {
        for victim in 0..4 {
            let incarnation = net.peer(victim).me().incarnation;
            let by =
                |n| Accusation { suspect: id(victim), incarnation, by: id(100 + (round * 64 + n) % 500) };
            let accusations: Vec<_> = (0..64).map(by).collect();
            for host in (0..4).filter(|host| *host != victim) {
                let accusations = accusations.clone();
                net.act(host, |peer, now, out| {
                    peer.received(now, id(4), Gossip { accusations, ..gossip(vec![], UPDATE) }, out);
                });
            }
        }
        net.run(Duration::from_millis(100));
    }
    assert!(net.hosts().all(|host| !net.told_dead(host)), "everybody has refuted in time");
    let flooded = net.sent - before;
    assert!(flooded < unflooded * 4, "{flooded} messages, and {unflooded} without the flood");
    let alive = |net: &Net| net.agree() && net.hosts().all(|host| net.all_believe(host, Health::Alive));
    net.run_until("all are believed alive again", Duration::from_secs(10), alive);
}

#[test]
fn one_that_accuses_this_peer_without_end_makes_it_no_slower() {
    let mut alone = Alone::among(5);
    for _ in 0..100 {
        for by in [1, 2, 3, 4, 2, 3] {
            let incarnation = alone.peer.me().incarnation;
            let accusations = vec![Accusation { suspect: id(0), incarnation, by: id(by) }];
            alone.receive_all(1, Gossip { accusations, ..gossip(vec![], UPDATE) });
            assert_eq!(alone.peer.me().incarnation, incarnation + 1, "it refutes each time");
        }
        assert_eq!(alone.peer.probes.score(), 0);
        alone.run_answering(PERIOD, all_answer);
    }
}

#[test]
fn however_often_all_accuse_this_peer_in_a_period_it_counts_once() {
    for hosts in [3, 5] {
        let mut alone = Alone::among(hosts);
        for round in 0..10 {
            let incarnation = alone.peer.me().incarnation;
            for from in 1..hosts {
                let accusations = vec![Accusation { suspect: id(0), incarnation, by: id(from) }];
                alone.receive_all(from, Gossip { accusations, ..gossip(vec![], UPDATE) });
            }
            assert_eq!(alone.peer.probes.score(), 1, "of {hosts}, round {round}");
        }
        for _ in 0..100 {
            let incarnation = alone.peer.me().incarnation;
            for from in 1..hosts {
                let accusations = vec![Accusation { suspect: id(0), incarnation, by: id(from) }];
                alone.receive_all(from, Gossip { accusations, ..gossip(vec![], UPDATE) });
            }
            alone.run_answering(PERIOD, all_answer);
            assert!(alone.peer.probes.score() <= 2, "of {hosts}");
        }
    }
}

/// Kept of one that has left. No certificates: nobody may have that name.
fn gone(host: usize, version: u64, certificates: &[u8]) -> Record {
    let standing = Standing { version, step: Step::Left };
    let certificates = serde_bytes::ByteBuf::from(certificates.to_vec());
    bare(Record { standing, certificates, ..member(host, 1) })
}

#[test]
fn names_that_nobody_has_push_out_no_peer_that_was_forgotten() {
    let mut table = Table::new(member(0, 1), Vec::new(), 100, Time(0));
    table.merge(Time(0), gone(1, 3, b"its own"));
    // Told again without them, it keeps them.
    table.merge(Time(0), gone(1, 4, b""));
    for host in 2..2 * FORGOTTEN_MAX {
        table.merge(Time(0), gone(host, 1 << 20, b""));
    }
    assert!(table.is_forgotten(id(1)));
    assert_eq!(table.everything().len(), 1 + FORGOTTEN_MAX);
}

#[test]
fn one_that_is_dead_here_and_speaks_is_told_so_once_a_period() {
    let mut alone = Alone::among(4);
    alone.receive(1, vec![with_health(2, 1, Health::Dead)], UPDATE);
    alone.run(Duration::from_secs(3));
    assert_eq!(alone.health(2), Health::Dead);
    let mut answers = 0;
    for _ in 0..1000 {
        let out = alone.receive(2, vec![member(2, 1)], UPDATE);
        answers += sent(&out).len();
        assert!(sent(&out).iter().all(|(_, gossip)| gossip.records[0] == with_health(2, 1, Health::Dead)));
    }
    assert_eq!(answers, 1);
    alone.run(Duration::from_millis(500));
    assert_eq!(sent(&alone.receive(2, vec![], UPDATE)).len(), 1);
}

#[test]
fn whole_tables_are_not_sent_to_one_that_asks_for_ever() {
    let mut alone = Alone::among(4);
    let ask = GossipBody::Exchange { reply: true };
    let answers: usize = (0..1000).map(|_| sent(&alone.receive(1, vec![], ask.clone())).len()).sum();
    assert_eq!(answers, 1);
    let strangers: usize = (0..1000).map(|_| sent(&alone.receive(9, vec![], ask.clone())).len()).sum();
    assert_eq!(strangers, 1);
}

#[test]
fn two_processes_with_one_identity_do_not_flood_the_network() {
    let mut net = Net::settled(1, 4);
    let before = net.sent;
    for _ in 0..20 {
        // The other one, elsewhere, refutes in its turn.
        let incarnation = net.peer(3).me().incarnation + 1;
        net.receive(0, id(3), vec![Record { life: 77, ..member(3, incarnation) }], UPDATE);
        net.run(Duration::from_millis(500));
    }
    assert!(net.sent - before < 600, "{} messages in 10 s", net.sent - before);
}

#[test]
fn strangers_are_forgotten_as_fast_as_they_come() {
    let mut alone = Alone::with(4, Config { members_max: 8, ..Config::default() });
    for host in 100..1000 {
        alone.receive(host, vec![], UPDATE);
        alone.peer.connected(alone.now, id(host), &mut alone.out);
    }
    alone.out.clear();
    assert!(alone.peer.connected.len() <= 16 && alone.peer.answered.len() <= 16);
    assert!(alone.peer.exchanged.len() <= 16);
}

fn any_claim() -> impl Strategy<Value = Record> {
    use Health::*;
    let health = prop::sample::select(vec![Alive, Suspect, Dead]);
    let step = prop::sample::select(vec![Step::Waiting, Step::Member, Step::Leaving]);
    (1..4usize, 1..4u64, health, 0..3u64, step, 1..3u64, 99..101u32).prop_map(
        |(host, incarnation, health, version, step, life, weight)| {
            let standing = Standing { version, step };
            Record { incarnation, health, standing, life, weight, ..record(host, 1) }
        },
    )
}

fn merged(claims: &[Record]) -> Table {
    let mut table = Table::new(member(0, 1), Vec::new(), 100, Time(0));
    for claim in claims {
        table.merge(Time(0), claim.clone());
    }
    table
}

proptest! {
    /// Else two tables could differ for ever, and with them who owns what.
    #[test]
    fn claims_merge_to_the_same_in_any_order_and_however_often(
        claims in prop::collection::vec(any_claim(), 0..12).prop_shuffle(),
        again in any::<prop::sample::Index>(),
    ) {
        let mut sorted = claims.clone();
        sorted.sort_by_key(|claim| (claim.id, claim.incarnation, claim.life, claim.standing));
        let mut twice = claims.clone();
        twice.extend(claims.get(..again.index(claims.len() + 1)).unwrap_or(&[]).iter().cloned());
        for other in [&sorted, &twice] {
            let (one, other) = (merged(&claims), merged(other));
            prop_assert_eq!((one.view(), one.digest()), (other.view(), other.digest()));
        }
    }
}
