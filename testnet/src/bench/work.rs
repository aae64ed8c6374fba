//! What the clients ask for: which operations, on which keys, with which values.

use clap::ValueEnum;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;

/// Values are cut out of this many random bytes, so that drawing one costs nothing and few are alike.
const POOL: usize = 1 << 20;
/// YCSB's constant (Cooper et al., 2010, section 4): the most popular tenth of a million keys gets about
/// four fifths of all requests.
const ZIPF_EXPONENT: f64 = 0.99;
/// How many elements a set and how many fields a hash may come to have.
const ELEMENTS: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    Set,
    Get,
    Incr,
    Del,
    Sadd,
    Sismember,
    Hset,
    Hget,
}

impl Op {
    pub fn name(self) -> &'static str {
        match self {
            Op::Set => "set",
            Op::Get => "get",
            Op::Incr => "incr",
            Op::Del => "del",
            Op::Sadd => "sadd",
            Op::Sismember => "sismember",
            Op::Hset => "hset",
            Op::Hget => "hget",
        }
    }

    /// What makes the keys that it works on.
    pub fn made_by(self) -> Op {
        match self {
            Op::Set | Op::Get | Op::Del => Op::Set,
            Op::Hset | Op::Hget => Op::Hset,
            Op::Sadd | Op::Sismember => Op::Sadd,
            Op::Incr => Op::Incr,
        }
    }

    /// Without keys it does nothing.
    fn needs_keys(self) -> bool {
        matches!(self, Op::Get | Op::Hget | Op::Sismember | Op::Del)
    }

    /// What the key of this number is called.
    pub fn key(self, number: u64) -> Key {
        Key(self.prefix(), number)
    }

    /// Keys of different types do not meet.
    fn prefix(self) -> char {
        match self {
            Op::Set | Op::Get | Op::Del => 'k',
            Op::Incr => 'n',
            Op::Sadd | Op::Sismember => 's',
            Op::Hset | Op::Hget => 'h',
        }
    }
}

/// Sixteen characters.
pub struct Key(char, u64);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:015}", self.0, self.1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Skew {
    /// Every key is as likely as every other.
    Uniform,
    /// The n-th key is drawn in proportion to n^-0.99.
    Zipf,
}

impl Skew {
    pub fn name(self) -> &'static str {
        match self {
            Skew::Uniform => "uniform",
            Skew::Zipf => "zipf",
        }
    }
}

/// One workload.
#[derive(Clone, Debug)]
pub struct Work {
    pub name: String,
    /// Each operation with its share.
    pub ops: Vec<(Op, u32)>,
    pub value_size: usize,
    pub keys: u64,
    pub skew: Skew,
    pub clients: usize,
    /// Requests that a client sends at once.
    pub pipeline: usize,
    /// Operations per second in the open loop; `None`: the closed loop.
    pub rate: Option<f64>,
    /// R and W of every connection; `None`: the network's own.
    pub quorum: Option<(u8, u8)>,
}

impl Work {
    /// The workloads that write every key once, so that this one finds what it reads or deletes.
    pub fn filling(&self) -> Vec<Work> {
        self.fillings(Op::needs_keys)
    }

    /// The same for all that it reads or writes.
    pub fn filling_all(&self) -> Vec<Work> {
        self.fillings(|_| true)
    }

    fn fillings(&self, which: fn(Op) -> bool) -> Vec<Work> {
        let ops = self.ops.iter().map(|(op, _)| *op).filter(|op| which(*op));
        let by: BTreeSet<Op> = ops.map(Op::made_by).collect();
        by.into_iter().map(|op| self.fill(op)).collect()
    }

    /// Whether keys are gone afterwards.
    pub fn deletes(&self) -> bool {
        self.ops.iter().any(|(op, _)| *op == Op::Del)
    }

    /// Writes every key once, as fast as it goes.
    pub fn fill(&self, op: Op) -> Work {
        let name = format!("filling {} keys", self.keys);
        let ops = vec![(op, 1)];
        Work { name, ops, clients: 32, pipeline: 16, rate: None, quorum: None, ..self.clone() }
    }
}

enum Order {
    Uniform,
    Zipf(Zipf<f64>),
    /// Each key once, in order: this one is next.
    Each(u64),
}

/// Draws requests, in the bytes that go to the server.
pub struct Requests {
    rng: SmallRng,
    ops: Vec<(Op, u32)>,
    shares: u32,
    order: Order,
    keys: u64,
    pool: Vec<u8>,
    value_size: usize,
}

impl Requests {
    pub fn drawn(work: &Work, seed: u64) -> Self {
        let zipf = || Zipf::new(work.keys as f64, ZIPF_EXPONENT).expect("there is at least one key");
        let order = match work.skew {
            Skew::Uniform => Order::Uniform,
            Skew::Zipf => Order::Zipf(zipf()),
        };
        Self::new(work, order, seed)
    }

    pub fn each_key_once(work: &Work, seed: u64) -> Self {
        Self::new(work, Order::Each(0), seed)
    }

    fn new(work: &Work, order: Order, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let pool = (0..POOL + work.value_size).map(|_| rng.random_range(b'a'..=b'z')).collect();
        let shares = work.ops.iter().map(|(_, share)| share).sum();
        Self { rng, ops: work.ops.clone(), shares, order, keys: work.keys, pool, value_size: work.value_size }
    }

    /// Appends one request; tells which. `None`: every key had its turn.
    pub fn append(&mut self, out: &mut Vec<u8>) -> Option<Op> {
        let key = self.key()?;
        let op = self.op();
        let element = self.rng.random_range(0..ELEMENTS);
        match op {
            Op::Set => self.write(out, op, key, None, true),
            Op::Get | Op::Incr | Op::Del => self.write(out, op, key, None, false),
            Op::Sadd | Op::Sismember => self.write(out, op, key, Some(element), false),
            // One field that every hash has, so that what is read is there.
            Op::Hset | Op::Hget => self.write(out, op, key, Some(0), op == Op::Hset),
        }
        Some(op)
    }

    fn key(&mut self) -> Option<u64> {
        match &mut self.order {
            Order::Uniform => Some(self.rng.random_range(0..self.keys)),
            // Ranks begin at 1. Which partition a rank belongs to is a matter of its hash.
            Order::Zipf(zipf) => Some((zipf.sample(&mut self.rng) as u64).clamp(1, self.keys) - 1),
            Order::Each(next) => {
                let key = *next;
                *next += 1;
                (key < self.keys).then_some(key)
            }
        }
    }

    fn op(&mut self) -> Op {
        let mut left = if self.ops.len() == 1 { 0 } else { self.rng.random_range(0..self.shares) };
        for (op, share) in &self.ops {
            match left.checked_sub(*share) {
                Some(rest) => left = rest,
                None => return *op,
            }
        }
        unreachable!("what is drawn is less than the sum of the shares")
    }

    fn write(&mut self, out: &mut Vec<u8>, op: Op, key: u64, element: Option<u64>, with_value: bool) {
        let words = 2 + usize::from(element.is_some()) + usize::from(with_value);
        let (name, key) = (op.name(), op.key(key));
        let written = write!(out, "*{words}\r\n${}\r\n{name}\r\n$16\r\n{key}\r\n", name.len())
            .and_then(|()| element.map_or(Ok(()), |element| write!(out, "$4\r\ne{element:03}\r\n")));
        written.expect("writing to memory does not fail");
        if with_value {
            let from = self.rng.random_range(0..POOL);
            write!(out, "${}\r\n", self.value_size).expect("writing to memory does not fail");
            out.extend_from_slice(&self.pool[from..from + self.value_size]);
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::collections::BTreeMap;

    pub fn work(ops: &[(Op, u32)]) -> Work {
        Work {
            name: "test".into(),
            ops: ops.to_vec(),
            value_size: 3,
            keys: 1000,
            skew: Skew::Uniform,
            clients: 1,
            pipeline: 1,
            rate: None,
            quorum: None,
        }
    }

    fn one(requests: &mut Requests) -> (Option<Op>, String) {
        let mut out = Vec::new();
        let op = requests.append(&mut out);
        (op, String::from_utf8(out).unwrap())
    }

    #[test]
    fn requests_are_well_formed() {
        let (op, text) = one(&mut Requests::each_key_once(&work(&[(Op::Set, 1)]), 7));
        assert_eq!(op, Some(Op::Set));
        let (head, value) = text.split_at(text.len() - 5);
        assert_eq!(head, "*3\r\n$3\r\nset\r\n$16\r\nk000000000000000\r\n$3\r\n");
        assert!(value.ends_with("\r\n"));
        let (_, text) = one(&mut Requests::each_key_once(&work(&[(Op::Hget, 1)]), 7));
        assert_eq!(text, "*3\r\n$4\r\nhget\r\n$16\r\nh000000000000000\r\n$4\r\ne000\r\n");
    }

    #[test]
    fn each_key_comes_once_and_then_no_more() {
        let mut requests = Requests::each_key_once(&work(&[(Op::Get, 1)]), 7);
        let mut seen: Vec<String> = (0..1000).map(|_| one(&mut requests).1).collect();
        assert_eq!(one(&mut requests).0, None);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn a_mix_keeps_its_shares() {
        let mut requests = Requests::drawn(&work(&[(Op::Get, 95), (Op::Set, 5)]), 7);
        let gets = (0..10_000).filter(|_| one(&mut requests).0 == Some(Op::Get)).count();
        assert!((9400..9600).contains(&gets), "{gets}");
    }

    #[test]
    fn zipf_prefers_few_keys_and_uniform_none() {
        // The sum of n^-0.99 over 1000 keys is about 7.73: the first key gets about an eighth of all.
        let first = |skew| {
            let mut requests = Requests::drawn(&Work { skew, ..work(&[(Op::Get, 1)]) }, 7);
            let mut counts = BTreeMap::<String, usize>::new();
            (0..20_000).for_each(|_| *counts.entry(one(&mut requests).1).or_default() += 1);
            assert!(counts.len() <= 1000);
            counts.values().copied().max().unwrap()
        };
        let (zipf, uniform) = (first(Skew::Zipf), first(Skew::Uniform));
        assert!((2300..2900).contains(&zipf), "{zipf}");
        assert!(uniform < 60, "{uniform}");
    }

    #[test]
    fn what_is_read_is_filled_before() {
        let mixed = work(&[(Op::Get, 1), (Op::Set, 1), (Op::Hget, 1)]);
        let ops: Vec<_> = mixed.filling().into_iter().map(|work| work.ops[0].0).collect();
        assert_eq!(ops, [Op::Set, Op::Hset]);
        let incr = work(&[(Op::Incr, 1)]);
        assert!(incr.filling().is_empty());
        assert_eq!(incr.filling_all()[0].ops, [(Op::Incr, 1)]);
        assert_eq!(work(&[(Op::Del, 1)]).filling()[0].ops, [(Op::Set, 1)]);
    }
}
