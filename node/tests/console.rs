//! The console and the one-shot commands, as a process with pipes.

mod common;

use common::{FakePeer, bytes};
use starling_crdt::Command as Data;
use starling_node::directory::Directory;
use starling_node::password::Password;
use starling_node::peer_handle::PeerHandle;
use starling_protocol::request::FailureKind;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

fn starling(peer: &FakePeer) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command.env("STARLING_CONNECT", peer.address.to_string()).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

struct Said {
    out: String,
    err: String,
    code: i32,
}

fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { out: text(output.stdout), err: text(output.stderr), code: output.status.code().unwrap() }
}

/// One command: `starling get k`.
fn once(peer: &FakePeer, args: &[&str]) -> Said {
    said(starling(peer).args(args).output().unwrap())
}

/// Lines piped into the console.
fn piped(peer: &FakePeer, args: &[&str], lines: &str) -> Said {
    let mut console = starling(peer);
    let mut console = console.arg("console").args(args);
    console = console.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = console.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    said(child.wait_with_output().unwrap())
}

#[test]
fn piped_commands_give_a_reply_a_line_and_nothing_else() {
    let peer = FakePeer::start();
    let said = piped(
        &peer,
        &[],
        "set greeting hello\nget greeting\n\n# a comment\nget nothing\n3 incr visits\nsadd team ada\nsmembers team\n\
         set k \"a b\"\nget k\nhset h f 1\nhgetall h\n:json on\nhgetall h\nget nothing",
    );
    assert_eq!(said.out, "OK\nhello\n\n1\n2\n3\n1\nada\nOK\na b\n1\nf\n1\n{\"f\":\"1\"}\nnull\n");
    assert_eq!((said.err.as_str(), said.code), ("", 0));
}

#[test]
fn the_exit_code_is_that_of_the_first_failure_and_errors_are_words_on_stderr() {
    let peer = FakePeer::start();
    let said = piped(&peer, &[], "smember team\nset k v\nget \"k\nget k\n");
    assert_eq!((said.out.as_str(), said.code), ("OK\nv\n", 2));
    assert!(
        said.err.contains("did you mean 'smembers'") && said.err.contains("a quote is opened"),
        "{}",
        said.err
    );
    let said = piped(&peer, &[], "sadd s x\nincr s\nmulti\n");
    assert_eq!(said.code, 1, "{}", said.err);
    peer.fail(Some(FailureKind::Quorum));
    let said = piped(&peer, &[], "set k v\n");
    assert_eq!((said.out.as_str(), said.code), ("", 4));
    assert!(said.err.contains("1 of the 2 copies required"), "{}", said.err);
    let said = once(&peer, &["set", "k", "v", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((error["error"]["code"].as_str(), said.code), (Some("QUORUM"), 4), "{}", said.out);
    assert!(error["error"]["text"].as_str().unwrap().contains("1 of the 2 copies required"), "{}", said.out);
    peer.fail(Some(FailureKind::Timeout));
    assert_eq!(once(&peer, &["set", "k", "v"]).code, 7);
}

#[test]
fn commands_come_from_flags_and_files_too() {
    let peer = FakePeer::start();
    let said = once(&peer, &["console", "-c", "set k v", "-c", "get k --r 1"]);
    assert_eq!((said.out.as_str(), said.code), ("OK\nv\n", 0));
    assert_eq!(peer.asked(), (Some(1), None));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "get k\nquit\nget k\n").unwrap();
    let said = once(&peer, &["console", "-f", file.path().to_str().unwrap()]);
    assert_eq!((said.out.as_str(), said.code), ("v\n", 0));
    assert_eq!(once(&peer, &["console", "-f", "/nowhere/at/all"]).code, 1);
}

#[test]
fn every_data_command_is_a_command_of_its_own() {
    let peer = FakePeer::start();
    assert_eq!(once(&peer, &["set", "k", "v", "--w", "3"]).out, "OK\n");
    assert_eq!(peer.asked(), (None, Some(3)));
    assert_eq!(once(&peer, &["get", "k"]).out, "v\n");
    let nothing = once(&peer, &["get", "nothing"]);
    assert_eq!((nothing.out.as_str(), nothing.err.as_str(), nothing.code), ("", "", 3));
    let nothing = once(&peer, &["get", "nothing", "--json"]);
    assert_eq!((nothing.out.as_str(), nothing.code), ("null\n", 3));
    once(&peer, &["set", "empty", ""]);
    let empty = once(&peer, &["get", "empty"]);
    assert_eq!((empty.out.as_str(), empty.code), ("\n", 0));
    for words in [["smembers", "nothing"], ["hgetall", "nothing"], ["hkeys", "nothing"]] {
        let nothing = once(&peer, &words);
        assert_eq!((nothing.out.as_str(), nothing.code), ("", 0), "{words:?}: a line would be a member");
    }
    assert_eq!(once(&peer, &["set", "k", "--", "--json"]).out, "OK\n");
    assert_eq!(once(&peer, &["get", "k", "--json"]).out, "\"--json\"\n");
    let address = peer.address.to_string();
    assert_eq!(once(&peer, &["strlen", "k", "--connect", &address]).out, "6\n");
    assert_eq!(once(&peer, &["strlen", "--connect", &address, "k"]).out, "6\n");
    let unknown = once(&peer, &["gte", "k"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("did you mean 'get'"), "{}", unknown.err);
    assert!(once(&peer, &["jion"]).err.contains("did you mean 'join'"));
    let early = once(&peer, &["--connect", "7401", "get", "k"]);
    assert!(early.err.contains("flags follow the command"), "{}", early.err);
    assert!(once(&peer, &["mset", "--help"]).out.contains("not atomic"));
    assert!(once(&peer, &["help"]).out.contains("smembers"));
    assert!(once(&peer, &["help", "set"]).out.contains("usage    SET key value"));
    assert!(once(&peer, &["help", "join"]).out.contains("Usage: starling join"));
    assert!(once(&peer, &["help", "token", "create"]).out.contains("--prefix"), "not that of TOKEN");
    assert_eq!(once(&peer, &["config", "get", "databases"]).out, "databases\n1\n");
    assert_eq!(once(&peer, &["set", "k", "v", "--w", "9"]).code, 2);
}

#[test]
fn the_last_argument_may_come_from_standard_input() {
    let peer = FakePeer::start();
    let given = |args: &[&str], input: Vec<u8>| {
        let mut command = starling(&peer);
        let command = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It reads no more than it may have.
        let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        said(output)
    };
    assert_eq!(given(&["set", "-x", "k"], b"a\xff\n".into()).out, "OK\n");
    assert_eq!(once(&peer, &["get", "k", "--json"]).out, "{\"hex\":\"61ff0a\"}\n");
    assert_eq!(given(&["set", "-x", "--w", "1", "--", "--k"], b"--json".into()).out, "OK\n");
    assert_eq!(once(&peer, &["get", "--", "--k"]).out, "--json\n");
    let much = given(&["set", "-x", "k"], vec![b'x'; starling_crdt::cell::VALUE_MAX + 1]);
    assert!(much.code == 2 && much.err.contains("has more than 8388608 bytes"), "{}", much.err);
    let wrong = given(&["get", "-x", "k", "k"], vec![b'x'; starling_crdt::cell::VALUE_MAX + 1]);
    assert!(wrong.err.contains("wrong number of arguments"), "before it is read: {}", wrong.err);
    for word in ["-x", "-h"] {
        assert_eq!(given(&["set", "k", word], b"unread".into()).out, "OK\n");
        assert_eq!(once(&peer, &["get", "k"]).out, format!("{word}\n"));
    }
}

#[test]
fn what_counts_for_a_connection_is_no_command_of_its_own() {
    let peer = FakePeer::start();
    for args in
        [&["quorum", "1", "1"][..], &["QUORUM", "default"], &["select", "0"], &["reset"], &["auth", "x"]]
    {
        let said = once(&peer, args);
        assert_eq!((said.out.as_str(), said.code), ("", 2), "{args:?}");
        assert!(said.err.contains("counts for one connection"), "{}", said.err);
    }
    assert_eq!(once(&peer, &["quorum"]).code, 0, "it tells what the network has");
    assert_eq!(piped(&peer, &[], "quorum 1 1\n").out, "OK\n");
}

#[test]
fn the_console_takes_flags_as_the_shell_does() {
    let peer = FakePeer::start();
    let said = piped(&peer, &[], "leave --help\nset k \"x\"y\n");
    assert!(said.out.contains("usage    LEAVE"), "{}", said.out);
    assert!(said.err.contains("a space must follow"), "{}", said.err);
    // It is understood, and refused by a peer without a network.
    let said = piped(&peer, &[], "invite --ttl 5m\n");
    assert!(said.err.contains("lets nobody in"), "{}", said.err);
}

#[test]
fn the_password_is_told_by_auth_or_by_its_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"correct horse\n").unwrap();
    let password = Password::load(file.path()).unwrap();
    let peer = FakePeer::start_as(10, move |facts, requests| {
        PeerHandle::new(facts, requests, None).with_password(Some(password))
    });
    let said = piped(&peer, &[], "set k v\n");
    assert!(said.err.contains("--password-file FILE") && said.err.contains("auth PASSWORD"), "{}", said.err);
    // What was said stays when the connection is made again.
    let said = piped(&peer, &[], "auth \"correct horse\"\nset k v\nhello 2\nget k\n");
    assert!(said.out.starts_with("OK\nOK\n") && said.out.ends_with("\nv\n"), "{}{}", said.out, said.err);
    assert!(piped(&peer, &[], "auth \"wrong horse\"\n").err.contains("the password is wrong"));
    let path = file.path().to_str().unwrap();
    assert_eq!(piped(&peer, &["--password-file", path], "get k\n").out, "v\n");
    assert_eq!(once(&peer, &["get", "k", "--password-file", path]).out, "v\n");
    let mut by_variable = starling(&peer);
    let said = said_of(by_variable.args(["get", "k"]).env("STARLING_PASSWORD_FILE", path));
    assert_eq!(said.out, "v\n");
}

fn said_of(command: &mut Command) -> Said {
    said(command.output().unwrap())
}

#[test]
fn a_directory_says_where_its_peer_is() {
    let peer = FakePeer::start();
    once(&peer, &["set", "k", "v"]);
    let home = tempfile::tempdir().unwrap();
    let _runs = Directory::open(home.path()).unwrap();
    std::fs::write(home.path().join("peer.json"), format!("{{\"resp\":\"{}\"}}", peer.address)).unwrap();
    let dir = home.path().to_str().unwrap();
    for args in [&["get", "k", "--dir", dir][..], &["console", "-c", "get k", "--dir", dir]] {
        let mut command = starling(&peer);
        let said = said_of(command.env_remove("STARLING_CONNECT").args(args));
        assert_eq!(said.out, "v\n", "{}", said.err);
    }
    let mut command = starling(&peer);
    assert!(said_of(command.args(["status", "--help"])).out.contains("STARLING_DIR"));
    let mut command = starling(&peer);
    assert!(said_of(command.args(["up", "--help"])).out.contains("STARLING_DIR"));
}

/// Somebody else may have its port by now.
#[test]
fn what_a_peer_that_was_killed_has_left_behind_tells_nobody_its_password() {
    let (home, thief) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (password, at) = (home.path().join("password"), thief.local_addr().unwrap());
    std::fs::write(&password, "correct horse\n").unwrap();
    drop(Directory::open(home.path()).unwrap());
    let ready = format!("{{\"resp\":\"{at}\",\"password_file\":\"{}\"}}", password.display());
    std::fs::write(home.path().join("peer.json"), &ready).unwrap();
    let heard = std::thread::spawn(move || {
        let (mut client, mut heard) = (thief.accept().unwrap().0, [0; 1024]);
        let read = client.read(&mut heard).unwrap();
        String::from_utf8_lossy(&heard[..read]).into_owned()
    });
    let dir = home.path().to_str().unwrap();
    let starling = || Command::new(env!("CARGO_BIN_EXE_starling"));
    let words = said_of(starling().args(["get", "k", "--dir", dir])).err;
    assert!(words.contains("no peer runs in"), "{words}");
    let words = said_of(starling().args(["get", "k"]).env("STARLING_DIR", dir)).err;
    assert!(words.contains("no peer runs in"), "{words}");
    said_of(starling().env("STARLING_DIR", dir).args(["get", "k", "--connect", &at.to_string()]));
    let heard = heard.join().unwrap();
    assert!(heard.contains("HELLO") && !heard.contains("AUTH"), "{heard:?}");
    // The next peer there begins without it.
    let _runs = Directory::open(home.path()).unwrap();
    assert!(said_of(starling().args(["get", "k", "--dir", dir])).err.contains("no peer runs in"));
}

#[test]
fn a_flag_is_no_data_wherever_it_stands() {
    let peer = FakePeer::start();
    once(&peer, &["mset", "d1", "1", "prod", "2"]);
    assert!(once(&peer, &["del", "--help"]).out.contains("usage    DEL key"));
    for (args, what) in [
        (&["del", "d1", "--help"][..], "--help stands alone: del --help"),
        (&["del", "prod", "--conect", "db.lan:7379"], "del knows no flag --conect; did you mean --connect?"),
        (&["mset", "x", "1", "--w", "1", "y", "2"], "--w stands among what mset is about"),
        (
            &["hset", "user:1", "name", "bob", "--jsno", "x"],
            "hset knows no flag --jsno; did you mean --json?",
        ),
        (&["get", "k", "-p", "7401"], "GET key\n  hint  there are these flags: --r --w --connect"),
        (&["set", "k", "v", "--w"], "--w lacks its value"),
        (&["set", "k", "v", "--w", "0"], "--w takes a number of copies"),
        (&["ping", "--w", "1"], "ping asks for no copies"),
    ] {
        let said = once(&peer, args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        assert!(said.err.contains(what), "{args:?}: {}", said.err);
    }
    assert_eq!(once(&peer, &["dbsize"]).out, "2\n");
    assert_eq!(once(&peer, &["sadd", "--w", "3", "--", "--w", "3"]).out, "1\n");
    assert_eq!(once(&peer, &["smembers", "--", "--w"]).out, "3\n");
    assert!(once(&peer, &["explain", "--json", "get", "k"]).out.starts_with('{'));
    assert!(once(&peer, &["get", "--help"]).out.contains("what comes after -- is data"));
}

/// What is to be kept may be anybody's words: where they stand among others they say nothing of where to connect.
#[test]
fn a_flag_among_the_data_leads_nowhere() {
    let (peer, elsewhere) = (FakePeer::start(), FakePeer::start());
    let at = elsewhere.address.to_string();
    let joined = format!("--connect={at}");
    for args in [
        &["sadd", "tags", &joined, "b"][..],
        &["sadd", "tags", "--connect", &at, "b"],
        &["sadd", "tags", &joined, "b", "--w", "2"],
        &["sadd", "tags", "--tls", "b"],
        &["set", "k", &joined],
        &["get", "k", "--token"],
    ] {
        let said = once(&peer, args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}: {}", said.err);
    }
    assert_eq!(once(&elsewhere, &["dbsize"]).out, "0\n");
    assert!(once(&peer, &["sadd", "tags", &joined, "b"]).err.contains("starling sadd -- .."));
    assert_eq!(once(&peer, &["sadd", "--", "tags", &joined, "b"]).out, "2\n");
    // Those of the connection and those of the command may be mixed.
    let mixed = ["sadd", "tags", "b", "--json", "--connect", "127.0.0.1:1", "--r", "1", &joined, "--w=2"];
    assert_eq!(once(&peer, &mixed).out, "1\n");
    assert_eq!(elsewhere.asked(), (Some(1), Some(2)));
    assert_eq!(once(&elsewhere, &["dbsize"]).out, "1\n");
}

/// As of `up`, `status` and all others: what is set to nothing, and what switches TLS off.
#[test]
fn the_environment_says_the_same_to_every_command() {
    let peer = FakePeer::start();
    let address = peer.address.to_string();
    for words in [&["get", "k"][..], &["status", "--json"], &["console", "-c", "get k"]] {
        for off in ["off", "OFF", "f", "n", "0", ""] {
            let mut command = starling(&peer);
            let said = said_of(command.args(words).env("STARLING_TLS", off));
            assert!(said.err.is_empty(), "{words:?} with {off:?}: {}", said.err);
        }
        let mut command = starling(&peer);
        command.env("STARLING_TOKEN", "").env("STARLING_TLS_CA", "").env("STARLING_CONNECT", "");
        let home = tempfile::tempdir().unwrap();
        let _runs = Directory::open(home.path()).unwrap();
        std::fs::write(home.path().join("peer.json"), format!("{{\"resp\":\"{address}\"}}")).unwrap();
        let said = said_of(command.args(words).env("STARLING_DIR", home.path()));
        assert!(said.err.is_empty(), "{words:?}: {}", said.err);
    }
    let refused = once(&peer, &["get", "k", "--connect="]);
    assert_eq!(refused.code, 2, "a flag is meant: {}", refused.err);
}

#[test]
fn status_where_and_explain_are_text_or_json() {
    let peer = FakePeer::start();
    assert!(once(&peer, &["status"]).out.contains("4 of 5 alive"));
    let status: serde_json::Value = serde_json::from_str(&once(&peer, &["status", "--json"]).out).unwrap();
    assert_eq!(status["members"].as_array().unwrap().len(), 5);
    assert!(once(&peer, &["where", "k"]).out.contains("p1, p2, p3"));
    let found: serde_json::Value = serde_json::from_str(&once(&peer, &["where", "k", "--json"]).out).unwrap();
    assert_eq!(found["owners"][2]["name"], "p3");
    assert!(once(&peer, &["explain", "get", "k"]).out.contains("verdict"));
    let json = |args: &[&str]| -> serde_json::Value { serde_json::from_str(&once(&peer, args).out).unwrap() };
    let found = json(&["info", "server", "clients", "--json"]);
    assert_eq!((&found["redis_mode"], &found["connected_clients"]), (&"standalone".into(), &"1".into()));
    let found = json(&["client", "list", "--json"]);
    assert_eq!((found.as_array().unwrap().len(), &found[0]["resp"]), (1, &"3".into()));
    assert_eq!(json(&["client", "info", "--json"])["lib-name"], "starling-console");
}

#[test]
fn who_asks_for_json_gets_it_whatever_fails() {
    let peer = FakePeer::start();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let cases: [(&[&str], &str, &str, i32); 16] = [
        (&["multi", "--json"], "NOTSUPPORTED", "MULTI", 2),
        (&["gte", "k", "--json"], "ERR", "did you mean 'get'", 2),
        (&["get", "--json"], "ERR", "wrong number of arguments", 2),
        (&["get", "k", "--json", "--connect", &nobody], "UNREACHABLE", "nothing listens there", 1),
        (&["get", "k", "--json", "--token", "abc"], "ERR", "begins with stk1", 2),
        (&["status", "--json", "--connect", &nobody], "UNREACHABLE", "nothing listens there", 1),
        (&["tokens", "--json", "--connect", &nobody], "UNREACHABLE", "nothing listens there", 1),
        (&["invite", "--json", "--connect", &nobody], "UNREACHABLE", "nothing listens there", 1),
        (&["invite", "revoke", "00", "--json", "--connect", &nobody], "UNREACHABLE", "nothing listens", 1),
        (&["token", "revoke", "00", "--json", "--connect", &nobody], "UNREACHABLE", "nothing listens", 1),
        (&["invite", "--json", "--uses", "99999999"], "ERR", "99999999", 2),
        (&["up", "--json", "--nonsense"], "ERR", "--nonsense", 2),
        (&["up", "--json", "--weight", "heavy"], "ERR", "heavy", 2),
        (&["join", "nonsense", "--json"], "ERR", "neither a ticket nor an address", 2),
        (&["doctor", "--json", "--config", "/nowhere"], "ERR", "/nowhere", 2),
        (&["config", "show", "--json", "--config", "/nowhere"], "ERR", "/nowhere", 2),
    ];
    for (args, code, text, exit) in cases {
        let said = once(&peer, args);
        let found: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_default();
        assert_eq!(
            (found["error"]["code"].as_str(), said.code),
            (Some(code), exit),
            "{args:?}: {}",
            said.out
        );
        let said_text = found["error"]["text"].as_str().unwrap();
        assert!(said_text.contains(text) && !said_text.contains("  "), "{args:?}: {}", said.out);
    }
    let said = once(&peer, &["config", "show", "--json", "--weight", "heavy"]);
    let shown: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert!(shown["error"]["text"].as_str().unwrap().contains("heavy") && said.code == 2);
    assert_eq!((&shown["weight"]["value"], &shown["clients"]["value"]), (&"heavy".into(), &10_000.into()));
    assert_eq!(once(&peer, &["gte", "--", "--json"]).out, "", "there it is data");
}

#[test]
fn with_json_on_the_console_asks_as_a_command_with_that_flag() {
    let peer = FakePeer::start();
    for command in ["status", "where k", "explain get k", "invites"] {
        let flag = piped(&peer, &[], &format!("{command} --json\n"));
        let on = piped(&peer, &[], &format!(":json on\n{command}\n"));
        let keys = |said: &Said| match serde_json::from_str(&said.out).unwrap() {
            serde_json::Value::Object(found) => found.keys().cloned().collect::<Vec<_>>(),
            other => panic!("{command}: {other}"),
        };
        assert_eq!(keys(&on), keys(&flag), "{command}");
    }
}

#[test]
fn another_port_a_refused_word_and_a_command_of_another_name_are_told_as_what_they_are() {
    let peer = FakePeer::start();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap().to_string();
    // As the port for other peers does with what it cannot read.
    let closing = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    });
    let said = once(&peer, &["get", "k", "--connect", &at]);
    closing.join().unwrap();
    assert!(said.err.contains("not as a client port") && said.err.contains("\"clients\""), "{}", said.err);
    let said = once(&peer, &["token", "create", "--prefix", "a", "--allow", "wirte"]);
    assert!(said.err.contains("not 'wirte'") && said.code == 2, "{}", said.err);
    let said = once(&peer, &["invite", "--uses", "1001"]);
    assert!(said.err.contains("1..=1000") && said.code == 2, "{}", said.err);
    for (list, named) in [("invite", "invites"), ("token", "tokens")] {
        assert_eq!(once(&peer, &[list, "list"]).err, once(&peer, &[named]).err);
    }
    let said = once(&peer, &["help", "get", "--json"]);
    assert!(said.out.contains("COMMAND DOCS") && said.code == 2, "{}", said.out);
}

#[test]
fn hidden_values_are_noted_on_stderr() {
    let peer = FakePeer::start();
    once(&peer, &["set", "greeting", "hola"]);
    peer.write_elsewhere("greeting", Data::Set { value: bytes("bonjour") });
    let said = once(&peer, &["get", "greeting"]);
    assert_eq!(said.out, "bonjour\n");
    assert_eq!(said.err, "note: 1 concurrent value hidden; siblings greeting lists it\n");
    assert_eq!(once(&peer, &["siblings", "greeting"]).out, "bonjour\nhola\n");
}

#[test]
fn what_a_connection_was_made_with_is_there_again_after_it_was_given_up() {
    let peer = FakePeer::start();
    once(&peer, &["set", "k", "hola"]);
    peer.write_elsewhere("k", Data::Set { value: bytes("bonjour") });
    for ended in ["reset", "RESET", "hello 2", "quorum 1 1\nhello 2"] {
        let said = piped(&peer, &[], &format!("{ended}\nhset h f 1\n:json on\nhgetall h\nget k\n"));
        assert!(said.out.ends_with("\n{\"f\":\"1\"}\n\"bonjour\"\n"), "{ended}: {}", said.out);
        assert!(said.err.contains("1 concurrent value hidden"), "{ended}: {}", said.err);
    }
    assert_eq!(peer.asked(), (Some(1), Some(1)), "the quorum stays after HELLO");
}

#[test]
fn a_peer_that_is_not_there_is_named_with_what_to_do() {
    let peer = FakePeer::start();
    let mut command = starling(&peer);
    peer.stop();
    let said = said(command.args(["console", "-c", "get k", "-c", "get k"]).output().unwrap());
    assert_eq!(said.code, 1);
    for expected in ["no peer can be reached at 127.0.0.1:", "nothing listens there", "starling up"] {
        assert!(said.err.contains(expected), "{expected} in {}", said.err);
    }
}

#[test]
fn a_peer_that_is_silent_is_told_as_such_before_it_is_given_up() {
    // The system takes connections, as for a process that is stopped.
    let stopped = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = stopped.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    let mut asking = command.args(["get", "k", "--connect", &at]).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(asking.stderr.take().unwrap()).read_line(&mut line).unwrap();
    asking.kill().unwrap();
    asking.wait().unwrap();
    assert_eq!(line, format!("the peer at {at} has not answered yet\n"));
}

#[test]
fn commands_go_to_other_peers_when_they_are_named() {
    let (here, there) = (FakePeer::start(), FakePeer::start());
    once(&there, &["set", "k", "there"]);
    let said = piped(&here, &[], &format!("@{} get k\n@p3 get k\nget k\n", there.address));
    assert_eq!(said.out, "there\n\n");
    assert!(said.err.contains("p3"), "{}", said.err);
    assert_eq!(said.code, 2);
}

/// A testnet as far as the console sees one: answers each line and tells what it was.
#[cfg(unix)]
#[test]
fn lines_with_a_colon_go_to_the_testnet() {
    let (peer, other) = (FakePeer::start(), FakePeer::start());
    once(&other, &["set", "k", "there"]);
    let directory = tempfile::tempdir().unwrap();
    let socket = std::os::unix::net::UnixListener::bind(directory.path().join("testnet.sock")).unwrap();
    let status = format!(r#"{{\"peers\":[{{\"name\":\"p3\",\"resp\":\"{}\"}}]}}"#, other.address);
    let answers = [
        (r#"["partition","p1","p2","|","p3"]"#, r#"{"ok":true,"text":"cut p1 p2 | p3"}"#.to_owned()),
        (r#"["nonsense"]"#, r#"{"ok":false,"text":"try kill"}"#.to_owned()),
        (r#"["status","--json"]"#, format!(r#"{{"ok":true,"text":"{status}"}}"#)),
    ];
    let serving = std::thread::spawn(move || {
        for (expected, answer) in answers {
            let (mut stream, _) = socket.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            assert_eq!(line.trim_end(), expected);
            stream.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
    });
    let directory = directory.path().to_str().unwrap();
    let said =
        piped(&peer, &["--testnet", directory], ":partition p1 p2 | p3\n:nonsense\n@p3 get k\n:time on\n");
    assert_eq!((said.out.as_str(), said.code), ("cut p1 p2 | p3\nthere\n", 1));
    assert!(said.err.contains("try kill"), "{}", said.err);
    serving.join().unwrap();
    assert!(piped(&peer, &[], ":kill p1\n").err.contains("the console knows no :kill"));
}

/// The disk is full, or the reader has gone: neither is told as done, or ends in a panic.
#[cfg(target_os = "linux")]
#[test]
fn output_that_nobody_takes_is_a_failure_unless_its_reader_has_gone() {
    let peer = FakePeer::start();
    once(&peer, &["set", "k", &"x".repeat(100_000)]);
    let commands: [&[&str]; 12] = [
        &["get", "k"],
        &["get", "k", "--json"],
        &["sadd", "k", "x", "--json"],
        &["get", "--help"],
        &["help"],
        &["status", "--help"],
        &["--version"],
        &["config", "show"],
        &["doctor", "--json"],
        &["console", "-c", "get k"],
        &["console", "-c", "help"],
        &["console", "-c", ":help"],
    ];
    for args in commands {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let said_full = said(starling(&peer).args(args).stdout(full).output().unwrap());
        assert_eq!(said_full.code, 1, "{args:?}: {}", said_full.err);
        assert!(
            said_full.err.contains("cannot be written to standard output"),
            "{args:?}: {}",
            said_full.err
        );
        let (reader, gone) = std::io::pipe().unwrap();
        drop(reader);
        let left = said(starling(&peer).args(args).stdout(gone).output().unwrap());
        assert!(!left.err.contains("panicked") && left.code != 101, "{args:?}: {}", left.err);
    }
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    let status = starling(&peer).args(["gte", "k"]).stderr(gone).status().unwrap();
    assert_eq!(status.code(), Some(2), "words that nobody reads are not missed");
}
