//! A server for tests of what asks one: it answers each request in the words of the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Listens until the test program ends. `reply`: to the words of a request, with single blanks between them.
pub fn answering(reply: impl Fn(&str) -> &'static str + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let reply = reply.clone();
            thread::spawn(move || answer(stream, reply));
        }
    });
    address
}

/// Until the client goes.
fn answer(stream: TcpStream, reply: impl Fn(&str) -> &'static str) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let words = request(&mut reader)?;
        writer.write_all(reply(&words).as_bytes()).ok()?;
    }
}

/// A request as a list of words or as a line.
fn request(reader: &mut impl BufRead) -> Option<String> {
    let head = line(reader)?;
    let Some(count) = head.strip_prefix('*') else { return Some(head) };
    let words: Option<Vec<String>> = (0..count.parse::<usize>().ok()?).map(|_| word(reader)).collect();
    Some(words?.join(" "))
}

fn word(reader: &mut impl BufRead) -> Option<String> {
    let length: usize = line(reader)?.strip_prefix('$')?.parse().ok()?;
    let mut bytes = vec![0; length + 2];
    reader.read_exact(&mut bytes).ok()?;
    bytes.truncate(length);
    String::from_utf8(bytes).ok()
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    Some(line.trim_end().to_owned())
}
