//! What clients say and hear.

use crate::harness::{Net, testnet, turn};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

#[test]
fn what_is_set_at_one_peer_is_read_at_every_other() {
    let net = Net::start(5);
    let mut first = net.client("p1");
    first.must::<()>("SET k v");
    first.must::<()>("SADD team ada");
    first.must::<()>("SADD guests ada grace");
    first.must::<()>("HSET user:1 name ada");
    for peer in &net.peers {
        let mut client = net.client(&peer.name);
        assert_eq!(client.must::<String>("GET k"), "v", "at {}", peer.name);
        assert_eq!(client.must::<Vec<String>>("SMEMBERS team"), ["ada"]);
        assert_eq!(client.must::<Vec<String>>("SUNION team guests none"), ["ada", "grace"]);
        assert_eq!(client.must::<Vec<String>>("SINTER team guests"), ["ada"]);
        assert_eq!(client.must::<Vec<String>>("SDIFF guests team"), ["grace"]);
        assert_eq!(client.must::<String>("HGET user:1 name"), "ada");
        client.must::<i64>("INCR visits");
    }
    assert_eq!(first.must::<i64>("GET visits"), 5);
}

#[test]
fn pipelines_of_every_type_run_against_any_peer() {
    let net = Net::start(3);
    for peer in &net.peers {
        let mut pipe = redis::pipe();
        for i in 0..50 {
            pipe.cmd("SET").arg("key:x").arg(i).ignore();
            pipe.cmd("GET").arg("key:x").ignore();
            pipe.cmd("INCR").arg("counter").ignore();
            pipe.cmd("SADD").arg("set").arg(i).ignore();
            pipe.cmd("HSET").arg("hash").arg(i).arg("v").ignore();
        }
        pipe.exec(net.client(&peer.name).connected().unwrap()).unwrap();
    }
    let mut client = net.client("p1");
    assert_eq!(client.must::<i64>("GET counter"), 150);
    assert_eq!(client.must::<i64>("SCARD set"), 50);
    assert_eq!(client.must::<i64>("HLEN hash"), 50);
}

#[test]
fn explain_names_owners_stand_ins_answers_and_the_verdict() {
    let net = Net::start(5);
    let whereabouts: String = net.client("p1").must("WHERE k JSON");
    let whereabouts: Value = serde_json::from_str(&whereabouts).unwrap();
    let (owners, stand_ins) = (names(&whereabouts["owners"]), names(&whereabouts["stand_ins"]));
    assert_eq!((owners.len(), stand_ins.len()), (3, 2), "{whereabouts}");
    let (down, through) = (&owners[2], &owners[0]);
    net.ctl(&format!("kill {down}"));
    net.await_seen(&[through], &[down], "dead");

    let mut client = net.client(through);
    let explained: Value = serde_json::from_str(&client.must::<String>("EXPLAIN JSON SET k v")).unwrap();
    let asked = explained["trace"]["asked"].as_array().unwrap();
    for owner in &owners {
        let entry = asked.iter().find(|entry| entry["name"] == *owner).expect("every owner is named");
        assert_eq!(entry["took_us"].is_null(), entry["answer"] != "synced", "{entry}");
    }
    let instead = asked.iter().find(|entry| !entry["instead_of"].is_null()).expect("a stand-in is named");
    assert!(instead.to_string().contains(down.as_str()), "{instead}");
    assert_eq!(instead["name"], stand_ins[0]);

    let lines: Vec<String> = client.must("EXPLAIN SET k w");
    let verdict = lines.iter().find(|line| line.starts_with("verdict")).expect("there is a verdict");
    assert!(verdict.contains("synced on 2 of the 2 copies needed"), "{lines:#?}");
    assert!(owners.iter().all(|owner| lines.concat().contains(owner.as_str())), "{lines:#?}");
}

fn names(seats: &Value) -> Vec<String> {
    let name = |seat: &Value| seat["name"].as_str().unwrap().to_owned();
    seats.as_array().unwrap().iter().map(name).collect()
}

#[test]
fn the_console_of_a_testnet_speaks_to_it_and_takes_it_down() {
    let _turn = turn();
    let mut command = testnet();
    command.args(["up", "-n", "3", "--base-port", "0"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut up = command.spawn().unwrap();
    let lines = "set greeting hello\nget greeting\n:kill p2\nget greeting\n:restart p2\n:quit\n";
    up.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = up.wait_with_output().unwrap();
    let (said, told) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{said}\n{told}");
    let replies: Vec<&str> = said.lines().collect();
    assert_eq!(replies[..4], ["OK", "hello", "p2 killed", "hello"], "{said}\n{told}");
    assert!(replies[4].starts_with("p2 started"), "{said}");
    let dir = told.split("the data was in ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    assert!(!std::path::Path::new(dir).exists(), "{dir} was temporary");
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
