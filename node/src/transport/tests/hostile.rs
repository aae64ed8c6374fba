//! Whoever has connected and means no good.

use super::*;

#[tokio::test]
async fn strangers_crowd_out_one_another_and_no_member() {
    let limits = Limits { strangers: 3, ..Limits::default() };
    let mut a = Node::start(Plan { limits, ..plan(TCP) }).await;
    let mut member = Stranger::inside(&a).await;
    a.until_input(Input::Connected { peer: member.keys.peer() }).await;
    let mut oldest = Stranger::dial(&a, "test").await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(Stranger::dial(&a, "test").await);
    }
    oldest.closed().await;
    // Those that are left may still show a certificate.
    let chain = chain("test", others[0].keys.peer(), terms());
    assert!(matches!(others[0].hello(&chain).await, Some(Reply::Welcome { .. })));
    a.until_input(Input::Connected { peer: others[0].keys.peer() }).await;
    assert!(member.open(Purpose::Frames(Class::Probe)).await.is_ok(), "the member is in still");
}

/// How many streams one without a certificate gets, of many that it keeps open.
async fn streams_got(listen: &'static str, streams: u32) -> usize {
    let limits = Limits { streams, ..Limits::default() };
    let a = Node::start(Plan { limits, ..plan(listen) }).await;
    let mut stranger = Stranger::dial(&a, "test").await;
    let mut kept = Vec::new();
    for _ in 0..30 {
        let opened = timeout(Duration::from_secs(2), stranger.open(Purpose::Admission)).await;
        match opened {
            Ok(Ok(stream)) => kept.push(stream),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    kept.len()
}

/// Four of them are answered at a time, so a limit below is met.
#[tokio::test]
async fn streams_of_a_connection_are_bounded() {
    for listen in [TCP, "/ip4/127.0.0.1/udp/0/quic-v1"] {
        let (few, many) = (streams_got(listen, 2).await, streams_got(listen, 64).await);
        assert!(few <= 4 && many == 30, "{few} and {many} over {listen}");
    }
}
