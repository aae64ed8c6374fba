use super::*;
use crate::repair::handoff::ROUND_MAX;

#[test]
fn all_that_is_held_for_others_has_its_turn_though_an_owner_of_some_is_away() {
    let idle = Fixed { idle: true, ..TWO };
    let (mut repair, most) = (begun(&idle), ROUND_MAX as PartitionId);
    repair.surveyed(&scene(&idle), (0..=most).map(|partition| (partition, seen(1))).collect());
    let mut round = || {
        repair.drain();
        repair.hand_over(&scene(&idle));
        let asked = repair.drain().into_iter().filter_map(|out| match out {
            Out::Send { message: Message::Ask { partitions }, .. } => Some(partitions),
            _ => None,
        });
        asked.flatten().collect::<BTreeSet<_>>()
    };
    let rounds = [round(), round()];
    assert_eq!(rounds.each_ref().map(BTreeSet::len), [ROUND_MAX; 2]);
    assert!(!rounds[0].contains(&most) && rounds[1].contains(&most));
}
