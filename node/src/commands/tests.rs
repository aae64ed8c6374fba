use super::*;

#[test]
fn every_command_can_be_looked_up_and_has_its_help() {
    let listed = [
        strings::SPECS,
        sets::SPECS,
        hashes::SPECS,
        keys::SPECS,
        network::SPECS,
        admission::SPECS,
        tokens::SPECS,
        connection::SPECS,
        server::SPECS,
    ];
    assert_eq!(listed.iter().map(|specs| specs.len()).sum::<usize>(), all().count(), "a name is used twice");
    for spec in all() {
        assert!(std::ptr::eq(find(spec.name.to_ascii_uppercase().as_bytes()).unwrap(), spec));
        assert_eq!(spec.name, spec.name.to_ascii_lowercase());
        assert!(!spec.summary.is_empty() && !spec.summary.ends_with('.'), "{}", spec.name);
        assert!(spec.example.starts_with(spec.name), "{}", spec.name);
        let help = help_text(Some(spec.name.as_bytes())).unwrap();
        assert!(help.contains(&spec.synopsis()) && help.contains(spec.example), "{help}");
    }
}

/// The words that a usage line asks for at least, and whether more are allowed.
fn least_words(usage: &str) -> (usize, bool) {
    let (mut required, mut depth) = (String::new(), 0);
    for letter in usage.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            letter if depth == 0 => required.push(letter),
            _ => {}
        }
    }
    let alternatives = required.split(" | ").map(|one| one.split_whitespace().count());
    let least = alternatives.min().unwrap_or(0);
    (least + 1, usage.contains('[') || required.contains('|'))
}

#[test]
fn arity_and_usage_say_the_same() {
    for spec in all() {
        let (least, more) = least_words(spec.usage);
        // QUIT ignores its arguments, AUTH's optional one comes first, the others have subcommands.
        if matches!(spec.name, "quit" | "auth" | "config" | "cluster") {
            continue;
        }
        assert_eq!(spec.arity.unsigned_abs() as usize, least, "{}", spec.synopsis());
        assert_eq!(spec.arity < 0, more, "{}", spec.synopsis());
    }
}

#[test]
fn examples_have_arguments_that_are_accepted() {
    for spec in all() {
        let words: Arguments = spec.example.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        assert!(spec.accepts(words.len()), "{}", spec.example);
        assert!(!matches!(prepare(words), Prepared::Refused(_)), "{}", spec.example);
    }
}

#[test]
fn commands_on_keys_have_key_positions_and_know_whether_they_write() {
    for spec in all().filter(|spec| matches!(spec.run, Run::Data { .. } | Run::Shaped(_))) {
        assert_ne!(spec.keys, NO_KEY, "{}", spec.name);
        let words: Arguments = spec.example.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let Prepared::Data(call) = prepare(words) else { panic!("{} is a data command", spec.name) };
        assert_eq!(call.plan[0].1.writes(), spec.kind == Kind::Write, "{}", spec.name);
    }
}

fn refusal(line: &str) -> String {
    match prepare(line.split(' ').map(|word| word.as_bytes().to_vec()).collect()) {
        Prepared::Refused(Frame::Error(line)) => line,
        _ => panic!("{line} is refused"),
    }
}

#[test]
fn wrong_arguments_are_answered_with_the_usage() {
    assert_eq!(refusal("get"), "ERR wrong number of arguments for 'get' command; usage: GET key");
    assert!(refusal("mset a").contains("usage: MSET key value"));
    assert!(refusal("mset a 1 b").contains("usage: MSET key value"));
    assert!(refusal("hset k f v g").contains("usage: HSET key field value"));
    assert_eq!(refusal("incrby k x"), "ERR value is not an integer or out of range");
    assert_eq!(refusal("decrby k -9223372036854775808"), "ERR decrement would overflow");
    assert!(refusal("set k v NX").starts_with("NOTSUPPORTED SET NX "));
    assert!(refusal("set k v EX 10").starts_with("NOTSUPPORTED SET EX keys do not expire yet; "));
    assert!(refusal("set k v FOO").starts_with("ERR syntax error"));
    for (line, error) in [
        ("getrange k 0 x", "ERR value is not an integer or out of range"),
        ("srandmember s 1 2", "ERR syntax error"),
        ("hrandfield h 1 values", "ERR syntax error"),
        ("sintercard 0 s", "ERR numkeys should be greater than 0"),
        ("sintercard x s", "ERR numkeys should be greater than 0"),
        ("sintercard 2 s", "ERR Number of keys can't be greater than number of args"),
        ("sintercard 1 s limit -1", "ERR LIMIT can't be negative"),
        ("sintercard 1 s limit", "ERR syntax error"),
    ] {
        assert_eq!(refusal(line), error, "{line}");
    }
    assert!(refusal("hincrby h f 1").contains("INCRBY on a key of its own"));
    assert!(refusal("lpush k v").starts_with("NOTSUPPORTED LPUSH "));
    assert!(refusal("\u{7}bad\r\n").is_ascii());
}

#[test]
fn a_key_named_twice_is_written_once() {
    let Prepared::Data(call) = prepare(["mset", "a", "1", "a", "2"].map(|w| w.as_bytes().to_vec()).to_vec())
    else {
        panic!("mset is a data command")
    };
    let value = ByteBuf::from(b"2".to_vec());
    assert_eq!(call.plan, vec![(ByteBuf::from(b"a".to_vec()), Command::Set { value })]);
}

#[test]
fn ids_are_read_as_they_are_shown() {
    let id = ByteArray::new([0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff]);
    for shown in ["00010203fcfdfeff", "00010203FCFDFEFF"] {
        assert_eq!(parse_id(shown.as_bytes()), Some(id));
    }
    for text in ["", "00", "00010203fcfdfefg", "+0010203fcfdfeff", "00010203fcfdfeff00"] {
        assert_eq!(parse_id::<8>(text.as_bytes()), None, "{text}");
    }
}
