//! What Redis clients see of the client port, byte for byte.

mod common;

use common::{FakePeer, bytes};
use socket2::{Domain, Socket, Type};
use starling_crdt::Command;
use starling_crdt::command::REMOVED_AT_ONCE;
use starling_node::admission::Admission;
use starling_node::directory::Directory;
use starling_node::network::{self, Wishes};
use starling_node::password::Password;
use starling_node::peer_handle::{FaultHandle, PeerHandle};
use starling_node::resp::Port;
use starling_node::resp::frame::{Frame, decode, encode_command};
use starling_node::resp::tls::{self, Tls, Trust};
use starling_node::transport::Keys;
use starling_protocol::admission::token::Scope;
use starling_protocol::request::FailureKind;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Long enough for a busy machine; no test waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(30);

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

struct Client(TcpStream);

impl Client {
    fn of(peer: &FakePeer) -> Self {
        let stream = TcpStream::connect(peer.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    /// Sends the bytes and reads as many as are expected.
    fn says(&mut self, sent: &str, expected: &str) {
        self.0.write_all(sent.as_bytes()).unwrap();
        let mut answer = vec![0; expected.len()];
        self.0.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), expected, "after {sent:?}");
    }

    fn send(&mut self, words: &[&str]) {
        let mut command = Vec::new();
        encode_command(words, &mut command);
        self.0.write_all(&command).unwrap();
    }

    fn reply(&mut self) -> Frame {
        let mut buffer = Vec::new();
        let mut piece = [0; 4096];
        loop {
            if let Some((frame, length)) = decode(&buffer).unwrap() {
                assert_eq!(length, buffer.len(), "one command has one reply");
                return frame;
            }
            let read = self.0.read(&mut piece).unwrap();
            assert_ne!(read, 0, "the connection ended");
            buffer.extend_from_slice(&piece[..read]);
        }
    }

    /// A command without quoting.
    fn call(&mut self, line: &str) -> Frame {
        self.send(&line.split(' ').collect::<Vec<_>>());
        self.reply()
    }

    fn error(&mut self, line: &str) -> String {
        match self.call(line) {
            Frame::Error(error) => error,
            other => panic!("{line} is answered with {other:?}"),
        }
    }

    fn text(&mut self, line: &str) -> String {
        match self.call(line) {
            Frame::Bulk(text) => String::from_utf8(text).unwrap(),
            Frame::Simple(text) | Frame::Verbatim(text) => text,
            Frame::Array(lines) => {
                let line = |line| {
                    if let Frame::Bulk(line) = line { String::from_utf8(line).unwrap() } else { panic!() }
                };
                lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
            }
            other => panic!("{line} is answered with {other:?}"),
        }
    }

    /// The rest, up to the end of the connection.
    fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }
}

fn bulks(words: &[&str]) -> Vec<Frame> {
    words.iter().map(|word| Frame::bulk(*word)).collect()
}

#[test]
fn data_commands_answer_in_the_shapes_of_redis() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    client.says("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n", "+OK\r\n");
    client.says("get k\r\nGET nothing\r\nstrlen k\r\n", "$5\r\nhello\r\n$-1\r\n:5\r\n");
    client.says("mset a 1 b 2\r\nmget a b c\r\n", "+OK\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n");
    client.says(
        "incr n\r\nincrby n 10\r\ndecr n\r\ndecrby n 4\r\nget n\r\n",
        ":1\r\n:11\r\n:10\r\n:6\r\n$1\r\n6\r\n",
    );
    client.says("sadd s x y x\r\nsadd s x\r\nscard s\r\nsismember s y\r\n", ":2\r\n:0\r\n:2\r\n:1\r\n");
    client.says(
        "smembers s\r\nsmismember s x z\r\nsrem s x\r\n",
        "*2\r\n$1\r\nx\r\n$1\r\ny\r\n*2\r\n:1\r\n:0\r\n:1\r\n",
    );
    client.says("hset h f 1 g 2\r\nhmset h f 3\r\nhget h f\r\nhlen h\r\n", ":2\r\n+OK\r\n$1\r\n3\r\n:2\r\n");
    client.says("hgetall h\r\n", "*4\r\n$1\r\nf\r\n$1\r\n3\r\n$1\r\ng\r\n$1\r\n2\r\n");
    client.says("hmget h f x\r\nhexists h g\r\nhdel h g x\r\n", "*2\r\n$1\r\n3\r\n$-1\r\n:1\r\n:1\r\n");
    client.says("hkeys h\r\nhvals h\r\n", "*1\r\n$1\r\nf\r\n*1\r\n$1\r\n3\r\n");
    client.says("type s\r\ntype h\r\ntype k\r\ntype none\r\n", "+set\r\n+hash\r\n+string\r\n+none\r\n");
    client.says("exists k s k none\r\nttl k\r\npttl none\r\n", ":3\r\n:-1\r\n:-2\r\n");
    client.says(
        "touch k none\r\nexpiretime k\r\npexpiretime none\r\npersist k\r\n",
        ":1\r\n:-1\r\n:-2\r\n:0\r\n",
    );
    client.says("getrange k 1 -2\r\nsubstr none 0 1\r\n", "$3\r\nell\r\n$0\r\n\r\n");
    client.says("incrby n 4\r\ngetrange n 0 0\r\n", ":10\r\n$1\r\n1\r\n");
    assert_eq!(client.error("getrange s 0 1"), WRONG_TYPE);
    client.says("hset h f long\r\nhstrlen h f\r\nhstrlen h x\r\n", ":0\r\n:4\r\n:0\r\n");
    assert_eq!(client.error("hstrlen k f"), WRONG_TYPE);
    client.says("dbsize\r\ndel k s k\r\nunlink h\r\ndbsize\r\n", ":6\r\n:2\r\n:1\r\n:3\r\n");
    assert!(client.error("get").starts_with("ERR wrong number of arguments for 'get' command"));
    client.call("sadd s x");
    assert_eq!(client.error("get s"), WRONG_TYPE);
    assert_eq!(client.call("mget s a"), Frame::Array(vec![Frame::Null, Frame::bulk("1")]));
}

#[test]
fn elements_are_drawn_by_chance_and_common_ones_counted() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    client.says("sadd s x\r\nsadd t x y\r\nhset h f 1\r\nset k v\r\n", ":1\r\n:2\r\n:1\r\n+OK\r\n");
    client.says("srandmember s\r\nsrandmember none\r\n", "$1\r\nx\r\n$-1\r\n");
    client.says("srandmember s -2\r\n", "*2\r\n$1\r\nx\r\n$1\r\nx\r\n");
    client.says("srandmember none 2\r\nsrandmember s 0\r\n", "*0\r\n*0\r\n");
    client.says("hrandfield h\r\nhrandfield h 5\r\n", "$1\r\nf\r\n*1\r\n$1\r\nf\r\n");
    client.says("hrandfield h 1 withvalues\r\n", "*2\r\n$1\r\nf\r\n$1\r\n1\r\n");
    let Frame::Array(mut both) = client.call("srandmember t 2") else { panic!() };
    both.sort_by_key(|frame| *frame == Frame::bulk("y"));
    assert_eq!(both, bulks(&["x", "y"]));
    client.says("sintercard 2 s t\r\nsintercard 1 t limit 1\r\nsintercard 1 t\r\n", ":1\r\n:1\r\n:2\r\n");
    for line in ["srandmember k", "hrandfield s 1", "sintercard 2 s h"] {
        assert_eq!(client.error(line), WRONG_TYPE, "{line}");
    }
    assert_eq!(client.call("command getkeys sintercard 2 s t limit 1"), Frame::Array(bulks(&["s", "t"])));
    client.call("hello 3");
    client.says("hrandfield h -1 WITHVALUES\r\n", "*1\r\n*2\r\n$1\r\nf\r\n$1\r\n1\r\n");
}

#[test]
fn resp3_has_maps_sets_and_nulls() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    client.says("hset h f 1\r\nsadd s x\r\n", ":1\r\n:1\r\n");
    let hello = client.call("hello 3");
    let Frame::Map(about) = &hello else { panic!("{hello:?}") };
    assert!(about.contains(&(Frame::bulk("proto"), Frame::Int(3))));
    client.says(
        "hgetall h\r\nsmembers s\r\nget none\r\n",
        "%1\r\n$1\r\nf\r\n$1\r\n1\r\n~1\r\n$1\r\nx\r\n_\r\n",
    );
    client.says("reset\r\nget none\r\n", "+RESET\r\n$-1\r\n");
}

/// The first bytes of clients, as their sources send them; none may be answered with an error.
#[test]
fn the_handshakes_of_common_clients_are_answered_without_an_error() {
    let handshakes: [(&str, &[&str]); 8] = [
        ("redis-cli", &["HELLO 3", "COMMAND DOCS", "PING"]),
        ("redis-benchmark", &["CONFIG GET save", "CONFIG GET appendonly", "PING"]),
        (
            "redis-py",
            &[
                "HELLO 3",
                "CLIENT SETINFO LIB-NAME redis-py",
                "CLIENT SETINFO LIB-VER 5.0.1",
                "SELECT 0",
                "INFO",
            ],
        ),
        (
            "go-redis",
            &[
                "HELLO 3",
                "CLIENT SETINFO LIB-NAME go-redis(,go1.22.0)",
                "CLIENT SETINFO LIB-VER 9.5.1",
                "PING",
            ],
        ),
        ("jedis", &["HELLO 3", "CLIENT SETINFO lib-name jedis", "CLIENT SETINFO lib-ver 5.1.0", "SELECT 0"]),
        ("ioredis", &["INFO", "CLIENT SETNAME worker", "COMMAND", "SELECT 0"]),
        ("lettuce", &["HELLO 3 SETNAME app", "CLIENT SETINFO lib-name Lettuce", "CLIENT ID", "PING"]),
        (
            "redis-rs",
            &["HELLO 2", "CLIENT SETINFO LIB-NAME redis-rs", "CLIENT NO-EVICT ON", "ECHO x", "QUIT"],
        ),
    ];
    let peer = FakePeer::start();
    for (name, commands) in handshakes {
        let mut client = Client::of(&peer);
        for command in commands {
            let reply = client.call(command);
            assert!(!matches!(reply, Frame::Error(_)), "{name}: {command}: {reply:?}");
        }
    }
}

#[test]
fn what_clients_look_for_in_their_handshake_is_there() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    client.says("CONFIG GET save\r\n", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    client.says("CONFIG GET appendonly\r\n", "*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n");
    client.says("PING\r\nPING hi\r\nECHO hi\r\nSELECT 0\r\n", "+PONG\r\n$2\r\nhi\r\n$2\r\nhi\r\n+OK\r\n");
    let info = client.text("INFO");
    for expected in
        ["# Server\r\nredis_version:", "loading:0", "cluster_enabled:0", "role:master", "members_alive:4"]
    {
        assert!(info.contains(expected), "{expected} in {info}");
    }
    assert!(!client.text("info clients").contains("redis_version"));
    assert!(!info.contains("# Keyspace"), "that costs a walk through the keys");
    assert_eq!(client.text("info keyspace"), "# Keyspace\r\n", "as with Redis, where there are none");
    assert_eq!(client.call("mset a 1 b 2 c 3"), Frame::ok());
    assert!(client.text("info keyspace").contains("db0:keys=3,expires=0,avg_ttl=0\r\n"));
    assert!(client.text("info all").contains("# Keyspace\r\ndb0:keys=3,"));
    let Frame::Array(dir) = client.call("config get dir") else { panic!() };
    assert_eq!(dir[1], Frame::bulk("/nowhere"));
    client.says("CLIENT GETNAME\r\nAUTH default anything\r\n", "$-1\r\n+OK\r\n");
    client.says("CLIENT SETNAME worker\r\nCLIENT GETNAME\r\n", "+OK\r\n$6\r\nworker\r\n");
    assert!(client.text("client list").contains("name=worker"));
    assert_eq!(client.error("cluster info"), "ERR This instance has cluster support disabled");
    assert!(client.error("auth secret").contains("no password"));
    // As with Redis, where the default user without a password is let in with any.
    assert!(matches!(client.call("hello 2 AUTH default secret"), Frame::Array(_)));
    for (line, answer) in [
        ("unwatch", "OK"),
        ("client tracking off", "OK"),
        ("client reply on", "OK"),
        ("acl whoami", "default"),
    ] {
        assert_eq!(client.text(line), answer, "{line}");
    }
    for line in ["client help", "config help", "command help", "acl help"] {
        assert!(matches!(client.call(line), Frame::Array(lines) if lines.len() > 2), "{line}");
    }
    assert!(client.error("client tracking on").starts_with("NOTSUPPORTED CLIENT TRACKING "));
    assert!(client.error("acl setuser bob").starts_with("NOTSUPPORTED ACL SETUSER "));
    assert!(client.error("lcs a b").starts_with("NOTSUPPORTED LCS "));
    assert!(!client.error("sort a").contains("popping"));
    assert_eq!(client.error("hello 4"), "NOPROTO unsupported protocol version");
    assert!(client.error("select 1").starts_with("NOTSUPPORTED SELECT 1 "));
    assert!(client.error("config set save x").starts_with("NOTSUPPORTED CONFIG SET "));
    let Frame::Array(time) = client.call("time") else { panic!() };
    assert_eq!(time.len(), 2);
}

#[test]
fn the_table_is_told_to_programs_and_to_people() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    let Frame::Int(count) = client.call("command count") else { panic!() };
    let Frame::Array(names) = client.call("command list") else { panic!() };
    assert_eq!(names.len() as i64, count);
    let Frame::Array(info) = client.call("command info get nothing") else { panic!() };
    assert_eq!(info[1], Frame::Null);
    let Frame::Array(get) = &info[0] else { panic!() };
    assert_eq!(
        get[..3],
        [Frame::bulk("get"), Frame::Int(2), Frame::Array(vec![Frame::Simple("readonly".into())])]
    );
    assert_eq!(client.call("command getkeys mset a 1 b 2"), Frame::Array(bulks(&["a", "b"])));
    assert_eq!(client.call("command getkeys get k"), Frame::Array(bulks(&["k"])));
    let help = client.text("help");
    for name in names {
        let Frame::Bulk(name) = name else { panic!() };
        assert!(help.contains(std::str::from_utf8(&name).unwrap()));
    }
    assert!(client.text("help mset").contains("not atomic"));
    assert!(client.text("help @set").contains("smembers"));
    assert!(client.text("help multi").contains("needs isolation"));
    assert!(client.error("help nonsense").contains("unknown command"));
}

#[test]
fn pipelined_commands_are_answered_in_order_and_see_each_other() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    let (mut sent, mut expected) = (String::new(), String::new());
    for i in 0..500 {
        sent += &format!("set k{} {i}\r\nincr n\r\nget k{}\r\n", i % 7, i % 7);
        expected += &format!("+OK\r\n:{}\r\n${}\r\n{i}\r\n", i + 1, i.to_string().len());
    }
    client.says(&sent, &expected);
}

/// As Redis' clients do, however long the pipeline: what is sent, and what is answered, is more than the system holds.
#[test]
fn a_long_pipeline_may_be_sent_whole_before_the_first_reply_is_taken() {
    const COUNT: usize = 2_000;
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    let (key, value) = ("k".repeat(10_000), "v".repeat(20_000));
    client.says(&format!("*3\r\n$3\r\nSET\r\n$10000\r\n{key}\r\n$20000\r\n{value}\r\n"), "+OK\r\n");
    let get = format!("*2\r\n$3\r\nGET\r\n$10000\r\n{key}\r\n");
    client.0.write_all(get.repeat(COUNT).as_bytes()).unwrap();
    // Nothing tells that the peer has read the rest of it.
    std::thread::sleep(Duration::from_millis(300));
    client.says("ping\r\n", &(format!("$20000\r\n{value}\r\n").repeat(COUNT) + "+PONG\r\n"));
}

/// Clients send all of it before they know that it is refused, and may send it again.
#[test]
fn nothing_is_done_of_a_transaction_that_was_refused() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    client.send(&["multi"]);
    let Frame::Error(why) = client.reply() else { panic!("it is refused") };
    client.send(&["incr", "n"]);
    let not_done = "NOTSUPPORTED INCR is not done within a refused MULTI; EXEC or DISCARD ends that";
    assert_eq!(client.reply(), Frame::error(not_done));
    assert_eq!(client.error("exec"), format!("EXECABORT nothing was done: {why}"));
    client.says("get n\r\nMulti\r\n", &format!("$-1\r\n-{why}\r\n"));
    client.says("incr n\r\ndiscard\r\nincr n\r\n", &format!("-{not_done}\r\n+OK\r\n:1\r\n"));
    client.says(
        "multi\r\nincr n\r\nreset\r\nget n\r\n",
        &format!("-{why}\r\n-{not_done}\r\n+RESET\r\n$1\r\n1\r\n"),
    );
    assert!(client.error("exec").starts_with("NOTSUPPORTED EXEC "), "there is none");
}

#[test]
fn a_scan_goes_through_all_keys_and_tells_when_it_is_done() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    for i in 0..50 {
        client.call(&format!("set user:{i} x"));
    }
    client.call("sadd user:team x");
    let mut all = |options: &str| {
        let (mut cursor, mut found, mut pages) = ("0".to_owned(), BTreeSet::new(), 0);
        loop {
            let Frame::Array(page) = client.call(&format!("scan {cursor}{options}")) else { panic!() };
            let [Frame::Bulk(next), Frame::Array(keys)] = page.as_slice() else { panic!("{page:?}") };
            found.extend(keys.iter().map(|key| format!("{key:?}")));
            pages += 1;
            cursor = String::from_utf8(next.clone()).unwrap();
            if cursor == "0" {
                return (found.len(), pages);
            }
        }
    };
    let (keys, pages) = all("");
    assert_eq!(keys, 51);
    assert!(pages > 3, "{pages} pages of about 10");
    assert_eq!(all(" COUNT 1000"), (51, 1));
    assert_eq!(all(" MATCH user:1*").0, 11);
    assert_eq!(all(" TYPE set COUNT 20").0, 1);
    assert!(client.error("scan 12345").contains("begin again at 0"));
    for (line, error) in [
        ("scan x", "ERR invalid cursor"),
        ("scan -1", "ERR invalid cursor"),
        ("scan 0 count 0", "ERR syntax error"),
        ("scan 0 count -5", "ERR syntax error"),
        ("scan 0 count abc", "ERR value is not an integer or out of range"),
    ] {
        assert_eq!(client.error(line), error, "{line}");
    }
    assert!(client.error("scan 0 MATCH").starts_with("ERR syntax error"));
    let long = "a".repeat(1025);
    for line in
        [format!("scan 0 match {long}"), format!("sscan s 0 match {long}"), format!("config get {long}")]
    {
        assert_eq!(client.error(&line), "ERR a pattern is at most 1024 bytes long, this one is 1025");
    }
    let many = "a ".repeat(257);
    assert!(
        client
            .error(&format!("config get {}", many.trim_end()))
            .starts_with("ERR CONFIG GET takes at most 256")
    );
}

impl Client {
    /// The next cursor and the elements of one page.
    fn page(&mut self, line: &str) -> (String, Vec<String>) {
        let Frame::Array(page) = self.call(line) else { panic!("{line}") };
        let [Frame::Bulk(next), Frame::Array(found)] = page.as_slice() else { panic!("{page:?}") };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let found =
            found.iter().map(|found| if let Frame::Bulk(found) = found { text(found) } else { panic!() });
        (text(next), found.collect())
    }

    /// All pages of `sscan key` and its like, and how many they are.
    fn pages(&mut self, scan: &str, options: &str) -> (Vec<String>, usize) {
        let (mut cursor, mut all, mut pages) = ("0".to_owned(), Vec::new(), 0);
        loop {
            let (next, found) = self.page(&format!("{scan} {cursor}{options}"));
            (pages, cursor) = (pages + 1, next);
            all.extend(found);
            if cursor == "0" {
                return (all, pages);
            }
        }
    }
}

#[test]
fn a_set_and_a_hash_are_gone_through_page_by_page() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    let members: Vec<String> = (0..50).map(|i| format!("m{i:02}")).collect();
    client.call(&format!("sadd s {}", members.join(" ")));
    let entries: Vec<String> = members.iter().map(|field| format!("{field} of-{field}")).collect();
    client.call(&format!("hset h {}", entries.join(" ")));
    assert_eq!(client.pages("sscan s", ""), (members.clone(), 5));
    assert_eq!(client.pages("SSCAN s", " count 1000"), (members.clone(), 1));
    assert_eq!(client.pages("sscan s", " MATCH m1* COUNT 20"), (members[10..20].to_vec(), 3));
    let flat = entries.join(" ").split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(client.pages("hscan h", ""), (flat, 5));
    assert_eq!(client.pages("hscan h", " NOVALUES COUNT 30"), (members, 2));
    client.says("sscan none 0\r\n", "*2\r\n$1\r\n0\r\n*0\r\n");
    client.says("set k v\r\nsscan k 0\r\n", &format!("+OK\r\n-{WRONG_TYPE}\r\n"));
    assert_eq!(client.error("hscan s 0"), WRONG_TYPE);
    assert!(client.text("explain sscan s 0 count 3").contains("m02"));
    assert!(client.text("help hscan").contains("[NOVALUES]"));
}

#[test]
fn a_cursor_that_is_wrong_is_an_error_and_never_a_gap() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    client.call("sadd s a b c d");
    client.call("sadd t a b c d");
    let (cursor, found) = client.page("sscan s 0 count 2");
    assert_eq!(found, ["a", "b"]);
    let begin_again = "ERR this peer does not know that cursor";
    for line in [format!("sscan t {cursor}"), format!("hscan s {cursor}"), format!("scan {cursor}")] {
        assert!(client.error(&line).starts_with(begin_again), "{line}");
    }
    assert!(client.error("sscan s 12345").contains("begin again at 0"));
    assert_eq!(client.page(&format!("sscan s {cursor}")), ("0".into(), vec!["c".into(), "d".into()]));
    assert_eq!(client.error("sscan s x"), "ERR invalid cursor");
    assert_eq!(client.error("hscan s 1x"), "ERR invalid cursor");
    assert_eq!(client.error("sscan s 0 count x"), "ERR value is not an integer or out of range");
    assert_eq!(client.error("sscan s 0 count 0"), "ERR syntax error");
    assert_eq!(client.error("sscan s 0 match"), "ERR syntax error");
    assert!(client.error("sscan s").contains("wrong number of arguments for 'sscan'"));
}

#[test]
fn what_is_too_large_to_be_read_at_once_is_counted_and_read_in_pages() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    let long = "x".repeat(30_000);
    for i in 0..600 {
        client.call(&format!("sadd s {i:03}{long}"));
        client.call(&format!("hset h {i:03}{long} v"));
    }
    assert_eq!(client.call("scard s"), Frame::Int(600));
    assert_eq!(client.call("hlen h"), Frame::Int(600));
    for line in ["smembers s", "hgetall h", "hkeys h"] {
        let error = client.error(line);
        assert!(
            error.starts_with("ERR the answer is larger than ") && error.contains("SSCAN, HSCAN"),
            "{error}"
        );
    }
    let (found, pages) = client.pages("sscan s", " count 10000");
    assert!((found.len(), found.is_sorted()) == (600, true) && pages > 10, "{pages} pages of a mebibyte");
    assert_eq!(client.pages("hscan h", " count 10000").0.len(), 1_200);
}

/// More than one event removes: it goes on until all is gone, and nobody who asks notices.
#[test]
fn a_key_with_many_elements_is_removed_by_one_command() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    let members: Vec<String> = (0..2 * REMOVED_AT_ONCE).map(|n| n.to_string()).collect();
    for (removal, reply) in [("del s t", Frame::Int(1)), ("set s v", Frame::ok())] {
        for some in members.chunks(20_000) {
            let words = ["sadd", "s"].into_iter().chain(some.iter().map(String::as_str));
            client.send(&words.collect::<Vec<_>>());
            assert_eq!(client.reply(), Frame::Int(some.len() as i64));
        }
        assert_eq!(client.call(removal), reply);
        assert_eq!(client.call("scard t"), Frame::Int(0));
    }
    assert_eq!(client.text("get s"), "v");
}

#[test]
fn a_connection_has_its_own_quorum() {
    let peer = FakePeer::start();
    let (mut client, mut other) = (Client::of(&peer), Client::of(&peer));
    client.says("QUORUM 1 3\r\nget k\r\n", "+OK\r\n$-1\r\n");
    assert_eq!(peer.asked(), (Some(1), Some(3)));
    other.call("get k");
    assert_eq!(peer.asked(), (None, None));
    client.says("WITH 2 - get k\r\n", "$-1\r\n");
    assert_eq!(peer.asked(), (Some(2), Some(3)));
    client.says("get k\r\nquorum\r\n", "$-1\r\n*6\r\n$1\r\nn\r\n:3\r\n$1\r\nr\r\n:1\r\n$1\r\nw\r\n:3\r\n");
    assert_eq!(peer.asked(), (Some(1), Some(3)));
    client.says("QUORUM DEFAULT\r\nget k\r\n", "+OK\r\n$-1\r\n");
    assert_eq!(peer.asked(), (None, None));
    for line in ["quorum 0 1", "quorum 1 4", "quorum x 1", "with 9 - get k", "with 1 1 with 1 1 get k"] {
        assert!(client.error(line).starts_with("ERR "), "{line}");
    }
}

#[test]
fn what_is_about_the_connection_itself_has_no_quorum() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    client.says("QUORUM 1 3\r\nHELLO 3\r\n", "+OK\r\n%7\r\n");
    let mut client = Client::of(&peer);
    client.says("QUORUM 1 3\r\n", "+OK\r\n");
    for line in ["reset", "auth secret", "hello 3", "quit", "multi", "exec", "client setname x", "nonsense"] {
        let error = client.error(&format!("with 2 2 {line}"));
        assert_eq!(error, "ERR WITH takes a command on keys, SCAN or EXPLAIN", "{line}");
    }
    client.says("get k\r\n", "$-1\r\n");
    assert_eq!(peer.asked(), (Some(1), Some(3)), "as it was, and no transaction");
    assert!(!client.text("with 2 2 explain get k").is_empty());
    assert_eq!(peer.asked(), (Some(2), Some(2)));
}

#[test]
fn concurrent_values_are_listed_and_those_who_ask_are_told_that_some_are_hidden() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    client.call("set greeting hola");
    peer.write_elsewhere("greeting", Command::Set { value: bytes("bonjour") });
    assert_eq!(client.call("get greeting"), Frame::bulk("bonjour"));
    assert_eq!(client.call("siblings greeting"), Frame::Array(bulks(&["bonjour", "hola"])));
    let json: serde_json::Value = serde_json::from_str(&client.text("siblings greeting json")).unwrap();
    assert_eq!((&json[0]["value"], &json[1]["value"]), (&"bonjour".into(), &"hola".into()));
    client.call("hello 3");
    assert_eq!(client.call("get greeting"), Frame::bulk("bonjour"));
    client.call("client notes on");
    let hidden = vec![(Frame::bulk("hidden"), Frame::Int(1))];
    assert_eq!(client.call("get greeting"), Frame::Attributed(hidden, Box::new(Frame::bulk("bonjour"))));
    client.call("set greeting hello");
    assert_eq!(client.call("get greeting"), Frame::bulk("hello"));
}

#[test]
fn explain_where_and_status_tell_people_and_programs_the_same() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    let text = client.text("explain set k v");
    for expected in [
        "-> partition 3 -> p1, p2, p3   N=3",
        "p2   owner ",
        "stand-in for p3",
        "stand-ins    p5   (not needed)",
        "1.2 ms",
        "reply        OK",
        "verdict      2 of 2 needed answers agree",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&client.text("explain json get k")).unwrap();
    assert_eq!(json["reply"], "v");
    assert_eq!(json["trace"]["asked"][3]["instead_of"], "p3");
    assert!(client.text("where k").contains("owners     p1, p2, p3\nstand-ins  p4, p5"));
    let json: serde_json::Value = serde_json::from_str(&client.text("where k json")).unwrap();
    assert_eq!(json["owners"][0]["name"], "p1");
    assert!(client.text("status").contains("4 of 5 alive"));
    let json: serde_json::Value = serde_json::from_str(&client.text("status json")).unwrap();
    assert_eq!(
        (&json["alive"], &json["all"], &json["members"][4]["health"]),
        (&4.into(), &5.into(), &"dead".into())
    );
    assert!(
        client
            .error("explain status")
            .contains("EXPLAIN cannot take STATUS; it takes commands such as GET key")
    );
    assert!(client.error("explain gte k").contains("did you mean 'get'"));
}

#[test]
fn failures_say_why_what_holds_and_what_to_do_in_one_line() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    for (kind, code) in [
        (FailureKind::Quorum, "QUORUM"),
        (FailureKind::Timeout, "TIMEOUT"),
        (FailureKind::Busy, "BUSY"),
        (FailureKind::NotReady, "NOTREADY"),
    ] {
        peer.fail(Some(kind));
        let line = client.error("set k v");
        assert_eq!(
            line,
            format!(
                "{code} 1 of the 2 copies required (W=2) answered in 2 s; it may still take effect; accept one copy: --w 1"
            )
        );
    }
    assert!(client.error("mset a 1 b 2").contains("each key goes on its own"));
    for read in ["mget a b", "exists a b"] {
        assert!(!client.error(read).contains("each key"), "of a read nothing is done");
    }
    assert!(client.text("explain set k v").contains("failed       NOTREADY"));
    peer.fail(None);
    assert_eq!(client.call("set k v"), Frame::ok());
}

#[test]
fn members_are_administered_by_name_and_faults_only_where_they_are_allowed() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    assert_eq!(client.call("forget p5"), Frame::ok());
    assert!(client.error("forget p9").contains("no member is called 'p9'"));
    assert_eq!(client.call("leave"), Frame::ok());
    assert!(client.error("fault show").contains("--faults"));

    let faults = FaultHandle::new(BTreeSet::new());
    let peer = FakePeer::start_with(10, Some(faults.clone()));
    let mut client = Client::of(&peer);
    assert_eq!(client.call("fault block p4 p5"), Frame::ok());
    assert_eq!(faults.blocked().len(), 2);
    let Frame::Array(blocked) = client.call("fault show") else { panic!() };
    let Frame::Bulk(id) = &blocked[0] else { panic!() };
    let id = std::str::from_utf8(id).unwrap().to_owned();
    assert_eq!(client.call(&format!("fault block {id}")), Frame::ok());
    assert_eq!(client.call("fault show"), Frame::Array(vec![Frame::bulk(id)]));
    assert_eq!(client.call("fault clear"), Frame::ok());
    assert!(faults.blocked().is_empty());
    assert!(client.error("fault nonsense").contains("usage: FAULT BLOCK"));
}

#[test]
fn garbage_is_answered_with_an_error_and_the_end_of_the_connection() {
    let peer = FakePeer::start();
    for garbage in [
        "*1\r\n$2147483648\r\n",
        "*2147483648\r\n",
        "*1\r\n$-5\r\n",
        "*1\r\nGET\r\n",
        "get \"open\r\n",
        "POST / HTTP/1.1\r\n",
        "*x\r\n",
    ] {
        let mut client = Client::of(&peer);
        client.0.write_all(garbage.as_bytes()).unwrap();
        let rest = client.rest();
        assert!(rest.starts_with("-ERR Protocol error: ") && rest.ends_with("\r\n"), "{garbage:?}: {rest:?}");
    }
    let mut client = Client::of(&peer);
    client.says("set k v\r\n", "+OK\r\n");
    client.0.write_all(b"get k\r\n*1\r\n$2147483648\r\nget k\r\n").unwrap();
    let rest = client.rest();
    assert!(rest.starts_with("$1\r\nv\r\n-ERR Protocol error"), "what came before is answered: {rest}");
}

#[test]
fn values_may_be_large_and_one_too_large_is_an_error_not_the_end() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    let largest = "x".repeat(starling_crdt::cell::VALUE_MAX);
    client.send(&["set", "k", &largest]);
    assert_eq!(client.reply(), Frame::ok());
    client.send(&["set", "k", &format!("{largest}x")]);
    let Frame::Error(line) = client.reply() else { panic!() };
    assert!(line.contains("the limit is"), "{line}");
    assert_eq!(client.call("ping"), Frame::Simple("PONG".into()));
}

#[test]
fn one_client_too_many_is_told_so_and_a_place_is_given_back() {
    let peer = FakePeer::start_with(2, None);
    let mut first = Client::of(&peer);
    let mut second = Client::of(&peer);
    first.says("PING\r\n", "+PONG\r\n");
    second.says("PING\r\n", "+PONG\r\n");
    assert!(Client::of(&peer).rest().starts_with("-ERR max number of clients reached"));
    drop(second);
    // The peer learns of the closed connection in its own time.
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let mut third = Client::of(&peer);
        third.0.write_all(b"PING\r\n").unwrap();
        let mut answer = [0; 7];
        if third.0.read_exact(&mut answer).is_ok() && answer == *b"+PONG\r\n" {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the place is not given back");
    }
}

#[test]
fn when_the_peer_stops_connections_end_in_order() {
    let peer = FakePeer::start();
    let mut client = Client::of(&peer);
    client.says("set k v\r\n", "+OK\r\n");
    peer.stop();
    assert_eq!(client.rest(), "");
}

#[test]
fn the_redis_crate_works() {
    let peer = FakePeer::start();
    for protocol in ["", "?protocol=resp3"] {
        let client = redis::Client::open(format!("redis://{}/{protocol}", peer.address)).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut ask = |words: &[&str]| {
            let mut command = redis::cmd(words[0]);
            words[1..].iter().for_each(|word| {
                command.arg(*word);
            });
            command.query::<redis::Value>(&mut connection).unwrap()
        };
        ask(&["SET", "greeting", "hello"]);
        assert_eq!(ask(&["GET", "greeting"]), redis::Value::BulkString(b"hello".to_vec()));
        ask(&["HSET", "user:1", "name", "ada", "born", "1815"]);
        let all: BTreeMap<String, String> =
            redis::cmd("HGETALL").arg("user:1").query(&mut connection).unwrap();
        assert_eq!(all["name"], "ada");
        let (a, b): (Option<String>, i64) = redis::pipe()
            .cmd("GET")
            .arg("greeting")
            .cmd("INCRBY")
            .arg("visits")
            .arg(0)
            .query(&mut connection)
            .unwrap();
        assert_eq!((a.as_deref(), b), (Some("hello"), 0));
        let error = redis::cmd("MULTI").query::<redis::Value>(&mut connection).unwrap_err();
        assert!(error.to_string().contains("isolation"), "{error}");
    }
}

/// The output of `redis-cli`, where it is installed.
fn redis_cli(peer: &FakePeer, args: &[&str]) -> Option<String> {
    let mut command = std::process::Command::new("redis-cli");
    command.args(["-p", &peer.address.port().to_string()]).args(args);
    match command.output() {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(_) => {
            eprintln!("redis-cli is not installed; this test has checked nothing");
            None
        }
    }
}

#[test]
fn redis_cli_works() {
    let peer = FakePeer::start();
    let Some(set) = redis_cli(&peer, &["set", "greeting", "hello"]) else { return };
    assert_eq!(set, "OK\n");
    assert_eq!(redis_cli(&peer, &["get", "greeting"]).unwrap(), "hello\n");
    assert_eq!(redis_cli(&peer, &["-3", "--no-raw", "get", "greeting"]).unwrap(), "\"hello\"\n");
    assert!(redis_cli(&peer, &["multi"]).unwrap().starts_with("NOTSUPPORTED MULTI"));
    assert!(redis_cli(&peer, &["-3", "help", "get"]).is_some());
    assert!(redis_cli(&peer, &["-3", "status"]).unwrap().contains("4 of 5 alive"));
    assert_eq!(redis_cli(&peer, &["--scan"]).unwrap(), "greeting\n");
}

#[test]
fn nothing_is_done_before_the_password() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "correct horse\n").unwrap();
    let password = Password::load(file.path()).unwrap();
    let peer = FakePeer::start_as(10, move |facts, requests| {
        PeerHandle::new(facts, requests, None).with_password(Some(password))
    });
    let mut client = Client::of(&peer);
    let denied = "-NOAUTH Authentication required.\r\n";
    for command in
        ["GET k", "SET k v", "STATUS", "PING", "INVITE", "WITH 1 1 GET k", "CONFIG GET *", "CLIENT LIST"]
    {
        client.says(&format!("{command}\r\n"), denied);
    }
    assert!(matches!(client.call("HELLO 3"), Frame::Error(line) if line.starts_with("NOAUTH HELLO")));
    client.says("AUTH wrong\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    client.says("GET k\r\n", denied);
    // In one packet, as clients that pipeline do.
    let said = "*2\r\n$4\r\nAUTH\r\n$13\r\ncorrect horse\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    client.says(said, "+OK\r\n+OK\r\n");
    client.says("RESET\r\n", "+RESET\r\n");
    client.says("GET k\r\n", denied);

    let mut other = Client::of(&peer);
    other.send(&["HELLO", "3", "AUTH", "default", "correct horse", "SETNAME", "me"]);
    assert!(matches!(other.reply(), Frame::Map(_)));
    other.says("GET k\r\n", "$1\r\nv\r\n");

    let mut guesser = Client::of(&peer);
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    guesser.says("AUTH other wrong\r\n", wrong);
    guesser.send(&["AUTH", "other", "correct horse"]);
    assert!(matches!(guesser.reply(), Frame::Error(_)), "there is one user");
    guesser.says("AUTH wrong\r\n", wrong);
    assert_eq!(guesser.0.read(&mut [0; 1]).unwrap(), 0, "after three it is let go");
}

/// A founder's admission, and a peer before which it stands.
fn guarded_peer(password: Option<&'static str>) -> (tempfile::TempDir, Arc<Admission>, FakePeer) {
    let home = tempfile::tempdir().unwrap();
    let directory = Directory::open(home.path()).unwrap();
    let (keys, wishes) = (Keys::generate(), Wishes { name: "home".into(), partitions: 8, n: 1, r: 1, w: 1 });
    let genesis = network::found(&directory, &keys, wishes).unwrap();
    let admission = Arc::new(Admission::open(home.path(), keys, genesis).unwrap());
    let shared = admission.clone();
    let peer = FakePeer::start_as(10, move |facts, requests| {
        let password = password.map(|text| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            Password::load(file.path()).unwrap()
        });
        PeerHandle::new(facts, requests, None).with_admission(shared).with_password(password)
    });
    (home, admission, peer)
}

fn scope(prefix: &str, read: bool, write: bool) -> Scope {
    Scope { prefix: bytes(prefix), read, write }
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_token_opens_its_keys_and_no_others() {
    let (_home, admission, peer) = guarded_peer(Some("correct horse"));
    let mut all = Client::of(&peer);
    all.send(&["AUTH", "correct horse"]);
    assert_eq!(all.reply(), Frame::ok());
    all.says("MSET app/a 1 app/b 2 other 3\r\n", "+OK\r\n");

    let token = admission.give_token(scope("app/", true, true), HOUR).unwrap().text();
    for login in
        [format!("AUTH {token}"), format!("AUTH token {token}"), format!("HELLO 2 AUTH default {token}")]
    {
        let mut client = Client::of(&peer);
        assert!(!matches!(client.call(&login), Frame::Error(_)), "{login}");
        client.says("GET app/a\r\nMGET app/a app/b\r\n", "$1\r\n1\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    }
    let mut client = Client::of(&peer);
    assert_eq!(client.call(&format!("AUTH {token}")), Frame::ok());
    for line in [
        "GET other",
        "SET other 4",
        "MGET app/a other",
        "MSET app/a 9 other 9",
        "DEL app/a other",
        "WITH 1 1 GET other",
        "EXPLAIN GET other",
        "EXPLAIN JSON DEL other",
        "SIBLINGS other",
        "WHERE other",
        "STATUS",
        "INVITE",
        "REVOKE p1",
        "LEAVE",
        "FORGET p2",
        "CONFIG GET *",
        "TOKEN CREATE PREFIX app/",
        "TOKENS",
        "FAULT SHOW",
        "WITH 1 1 LEAVE",
    ] {
        let error = client.error(line);
        assert!(error.starts_with("NOPERM "), "{line}: {error}");
    }
    all.says("MGET app/a other\r\n", "*2\r\n$1\r\n1\r\n$1\r\n3\r\n");
    assert_eq!(client.text("ACL WHOAMI"), "token");
    assert!(client.text("CLIENT LIST").contains(" user=token "));
    assert!(client.text("INFO keyspace").contains("keys=2,"), "its own");
    // What goes through all keys shows only its own.
    client.says("SCAN 0 COUNT 1000\r\n", "*2\r\n$1\r\n0\r\n*2\r\n$5\r\napp/a\r\n$5\r\napp/b\r\n");
    client.says("SCAN 0 COUNT 1000 MATCH o*\r\nDBSIZE\r\n", "*2\r\n$1\r\n0\r\n*0\r\n:2\r\n");
    assert_eq!(client.text("CLIENT LIST").lines().count(), 1, "it does not see who else is there");
    // A pipeline is checked one by one.
    client.0.write_all(b"GET app/a\r\nGET other\r\nGET app/b\r\n").unwrap();
    client.says("", "$1\r\n1\r\n-NOPERM key 'other' is not yours; this token is for keys that begin with 'app/'\r\n$1\r\n2\r\n");
    client.says("RESET\r\nGET app/a\r\n", "+RESET\r\n-NOAUTH Authentication required.\r\n");
}

#[test]
fn a_token_allows_only_its_verbs() {
    let (_home, admission, peer) = guarded_peer(None);
    let [reader, writer] = [(true, false), (false, true)].map(|(read, write)| {
        let token = admission.give_token(scope("", read, write), HOUR).unwrap().text();
        let mut client = Client::of(&peer);
        assert_eq!(client.call(&format!("AUTH token {token}")), Frame::ok());
        client
    });
    let (mut reader, mut writer) = (reader, writer);
    assert!(reader.error("SET k v").contains("SET writes; this token allows reading only"));
    assert_eq!(writer.call("SET k v"), Frame::ok());
    assert_eq!(reader.call("GET k"), Frame::bulk("v"));
    for line in ["GET k", "SCAN 0", "DBSIZE", "EXPLAIN GET k"] {
        assert!(writer.error(line).contains("this token allows writing only"), "{line}");
    }
}

#[test]
fn a_token_that_was_revoked_or_has_expired_ends_also_where_it_is_in_use() {
    let (_home, admission, peer) = guarded_peer(Some("correct horse"));
    let mut all = Client::of(&peer);
    all.send(&["AUTH", "correct horse"]);
    assert_eq!(all.reply(), Frame::ok());
    let made = all.text("TOKEN CREATE PREFIX app/ ALLOW read,write JSON");
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let (token, id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    let mut client = Client::of(&peer);
    assert_eq!(client.call(&format!("AUTH {token}")), Frame::ok());
    assert_eq!(client.call("SET app/a 1"), Frame::ok());
    assert!(all.text("TOKENS").contains("open"));
    assert_eq!(all.call(&format!("TOKEN REVOKE {id}")), Frame::ok());
    // Nobody has asked: it is told all the same, and its place is free.
    assert_eq!(client.rest(), "-NOAUTH the token was revoked; connect again with another\r\n");
    let mut client = Client::of(&peer);
    assert_eq!(client.error(&format!("AUTH {token}")), "WRONGPASS the token was revoked");
    assert!(all.text("TOKENS").contains("revoked"));
    assert!(all.error("TOKEN REVOKE 00").contains("TOKENS lists them"));

    let short = admission.give_token(scope("", true, false), Duration::from_millis(300)).unwrap().text();
    let mut client = Client::of(&peer);
    assert_eq!(client.call(&format!("AUTH {short}")), Frame::ok());
    assert_eq!(client.rest(), "-NOAUTH the token has expired; connect again with another\r\n");
    let mut client = Client::of(&peer);
    assert_eq!(client.error(&format!("AUTH {short}")), "WRONGPASS the token has expired");
    // By the token itself, as one does who finds it somewhere.
    let found = admission.give_token(scope("", true, false), HOUR).unwrap().text();
    assert_eq!(all.call(&format!("TOKEN REVOKE {found}")), Frame::ok());
    assert_eq!(client.error(&format!("AUTH {found}")), "WRONGPASS the token was revoked");
}

#[test]
fn what_is_no_good_token_lets_nobody_in_and_three_of_them_end_the_connection() {
    let (_home, admission, peer) = guarded_peer(Some("correct horse"));
    let (_other_home, other, _other_peer) = guarded_peer(None);
    let good = admission.give_token(scope("", true, false), HOUR).unwrap().text();
    let mut client = Client::of(&peer);
    let wrong = if good.ends_with('a') { 'b' } else { 'a' };
    let mistyped = format!("{}{wrong}", &good[..good.len() - 1]);
    assert!(client.error(&format!("AUTH {mistyped}")).starts_with("WRONGPASS "));
    let foreign = other.give_token(scope("", true, true), HOUR).unwrap().text();
    assert_eq!(client.error(&format!("AUTH {foreign}")), "WRONGPASS the token is of another network");
    assert!(client.error(&format!("AUTH somebody {good}")).starts_with("WRONGPASS "));
    assert_eq!(client.0.read(&mut [0; 1]).unwrap(), 0, "after three it is let go");
}

#[test]
fn a_token_that_ends_under_a_pipeline_is_told_in_its_place_and_ends_the_connection() {
    let (_home, admission, peer) = guarded_peer(Some("correct horse"));
    let given = admission.give_token(scope("", true, true), HOUR).unwrap();
    let mut client = Client::of(&peer);
    assert_eq!(client.call(&format!("AUTH {}", given.text())), Frame::ok());
    admission.revoke_token(&given).unwrap();
    // It may come before the peer has looked, or after: what is read is the same.
    let _ = client.0.write_all(&b"GET k\r\n".repeat(100));
    assert_eq!(client.rest(), "-NOAUTH the token was revoked; connect again with another\r\n");
}

#[test]
fn clients_that_do_not_log_in_crowd_out_one_another_and_nobody_else() {
    let (_home, admission, _) = guarded_peer(None);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "correct horse\n").unwrap();
    let password = Password::load(file.path()).unwrap();
    let port = Port { pending: 2, ..Port::default() };
    let peer = FakePeer::start_at(port, move |facts, requests| {
        PeerHandle::new(facts, requests, None).with_admission(admission).with_password(Some(password))
    });
    let mut honest = Client::of(&peer);
    honest.send(&["AUTH", "correct horse"]);
    assert_eq!(honest.reply(), Frame::ok());
    let mut oldest = Client::of(&peer);
    oldest.says("GET k\r\n", "-NOAUTH Authentication required.\r\n");
    let mut logged_out = Client::of(&peer);
    logged_out.send(&["AUTH", "correct horse"]);
    assert_eq!(logged_out.reply(), Frame::ok());
    logged_out.says("RESET\r\n", "+RESET\r\n");
    // Half a command, and one that is larger than any login.
    let mut half = Client::of(&peer);
    half.0.write_all(b"*2\r\n$4\r\nAUTH\r\n$5\r\nco").unwrap();
    let mut large = Client::of(&peer);
    large.0.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n").unwrap();
    assert!(large.rest().starts_with("-ERR Protocol error: invalid bulk length"));
    let newest: Vec<_> = (0..3).map(|_| Client::of(&peer)).collect();
    let rest = [oldest, logged_out, half].map(|mut client| client.rest());
    assert_eq!(rest, [""; 3], "they were let go");
    assert_eq!(honest.call("SET k v"), Frame::ok());
    drop(newest);
}

/// Those that take no replies crowd out one another as well.
#[test]
fn clients_that_do_not_log_in_and_do_not_read_keep_nobody_out() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "correct horse\n").unwrap();
    let password = Password::load(file.path()).unwrap();
    let port = Port { clients: 8, pending: 2, ..Port::default() };
    let peer = FakePeer::start_at(port, move |facts, requests| {
        PeerHandle::new(facts, requests, None).with_password(Some(password))
    });
    let lines = b"a\r\n".repeat(20_000);
    let deaf: Vec<_> = (0..8)
        .map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_recv_buffer_size(1).unwrap();
            client.connect(&peer.address.into()).unwrap();
            let mut client = TcpStream::from(client);
            client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            // Until the peer reads no more of it, or has let it go.
            while client.write_all(&lines).is_ok() {}
            client
        })
        .collect();
    let mut honest = Client::of(&peer);
    honest.send(&["AUTH", "correct horse"]);
    assert_eq!(honest.reply(), Frame::ok());
    drop(deaf);
}

/// A certificate for `localhost` that nobody else has signed, and its key, in files.
fn certificate(home: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (home.join("cert.pem"), home.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.key_pair.serialize_pem()).unwrap();
    (certificate, key)
}

/// Many clients send all of a command before they read anything.
#[test]
fn a_value_that_is_too_long_is_answered_although_all_of_it_is_sent() {
    let peer = FakePeer::start();
    let mut stream = TcpStream::connect(peer.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut sent = Vec::new();
    encode_command(&["SET", "k", &"x".repeat(9 * 1024 * 1024)], &mut sent);
    stream.write_all(&sent).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("-ERR Protocol error: "), "{answer}");
}

#[test]
fn clients_are_listed_by_what_was_asked_for() {
    let peer = FakePeer::start();
    let (mut first, mut second) = (Client::of(&peer), Client::of(&peer));
    let (Frame::Int(one), Frame::Int(two)) = (first.call("client id"), second.call("client id")) else {
        panic!()
    };
    let mut listed = |filter: &str| {
        let ids = first.text(&format!("client list{filter}"));
        ids.lines().map(|line| line.split([' ', '=']).nth(1).unwrap().parse().unwrap()).collect::<Vec<i64>>()
    };
    assert_eq!(listed(""), [one, two]);
    assert_eq!(second.call("set k v"), Frame::ok());
    let line = second.text(&format!("client list id {two}"));
    assert!(line.contains(" idle=0 ") && line.contains(" cmd=client user=default "), "{line}");
    assert!(first.text(&format!("client list id {two}")).contains(" cmd=client "));
    assert_eq!(second.call("set k v"), Frame::ok());
    assert!(first.text(&format!("client list id {two}")).contains(" cmd=set "));
    let mut listed = |filter: &str| {
        let ids = first.text(&format!("client list{filter}"));
        ids.lines().map(|line| line.split([' ', '=']).nth(1).unwrap().parse().unwrap()).collect::<Vec<i64>>()
    };
    assert_eq!(listed(" type normal"), [one, two]);
    assert!(listed(" TYPE pubsub").is_empty());
    assert_eq!(listed(&format!(" id {two} 999")), [two]);
    assert_eq!(listed(&format!(" ID {two} {one}")), [one, two]);
    for (filter, line) in [
        ("id", "ERR syntax error"),
        ("type", "ERR syntax error"),
        ("type normal x", "ERR syntax error"),
        ("nonsense 1", "ERR syntax error"),
        ("type nonsense", "ERR Unknown client type 'nonsense'"),
        ("id x", "ERR Invalid client ID"),
    ] {
        assert_eq!(first.error(&format!("client list {filter}")), line);
    }
}

/// A pipeline that asks for more than the port may hold, and does not read: what fits is answered, what does not is
/// refused, and all of it is there again once it was read.
#[test]
fn replies_that_nobody_takes_are_bounded_for_all_clients_together() {
    const VALUE: usize = 8 * 1024 * 1024;
    let port = Port { unfinished: 64 * 1024 * 1024, ..Port::default() };
    let peer = FakePeer::start_at(port, |facts, requests| PeerHandle::new(facts, requests, None));
    let (mut greedy, mut other) = (Client::of(&peer), Client::of(&peer));
    greedy.send(&["SET", "large", &"x".repeat(VALUE)]);
    greedy.says("", "+OK\r\n");
    let value = format!("${VALUE}\r\n{}\r\n", "x".repeat(VALUE));
    // The first is on its way once all of the pipeline was asked for.
    greedy.says(&"GET large\r\n".repeat(48), &value[..16]);
    assert!(other.error("get large").starts_with("BUSY this peer holds as much as it may"));
    other.says("SET small v\r\nGET small\r\n", "+OK\r\n$1\r\nv\r\n");
    greedy.says("", &value[16..]);
    greedy.0.write_all(b"PING\r\nQUIT\r\n").unwrap();
    let rest = greedy.rest();
    let (answered, refused) = (rest.matches(&value).count() + 1, rest.matches("-BUSY ").count());
    assert_eq!((answered, refused), (8, 40), "as much as fits");
    assert!(rest.ends_with("+PONG\r\n+OK\r\n"), "in order");
    other.says("GET large\r\n", &value);
}

/// A megabyte each, of a set of one member.
#[test]
fn what_is_drawn_again_and_again_is_counted_as_often() {
    let port = Port { unfinished: 4 * 1024 * 1024, ..Port::default() };
    let peer = FakePeer::start_at(port, |facts, requests| PeerHandle::new(facts, requests, None));
    let mut client = Client::of(&peer);
    client.says(&format!("SADD s {}\r\n", "x".repeat(1_024)), ":1\r\n");
    client.0.write_all("SRANDMEMBER s -1000\r\n".repeat(64).as_bytes()).unwrap();
    client.0.write_all(b"QUIT\r\n").unwrap();
    let rest = client.rest();
    let (answered, refused) = (rest.matches("*1000\r\n").count(), rest.matches("-BUSY ").count());
    assert_eq!(answered + refused, 64);
    assert!((1..=8).contains(&answered), "{answered}");
}

#[test]
fn over_tls_everything_is_as_without() {
    let home = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(home.path());
    let tls = Some(Tls::open(&certificate, &key).unwrap());
    let peer = FakePeer::start_at(Port { tls, ..Port::default() }, |facts, requests| {
        PeerHandle::new(facts, requests, None)
    });
    let connect = |host: &str, trust: Trust| {
        let stream = TcpStream::connect(peer.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        tls::connect(stream, host, &trust).unwrap()
    };
    // Its very certificate is believed under any name.
    for host in ["localhost", "127.0.0.1"] {
        let mut client = connect(host, Trust::File(certificate.clone()));
        let large = "x".repeat(1_000_000);
        let mut sent = Vec::new();
        encode_command(&["SET", "k", &large], &mut sent);
        (0..20).for_each(|_| encode_command(&["GET", "k"], &mut sent));
        client.write_all(&sent).unwrap();
        let expected = format!("+OK\r\n{}", format!("$1000000\r\n{large}\r\n").repeat(20));
        let mut answer = vec![0; expected.len()];
        client.read_exact(&mut answer).unwrap();
        assert!(answer == expected.as_bytes(), "the replies are whole and in order");
    }
    // More than the system holds, sent whole before the first reply is taken.
    let mut client = connect("localhost", Trust::File(certificate.clone()));
    let (mut sent, word) = (Vec::new(), "x".repeat(20_000));
    (0..1_500).for_each(|_| encode_command(&["PING", &word], &mut sent));
    client.write_all(&sent).unwrap();
    let expected = format!("$20000\r\n{word}\r\n").repeat(1_500);
    let mut answer = vec![0; expected.len()];
    client.read_exact(&mut answer).unwrap();
    assert!(answer == expected.as_bytes(), "the replies are whole and in order");
    let other = tempfile::tempdir().unwrap();
    let (foreign, _) = self::certificate(other.path());
    let mut wary = connect("localhost", Trust::File(foreign));
    assert!(wary.write_all(b"PING\r\n").is_err(), "another's certificate is not believed");
    // One who does not speak TLS is let go.
    let mut plain = Client::of(&peer);
    plain.0.write_all(b"PING\r\n").unwrap();
    assert!(!plain.rest().contains("PONG"));
}
