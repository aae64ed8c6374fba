//! A journal of any bytes: played back up to what is not whole, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_node::storage::journal::{Journal, Record};

fuzz_target!(|bytes: &[u8]| {
    let place = tempfile::tempdir().expect("there is a place for it");
    let directory = place.path().join("journal");
    std::fs::create_dir(&directory).expect("the disk has room");
    std::fs::write(directory.join(format!("{:012}", 1)), bytes).expect("the disk has room");
    let mut size = 0;
    let opened =
        Journal::open(&directory, &mut |row, value| size += row.len() + value.map_or(0, <[u8]>::len));
    assert!(size <= bytes.len());
    if let Ok(mut journal) = opened {
        let mut record = Record::default();
        record.push(b"row", Some(b"value"));
        journal.commit(&mut record, true).expect("the disk has room");
        drop(journal);
        let mut last = None;
        Journal::open(&directory, &mut |row, _| last = Some(row.to_vec())).expect("it was whole");
        assert_eq!(last.as_deref(), Some(&b"row"[..]));
    }
});
