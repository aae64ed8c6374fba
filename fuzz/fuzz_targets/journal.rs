//! A journal of any bytes: played back up to what is not whole, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_node::storage::journal::{Journal, Played, Record};

fuzz_target!(|bytes: &[u8]| {
    let place = tempfile::tempdir().expect("there is a place for it");
    let directory = place.path().join("journal");
    std::fs::create_dir(&directory).expect("the disk has room");
    std::fs::write(directory.join(format!("{:012}", 1)), bytes).expect("the disk has room");
    let mut size = 0;
    let opened = Journal::open(&directory, &[], &mut |played| {
        size += match played {
            Played::Row(row, value) => row.len() + value.map_or(0, <[u8]>::len),
            Played::All(begin) => begin.len(),
        };
    });
    assert!(size <= bytes.len());
    if let Ok(mut journal) = opened {
        let mut record = Record::default();
        record.push(b"row", Some(b"value"));
        journal.commit(&mut record, true).expect("the disk has room");
        drop(journal);
        let mut is_last = false;
        let own = Played::Row(b"row", Some(b"value"));
        Journal::open(&directory, &[], &mut |played| is_last = played == own).expect("it was whole");
        assert!(is_last);
    }
});
