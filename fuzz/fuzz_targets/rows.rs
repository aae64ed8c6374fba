//! Rows of a store that has rotted: a replica opens on them and works, or says that storage failed.
//!
//! The input is a list of changes to the rows of a good store: a place, a number of bytes, the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_bytes::ByteBuf;
use starling_crdt::{Actor, Command, Memory, Replica, Storage};
use std::sync::LazyLock;

static GOOD: LazyLock<Memory> = LazyLock::new(|| {
    let mut disk = Memory::default();
    let mut replica = Replica::open(&disk, Actor(1), 1).expect("memory does not fail");
    let bytes = |text: &str| ByteBuf::from(text.as_bytes());
    for (key, command) in [
        ("s", Command::Set { value: bytes("v") }),
        ("h", Command::HSet { entries: vec![(bytes("f"), bytes("1"))] }),
        ("t", Command::SAdd { members: vec![bytes("x"), bytes("y")] }),
        ("n", Command::IncrBy { by: 3 }),
        ("s", Command::Del),
    ] {
        replica.execute(&mut disk, 1, key.as_bytes(), &command, 1_000).expect("memory does not fail");
    }
    disk
});

fn damaged(mut input: &[u8]) -> Memory {
    let mut disk = GOOD.clone();
    let rows: Vec<_> = GOOD.rows().map(|(row, value)| (row.to_vec(), value.to_vec())).collect();
    while let [place, at, length, rest @ ..] = input {
        let (new, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        input = rest;
        let (row, value) = &rows[usize::from(*place) % rows.len()];
        if *place < 128 {
            let at = usize::from(*at) % (value.len() + 1);
            let end = value.len().min(at + new.len());
            disk.put(row, &[&value[..at], new, &value[end..]].concat());
        } else {
            let at = usize::from(*at) % (row.len() + 1);
            disk.put(&[&row[..at], new].concat(), value);
        }
    }
    disk
}

fuzz_target!(|input: &[u8]| {
    let mut disk = damaged(input);
    let Ok(mut replica) = Replica::open(&disk, Actor(2), 2) else { return };
    for key in ["s", "h", "t", "n"] {
        for command in
            [Command::Get, Command::HGetAll, Command::SMembers, Command::IncrBy { by: 1 }, Command::Del]
        {
            if replica.execute(&mut disk, 1, key.as_bytes(), &command, 2_000).is_err() {
                return;
            }
        }
    }
    let _ = replica.snapshot(&disk, 1, 300);
    let _ = replica.missing(&disk, 1, &Default::default(), 300);
});
