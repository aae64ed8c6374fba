use super::*;
use crate::repair::room::REMOVALS_MAX;
use serde_bytes::ByteBuf;
use starling_crdt::{Cell, Field, Key, Target};

const FOUR: Fixed = Fixed { four: true, ..TWO };

fn low(map: &Fixed) -> Scene<'_> {
    Scene { is_low: true, ..scene(map) }
}

fn puts(counter: u64, value: Option<ByteBuf>) -> Event {
    Event { puts: vec![(Cell { key: Key::from("k"), field: Field::Register }, value)], ..event(counter) }
}

fn brings(counter: u64) -> Event {
    puts(counter, Some(ByteBuf::from("v")))
}

fn removes(counter: u64) -> Event {
    Event { drops: vec![(Target::Key(Key::from("k")), seen(counter - 1))], ..event(counter) }
}

/// One that has not taken the second event.
fn lacking(map: &Fixed) -> Repair {
    let mut repair = begun(map);
    repair.remember(vec![(0, seen(1))]);
    assert!(repair.misses(&low(map), 0, &[brings(2)]));
    repair.drain();
    repair
}

#[test]
fn only_what_brings_something_is_missed() {
    let mut repair = begun(&TWO);
    repair.remember(vec![(0, seen(1))]);
    assert!(!repair.misses(&low(&TWO), 0, &[brings(1)]), "it is here already");
    assert!(!repair.misses(&low(&TWO), 0, &[puts(2, None)]), "its value has been replaced since");
    assert!(!repair.misses(&scene(&TWO), 0, &[brings(2)]), "there is room");
    assert!(!repair.has_missed(0));
    assert!(repair.misses(&low(&TWO), 0, &[brings(2)]) && repair.has_missed(0));
}

#[test]
fn removals_wait_for_what_was_missed_but_no_more_than_may() {
    let mut repair = lacking(&TWO);
    for counter in 0..REMOVALS_MAX as u64 {
        assert!(!repair.misses(&low(&TWO), 0, &[removes(counter + 3)]), "{counter}");
    }
    assert!(repair.misses(&low(&TWO), 0, &[removes(9_999)]));
    repair.room_again();
    assert!(repair.misses(&low(&TWO), 0, &[brings(2)]));
    assert!(!repair.misses(&low(&TWO), 0, &[removes(9_999)]), "it is counted anew");
}

#[test]
fn who_waits_for_others_without_room_is_heard() {
    let leaving = Fixed { leaving: true, ..TWO };
    let mut repair = begun(&leaving);
    assert!(!repair.misses(&low(&leaving), 0, &[brings(2)]), "owners change");

    // The third owns nothing. What it took in our place is not taken; its own copy is, without which it waits for ever.
    for (told, taken) in [(seen(4).difference(&seen(1)), false), (seen(2), true)] {
        let mut repair = lacking(&TWO);
        let coming = PeerId::numbered(COMING);
        repair.received(&low(&TWO), coming, Message::Ask { partitions: vec![0] });
        let asked = Out::Send { to: coming, message: Message::Ask { partitions: vec![0] } };
        assert!(repair.drain().contains(&asked), "it is asked what it has");
        repair.received(&low(&TWO), coming, report(&TWO, told));
        for out in repair.drain() {
            let Out::Store { ticket, .. } = out else { continue };
            repair.stored(&low(&TWO), ticket, Answer::Contexts { contexts: vec![(0, seen(1))] });
        }
        assert_eq!(!repair.misses(&low(&TWO), 0, &[brings(2)]), taken);
    }
}

#[test]
fn nobody_is_told_to_send_what_is_not_taken() {
    let other = PeerId::numbered(OTHER);
    let mut sent = [true, false].map(|is_low| {
        let mut repair = lacking(&TWO);
        let scene = Scene { is_low, ..scene(&TWO) };
        repair.received(&scene, other, report(&TWO, seen(2)));
        let asked = repair.drain();
        for out in asked {
            let Out::Store { ticket, .. } = out else { panic!("{out:?}") };
            repair.stored(&scene, ticket, Answer::Contexts { contexts: vec![(0, seen(1))] });
        }
        let hashes = BTreeMap::from([(0, seen(2).hash())]);
        let mut out = repair.drain();
        repair.report_differing(&scene, other, &hashes, vec![(0, seen(1))]);
        out.extend(repair.drain());
        out.into_iter().filter(|out| matches!(out, Out::Send { .. })).collect::<Vec<_>>()
    });
    let asks = Out::Send { to: other, message: Message::Ask { partitions: vec![0] } };
    assert_eq!(std::mem::take(&mut sent[0]), [asks], "what it lacks itself, its own report tells");
    let reports = |out: &Out| matches!(out, Out::Send { message: Message::Report { .. }, .. });
    assert!(sent[1].len() == 2 && sent[1].iter().all(reports), "{:?}", sent[1]);
}

#[test]
fn proof_is_sought_without_room_but_for_what_was_missed() {
    let asks = |repair: &mut Repair| {
        repair.next_tick = Time(0);
        repair.timeout(&low(&FOUR));
        let asks = |out: &Out| matches!(out, Out::Send { message: Message::Ask { .. }, .. });
        repair.drain().iter().any(asks)
    };
    assert!(asks(&mut begun(&FOUR)));
    assert!(!asks(&mut lacking(&FOUR)), "it would be sent in vain");
}
