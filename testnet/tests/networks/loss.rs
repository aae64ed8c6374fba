//! Peers that die, and disks that are lost.

use crate::harness::{Client, Net, eventually};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Writes unique keys through several peers until told to stop, and remembers which were acknowledged.
pub struct Writers {
    stop: AtomicBool,
    acknowledged: Mutex<Vec<String>>,
}

impl Writers {
    pub fn new() -> Self {
        Self { stop: AtomicBool::new(false), acknowledged: Mutex::default() }
    }

    pub fn write_through(&self, client: &mut Client, prefix: &str) {
        for i in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let key = format!("{prefix}:{i}");
            if client.ask::<()>(&format!("SET {key} {key}")).is_ok() {
                self.acknowledged.lock().unwrap().push(key);
            }
        }
    }

    pub fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Waits until this many more writes are acknowledged.
    pub fn await_more(&self, count: usize) {
        let target = self.acknowledged().len() + count;
        eventually("writes to go on", || match self.acknowledged().len() {
            done if done >= target => Ok(()),
            done => Err(format!("{done} of {target} acknowledged")),
        });
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Stops the writers also when the test fails, so that its threads end.
pub struct Stopping<'a>(pub &'a Writers);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Every key is its own value at this peer, sooner or later.
pub fn await_all(client: &mut Client, keys: &[String]) {
    for key in keys {
        eventually(&format!("{key} to be read"), || {
            match client.ask::<Option<String>>(&format!("GET {key}")) {
                Ok(Some(value)) if value == *key => Ok(()),
                Ok(other) => Err(format!("it is {other:?}")),
                Err(e) => Err(e.to_string()),
            }
        });
    }
}

#[test]
fn no_acknowledged_write_is_lost_when_two_of_five_are_killed() {
    let net = Net::start(5);
    let writers = Writers::new();
    thread::scope(|scope| {
        let _stopping = Stopping(&writers);
        for name in ["p1", "p4", "p5"] {
            let (mut client, writers) = (net.client(name), &writers);
            scope.spawn(move || writers.write_through(&mut client, name));
        }
        writers.await_more(300);
        net.ctl("kill p2 p3");
        writers.await_more(300);
        net.ctl("restart p2 p3");
        writers.await_more(100);
    });
    let keys = writers.acknowledged();
    for peer in &net.peers {
        await_all(&mut net.client(&peer.name), &keys);
    }
    for peer in &net.peers {
        await_all(&mut net.client(&peer.name).quorum(1, 1), &keys);
    }
}

fn await_filled(net: &Net, name: &str) {
    let all = ["p1", "p2", "p3"];
    net.await_seen(&all, &[name], "alive");
    for viewer in all {
        let mut client = net.client(viewer);
        eventually(&format!("{viewer} to know all copies equal"), || {
            let status = client.status()?;
            let open = |field: &str| status[field].as_u64().unwrap_or(u64::MAX);
            match open("repairing") + open("held_for_others") {
                0 => Ok(()),
                _ => Err(status.to_string()),
            }
        });
    }
}

#[test]
fn a_wiped_peer_is_filled_by_the_others() {
    let net = Net::start(3);
    let keys: Vec<String> = (0..200).map(|i| format!("key:{i}")).collect();
    let mut client = net.client("p1");
    keys.iter().for_each(|key| client.must(&format!("SET {key} {key}")));
    net.ctl("wipe p3");
    await_filled(&net, "p3");
    await_all(&mut net.client("p3").quorum(1, 1), &keys);
    // Nobody else is left to read from: what it answers now, it has.
    net.ctl("kill p1 p2");
    let mut alone = net.client("p3").quorum(1, 1);
    await_all(&mut alone, &keys);
}

#[test]
fn a_key_deleted_while_a_peer_was_down_stays_deleted() {
    let net = Net::start(3);
    let mut client = net.client("p1");
    for i in 0..50 {
        client.must::<()>(&format!("SET key:{i} old"));
        client.must::<()>(&format!("SADD set:{i} member"));
    }
    // It has all of them before it goes down, or it could not bring them back.
    await_filled(&net, "p2");
    net.ctl("kill p2");
    for i in 0..50 {
        client.must::<()>(&format!("DEL key:{i} set:{i}"));
    }
    client.must::<()>("SET key:0 new");
    net.ctl("restart p2");
    await_filled(&net, "p2");
    let check = |mut client: Client| {
        for i in 0..50 {
            let expected = (i == 0).then(|| "new".to_owned());
            eventually(&format!("key:{i} to be {expected:?}"), || {
                match client.ask::<Option<String>>(&format!("GET key:{i}")) {
                    Ok(value) if value == expected => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
            assert_eq!(client.must::<i64>(&format!("SCARD set:{i}")), 0);
        }
    };
    check(net.client("p2"));
    check(net.client("p2").quorum(1, 1));
    net.ctl("kill p1 p3");
    check(net.client("p2").quorum(1, 1));
}
