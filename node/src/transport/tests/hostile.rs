//! Whoever has connected and means no good.

use super::*;
use starling_protocol::admission::revocation::Revocation;
use tokio::net::{TcpListener, TcpSocket};

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

#[tokio::test]
async fn half_open_connections_from_one_address_keep_nobody_else_out() {
    let limits = Limits { pending_incoming: 8, ..Limits::default() };
    let mut a = Node::start(Plan { limits, ..plan(TCP) }).await;
    let at = address::tcp_socket(&a.address()).unwrap();
    let mut silent = Vec::new();
    for _ in 0..50 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(at).await.unwrap());
    }
    let mut b = Node::start(plan(TCP)).await;
    b.connect_to(&a);
    let is_in = |input| match input {
        Input::Connected { .. } => Some(true),
        Input::Unreachable { .. } => Some(false),
        _ => None,
    };
    assert!(b.until(is_in).await, "it gets in at once");
    a.until_input(Input::Connected { peer: b.me }).await;
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

#[tokio::test]
async fn half_a_frame_keeps_nobody_else_waiting() {
    let mut a = Node::start(plan(TCP)).await;
    let mut half = Stranger::inside(&a).await;
    let mut streams = Vec::new();
    for class in Class::ALL {
        let mut stream = half.open(Purpose::Frames(class)).await.unwrap();
        // The longest frame is announced, and a little of it sent.
        let begun = [&(FRAME_MAX as u32).to_be_bytes()[..], &[0; 100]].concat();
        stream.write_all(&begun).await.unwrap();
        stream.flush().await.unwrap();
        streams.push(stream);
    }
    let (mut honest, me) = (Stranger::inside(&a).await, half.keys.peer());
    let mut stream = honest.open(Purpose::Frames(Class::Request)).await.unwrap();
    stream.write_all(&framed(&call(1, 10).encode())).await.unwrap();
    stream.flush().await.unwrap();
    let honest_id = honest.keys.peer();
    let drive =
        async move { tokio::join!(genesis::drive(&mut half.swarm), genesis::drive(&mut honest.swarm)) };
    tokio::select! {
        message = a.next_message() => assert_eq!(message, (honest_id, call(1, 10))),
        _ = drive => {}
    }
    assert_ne!(me, honest_id);
}

#[tokio::test]
async fn half_a_greeting_ends_the_connection() {
    let a = Node::start(plan(TCP)).await;
    for begun in [&b""[..], b"\x00\x00", b"\x00\x00\x00\x50abc", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xff"]
    {
        let mut stranger = Stranger::dial(&a, "test").await;
        let mut stream = stranger.open(Purpose::Admission).await.unwrap();
        stream.write_all(begun).await.unwrap();
        stream.flush().await.unwrap();
        stranger.closed().await;
    }
    assert_eq!(a.received(), 0);
}

#[tokio::test]
async fn a_revoked_certificate_that_is_shown_again_is_answered_with_its_revocation() {
    let a = Node::start(plan(TCP)).await;
    let mut stranger = Stranger::dial(&a, "test").await;
    let shown = chain("test", stranger.keys.peer(), terms());
    let revocation = Revocation::sign(&genesis("test"), shown.clone(), &founder(), 1).unwrap();
    a.admission.learn(&[ByteBuf::from(revocation.encode())]).unwrap();
    let Some(Reply::Refused(refused)) = stranger.hello(&shown).await else { panic!("it is not let in") };
    assert_eq!(refused.refusal, Refusal::Revoked);
    let proof = Revocation::decode(&refused.revocation.expect("with the proof")).unwrap();
    assert_eq!(proof, revocation);
    stranger.closed().await;
}

/// Not those of its subject, and not changed on the way: they are worth nothing.
#[tokio::test]
async fn a_certificate_that_was_overheard_lets_nobody_else_in() {
    let mut a = Node::start(plan(TCP)).await;
    let member = Stranger::inside(&a).await;
    a.until_input(Input::Connected { peer: member.keys.peer() }).await;
    let overheard = chain("test", member.keys.peer(), terms());
    let mut thief = Stranger::dial(&a, "test").await;
    let refused = Refused { refusal: Refusal::OtherPeer, revocation: None };
    assert_eq!(thief.hello(&overheard).await, Some(Reply::Refused(refused)));
    thief.closed().await;
}

/// Where what connects comes to the node from another address of this machine.
async fn by_another_address(to: &Node) -> Address {
    let (listener, at) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), address::tcp_socket(&to.address()).unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let mut far = socket.connect(at).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

#[tokio::test]
async fn newcomers_of_one_address_that_say_nothing_keep_no_other_out() {
    let a = Node::start(plan(TCP)).await;
    let mut stranger = Stranger::dial_at(by_another_address(&a).await, "test").await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(stranger.open(Purpose::Join).await.unwrap());
    }
    // One of them is turned away: the places are taken.
    let mut bytes = [[0; 1]; 20];
    let ends = silent.iter_mut().zip(&mut bytes).map(|(stream, byte)| stream.read(byte));
    tokio::select! {
        (read, ..) = futures::future::select_all(ends) => assert!(matches!(read, Ok(0) | Err(_)), "{read:?}"),
        () = genesis::drive(&mut stranger.swarm) => {}
    }
    let ticket = ticket(&a);
    let joined = join(&Keys::generate(), &ticket, addresses_of(&ticket), false, DEADLINE).await;
    assert!(joined.is_ok(), "{joined:?}");
}
