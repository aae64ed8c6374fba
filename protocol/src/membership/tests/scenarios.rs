//! What happens to networks.

use super::*;

#[test]
fn five_that_know_one_address_soon_know_each_other() {
    play(20, |seed| {
        let mut net = Net::new(seed, 5);
        for host in net.hosts() {
            net.start(host);
            net.take_step(host, Step::Member);
            net.discover(host, 0);
        }
        net.run_until("all agree", secs(2), Net::agree);
        for host in net.hosts() {
            assert_eq!(net.peer(host).records().count(), 5);
        }
    });
}

#[test]
fn one_that_is_killed_is_dead_everywhere_within_a_second() {
    for hosts in [3, 5, 20] {
        play(20, |seed| {
            let mut net = Net::settled(seed, hosts);
            let victim = net.draw(hosts);
            net.kill(victim);
            net.run_until("dead everywhere", millis(1000), |net| net.all_believe(victim, Health::Dead));
        });
    }
}

/// It dials the others before they have decided: who was killed and is back was never dead.
#[test]
fn one_that_is_killed_and_soon_back_was_never_dead() {
    play(20, |seed| {
        let mut net = Net::settled(seed, 5);
        let victim = net.draw(5);
        net.kill(victim);
        net.run(millis(300));
        net.start(victim);
        net.run_until("all agree", secs(2), Net::agree);
        assert!(!net.told_dead(victim));
    });
}

/// As where somebody else has its address now: what one alone is told decides nothing.
#[test]
fn one_whose_machine_refuses_some_is_not_dead_while_others_reach_it() {
    play(20, |seed| {
        let mut net = Net::settled(seed, 5);
        for _ in 0..20 {
            for host in [1, 2] {
                net.disconnect(host, 0);
                net.act(host, |peer, now, out| peer.refused(now, id(0), out));
            }
            net.run(millis(700));
        }
        assert!(!net.told_dead(0));
    });
}

#[test]
fn one_that_is_cut_off_silently_is_dead_everywhere_within_about_four_seconds() {
    play(100, |seed| {
        let mut net = Net::settled(seed, 5);
        let victim = net.draw(5);
        net.cut_off(victim);
        let believed =
            |net: &Net| net.hosts().all(|host| host == victim || net.health(host, victim) == Health::Dead);
        // At worst nobody probes it for a whole round, and the suspicion begins after 4 periods.
        net.run_until("dead everywhere", millis(4500), believed);
    });
}

#[test]
fn a_pause_of_a_second_kills_nobody() {
    play(50, |seed| {
        let mut net = Net::settled(seed, 5);
        for _ in 0..10 {
            let host = net.draw(5);
            net.pause(host);
            net.run(secs(1));
            net.resume(host);
            let between = net.draw(2000) as u64;
            net.run(millis(between));
        }
        net.run_until("all agree", secs(3), Net::agree);
        for host in net.hosts() {
            assert!(!net.told_dead(host));
        }
    });
}

#[test]
fn one_that_wakes_after_a_long_pause_accuses_nobody() {
    play(20, |seed| {
        let mut net = Net::settled(seed, 5);
        net.pause(2);
        net.run(secs(30));
        assert!(net.hosts().all(|host| host == 2 || net.health(host, 2) == Health::Dead));
        net.told.clear();
        net.resume(2);
        net.run_until("all agree", secs(3), Net::agree);
        net.run(secs(10));
        assert!(!net.told.iter().any(|(_, host, out)| {
            *host == 2 && matches!(out, Out::Health { health: Health::Suspect | Health::Dead, .. })
        }));
    });
}

/// All of them have pinged it meanwhile, and hear of it at once.
#[test]
fn one_that_wakes_in_a_large_network_exchanges_tables_with_a_few() {
    play(2, |seed| {
        let mut net = Net::settled(seed, 100);
        net.pause(3);
        net.run_until("dead everywhere", secs(30), |net| net.all_believe(3, Health::Dead));
        net.run(secs(30));
        let before = net.tables_sent;
        net.resume(3);
        net.run_until("all agree", secs(10), Net::agree);
        let tables = net.tables_sent - before;
        assert!(tables <= 50, "{tables}");
    });
}

#[test]
fn lost_messages_kill_nobody() {
    play(10, |seed| {
        let mut net = Net::settled(seed, 5);
        net.loss = 50;
        net.run(secs(120));
        net.loss = 0;
        for host in net.hosts() {
            assert!(!net.told_dead(host));
        }
        net.run_until("all agree", secs(5), Net::agree);
    });
}

#[test]
fn two_that_cannot_reach_each_other_live_on_through_the_others() {
    play(20, |seed| {
        let mut net = Net::settled(seed, 5);
        net.cut(&[1], &[2]);
        net.cut(&[3], &[4]);
        net.run(secs(120));
        assert!(net.hosts().all(|host| !net.told_dead(host)));
        net.heal();
        net.run_until("all agree", secs(3), Net::agree);
    });
}

/// Each side declares the other dead; connections break, or hang, as it happens.
fn split(net: &mut Net, sides: &[&[usize]]) {
    for (i, side) in sides.iter().enumerate() {
        for other in &sides[i + 1..] {
            net.cut(side, other);
            for (a, b) in side.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
                if net.draw(2) == 0 {
                    net.disconnect(a, b);
                }
            }
        }
    }
    net.run(secs(60));
    for (i, side) in sides.iter().enumerate() {
        for other in sides.iter().enumerate().filter(|(j, _)| *j != i).flat_map(|(_, other)| *other) {
            assert!(side.iter().all(|host| net.health(*host, *other) == Health::Dead));
        }
    }
}

#[test]
fn the_halves_of_a_cut_network_meet_again_within_two_periods() {
    play(50, |seed| {
        let mut net = Net::settled(seed, 5);
        net.over_the_wire = true;
        split(&mut net, &[&[0, 1], &[2, 3, 4]]);
        net.take_step(1, Step::Leaving);
        net.take_step(3, Step::Departing);
        net.told.clear();
        net.heal();
        net.run_until("all agree", millis(1500), Net::agree);
        net.run(secs(20));
        assert!(net.agree());
        for host in net.hosts() {
            assert!(!net.told_dead(host), "nobody dies of the meeting");
        }
    });
}

#[test]
fn peers_that_were_all_alone_find_each_other() {
    play(20, |seed| {
        let mut net = Net::settled(seed, 5);
        split(&mut net, &[&[0], &[1], &[2], &[3], &[4]]);
        net.heal();
        net.run_until("all agree", secs(3), Net::agree);
    });
}

#[test]
fn a_network_that_was_switched_off_finds_itself_by_its_saved_tables() {
    play(20, |seed| {
        let mut net = Net::settled(seed, 5);
        net.hosts().for_each(|host| net.kill(host));
        net.run(secs(100));
        net.hosts().for_each(|host| net.start(host));
        net.run_until("all agree", secs(3), Net::agree);
        assert!(net.hosts().all(|host| net.peer(host).me().standing.step == Step::Member));
    });
}

#[test]
fn one_that_restarts_with_a_lower_incarnation_wins_quickly() {
    play(20, |seed| {
        let mut net = Net::settled(seed, 5);
        // It refutes a few times, and loses what it saved then.
        for _ in 0..3 {
            net.cut_off(4);
            net.run(secs(10));
            net.heal();
            net.run_until("all agree", secs(5), Net::agree);
        }
        net.kill(4);
        let long_enough = net.draw(2) == 0;
        net.run(if long_enough { secs(10) } else { millis(200) });
        net.wipe(4);
        net.start(4);
        let life = net.peer(4).me().life;
        net.discover(4, 1);
        let known = |net: &Net| {
            net.hosts().all(|host| net.peer(host).get(id(4)).is_some_and(|record| record.life == life))
        };
        net.run_until("its new life is known", secs(2), known);
        net.run_until("all agree", secs(2), Net::agree);
    });
}

#[test]
fn one_that_lost_its_table_is_told_its_standing_and_goes_on_from_there() {
    play(10, |seed| {
        let mut net = Net::settled(seed, 3);
        let standing = net.peer(2).me().standing;
        net.kill(2);
        net.wipe(2);
        net.start(2);
        net.discover(2, 0);
        net.run_until("all agree", secs(3), Net::agree);
        assert_eq!(net.peer(2).me().standing, standing);
        let overruled = |out: &Out| *out == Out::Overruled { standing };
        assert!(net.told.iter().any(|(_, host, out)| *host == 2 && overruled(out)));
        net.take_step(2, Step::Joining);
        net.run_until("the step is known", millis(20), Net::agree);
        let known = net.peer(0).get(id(2)).map(|record| record.standing);
        assert_eq!(known, Some(Standing { version: standing.version + 1, step: Step::Joining }));
    });
}

#[test]
fn a_step_is_known_everywhere_in_a_round_trip() {
    play(20, |seed| {
        let mut net = Net::settled(seed, 20);
        let before = net.sent;
        net.take_step(7, Step::Leaving);
        net.run_until("the step is known", millis(10), Net::agree);
        assert!(net.sent - before < 60, "{} messages", net.sent - before);
    });
}

#[test]
fn a_step_that_many_lose_is_known_soon() {
    play(20, |seed| {
        let mut net = Net::settled(seed, 20);
        net.loss = 500;
        net.take_step(7, Step::Leaving);
        net.run(millis(10));
        net.loss = 0;
        net.run_until("the step is known", secs(2), Net::agree);
    });
}

#[test]
fn a_step_reaches_a_large_network_by_rumor() {
    let mut net = Net::settled(1, 70);
    net.take_step(7, Step::Leaving);
    net.run_until("the step is known", secs(5), Net::agree);
}

#[test]
fn a_dead_peer_that_is_forgotten_has_left() {
    play(10, |seed| {
        let mut net = Net::settled(seed, 4);
        let mut refused = Ok(());
        net.act(0, |peer, now, out| refused = peer.forget(now, id(3), out));
        assert_eq!(refused, Err(ForgetError::NotDead));
        net.act(0, |peer, now, out| refused = peer.forget(now, id(0), out));
        assert_eq!(refused, Err(ForgetError::Myself));
        net.act(0, |peer, now, out| refused = peer.forget(now, id(9), out));
        assert_eq!(refused, Err(ForgetError::Unknown));

        net.kill(3);
        net.run_until("dead everywhere", secs(4), |net| net.all_believe(3, Health::Dead));
        net.act(0, |peer, now, out| refused = peer.forget(now, id(3), out));
        assert_eq!(refused, Ok(()));
        net.run_until("forgotten everywhere", millis(20), |net| {
            let left = |record: &Record| record.standing.step == Step::Left;
            net.running().iter().all(|host| net.peer(*host).get(id(3)).is_some_and(left))
        });
        net.act(1, |peer, now, out| refused = peer.forget(now, id(3), out));
        assert_eq!(refused, Err(ForgetError::Left));

        // It comes back, with its old table, and learns what happened.
        net.start(3);
        net.run_until("it knows", secs(3), |net| net.peer(3).me().standing.step == Step::Left);
        net.take_step(3, Step::Waiting);
        net.run_until("all agree", secs(3), Net::agree);
        assert_eq!(net.peer(0).get(id(3)).map(|record| record.standing.step), Some(Step::Waiting));
    });
}

#[test]
fn who_has_left_long_ago_is_gone_from_the_table_and_no_old_table_brings_it_back() {
    let mut net = Net::settled(3, 4);
    net.kill(3);
    net.run_until("dead everywhere", secs(4), |net| net.all_believe(3, Health::Dead));
    net.act(0, |peer, now, out| peer.forget(now, id(3), out).expect("it is dead"));
    net.run(secs(5));
    // One that is away meanwhile keeps the old table.
    net.kill(2);
    let view = net.peer(0).view();
    let old = net.peer(0).get(id(3)).cloned().expect("it is kept for a while");
    net.run(secs(3700));
    assert_eq!(net.peer(0).get(id(3)), None);
    assert_eq!(net.peer(0).view(), view, "forgetting changes no view");
    let member = Record { standing: Standing { version: 1, step: Step::Member }, ..old };
    net.receive(0, id(1), vec![member], GossipBody::Update);
    assert_eq!(net.peer(0).get(id(3)), None);
    net.start(2);
    net.run_until("all agree", secs(3), Net::agree);
    net.run(secs(60));
    assert!(net.agree());

    // The peer itself may come back, once it has learnt.
    net.start(3);
    net.run_until("it knows", secs(3), |net| net.peer(3).me().standing.step == Step::Left);
    net.take_step(3, Step::Waiting);
    net.run_until("all agree", secs(3), Net::agree);
    assert!(net.peer(0).get(id(3)).is_some());
}

#[test]
fn one_without_room_for_all_does_not_ask_for_tables_for_ever() {
    let mut net = Net::new(1, 12);
    for host in net.hosts() {
        net.config.members_max = if host == 5 { 6 } else { 100 };
        net.start(host);
        net.take_step(host, Step::Member);
        net.discover(host, 0);
    }
    net.run(secs(100));
    let before = net.records_sent;
    net.run(secs(100));
    let records = net.records_sent - before;
    // With each of 11 others a table of at most 12 both ways every 12.8 s is 2,000; every 200 ms it was
    // 130,000.
    assert!(records < 4000, "{records} records");
    assert!(net.hosts().all(|host| !net.told_dead(host)));
}

#[test]
fn a_network_at_rest_says_the_same_little_in_every_period() {
    let mut net = Net::settled(5, 20);
    net.over_the_wire = true;
    let mut said = Vec::new();
    for _ in 0..6 {
        let (sent, bytes) = (net.sent, net.bytes);
        net.run(secs(10));
        said.push((net.sent - sent, (net.bytes - bytes) / 20 / 10));
    }
    assert_eq!(net.told, [], "nothing happens");
    // In 10 s each of 20 peers pings 6 or 7 times, and once in 30 s with a comparison of tables, and is answered.
    assert!(said.iter().all(|(messages, _)| (240..=340).contains(messages)), "{said:?}");
    assert!(said.iter().all(|(_, bytes)| *bytes < 100), "messages and bytes per peer and second: {said:?}");
    let records = net.records_sent;
    net.run(secs(10));
    assert_eq!(net.records_sent, records, "no record is sent when all is told");
}

/// Anything happens for a while; then nothing does, and all must agree.
#[test]
fn whatever_happened_once_it_stops_all_agree() {
    play(100, |seed| {
        let mut net = Net::settled(seed, 6);
        for _ in 0..30 {
            let (a, b) = (net.draw(6), net.draw(6));
            match net.draw(10) {
                0 | 1 => net.kill(a),
                2 | 3 if !net.running().contains(&a) => net.start(a),
                4 => {
                    net.kill(a);
                    net.wipe(a);
                    net.start(a);
                    net.discover(a, b);
                }
                5 => net.cut(&[a, b], &[(a + 1) % 6, (b + 2) % 6]),
                6 => net.heal(),
                7 => net.loss = net.draw(300) as u32,
                8 if net.running().contains(&a) => net.take_step(a, Step::Leaving),
                9 => net.disconnect(a, b),
                _ => {}
            }
            let span = net.draw(3000) as u64;
            net.run(millis(span));
        }
        net.loss = 0;
        net.heal();
        for host in net.hosts().filter(|host| !net.running().contains(host)).collect::<Vec<_>>() {
            net.start(host);
            net.discover(host, (host + 1) % 6);
        }
        net.run_until("all agree", secs(30), Net::agree);
        net.run(secs(30));
        assert!(net.agree());
    });
}
