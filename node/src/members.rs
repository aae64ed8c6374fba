//! The member table on disk: where a restarted peer looks for the others.

use crate::directory::{Directory, write_atomically};
use serde::{Deserialize, Serialize};
use starling_protocol::member::Record;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const FILE: &str = "members.cbor";
const FORMAT: u16 = 2;
/// Longest table that is read: 4,096 members with all their addresses at their longest.
const LONGEST: u64 = 32 * 1024 * 1024;
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
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let table: Table = ciborium::from_reader(&bytes[..]).map_err(|error| damaged(error.to_string()))?;
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

/// Writes tables in the background, at most one a second, the newest last.
pub struct Saver {
    latest: watch::Sender<(u64, Vec<Record>)>,
    task: JoinHandle<()>,
}

impl Saver {
    /// `store`: beside which tables are saved. `remove_after`: a file that goes once a table is saved.
    pub fn start(directory: &Directory, store: u64, remove_after: PathBuf) -> Self {
        let (latest, tables) = watch::channel((0, Vec::new()));
        let task = tokio::spawn(save_all(directory.path().join(FILE), store, remove_after, tables));
        Self { latest, task }
    }

    pub fn save(&self, records: Vec<Record>) {
        self.latest.send_modify(|latest| *latest = (latest.0 + 1, records));
    }

    /// Returns once the last table is on disk.
    pub async fn finish(self) {
        let Self { latest, task } = self;
        drop(latest);
        if let Err(error) = task.await {
            tracing::error!(%error, "the list of other peers could not be saved");
        }
    }
}

async fn save_all(
    path: PathBuf,
    store: u64,
    remove_after: PathBuf,
    mut tables: watch::Receiver<(u64, Vec<Record>)>,
) {
    let mut saved = 0;
    loop {
        let open = tables.wait_for(|(version, _)| *version != saved).await.is_ok();
        let (version, records) = tables.borrow().clone();
        if version != saved {
            let (path, remove_after) = (path.clone(), remove_after.clone());
            let saved_now = Saved { store, records };
            let written =
                tokio::task::spawn_blocking(move || write_and_remove(&path, saved_now, &remove_after));
            match written.await {
                Ok(Ok(())) => saved = version,
                Ok(Err(error)) => {
                    tracing::error!(path = %error.0.display(), error = %error.1, "cannot save the list of other peers");
                    saved = version;
                }
                Err(_) => return,
            }
        }
        if !open {
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
    use starling_protocol::ids::PeerId;
    use starling_protocol::member::{Health, Standing, Step};

    fn record(n: u64) -> Record {
        Record {
            id: PeerId::numbered(n),
            incarnation: n,
            health: Health::Alive,
            standing: Standing { version: 1, step: Step::Member },
            life: n,
            started_ms: n,
            name: format!("p{n}"),
            addresses: vec!["/ip4/10.0.0.1/tcp/1".into()],
            zone: String::new(),
            weight: 100,
            signature: None,
        }
    }

    #[tokio::test]
    async fn the_newest_table_is_there_after_stopping() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        let mark = home.path().join("mark");
        fs::write(&mark, b"").unwrap();
        let saver = Saver::start(&directory, 7, mark.clone());
        for n in 1..=100 {
            saver.save(vec![record(n)]);
            tokio::task::yield_now().await;
        }
        saver.finish().await;
        assert_eq!(load(&directory), Saved { store: 7, records: vec![record(100)] });
        assert!(!mark.exists());
    }

    #[tokio::test]
    async fn without_a_table_nothing_is_written() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        Saver::start(&directory, 7, home.path().join("mark")).finish().await;
        assert!(!home.path().join(FILE).exists());
        assert_eq!(load(&directory), Saved::default());
    }

    #[test]
    fn damaged_tables_and_insane_records_are_left_out() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        let path = home.path().join(FILE);
        let insane = Record { name: "x".repeat(1000), ..record(2) };
        write(&path, Saved { store: 7, records: vec![record(1), insane] }).unwrap();
        assert_eq!(load(&directory).records, [record(1)]);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(load(&directory), Saved::default());
    }
}
