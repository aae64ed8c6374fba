//! The member table on disk: where a restarted peer looks for the others.

use crate::directory::{Directory, read_at_most, write_atomically};
use serde::{Deserialize, Serialize};
use starling_protocol::canonical;
use starling_protocol::ids::PeerId;
use starling_protocol::member::{Record, Step};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const FILE: &str = "members.cbor";
const FORMAT: u16 = 2;
/// Longest table that is read: 4,096 members with all their addresses at their longest.
const LONGEST: usize = 32 * 1024 * 1024;
/// Least time between two writes; what comes meanwhile is written at its end, or when the peer stops.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Table {
    format: u16,
    store: u64,
    records: Vec<Record>,
}

/// A table, and the store that it was saved beside: beside any other, what it tells of this peer itself
/// is no longer true.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    pub store: u64,
    pub records: Vec<Record>,
}

/// The table that was saved last. One that is missing or cannot be read is empty: the others, once one
/// of them is met, tell all of it again.
pub fn load(directory: &Directory) -> Saved {
    let path = directory.path().join(FILE);
    match read(&path) {
        Ok(saved) => saved,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::default(),
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "the list of other peers cannot be read; name one with --join");
            Saved::default()
        }
    }
}

fn read(path: &Path) -> io::Result<Saved> {
    let bytes = read_at_most(path, LONGEST)?;
    let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let table: Table =
        ciborium::from_reader(&bytes[..]).map_err(|error| damaged(canonical::in_words(error)))?;
    if table.format != FORMAT {
        return Err(damaged(format!("it has format {}; this version reads {FORMAT}", table.format)));
    }
    let Table { store, mut records, .. } = table;
    records.retain(Record::is_sane);
    Ok(Saved { store, records })
}

fn write(path: &Path, saved: Saved) -> io::Result<()> {
    let (mut bytes, Saved { store, records }) = (Vec::new(), saved);
    ciborium::into_writer(&Table { format: FORMAT, store, records }, &mut bytes).map_err(io::Error::other)?;
    write_atomically(path, &bytes)
}

/// Writes tables, the newest last: in the background and at most one a second, but those with a new step of this peer
/// itself at once. Whoever hears of that step counts on this peer, so it must not be forgotten in a crash.
pub struct Saver {
    me: PeerId,
    /// That of this peer in the last table.
    step: Option<Step>,
    file: Arc<TableFile>,
    latest: watch::Sender<(u64, Vec<Record>)>,
    task: JoinHandle<()>,
}

/// Where tables are written, from two threads.
struct TableFile {
    path: PathBuf,
    store: u64,
    remove_after: PathBuf,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    /// Which table the file holds, counted from 1.
    version: u64,
    /// The last write failed, and that was said.
    is_failing: bool,
}

impl Saver {
    /// `me`: this peer. `store`: beside which tables are saved. `remove_after`: a file that goes once a table is
    /// saved.
    pub fn start(directory: &Directory, me: PeerId, store: u64, remove_after: PathBuf) -> Self {
        let (latest, tables) = watch::channel((0, Vec::new()));
        let (path, written) = (directory.path().join(FILE), Mutex::default());
        let file = Arc::new(TableFile { path, store, remove_after, written });
        let task = tokio::spawn(save_all(Arc::clone(&file), tables));
        Self { me, step: None, file, latest, task }
    }

    /// Waits for the disk if this peer itself has taken a step, which it does a few times in its life.
    pub fn save(&mut self, records: Vec<Record>) {
        let version = self.latest.borrow().0 + 1;
        let own = records.iter().find(|record| record.id == self.me);
        let step = own.map(|record| record.standing.step);
        if step != self.step {
            self.step = step;
            self.file.write(version, records.clone());
        }
        self.latest.send_replace((version, records));
    }

    /// Returns once the last table is on disk, or could not be written once more.
    pub async fn finish(self) {
        let Self { latest, task, .. } = self;
        drop(latest);
        if let Err(error) = task.await {
            tracing::error!(%error, "the list of other peers could not be saved");
        }
    }
}

impl TableFile {
    /// Writes this table unless it, or a newer one, was. False: it is to be tried again.
    fn write(&self, version: u64, records: Vec<Record>) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if version <= written.version {
            return true;
        }
        let saved = Saved { store: self.store, records };
        let result = write_and_remove(&self.path, saved, &self.remove_after);
        let was_failing = std::mem::replace(&mut written.is_failing, result.is_err());
        match result {
            Ok(()) => written.version = version,
            Err((path, error)) if !was_failing => {
                let path = path.display();
                tracing::error!(%path, %error, "cannot save the list of other peers; trying again until it can be saved");
            }
            Err(_) => {}
        }
        !written.is_failing
    }
}

async fn save_all(file: Arc<TableFile>, mut tables: watch::Receiver<(u64, Vec<Record>)>) {
    let mut saved = 0;
    loop {
        let _ = tables.wait_for(|(version, _)| *version != saved).await;
        // Whoever stops has nothing more to save: this table is the last.
        let is_last = tables.has_changed().is_err();
        let (version, records) = tables.borrow().clone();
        if version != saved {
            let file = Arc::clone(&file);
            let written = tokio::task::spawn_blocking(move || file.write(version, records));
            // What could not be written is tried again after the pause.
            match written.await {
                Ok(true) => saved = version,
                Ok(false) => {}
                Err(_) => return,
            }
        }
        if is_last {
            return;
        }
        // Stopping cuts the pause short.
        let _ = timeout(PAUSE, tables.wait_for(|_| false)).await;
    }
}

fn write_and_remove(path: &Path, saved: Saved, remove_after: &Path) -> Result<(), (PathBuf, io::Error)> {
    write(path, saved).map_err(|error| (path.to_path_buf(), error))?;
    match fs::remove_file(remove_after) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err((remove_after.to_path_buf(), error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_table_is_there_after_stopping() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        let mark = home.path().join("mark");
        fs::write(&mark, b"").unwrap();
        let mut saver = Saver::start(&directory, PeerId::numbered(1), 7, mark.clone());
        for n in 1..=100 {
            saver.save(vec![Record::numbered(n)]);
            tokio::task::yield_now().await;
        }
        saver.finish().await;
        assert_eq!(load(&directory), Saved { store: 7, records: vec![Record::numbered(100)] });
        assert!(!mark.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_could_not_be_written_is_tried_again() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        let in_the_way = home.path().join("members.cbor.tmp");
        fs::create_dir(&in_the_way).unwrap();
        let mut saver = Saver::start(&directory, PeerId::numbered(1), 7, home.path().join("mark"));
        // Both by the caller, since it is this peer's own step, and in the background.
        saver.save(vec![Record::numbered(1)]);
        tokio::time::sleep(PAUSE / 2).await;
        assert_eq!(load(&directory), Saved::default());
        fs::remove_dir(&in_the_way).unwrap();
        tokio::time::sleep(PAUSE).await;
        assert_eq!(load(&directory).records, [Record::numbered(1)]);

        fs::create_dir(&in_the_way).unwrap();
        saver.save(vec![Record::numbered(1), Record::numbered(2)]);
        tokio::time::sleep(PAUSE / 2).await;
        assert_eq!(load(&directory).records, [Record::numbered(1)]);
        fs::remove_dir(&in_the_way).unwrap();
        saver.finish().await;
        assert_eq!(load(&directory).records, [1, 2].map(Record::numbered), "a stop tries once more");
    }

    #[tokio::test]
    async fn without_a_table_nothing_is_written() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        Saver::start(&directory, PeerId::numbered(1), 7, home.path().join("mark")).finish().await;
        assert!(!home.path().join(FILE).exists());
        assert_eq!(load(&directory), Saved::default());
    }

    #[tokio::test]
    async fn an_own_step_is_on_disk_before_anybody_can_hear_of_it() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        let mut saver = Saver::start(&directory, PeerId::numbered(1), 7, home.path().join("mark"));
        let mut table = vec![Record::numbered(1), Record::numbered(2)];
        for step in [Step::Joining, Step::Arriving, Step::Member] {
            table[0].standing.step = step;
            saver.save(table.clone());
            // The thread in the background had no turn yet.
            assert_eq!(load(&directory).records, table);
        }
        table[1].standing.step = Step::Leaving;
        saver.save(table.clone());
        assert_ne!(load(&directory).records, table, "for steps of others nobody waits");
        saver.finish().await;
        assert_eq!(load(&directory).records, table);
    }

    #[test]
    fn damaged_tables_and_insane_records_are_left_out() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        let path = home.path().join(FILE);
        let insane = Record { name: "x".repeat(1000), ..Record::numbered(2) };
        write(&path, Saved { store: 7, records: vec![Record::numbered(1), insane] }).unwrap();
        assert_eq!(load(&directory).records, [Record::numbered(1)]);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(load(&directory), Saved::default());
    }
}
