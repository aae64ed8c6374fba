//! Connections between peers, and what is in their way.

use starling_protocol::message::{Class, Message};
use starling_protocol::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// A connection, bound to the lives of both its ends.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub id: u64,
    /// Which start of the lower and the higher peer it belongs to.
    boots: (u32, u32),
    /// Since when all that is sent has vanished.
    pub silent: Option<Time>,
}

#[derive(Default)]
pub struct Links {
    links: BTreeMap<(usize, usize), Link>,
    last: u64,
    /// How many cuts are in the way from one peer to another.
    cuts: BTreeMap<(usize, usize), u32>,
    /// Until when nothing gets through, though nothing is lost.
    clogs: BTreeMap<(usize, usize), Time>,
    /// When the last frame of each stream arrives: what follows is not earlier.
    arrivals: BTreeMap<(usize, usize, Class), Time>,
    /// What waits for a connection that is being made.
    dials: BTreeMap<(usize, usize), Vec<Message>>,
}

/// Most frames that wait for a connection; one more is lost.
const WAITING_MAX: usize = 64;

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Links {
    pub fn get(&mut self, a: usize, b: usize) -> Option<&mut Link> {
        self.links.get_mut(&pair(a, b))
    }

    /// The connection that stands between two peers.
    pub fn between(&self, a: usize, b: usize) -> Option<u64> {
        self.links.get(&pair(a, b)).map(|link| link.id)
    }

    /// The connection that `a`, in this start of it, has to `b`.
    pub fn of(&self, a: usize, boot: u32, b: usize) -> Option<Link> {
        let link = self.links.get(&pair(a, b))?;
        let mine = if a < b { link.boots.0 } else { link.boots.1 };
        (mine == boot).then_some(*link)
    }

    pub fn open(&mut self, (a, boot_a): (usize, u32), (b, boot_b): (usize, u32)) {
        self.last += 1;
        let boots = if a < b { (boot_a, boot_b) } else { (boot_b, boot_a) };
        self.links.insert(pair(a, b), Link { id: self.last, boots, silent: None });
        Class::ALL.iter().for_each(|class| {
            self.arrivals.remove(&(a, b, *class));
            self.arrivals.remove(&(b, a, *class));
        });
    }

    /// True if it was this one.
    pub fn close(&mut self, a: usize, b: usize, id: u64) -> bool {
        let is = self.links.get(&pair(a, b)).is_some_and(|link| link.id == id);
        if is {
            self.links.remove(&pair(a, b));
        }
        is
    }

    /// The other ends of all connections of a peer.
    pub fn ends(&self, a: usize) -> Vec<(usize, u64)> {
        let ends = self.links.iter().filter(|((x, y), _)| *x == a || *y == a);
        ends.map(|((x, y), link)| (x + y - a, link.id)).collect()
    }

    /// Begins to dial; false if that is under way.
    pub fn dial(&mut self, from: usize, to: usize) -> bool {
        let is_new = !self.dials.contains_key(&(from, to));
        self.dials.entry((from, to)).or_default();
        is_new
    }

    pub fn wait(&mut self, from: usize, to: usize, message: Message) {
        let waiting = self.dials.entry((from, to)).or_default();
        if waiting.len() < WAITING_MAX {
            waiting.push(message);
        }
    }

    pub fn dialled(&mut self, from: usize, to: usize) -> Vec<Message> {
        self.dials.remove(&(from, to)).unwrap_or_default()
    }

    pub fn stop_dialling(&mut self, from: usize) {
        self.dials.retain(|(dialler, _), _| *dialler != from);
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    pub fn cut(&mut self, ways: &BTreeSet<(usize, usize)>) {
        ways.iter().for_each(|way| *self.cuts.entry(*way).or_default() += 1);
    }

    pub fn uncut(&mut self, ways: &BTreeSet<(usize, usize)>) {
        for way in ways {
            let count = self.cuts.remove(way).unwrap_or(0);
            if count > 1 {
                self.cuts.insert(*way, count - 1);
            }
        }
    }

    pub fn clog(&mut self, from: usize, to: usize, until: Time) {
        self.clogs.insert((from, to), until);
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
        self.clogs.clear();
    }

    /// When a frame that would arrive at `at` does: after those before it on its stream, unless it is late.
    pub fn arrival(&mut self, from: usize, to: usize, class: Class, at: Time, late: bool) -> Time {
        let at = self.clogs.get(&(from, to)).map_or(at, |until| at.max(*until));
        if late {
            return at;
        }
        let last = self.arrivals.entry((from, to, class)).or_default();
        *last = at.max(*last);
        *last
    }
}
