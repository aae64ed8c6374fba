use super::*;
use proptest::prelude::*;

fn encoded(frame: &Frame, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(version, &mut bytes);
    bytes
}

fn text2(frame: Frame) -> String {
    String::from_utf8(encoded(&frame, Version::Resp2)).unwrap()
}

fn text3(frame: Frame) -> String {
    String::from_utf8(encoded(&frame, Version::Resp3)).unwrap()
}

fn scalar() -> impl Strategy<Value = Frame> {
    let text = "[ -~äß]{0,12}";
    prop_oneof![
        Just(Frame::Null),
        any::<bool>().prop_map(Frame::Bool),
        any::<i64>().prop_map(Frame::Int),
        "-?[0-9]{1,6}\\.[0-9]{1,3}|inf".prop_map(Frame::Double),
        "-?[0-9]{20,30}".prop_map(Frame::Big),
        text.prop_map(Frame::Simple),
        text.prop_map(Frame::Error),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Frame::Bulk),
        "[ -~\r\n]{0,30}".prop_map(Frame::Verbatim),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        let many = proptest::collection::vec(inner.clone(), 0..6);
        let pairs = proptest::collection::vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            many.clone().prop_map(Frame::Array),
            many.clone().prop_map(Frame::Set),
            many.prop_map(Frame::Push),
            pairs.clone().prop_map(Frame::Map),
            (pairs, inner).prop_map(|(about, frame)| Frame::Attributed(about, Box::new(frame))),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_in_resp3_is_read_back(frame in frame(), after in proptest::collection::vec(any::<u8>(), 0..8)) {
        let mut bytes = encoded(&frame, Version::Resp3);
        let length = bytes.len();
        bytes.extend(after);
        prop_assert_eq!(decode(&bytes), Ok(Some((frame, length))));
    }

    #[test]
    fn what_is_written_in_resp2_is_one_whole_frame(frame in frame()) {
        let bytes = encoded(&frame, Version::Resp2);
        let (_, length) = decode(&bytes).unwrap().unwrap();
        prop_assert_eq!(length, bytes.len());
    }

    #[test]
    fn part_of_a_frame_is_not_a_frame(frame in frame(), cut in any::<proptest::sample::Index>()) {
        let bytes = encoded(&frame, Version::Resp3);
        prop_assert_eq!(decode(&bytes[..cut.index(bytes.len())]), Ok(None));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn bytes_that_look_like_frames_are_read_without_a_panic(text in "([*$%~|>:+=_,#!(-]-?[0-9]{0,4}\r\n){0,12}") {
        let _ = decode(text.as_bytes());
    }
}

#[test]
fn the_two_versions_write_as_redis_does() {
    let entry = || vec![(Frame::bulk("a"), Frame::Int(1))];
    assert_eq!(text2(Frame::Map(entry())), "*2\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(text3(Frame::Map(entry())), "%1\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(text2(Frame::Null), "$-1\r\n");
    assert_eq!(text3(Frame::Null), "_\r\n");
    assert_eq!(text2(Frame::Set(vec![Frame::ok()])), "*1\r\n+OK\r\n");
    assert_eq!(text3(Frame::Set(vec![Frame::ok()])), "~1\r\n+OK\r\n");
    assert_eq!(text3(Frame::Verbatim("hi".into())), "=6\r\ntxt:hi\r\n");
    assert_eq!(text2(Frame::Attributed(entry(), Box::new(Frame::Null))), "$-1\r\n");
}

#[test]
fn a_line_break_in_an_error_cannot_forge_a_reply() {
    assert_eq!(text2(Frame::error("ERR a\r\n+OK")), "-ERR a  +OK\r\n");
}

#[test]
fn lengths_beyond_the_limits_are_refused_at_once() {
    for bytes in ["$2147483648\r\n", "$-2\r\n", "*1048577\r\n", "%99999999999999999999\r\n", "*x\r\n"] {
        assert!(decode(bytes.as_bytes()).is_err(), "{bytes:?}");
    }
    assert!(decode("*1\r\n".repeat(DEPTH_MAX + 1).as_bytes()).is_err());
}

#[test]
fn quoting_is_that_of_redis_cli() {
    assert_eq!(quoted(b"a\"\\\n\x00\xff~"), r#""a\"\\\n\x00\xff~""#);
}
