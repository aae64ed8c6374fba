//! Walking over all keys, a page at a time: each page is asked of one owner of one partition.
//!
//! A key that is there from the beginning of a scan to its end is found, unless the owner asked had
//! not yet heard of it; a key may come twice.

use crate::config::Config;
use crate::ids::{OpId, PartitionId, PeerId, RequestId};
use crate::message::{Call, Refusal};
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
    Send {
        to: PeerId,
        call: Call,
    },
    /// `last`: nobody is left to ask.
    Store {
        op: OpId,
        question: Question,
        last: bool,
    },
    Reply {
        id: RequestId,
        response: Response,
    },
}

/// One page under way.
struct Page {
    id: RequestId,
    /// Who may answer yet; the first answer counts.
    asked: Vec<PeerId>,
    /// Who is asked next if those refuse, are lost, or take too long.
    others: VecDeque<PeerId>,
    /// The first that has refused because it lacks something.
    unfilled: Option<PeerId>,
    /// One was lost that might have had it all.
    lost: bool,
    partition: PartitionId,
    after: Option<ByteBuf>,
    limit: u16,
    /// When the next is asked as well.
    patience: Time,
    deadline: Time,
}

impl Page {
    /// Keys come in the order of storage: by length, then by bytes. An owner that went back would let a client walk on for
    /// ever.
    fn is_before(&self, key: &ByteBuf) -> bool {
        self.after.as_ref().is_none_or(|after| (after.len(), after) < (key.len(), key))
    }

    fn alarm(&self) -> Time {
        if self.others.is_empty() { self.deadline } else { self.patience.min(self.deadline) }
    }
}

pub struct Scans {
    me: PeerId,
    partitions: PartitionId,
    /// How long a page may take.
    deadline: Duration,
    /// How long an owner may stay silent before the next is asked as well.
    patience: Duration,
    pages: BTreeMap<OpId, Page>,
    last: u64,
}

impl Scans {
    /// `life`: of this peer; what it asked in an earlier one has other names.
    pub fn new(me: PeerId, life: u64, partitions: PartitionId, config: &Config) -> Self {
        let Config { deadline, patience, .. } = *config;
        Self { me, partitions, deadline, patience, pages: BTreeMap::new(), last: life >> 2 }
    }

    pub fn owns(op: OpId) -> bool {
        op.0 & SCAN_BIT != 0
    }

    /// Pages under way.
    pub fn under_way(&self) -> usize {
        self.pages.len()
    }

    pub fn next_timeout(&self) -> Option<Time> {
        self.pages.values().map(Page::alarm).min()
    }

    /// Asks the first of `owners` of the cursor's partition for the page after the cursor; the next, if that one
    /// refuses or takes too long.
    pub fn begin(
        &mut self,
        now: Time,
        id: RequestId,
        owners: impl IntoIterator<Item = PeerId>,
        cursor: ScanCursor,
        limit: u16,
    ) -> Out {
        let mut others: VecDeque<_> = owners.into_iter().collect();
        let Some(first) = others.pop_front() else {
            return failed(id, FailureKind::NotReady, "no owner of the next keys is there");
        };
        if self.pages.len() >= SCANS_MAX {
            return failed(id, FailureKind::Busy, "too many scans are under way here");
        }
        let ScanCursor { partition, after } = cursor;
        let (asked, unfilled, lost) = (Vec::new(), None, false);
        let (patience, deadline) = (now + self.patience, now + self.deadline);
        let page = Page { id, asked, others, unfilled, lost, partition, after, limit, patience, deadline };
        self.last += 1;
        self.ask(OpId(SCAN_BIT | self.last), page, first, false)
    }

    fn ask(&mut self, op: OpId, mut page: Page, to: PeerId, last: bool) -> Out {
        let (partition, after, limit) = (page.partition, page.after.clone(), page.limit);
        page.asked.push(to);
        self.pages.insert(op, page);
        if to == self.me {
            return Out::Store { op, question: Question::Keys { partition, after, limit }, last };
        }
        Out::Send { to, call: Call::Keys { op, partition, after, limit, last } }
    }

    pub fn stored(&mut self, op: OpId, answer: Answer) -> Option<Out> {
        match answer {
            Answer::Keys { keys, more } => self.found(self.me, op, keys, more),
            Answer::NotFilled => self.refused(self.me, op, Refusal::NotFilled),
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

    /// The peer asked will not answer: it has lost or missed something, or does not own it any more.
    pub fn refused(&mut self, from: PeerId, op: OpId, why: Refusal) -> Option<Out> {
        let mut page = self.take(from, op)?;
        match why {
            Refusal::NotFilled => drop(page.unfilled.get_or_insert(from)),
            _ => page.lost = true,
        }
        self.go_on(op, page, from, "the owner that was asked for the next keys refused")
    }

    /// Asks the next, unless another may answer yet. Where all have refused because they lack something, the first
    /// of them answers all the same: what they have between them, none can tell.
    fn go_on(&mut self, op: OpId, mut page: Page, without: PeerId, why: &str) -> Option<Out> {
        page.asked.retain(|asked| *asked != without);
        if let Some(next) = page.others.pop_front() {
            return Some(self.ask(op, page, next, false));
        }
        if !page.asked.is_empty() {
            self.pages.insert(op, page);
            return None;
        }
        match page.unfilled.take().filter(|_| !page.lost) {
            Some(first) => {
                // It refuses but once.
                page.lost = true;
                Some(self.ask(op, page, first, true))
            }
            None => Some(failed(page.id, FailureKind::Timeout, why)),
        }
    }

    /// The page, if this is one whom it was asked of: what another says ends nothing.
    fn take(&mut self, from: PeerId, op: OpId) -> Option<Page> {
        self.pages.get(&op).filter(|page| page.asked.contains(&from))?;
        self.pages.remove(&op)
    }

    pub fn unreachable(&mut self, peer: PeerId) -> Vec<Out> {
        let lost = self.take_all(|page| page.asked.contains(&peer)).into_iter();
        let lost = lost.filter_map(|(op, page)| self.go_on(op, Page { lost: true, ..page }, peer, SILENT));
        lost.collect()
    }

    pub fn timeout(&mut self, now: Time) -> Vec<Out> {
        let late = self.take_all(|page| page.alarm() <= now).into_iter();
        let patience = now + self.patience;
        let out = late.map(|(op, mut page)| match page.others.pop_front().filter(|_| page.deadline > now) {
            Some(next) => self.ask(op, Page { patience, ..page }, next, false),
            None => failed(page.id, FailureKind::Timeout, SILENT),
        });
        out.collect()
    }

    fn take_all(&mut self, which: impl Fn(&Page) -> bool) -> Vec<(OpId, Page)> {
        let these: Vec<_> = self.pages.iter().filter(|(_, page)| which(page)).map(|(op, _)| *op).collect();
        these.into_iter().filter_map(|op| Some((op, self.pages.remove(&op)?))).collect()
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
        Scans::new(ME, life, 4, &Config::default())
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
        assert_eq!(scans.refused(STRANGER, op, Refusal::NotFilled), None);
        let Some(Out::Reply { id, .. }) = scans.found(OWNER, op, Vec::new(), false) else {
            panic!("the owner's answer is told");
        };
        assert_eq!(id, RequestId(1));
    }

    /// Who is asked, as what, and whether it is told that it is the last.
    fn asked(out: Option<Out>) -> (PeerId, OpId, bool) {
        match out {
            Some(Out::Send { to, call: Call::Keys { op, partition: 3, after, limit: 10, last } }) => {
                assert_eq!(after, Some(ByteBuf::from("a")));
                (to, op, last)
            }
            other => panic!("another is asked: {other:?}"),
        }
    }

    fn begun_with<const N: usize>(scans: &mut Scans, owners: [PeerId; N]) -> OpId {
        let cursor = ScanCursor { partition: 3, after: Some(ByteBuf::from("a")) };
        let (first, op, last) = asked(Some(scans.begin(Time(0), RequestId(1), owners, cursor, 10)));
        assert_eq!((first, last), (owners[0], false));
        op
    }

    fn has_failed(out: &Option<Out>) -> bool {
        matches!(out, Some(Out::Reply { response: Response::Failed(_), .. }))
    }

    #[test]
    fn the_next_owner_is_asked_when_one_refuses_or_is_lost() {
        let mut scans = scans(0);
        let op = begun_with(&mut scans, [OWNER, STRANGER, ME]);
        assert_eq!(asked(scans.refused(OWNER, op, Refusal::NotFilled)), (STRANGER, op, false));
        assert_eq!(scans.found(OWNER, op, Vec::new(), false), None, "it was asked no more");
        let lost = scans.unreachable(STRANGER);
        assert!(matches!(lost[..], [Out::Store { last: false, .. }]), "this peer is left: {lost:?}");
        let failed = scans.stored(op, Answer::NotFilled);
        assert!(has_failed(&failed), "one that was lost may have had them all: {failed:?}");
        assert_eq!(scans.under_way(), 0);
    }

    #[test]
    fn where_all_owners_lack_something_the_first_answers_all_the_same() {
        let mut scans = scans(0);
        let op = begun_with(&mut scans, [OWNER, STRANGER]);
        assert_eq!(asked(scans.refused(OWNER, op, Refusal::NotFilled)), (STRANGER, op, false));
        assert_eq!(asked(scans.refused(STRANGER, op, Refusal::NotFilled)), (OWNER, op, true));
        assert!(has_failed(&scans.refused(OWNER, op, Refusal::NotFilled)), "it is asked once");

        let op = begun_with(&mut scans, [OWNER, STRANGER]);
        asked(scans.refused(OWNER, op, Refusal::NotFilled));
        assert!(has_failed(&scans.refused(STRANGER, op, Refusal::Busy)), "that one may have them all");
    }

    #[test]
    fn the_next_owner_is_asked_as_well_when_one_is_silent() {
        let (config, mut scans) = (Config::default(), scans(0));
        let op = begun_with(&mut scans, [OWNER, STRANGER]);
        assert_eq!(scans.next_timeout(), Some(Time(0) + config.patience));
        let next = scans.timeout(Time(0) + config.patience);
        assert_eq!(asked(next.into_iter().next()), (STRANGER, op, false));
        assert_eq!(scans.refused(STRANGER, op, Refusal::NotFilled), None, "the first may answer yet");
        assert!(matches!(scans.found(OWNER, op, Vec::new(), false), Some(Out::Reply { .. })));

        let op = begun_with(&mut scans, [OWNER, STRANGER]);
        assert_eq!(scans.timeout(Time(0) + config.patience).len(), 1);
        assert_eq!(scans.next_timeout(), Some(Time(0) + config.deadline), "nobody else is left");
        assert!(matches!(scans.found(STRANGER, op, Vec::new(), false), Some(Out::Reply { .. })));
        assert_eq!(scans.found(OWNER, op, Vec::new(), false), None, "one answer is enough");

        begun_with(&mut scans, [OWNER, STRANGER]);
        let failed = scans.timeout(Time(0) + config.deadline).pop();
        assert!(has_failed(&failed), "{failed:?}");
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
