use super::*;
use crate::resp::frame::encode_command;
use proptest::prelude::*;

fn trusting() -> RequestReader {
    RequestReader { trusted: true, ..RequestReader::default() }
}

/// Feeds the bytes in pieces of `step` and collects the commands.
fn read(bytes: &[u8], step: usize) -> Result<Vec<Arguments>, ProtocolError> {
    let mut reader = trusting();
    let mut commands = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        reader.buffer().extend_from_slice(piece);
        while let Some(command) = reader.next_command()? {
            commands.extend(Some(command).filter(|words| !words.is_empty()));
        }
    }
    Ok(commands)
}

fn words(text: &str) -> Arguments {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

proptest! {
    #[test]
    fn commands_are_read_back_however_they_are_cut(
        commands in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 1..6), 0..6),
        step in 1usize..40,
    ) {
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| encode_command(command, &mut bytes));
        prop_assert_eq!(read(&bytes, step), Ok(commands));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
        let _ = read(&bytes, step);
    }

    #[test]
    fn bytes_that_look_like_commands_are_read_without_a_panic(
        text in "([*$]-?[0-9]{0,3}(\r\n|\n)|[a-z\"' ]{0,6}(\r\n)?){0,12}", step in 1usize..20,
    ) {
        let _ = read(text.as_bytes(), step);
    }
}

#[test]
fn lines_typed_by_hand_are_commands() {
    let typed = b"\r\nPING\r\nset k \"a b\"\nget k\r\n";
    let expected = vec![words("PING"), vec![b"set".to_vec(), b"k".to_vec(), b"a b".to_vec()], words("get k")];
    assert_eq!(read(typed, 3), Ok(expected));
}

#[test]
fn empty_commands_are_passed_over() {
    assert_eq!(read(b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n", 100), Ok(vec![words("PING")]));
}

#[test]
fn lengths_beyond_the_limits_are_refused_before_anything_is_kept() {
    for bytes in [
        "*65537\r\n",
        "*99999999999999999999\r\n",
        "*abc\r\n",
        "*1\r\n$2147483648\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$abc\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n\r\n",
        "*1\r\n$1\r\nabc\r\n",
        "set k \"a\r\n",
        "Host: example.com\r\n",
        "POST / HTTP/1.1\r\n",
    ] {
        assert!(read(bytes.as_bytes(), 7).is_err(), "{bytes:?}");
    }
    assert!(read(&vec![b'a'; LINE_MAX], 4096).is_err());
}

#[test]
fn a_command_is_bounded_as_a_whole() {
    let argument = vec![b'x'; VALUE_MAX];
    let mut bytes = Vec::new();
    encode_command(&[&argument; COMMAND_MAX / VALUE_MAX], &mut bytes);
    assert_eq!(read(&bytes, 1 << 20).map(|commands| commands.len()), Ok(1));
    bytes.clear();
    encode_command(&[&argument; COMMAND_MAX / VALUE_MAX + 1], &mut bytes);
    assert!(read(&bytes, 1 << 20).is_err());
}

#[test]
fn memory_is_given_back_between_commands() {
    let mut reader = trusting();
    reader.buffer().extend_from_slice(b"PING\r\n");
    assert_eq!(reader.next_command(), Ok(Some(words("PING"))));
    reader.relax();
    assert_eq!(reader.buffer().capacity(), 0);
}

#[test]
fn arguments_without_bytes_take_memory_as_well() {
    let mut reader = trusting();
    reader.buffer().extend_from_slice(b"*1001\r\n");
    (0..1000).for_each(|_| reader.buffer().extend_from_slice(b"$0\r\n\r\n"));
    assert_eq!(reader.next_command(), Ok(None));
    reader.relax();
    assert!(reader.held() >= 1000 * size_of::<Vec<u8>>());
}

#[test]
fn one_who_has_not_logged_in_may_say_little_until_it_has() {
    for large in [&b"*17\r\n"[..], b"*2\r\n$8193\r\n"] {
        let mut reader = RequestReader::default();
        reader.buffer().extend_from_slice(large);
        assert!(reader.next_command().is_err(), "{large:?}");
        let mut reader = trusting();
        reader.buffer().extend_from_slice(large);
        assert_eq!(reader.next_command(), Ok(None));
    }
    let mut reader = RequestReader::default();
    reader.buffer().extend_from_slice(b"*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n*1\r\n$10000\r\n");
    assert_eq!(reader.next_command().unwrap().unwrap().len(), 2);
    reader.trust(true);
    assert_eq!(reader.next_command(), Ok(None));
}
