//! Networks that grow while they are used.

use crate::harness::{Client, Net, eventually};
use crate::loss::{Stopping, Writers, await_all};
use std::thread;
use std::time::{Duration, Instant};

/// How long what a stand-in took for an owner that was silent for a moment may be missed: until it is handed over.
const HANDED_OVER: Duration = Duration::from_secs(20);

fn await_read(reader: &mut Client, key: &String) {
    let asked = Instant::now();
    while reader.must::<Option<String>>(&format!("GET {key}")).as_ref() != Some(key) {
        assert!(asked.elapsed() < HANDED_OVER, "{key}: an acknowledged write is not read");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_sixth_peer_takes_its_share_while_nothing_is_lost_and_reads_stay_right() {
    let mut net = Net::start(5);
    let writers = Writers::new();
    let told = thread::scope(|scope| {
        let _stopping = Stopping(&writers);
        for name in ["p1", "p3"] {
            let (mut client, writers) = (net.client(name), &writers);
            scope.spawn(move || writers.write_through(&mut client, name));
        }
        writers.await_more(200);
        let ((net, writers), mut reader) = ((&net, &writers), net.client("p2"));
        let adding = scope.spawn(|| net.ctl("add"));
        while !adding.is_finished() {
            // W=2 and R=2 of N=3: what owners have acknowledged is read at once, also while they change.
            for key in writers.acknowledged().iter().rev().step_by(7).take(20) {
                await_read(&mut reader, key);
            }
        }
        writers.await_more(100);
        adding.join().unwrap()
    });
    assert!(told.starts_with("p6 added") && told.ends_with("it is a member"), "{told}");
    net.refresh();
    let mut sixth = net.client("p6");
    eventually("p6 to own a share", || {
        let status = sixth.status()?;
        if status["owned"].as_u64() > Some(0) { Ok(()) } else { Err(status.to_string()) }
    });
    let keys = writers.acknowledged();
    for peer in &net.peers {
        await_all(&mut net.client(&peer.name), &keys);
    }
}
