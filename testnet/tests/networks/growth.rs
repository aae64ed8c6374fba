//! Networks that grow while they are used.

use crate::harness::{Net, eventually};
use crate::loss::{Stopping, Writers, await_all};
use std::thread;

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
            // W=2 and R=2 of N=3: what is acknowledged is read at once, also while owners change.
            for key in writers.acknowledged().iter().rev().step_by(7).take(20) {
                let value = reader.must::<Option<String>>(&format!("GET {key}"));
                assert_eq!(value.as_ref(), Some(key), "an acknowledged write was not read");
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
