//! Walking over all keys, a page at a time: each page is asked of one owner of one partition.
//!
//! A key that is there from the beginning of a scan to its end is found, unless the owner asked had
//! not yet heard of it; a key may come twice.

use crate::ids::{OpId, PartitionId, PeerId, RequestId};
use crate::message::Call;
use crate::request::{Failure, FailureKind, Response, ScanCursor};
use crate::store::{Answer, Question};
use crate::time::{Duration, Time};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, VecDeque};

/// Names of scans are told apart from those of other operations by their highest bit.
const SCAN_BIT: u64 = 1 << 63;
/// Most pages under way; fewer than other operations, since each may bring 16 MiB of keys (`store::KEYS_MAX`).
pub const SCANS_MAX: usize = 1024;

const SILENT: &str = "the owner that was asked for the next keys did not answer";

#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    Send { to: PeerId, call: Call },
    Store { op: OpId, question: Question },
    Reply { id: RequestId, response: Response },
}

/// One page under way.
struct Page {
    id: RequestId,
    asked: PeerId,
    /// Who is asked next if that one refuses, or is lost.
    others: VecDeque<PeerId>,
    partition: PartitionId,
    after: Option<ByteBuf>,
    limit: u16,
    deadline: Time,
}

impl Page {
    /// Keys come in the order of storage: by length, then by bytes. An owner that went back would let a client walk on for
    /// ever.
    fn is_before(&self, key: &ByteBuf) -> bool {
        self.after.as_ref().is_none_or(|after| (after.len(), after) < (key.len(), key))
    }
}

pub struct Scans {
    me: PeerId,
    partitions: PartitionId,
    deadline: Duration,
    pages: BTreeMap<OpId, Page>,
    last: u64,
}

impl Scans {
    /// `life`: of this peer; what it asked in an earlier one has other names. `deadline`: how long a page may take.
    pub fn new(me: PeerId, life: u64, partitions: PartitionId, deadline: Duration) -> Self {
        Self { me, partitions, deadline, pages: BTreeMap::new(), last: life >> 2 }
    }

    pub fn owns(op: OpId) -> bool {
        op.0 & SCAN_BIT != 0
    }

    /// Pages under way.
    pub fn under_way(&self) -> usize {
        self.pages.len()
    }

    pub fn next_timeout(&self) -> Option<Time> {
        self.pages.values().map(|page| page.deadline).min()
    }

    /// Asks the first of `owners` of the cursor's partition for the page after the cursor; the next, if that one
    /// refuses. There must be one.
    pub fn begin(
        &mut self,
        now: Time,
        id: RequestId,
        owners: impl IntoIterator<Item = PeerId>,
        cursor: ScanCursor,
        limit: u16,
    ) -> Out {
        let mut others: VecDeque<_> = owners.into_iter().collect();
        let Some(asked) = others.pop_front() else {
            return failed(id, FailureKind::NotReady, "no owner of the next keys is there");
        };
        if self.pages.len() >= SCANS_MAX {
            return failed(id, FailureKind::Busy, "too many scans are under way here");
        }
        let (ScanCursor { partition, after }, deadline) = (cursor, now + self.deadline);
        self.ask(Page { id, asked, others, partition, after, limit, deadline })
    }

    /// Under a new name: what one that was asked before says does not count any more.
    fn ask(&mut self, page: Page) -> Out {
        self.last += 1;
        let op = OpId(SCAN_BIT | self.last);
        let (to, partition, after, limit) = (page.asked, page.partition, page.after.clone(), page.limit);
        self.pages.insert(op, page);
        if to == self.me {
            return Out::Store { op, question: Question::Keys { partition, after, limit } };
        }
        Out::Send { to, call: Call::Keys { op, partition, after, limit } }
    }

    pub fn stored(&mut self, op: OpId, answer: Answer) -> Option<Out> {
        match answer {
            Answer::Keys { keys, more } => self.found(self.me, op, keys, more),
            Answer::NotFilled => self.refused(self.me, op),
            _ => None,
        }
    }

    pub fn found(&mut self, from: PeerId, op: OpId, keys: Vec<ByteBuf>, more: bool) -> Option<Out> {
        let page = self.take(from, op)?;
        let partition = page.partition;
        let next = match keys.last() {
            Some(last) if more && page.is_before(last) => {
                Some(ScanCursor { partition, after: Some(last.clone()) })
            }
            _ if partition + 1 < self.partitions => {
                Some(ScanCursor { partition: partition + 1, after: None })
            }
            _ => None,
        };
        Some(Out::Reply { id: page.id, response: Response::Keys { keys, next } })
    }

    /// The peer asked will not answer: it has lost what it held, or does not own it any more.
    pub fn refused(&mut self, from: PeerId, op: OpId) -> Option<Out> {
        let page = self.take(from, op)?;
        Some(self.ask_next(page, "the owner that was asked for the next keys refused"))
    }

    fn ask_next(&mut self, mut page: Page, why: &str) -> Out {
        let Some(next) = page.others.pop_front() else {
            return failed(page.id, FailureKind::Timeout, why);
        };
        page.asked = next;
        self.ask(page)
    }

    /// The page, if this is whom it was asked of: what another says ends nothing.
    fn take(&mut self, from: PeerId, op: OpId) -> Option<Page> {
        self.pages.get(&op).filter(|page| page.asked == from)?;
        self.pages.remove(&op)
    }

    pub fn unreachable(&mut self, peer: PeerId) -> Vec<Out> {
        let lost = self.take_all(|page| page.asked == peer);
        lost.into_iter().map(|page| self.ask_next(page, SILENT)).collect()
    }

    pub fn timeout(&mut self, now: Time) -> Vec<Out> {
        let late = self.take_all(|page| page.deadline <= now);
        late.into_iter().map(|page| failed(page.id, FailureKind::Timeout, SILENT)).collect()
    }

    fn take_all(&mut self, which: impl Fn(&Page) -> bool) -> Vec<Page> {
        let these: Vec<_> = self.pages.iter().filter(|(_, page)| which(page)).map(|(op, _)| *op).collect();
        these.into_iter().filter_map(|op| self.pages.remove(&op)).collect()
    }
}

fn failed(id: RequestId, kind: FailureKind, why: &str) -> Out {
    let (why, state) = (why.to_owned(), "nothing was changed".to_owned());
    let failure = Failure { kind, why, state, hint: "go on with the same cursor".into(), trace: None };
    Out::Reply { id, response: Response::Failed(failure) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: PeerId = PeerId([1; 32]);
    const OWNER: PeerId = PeerId([2; 32]);
    const STRANGER: PeerId = PeerId([3; 32]);

    fn scans(life: u64) -> Scans {
        Scans::new(ME, life, 4, Duration::from_secs(1))
    }

    fn begun(scans: &mut Scans) -> OpId {
        let cursor = ScanCursor { partition: 0, after: None };
        match scans.begin(Time(0), RequestId(1), [OWNER], cursor, 10) {
            Out::Send { call: Call::Keys { op, .. }, .. } => op,
            other => panic!("the owner is asked: {other:?}"),
        }
    }

    #[test]
    fn what_another_than_the_one_asked_says_ends_no_page() {
        let mut scans = scans(0);
        let op = begun(&mut scans);
        assert_eq!(scans.found(STRANGER, op, Vec::new(), false), None);
        assert_eq!(scans.refused(STRANGER, op), None);
        let Some(Out::Reply { id, .. }) = scans.found(OWNER, op, Vec::new(), false) else {
            panic!("the owner's answer is told");
        };
        assert_eq!(id, RequestId(1));
    }

    #[test]
    fn the_next_owner_is_asked_when_one_refuses_or_is_lost() {
        let mut scans = scans(0);
        let cursor = ScanCursor { partition: 3, after: Some(ByteBuf::from("a")) };
        let op_of = |out: Option<Out>| match out {
            Some(Out::Send { to, call: Call::Keys { op, partition: 3, after, limit: 10 } }) => {
                assert_eq!(after, Some(ByteBuf::from("a")));
                (to, op)
            }
            other => panic!("another is asked: {other:?}"),
        };
        let first = scans.begin(Time(0), RequestId(1), [OWNER, STRANGER, ME], cursor, 10);
        let (asked, first) = op_of(Some(first));
        assert_eq!(asked, OWNER);
        let (asked, second) = op_of(scans.refused(OWNER, first));
        assert_eq!(asked, STRANGER);
        assert_eq!(scans.found(OWNER, first, Vec::new(), false), None, "it was asked no more");
        let lost = scans.unreachable(STRANGER);
        let [Out::Store { op: here, .. }] = lost[..] else { panic!("this peer is the last: {lost:?}") };
        assert_ne!(here, second);
        let failed = scans.stored(here, Answer::NotFilled);
        assert!(matches!(failed, Some(Out::Reply { response: Response::Failed(_), .. })), "{failed:?}");
        assert_eq!(scans.under_way(), 0);
    }

    #[test]
    fn an_owner_that_goes_back_has_no_more() {
        let mut scans = scans(0);
        let mut next = |after: &str, last: &str| {
            let cursor = ScanCursor { partition: 0, after: Some(ByteBuf::from(after)) };
            let out = scans.begin(Time(0), RequestId(1), [OWNER], cursor, 10);
            let Out::Send { call: Call::Keys { op, .. }, .. } = out else { panic!("the owner is asked") };
            match scans.found(OWNER, op, vec![ByteBuf::from(last)], true) {
                Some(Out::Reply { response: Response::Keys { next, .. }, .. }) => {
                    next.expect("there is more").partition
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([next("b", "c"), next("b", "aa")], [0, 0]);
        assert_eq!([next("b", "b"), next("b", "a"), next("aa", "b")], [1, 1, 1]);
    }

    #[test]
    fn an_answer_to_an_earlier_life_is_none_to_this() {
        let before = begun(&mut scans(4_000));
        let mut scans = scans(8_000);
        let now = begun(&mut scans);
        assert_eq!(scans.found(OWNER, before, Vec::new(), false), None);
        assert!(scans.found(OWNER, now, Vec::new(), false).is_some());
    }
}
