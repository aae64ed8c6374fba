use super::*;
use proptest::prelude::*;
use starling_crdt::{Actor, Event, Memory, Replica};
use starling_protocol::store::answer;
use starling_protocol::time::Time;

const KEYS: u8 = 3;

fn key(n: u8) -> ByteBuf {
    ByteBuf::from(vec![b'a' + n % KEYS])
}

fn bytes(n: u8) -> ByteBuf {
    ByteBuf::from(vec![n % 4])
}

fn write(n: u8, what: u8) -> Question {
    let command = match what % 6 {
        0 => Command::Set { value: bytes(n) },
        1 => Command::Del,
        2 => Command::SAdd { members: vec![bytes(n)] },
        3 => Command::SRem { members: vec![bytes(n)] },
        4 => Command::HSet { entries: vec![(bytes(n), bytes(what))] },
        _ => Command::HDel { fields: vec![bytes(n)] },
    };
    Question::Execute { partition: 0, key: key(n), command, wall_ms: 1, until: None }
}

fn read(n: u8, what: u8) -> Question {
    let command = match what % 3 {
        0 => Command::Get,
        1 => Command::SMembers,
        _ => Command::HGetAll,
    };
    Question::Read { partition: 0, key: key(n), command }
}

/// A replica with what it was asked kept beside it, as the storage thread does.
struct Copy {
    replica: Replica,
    rows: Memory,
    reads: Reads,
}

impl Copy {
    fn new(actor: u64) -> Self {
        let rows = Memory::default();
        let replica = Replica::open(&rows, Actor(actor), actor).unwrap();
        Self { replica, rows, reads: Reads::default() }
    }

    fn ask(&mut self, question: Question) -> Answer {
        self.reads.change(&question);
        let told = answer(&mut self.replica, &mut self.rows, Time(0), &question).unwrap();
        if let Answer::Read { slice, .. } = &told {
            self.reads.keep(&question, slice, None);
        }
        told
    }

    /// What is kept of this question is what would be answered now, but for what came to other keys.
    fn check(&mut self, question: Question) -> Result<bool, TestCaseError> {
        let Some(Answer::Read { slice: kept, digest }) = self.reads.find(&question) else { return Ok(false) };
        prop_assert_eq!(digest.unwrap_or(kept.digest()), kept.digest());
        let mut kept = Arc::unwrap_or_clone(kept);
        let told = answer(&mut self.replica, &mut self.rows, Time(0), &question).unwrap();
        let Answer::Read { slice: now, .. } = told else { return Err(TestCaseError::fail("no slice")) };
        prop_assert!(now.context.contains_all(&kept.context));
        // A removal may name dots of other keys; it waits for them no more when they have come.
        kept.removed.values_mut().for_each(|dots| dots.subtract(&now.context));
        kept.removed.retain(|_, dots| !dots.is_empty());
        prop_assert_eq!(&Slice { context: now.context.clone(), ..kept }, &*now);
        Ok(true)
    }
}

fn any_steps() -> impl Strategy<Value = Vec<(u8, u8, u8, usize)>> {
    prop::collection::vec((0..4_u8, any::<u8>(), any::<u8>(), any::<usize>()), 1..80)
}

proptest! {
    /// Two copies write, and give each other their events in any order, some twice.
    #[test]
    fn what_is_kept_is_what_would_be_answered(steps in any_steps()) {
        let mut copies = [Copy::new(1), Copy::new(2)];
        let mut events: Vec<Event> = Vec::new();
        for (step, n, what, pick) in steps {
            let copy = &mut copies[usize::from(what / 128)];
            match step {
                0 => if let Answer::Executed { event: Some(event), .. } = copy.ask(write(n, what)) {
                    events.push(event);
                },
                1 if !events.is_empty() => {
                    let some = events[pick % events.len()..].iter().take(3).cloned().collect();
                    copy.ask(Question::Apply { partition: 0, events: some, held_for_others: false });
                }
                2 if pick.is_multiple_of(8) => {
                    let held = copies[1 - usize::from(what / 128)].replica.context(0).clone();
                    copies[usize::from(what / 128)].ask(Question::LetGo { partition: 0, held });
                }
                _ => drop(copy.ask(read(n, what))),
            }
            for copy in &mut copies {
                for (n, what) in (0..KEYS).flat_map(|n| (0..3).map(move |what| (n, what))) {
                    copy.check(read(n, what))?;
                }
            }
        }
    }
}

#[test]
fn a_read_that_comes_again_is_known_until_its_key_is_written() {
    let mut copy = Copy::new(1);
    copy.ask(write(0, 0));
    assert!(!copy.check(read(0, 0)).unwrap());
    copy.ask(read(0, 0));
    copy.ask(write(1, 0));
    assert!(copy.check(read(0, 0)).unwrap());
    copy.ask(write(0, 0));
    assert!(!copy.check(read(0, 0)).unwrap());
}

#[test]
fn what_is_kept_is_bounded() {
    let (mut reads, slice) = (Reads::default(), Arc::default());
    for n in 0..100_000_u32 {
        let key = ByteBuf::from(n.to_be_bytes());
        let asked = |command| Question::Read { partition: 0, key: key.clone(), command };
        reads.keep(&asked(Command::Get), &slice, None);
        for members in 0..8 {
            let members = vec![ByteBuf::from(vec![members])];
            reads.keep(&asked(Command::SMIsMember { members }), &slice, None);
        }
        assert!(reads.young.bytes.max(reads.old.bytes) <= GENERATION_MAX + ANSWER_MAX);
    }
    let of = |generation: &Generation| generation.partitions.values().map(HashMap::len).sum::<usize>();
    assert!(of(&reads.young) + of(&reads.old) <= 2 * GENERATION_MAX / OVERHEAD);
}

#[test]
fn a_large_set_is_not_kept_though_its_members_have_no_values() {
    let mut copy = Copy::new(1);
    let members = (0..1_000_u32).map(|n| ByteBuf::from(n.to_be_bytes())).collect();
    copy.ask(Question::Execute {
        partition: 0,
        key: key(0),
        command: Command::SAdd { members },
        wall_ms: 1,
        until: None,
    });
    let all = read(0, 1);
    copy.ask(all.clone());
    assert!(copy.reads.find(&all).is_none());
}

#[test]
fn a_question_with_many_names_is_not_kept_though_none_of_them_is_there() {
    let mut reads = Reads::default();
    let members = vec![ByteBuf::from(vec![b'm'; 100]); 1_000];
    let question = Question::Read { partition: 0, key: key(0), command: Command::SMIsMember { members } };
    reads.keep(&question, &Arc::default(), None);
    assert!(reads.find(&question).is_none());
}
