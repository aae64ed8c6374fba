//! What an operation costs in one partition: no disk, no network, rows in memory.
//!
//! `cargo bench -p starling-crdt`

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_bytes::ByteBuf;
use starling_crdt::{Actor, Command, Context, Dot, Event, Memory, Replica};
use std::hint::black_box;

const KEYS: usize = 1000;
const PARTITION: u16 = 3;
/// 2026-01-01, so that stamps look like stamps.
const WALL_MS: u64 = 1_767_225_600_000;

fn key(i: usize) -> Vec<u8> {
    format!("k{:015}", i % KEYS).into_bytes()
}

fn set() -> Command {
    Command::Set { value: ByteBuf::from([b'x'; 100]) }
}

fn open(actor: u64) -> (Replica, Memory) {
    let storage = Memory::default();
    (Replica::open(&storage, Actor(actor), actor).expect("memory does not fail"), storage)
}

/// A replica in which every key was written, and the events of it.
fn written(actor: u64) -> (Replica, Memory, Vec<Event>) {
    let (mut replica, mut storage) = open(actor);
    let execute = |i| {
        let done = replica.execute(&mut storage, PARTITION, &key(i), &set(), WALL_MS);
        done.expect("memory does not fail").event.expect("a write makes an event")
    };
    let events = (0..KEYS).map(execute).collect();
    (replica, storage, events)
}

fn operations(c: &mut Criterion) {
    let (mut replica, mut storage, events) = written(1);
    let mut i = 0;
    c.bench_function("execute SET of 100 bytes over an old value", |b| {
        b.iter(|| {
            i += 1;
            replica.execute(&mut storage, PARTITION, &key(i), &set(), WALL_MS).expect("memory does not fail")
        });
    });
    c.bench_function("read a value and its digest", |b| {
        b.iter(|| {
            i += 1;
            let slice = replica.read(&storage, PARTITION, &key(i), &Command::Get);
            slice.expect("memory does not fail").digest()
        });
    });
    c.bench_function("apply 1000 events of another", |b| {
        b.iter_batched(
            || open(2),
            |(mut replica, mut storage)| {
                for event in &events {
                    replica.apply(&mut storage, PARTITION, event).expect("memory does not fail");
                }
                (replica, storage)
            },
            BatchSize::LargeInput,
        );
    });
}

fn events(c: &mut Criterion) {
    let (mut replica, mut storage, _) = written(1);
    let done = replica.execute(&mut storage, PARTITION, &key(1), &set(), WALL_MS);
    let event = done.expect("memory does not fail").event.expect("a write makes an event");
    let encode = |event: &Event| cbor4ii::serde::to_vec(Vec::with_capacity(256), event);
    let bytes = encode(&event).expect("memory does not fail");
    c.bench_function("encode an event of 100 bytes", |b| {
        b.iter(|| encode(black_box(&event)).expect("memory does not fail"));
    });
    c.bench_function("decode an event of 100 bytes", |b| {
        b.iter(|| cbor4ii::serde::from_slice::<Event>(black_box(&bytes)).expect("it was encoded here"));
    });
}

/// Three actors without gaps and one with: what a partition's context mostly is.
fn context(gaps: u64) -> Context {
    let mut context = Context::new();
    (1..=3).for_each(|actor| context.insert_range(Actor(actor), 1, 1_000_000));
    (1..=gaps).for_each(|i| context.insert(Dot::new(Actor(4), 2 * i)));
    context
}

fn contexts(c: &mut Criterion) {
    for gaps in [0, 100] {
        let (mut ours, theirs) = (context(gaps), context(gaps / 2));
        let mut next = 1_000_000;
        c.bench_function(&format!("context with {gaps} gaps: add"), |b| {
            b.iter(|| {
                next += 1;
                ours.insert(black_box(Dot::new(Actor(1), next)));
            });
        });
        let ours = context(gaps);
        c.bench_function(&format!("context with {gaps} gaps: contains"), |b| {
            b.iter(|| ours.contains(black_box(Dot::new(Actor(4), 101))));
        });
        c.bench_function(&format!("context with {gaps} gaps: merge"), |b| {
            b.iter_batched_ref(|| theirs.clone(), |theirs| theirs.union(&ours), BatchSize::SmallInput);
        });
        c.bench_function(&format!("context with {gaps} gaps: hash"), |b| b.iter(|| black_box(&ours).hash()));
    }
}

criterion_group!(benches, operations, events, contexts);
criterion_main!(benches);
