//! What one client sends ahead, and what it costs the others.

mod common;

use common::FakePeer;
use starling_node::peer_handle::{ClientRequest, Facts, PeerHandle};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::sync::mpsc;

/// Long enough for a busy machine; no test waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(30);
/// Fewer bytes than a peer reads at once.
const AHEAD: usize = 16_000;

fn client(peer: &FakePeer) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(peer.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    BufReader::new(stream)
}

fn send(client: &mut BufReader<TcpStream>, bytes: &[u8]) {
    client.get_mut().write_all(bytes).unwrap();
}

/// The next line that begins so.
fn line(client: &mut BufReader<TcpStream>, start: &str) -> String {
    let mut line = String::new();
    while !line.starts_with(start) {
        line.clear();
        assert_ne!(client.read_line(&mut line).unwrap(), 0, "the connection ended");
    }
    line.trim_end().to_owned()
}

/// Holds up the one thread of a peer with the first request that it is asked.
struct HeldUp {
    peer: FakePeer,
    held: Receiver<()>,
    go_on: Sender<()>,
}

impl HeldUp {
    fn start() -> Self {
        let (at_hand, held) = channel();
        let (go_on, told) = channel();
        let handle = |facts: Facts, requests: mpsc::Sender<ClientRequest>| {
            let (sender, mut asked) = mpsc::channel(64);
            tokio::spawn(async move {
                while let Some(request) = asked.recv().await {
                    if at_hand.send(()).is_ok() {
                        let _ = told.recv();
                    }
                    requests.send(request).await.unwrap();
                }
            });
            PeerHandle::new(facts, sender, None)
        };
        Self { peer: FakePeer::start_as(100, handle), held, go_on }
    }

    /// How many commands had been run when a client was answered that asked for it after another had sent `flood`,
    /// which ends with a PING. Both find the peer at a moment when it does something else.
    fn commands_before_the_other(self, flood: &[u8]) -> u64 {
        let Self { peer, held, go_on } = self;
        let (mut first, mut flooding, mut other) = (client(&peer), client(&peer), client(&peer));
        for client in [&mut flooding, &mut other] {
            send(client, b"PING\r\n");
            line(client, "+PONG");
        }
        send(&mut first, b"GET k\r\n");
        held.recv().unwrap();
        drop(held);
        send(&mut flooding, flood);
        send(&mut other, b"INFO stats\r\n");
        go_on.send(()).unwrap();
        let count = line(&mut other, "total_commands_processed:");
        line(&mut flooding, "+PONG");
        count.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

/// Commands beside those of the flood: three to begin with, and the one that asks how many.
const OTHERS: u64 = 4;

#[test]
fn a_client_whose_commands_wait_for_nothing_lets_others_have_their_turn() {
    let refused = b"smemberz\n".repeat(AHEAD / 9);
    let commands = AHEAD as u64 / 9 + 1 + OTHERS;
    let before = HeldUp::start().commands_before_the_other(&[&refused[..], b"PING\n"].concat());
    assert!(before < commands, "all {commands} were run first");
}

#[test]
fn lines_without_a_command_let_others_have_their_turn() {
    for empty in [&b"\n"[..], b"*0\r\n"] {
        let flood = [&empty.repeat(AHEAD / empty.len())[..], b"PING\n"].concat();
        let before = HeldUp::start().commands_before_the_other(&flood);
        assert_eq!(before, OTHERS, "the command behind the lines was run first");
    }
}
