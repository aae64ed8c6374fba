use super::*;
use crate::member::Standing;
use proptest::prelude::*;

const Q: u16 = 256;
const N: u8 = 3;

fn record(n: u64, step: Step) -> Record {
    Record { standing: Standing { version: 1, step }, ..Record::numbered(n) }
}

fn members(count: u64) -> Vec<Record> {
    (1..=count).map(|n| record(n, Step::Member)).collect()
}

fn zoned(n: u64, zone: &str) -> Record {
    Record { zone: zone.into(), ..record(n, Step::Member) }
}

fn weighing(n: u64, weight: u32) -> Record {
    Record { weight, ..record(n, Step::Member) }
}

fn place(records: &[Record]) -> Placement {
    let mut placement = Placement::new(Q, N);
    placement.update(records.iter());
    placement
}

fn all_lists(placement: &Placement) -> Vec<&Lists> {
    (0..Q).map(|partition| placement.lists(partition)).collect()
}

fn owned(placement: &Placement, n: u64) -> usize {
    placement.partitions_of(PeerId::numbered(n)).count()
}

#[test]
fn every_partition_has_n_owners_and_then_stand_ins() {
    let placement = place(&members(20));
    for lists in all_lists(&placement) {
        assert_eq!(lists.old.len(), 3);
        assert_eq!((&lists.new, &lists.read), (&lists.old, &lists.old));
        assert_eq!(lists.owners(), lists.old);
        assert_eq!(lists.stand_ins().len(), STAND_INS_MAX);
        let distinct: BTreeSet<PeerId> = lists.preference.iter().copied().collect();
        assert_eq!(distinct.len(), lists.preference.len());
    }
}

#[test]
fn fewer_peers_than_n_all_own_everything() {
    let placement = place(&members(2));
    assert!(all_lists(&placement).iter().all(|lists| lists.old.len() == 2 && lists.stand_ins().is_empty()));
    assert!(all_lists(&place(&[])).iter().all(|lists| **lists == Lists::default()));
    assert_eq!(*placement.lists(Q), Lists::default(), "no such partition");
}

/// 256 partitions times 3 copies over 50 peers are 15.4 a peer: chance alone spreads them by 3.8, and the
/// highest of 50 lies two to three of those above.
#[test]
fn the_load_is_balanced() {
    for (peers, most_over_mean_percent) in [(5, 115), (50, 200)] {
        let placement = place(&members(peers));
        let loads: Vec<usize> = (1..=peers).map(|n| owned(&placement, n)).collect();
        let (most, all) = (loads.iter().max().copied().unwrap_or(0), loads.iter().sum::<usize>());
        assert_eq!(all, usize::from(Q) * usize::from(N));
        let percent = most * 100 * peers as usize / all;
        assert!(percent <= most_over_mean_percent, "{peers} peers: {percent}% of the mean: {loads:?}");
    }
}

#[test]
fn load_follows_weight() {
    let records: Vec<Record> =
        (1..=20).map(|n| weighing(n, if n <= 10 { 100 } else { 300 })).chain([weighing(21, 0)]).collect();
    let placement = place(&records);
    let light: usize = (1..=10).map(|n| owned(&placement, n)).sum();
    let heavy: usize = (11..=20).map(|n| owned(&placement, n)).sum();
    let ratio_percent = heavy * 100 / light;
    assert!((240..=360).contains(&ratio_percent), "three times the weight: {ratio_percent}% of the load");
    assert!(all_lists(&placement).iter().all(|lists| !lists.preference.contains(&PeerId::numbered(21))));
}

/// A newcomer takes its share from the others, and nothing moves between those.
#[test]
fn a_newcomer_moves_only_what_it_takes() {
    for peers in [5, 50] {
        let (before, after) = (place(&members(peers)), place(&members(peers + 1)));
        let newcomer = PeerId::numbered(peers + 1);
        for (before, after) in all_lists(&before).iter().zip(all_lists(&after)) {
            let kept = after.old.iter().filter(|peer| before.old.contains(peer)).count();
            let expected = if after.old.contains(&newcomer) { 2 } else { 3 };
            assert_eq!(kept, expected);
        }
        let (share, fair) = (owned(&after, peers + 1), usize::from(Q) * 3 / (peers as usize + 1));
        assert!(share * 10 >= fair * 5 && share * 10 <= fair * 15, "{share} of about {fair}");
    }
}

#[test]
fn a_higher_weight_only_draws_partitions_to_its_peer() {
    let mut records = members(10);
    let before = place(&records);
    records[3].weight = 200;
    let (after, heavier) = (place(&records), records[3].id);
    for (before, after) in all_lists(&before).iter().zip(all_lists(&after)) {
        assert!(after.old.iter().all(|peer| *peer == heavier || before.old.contains(peer)));
    }
}

#[test]
fn copies_are_in_distinct_zones_where_there_are_enough() {
    let records: Vec<Record> = (1..=12).map(|n| zoned(n, ["a", "b", "c", "d"][n as usize % 4])).collect();
    let placement = place(&records);
    let zone = |peer: &PeerId| records.iter().find(|r| r.id == *peer).map(|r| r.zone.clone());
    for lists in all_lists(&placement) {
        let zones: BTreeSet<_> = lists.old.iter().map(zone).collect();
        assert_eq!(zones.len(), 3);
    }
}

#[test]
fn too_few_zones_are_used_evenly() {
    let records: Vec<Record> = (1..=10).map(|n| zoned(n, if n <= 8 { "big" } else { "small" })).collect();
    for lists in all_lists(&place(&records)) {
        let small = lists.old.iter().filter(|peer| **peer > PeerId::numbered(8)).count();
        assert!((1..=2).contains(&small), "{small} of 3 copies in the zone of two peers");
    }
}

#[test]
fn peers_without_a_zone_do_not_crowd_one_another() {
    let mut records = members(9);
    records[0].zone = "only".into();
    let (with, without) = (place(&records), place(&members(9)));
    assert_eq!(all_lists(&with), all_lists(&without));
}

/// Of a fourth peer that comes or goes while three members stay.
fn changing(step: Step) -> (Placement, PeerId) {
    let mut records = members(5);
    records.push(record(6, step));
    (place(&records), PeerId::numbered(6))
}

fn is_in(list: &[PeerId], peer: PeerId) -> bool {
    list.contains(&peer)
}

#[test]
fn reads_follow_the_four_steps() {
    let (member, peer) = changing(Step::Member);
    let (left, _) = changing(Step::Left);
    let (with, without) = (all_lists(&member), all_lists(&left));
    for (step, reads_with) in
        [(Step::Joining, false), (Step::Arriving, true), (Step::Leaving, true), (Step::Departing, false)]
    {
        let (placement, _) = changing(step);
        let coming = matches!(step, Step::Joining | Step::Arriving);
        let mut concerned = 0;
        for (i, lists) in all_lists(&placement).into_iter().enumerate() {
            let (old, new) = if coming { (without[i], with[i]) } else { (with[i], without[i]) };
            assert_eq!((&lists.old, &lists.new), (&old.old, &new.old), "{step:?}");
            let read = if reads_with { with[i] } else { without[i] };
            assert_eq!(lists.read, read.old, "{step:?}");
            assert_eq!(lists.owns(peer), is_in(&with[i].old, peer));
            assert!(!is_in(lists.stand_ins(), peer), "only members stand in");
            concerned += usize::from(lists.owns(peer));
        }
        assert!(concerned > 50, "it owns a share");
    }
}

#[test]
fn those_who_wait_or_have_left_own_nothing() {
    for step in [Step::Waiting, Step::Left] {
        let (placement, peer) = changing(step);
        assert_eq!(placement.partitions_of(peer).count(), 0);
        assert!(all_lists(&placement).iter().all(|lists| !lists.preference.contains(&peer)));
    }
}

#[test]
fn a_founder_that_is_still_joining_is_read() {
    for lists in all_lists(&place(&[record(1, Step::Joining)])) {
        assert_eq!(lists.read, [PeerId::numbered(1)]);
        assert!(lists.old.is_empty());
    }
}

#[test]
fn a_dead_owner_stays_an_owner() {
    let mut records = members(5);
    let before = place(&records);
    records[0].health = Health::Dead;
    records[1].health = Health::Suspect;
    assert_eq!(all_lists(&before), all_lists(&place(&records)));
}

#[test]
fn only_what_matters_makes_a_change() {
    let mut records = members(5);
    let mut placement = place(&records);
    records[0].health = Health::Dead;
    records[0].incarnation = 9;
    records[0].standing.version = 9;
    assert!(!placement.update(records.iter()));
    records[0].standing.step = Step::Leaving;
    assert!(placement.update(records.iter()));
}

#[test]
fn hash_tags_are_those_of_redis_cluster() {
    // The examples of the Redis Cluster specification.
    assert_eq!(hash_tag(b"{user1000}.following"), b"user1000");
    assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
    assert_eq!(hash_tag(b"foo{{bar}}zap"), b"{bar");
    assert_eq!(hash_tag(b"foo{bar}{zap}"), b"bar");
    assert_eq!(hash_tag(b"no}brace{s"), b"no}brace{s");
    assert_eq!(hash_tag(b""), b"");
    let placement = Placement::new(Q, N);
    assert_eq!(placement.partition_of(b"{user1}.a"), placement.partition_of(b"{user1}.b"));
    assert_ne!(placement.partition_of(b"{}.a"), placement.partition_of(b"{}.b"));
}

#[test]
fn keys_spread_over_all_partitions() {
    let placement = Placement::new(Q, N);
    let mut counts = vec![0; Q.into()];
    for key in 0..25_600 {
        counts[usize::from(placement.partition_of(format!("key:{key}").as_bytes()))] += 1;
    }
    assert!(counts.iter().all(|count| (50..=150).contains(count)), "100 each on average: {counts:?}");
}

/// What must never change: data lies where these say. From this implementation's first version.
#[test]
fn the_map_is_the_same_in_every_version() {
    let placement = place(&members(5));
    let partitions: Vec<PartitionId> =
        [&b"greeting"[..], b"visits", b"{user1}.a"].iter().map(|key| placement.partition_of(key)).collect();
    let owners = |p| placement.lists(p).old.iter().map(|peer| peer.0[31]).collect::<Vec<_>>();
    let map: Vec<(u16, Vec<u8>)> = partitions.into_iter().map(|p| (p, owners(p))).collect();
    assert_eq!(map, [(244, vec![4, 1, 3]), (31, vec![5, 4, 3]), (84, vec![2, 1, 4])]);
}

fn with_health(n: u64, step: Step, health: Health) -> Record {
    Record { health, ..record(n, step) }
}

fn turn_of(records: &[Record]) -> Option<PeerId> {
    turn(records.iter())
}

#[test]
fn changes_are_taken_one_at_a_time() {
    let waiting = [record(1, Step::Member), record(3, Step::Waiting), record(2, Step::Waiting)];
    assert_eq!(turn_of(&waiting), Some(PeerId::numbered(2)), "the lowest begins");
    let under_way = [record(1, Step::Waiting), record(5, Step::Leaving), record(4, Step::Arriving)];
    assert_eq!(turn_of(&under_way), Some(PeerId::numbered(4)), "what is under way goes on first");
    assert_eq!(turn_of(&members(5)), None);
}

#[test]
fn one_that_died_while_joining_holds_up_nobody() {
    let records = [with_health(1, Step::Joining, Health::Dead), record(2, Step::Waiting)];
    assert_eq!(turn_of(&records), Some(PeerId::numbered(2)));
    let records = [with_health(1, Step::Waiting, Health::Dead)];
    assert_eq!(turn_of(&records), None);
    let records = [with_health(1, Step::Leaving, Health::Dead), record(2, Step::Waiting)];
    assert_eq!(turn_of(&records), Some(PeerId::numbered(1)), "others may need what it holds");
}

#[test]
fn one_that_keeps_no_copies_holds_up_nobody() {
    for step in [Step::Joining, Step::Arriving, Step::Leaving, Step::Departing, Step::Waiting] {
        for health in [Health::Alive, Health::Dead] {
            let client = Record { weight: 0, ..with_health(1, step, health) };
            let records = [client, record(2, Step::Waiting)];
            assert_eq!(turn_of(&records), Some(PeerId::numbered(2)), "{step:?} {health:?}");
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    use Step::*;
    prop::sample::select(vec![Waiting, Joining, Arriving, Member, Leaving, Departing, Left])
}

fn any_record() -> impl Strategy<Value = Record> {
    let zones = prop::sample::select(vec!["", "a", "b", "c"]);
    (1..40u64, any_step(), zones, 0..300u32).prop_map(|(n, step, zone, weight)| Record {
        zone: zone.into(),
        weight,
        ..record(n, step)
    })
}

fn any_table() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::btree_map(1..40u64, any_record(), 0..12).prop_map(|records| {
        records.into_iter().map(|(n, r)| Record { id: PeerId::numbered(n), ..r }).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_table_gives_the_same_answer_whatever_its_order_and_history(
        records in any_table().prop_shuffle(),
        earlier in any_table(),
    ) {
        let mut sorted = records.clone();
        sorted.sort_by_key(|record| record.id);
        let mut placement = Placement::new(32, N);
        placement.update(earlier.iter());
        placement.update(records.iter());
        let mut fresh = Placement::new(32, N);
        fresh.update(sorted.iter());
        for partition in 0..32 {
            prop_assert_eq!(placement.lists(partition), fresh.lists(partition));
        }
        prop_assert_eq!(turn(records.iter()), turn(sorted.iter()));
    }

    #[test]
    fn reads_ask_only_those_that_writes_reach(records in any_table()) {
        let mut placement = Placement::new(32, N);
        placement.update(records.iter());
        for partition in 0..32 {
            let lists = placement.lists(partition);
            prop_assert!(lists.read.iter().all(|peer| lists.owns(*peer)));
            prop_assert!(is_met(&lists.read, lists));
            prop_assert!(lists.old.len() <= N.into() && lists.new.len() <= N.into());
        }
    }

    /// Or a write that was acknowledged before a step would be missed by reads after it.
    #[test]
    fn a_step_moves_reads_only_to_owners_that_writes_met_before(mut records in any_table(), who in 0..64_usize) {
        let changing = records.iter_mut().filter(|record| record.standing.step != Step::Member);
        changing.skip(CHANGES_MAX - 1).for_each(|record| record.standing.step = Step::Member);
        let mut placement = Placement::new(32, N);
        placement.update(records.iter());
        let before: Vec<Lists> = (0..32).map(|partition| placement.lists(partition).clone()).collect();
        // Where nobody is to be read from, there is nothing that could be missed.
        let is_read = |record: &Record| {
            record.weight > 0 && matches!(record.standing.step, Step::Member | Step::Arriving | Step::Leaving)
        };
        prop_assume!(records.iter().any(is_read));
        let who = who % records.len();
        let step = &mut records[who].standing.step;
        *step = match *step {
            Step::Waiting => Step::Joining,
            Step::Joining => Step::Arriving,
            Step::Arriving => Step::Member,
            Step::Member => Step::Leaving,
            Step::Leaving => Step::Departing,
            Step::Departing | Step::Left => Step::Left,
        };
        placement.update(records.iter());
        for (partition, before) in (0..32).zip(&before) {
            prop_assert!(is_met(&placement.lists(partition).read, before));
        }
    }
}

fn is_met(read: &Vec<PeerId>, lists: &Lists) -> bool {
    [&lists.old, &lists.new].into_iter().chain(&lists.between).any(|group| group == read)
}
