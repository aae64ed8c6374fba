use super::*;

/// Longer than anything here takes on a slow machine under load.
const PATIENCE: Duration = Duration::from_secs(60);
const BAD: Weather = Weather { delay_ms: (1, 30), loss: 2_000 };

#[test]
fn a_stream_comes_whole_and_in_order_however_bad_the_network_is() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxies = Proxies::start(&[listener.local_addr().unwrap().port()], 1).unwrap();
    proxies.set(BAD);
    let mut near = TcpStream::connect((Ipv4Addr::LOCALHOST, proxies.ports()[0])).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let words = sent.clone();
    let writer = thread::spawn(move || near.write_all(&words));
    let mut found = Vec::new();
    far.read_to_end(&mut found).unwrap();
    writer.join().unwrap().unwrap();
    assert!(found == sent, "{} bytes of {}", found.len(), sent.len());
}

#[test]
fn datagrams_are_lost_and_overtake_each_other_both_ways() {
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let proxies = Proxies::start(&[peer.local_addr().unwrap().port()], 1).unwrap();
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    near.connect((Ipv4Addr::LOCALHOST, proxies.ports()[0])).unwrap();
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 8];
    near.send(b"hello").unwrap();
    let (read, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"hello", "nothing is done to it while the network is good");
    peer.send_to(b"answer", from).unwrap();
    let read = near.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"answer");
    proxies.set(BAD);
    for n in 0..200_u8 {
        near.send(&[n]).unwrap();
    }
    let [(_, lost), ..] = came(&proxies, &peer, 200);
    assert!((1..200).contains(&lost), "{lost}");
    assert!(proxies.counts()[1].1 > 0, "none was overtaken");
}

/// Reads until all that were sent have come or are lost.
fn came(proxies: &Proxies, peer: &UdpSocket, sent: u64) -> [(&'static str, u64); 3] {
    let (mut found, mut buffer) = (0, [0; 8]);
    let end = Instant::now() + PATIENCE;
    peer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    while found + proxies.counts()[0].1 < sent && Instant::now() < end {
        found += u64::from(peer.recv(&mut buffer).is_ok());
    }
    proxies.counts()
}

#[test]
fn where_nobody_listens_a_connection_ends() {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let proxies = Proxies::start(&[gone], 1).unwrap();
    let mut near = TcpStream::connect((Ipv4Addr::LOCALHOST, proxies.ports()[0])).unwrap();
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(!matches!(near.read(&mut [0]), Ok(1..)));
}
