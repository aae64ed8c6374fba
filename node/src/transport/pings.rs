//! Yamux without its pings, and without endless waits.
//!
//! Yamux measures the round trip of a connection with a ping, for which there is no switch: with whatever else it does,
//! but not more often than every ten seconds. Of an idle network, where a connection is used once in a while, these
//! pings and their answers are half of all packets. The first ping of a connection says what is to be known; those
//! after it are taken out of what Yamux writes. It goes on waiting for the second answer, and sends no more pings.
//!
//! And one whose other end reads nothing would never be closed, for Yamux waits until its last frames are taken. Meanwhile
//! it would keep one of the few places for connections. So what is not taken for long ends it.

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::yamux;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// How long the other end may take nothing of what is there for it. A machine that is busy or asleep for longer is dialled
/// again when it is back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Yamux' header: version (1 byte), type (1), flags (2), stream (4), length of the body or the ping's number (4). See
/// its specification, "Framing".
const HEADER: usize = 12;
const DATA: u8 = 0;
const PING: u8 = 2;
/// On a ping: it asks. Its answer has another flag.
const SYN: u16 = 1;

/// Yamux' upgrade, over a connection that swallows pings.
#[derive(Clone)]
pub(super) struct OnePing(pub yamux::Config);

impl UpgradeInfo for OnePing {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for OnePing {
    type Output = yamux::Muxer<Swallower<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as InboundConnectionUpgrade<Swallower<C>>>::Future;

    fn upgrade_inbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(Swallower::new(connection), info)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for OnePing {
    type Output = yamux::Muxer<Swallower<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as OutboundConnectionUpgrade<Swallower<C>>>::Future;

    fn upgrade_outbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(Swallower::new(connection), info)
    }
}

/// A connection that Yamux writes frames to.
pub(super) struct Swallower<C> {
    inner: C,
    /// Bytes of the frame under way that are still to come. Yamux begins each with a whole header.
    left: usize,
    has_pinged: bool,
    /// Since when nothing was taken: until when that may last.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<C> Swallower<C> {
    fn new(inner: C) -> Self {
        Self { inner, left: 0, has_pinged: false, stuck: None }
    }

    /// Errors: the other end has taken nothing for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, taken: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if taken.is_ready() {
            self.stuck = None;
            return taken;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        stuck.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Swallower<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Swallower<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let header = buf.first_chunk::<HEADER>().filter(|_| self.left == 0);
        let is_ping = header.is_some_and(is_ping);
        if is_ping && self.has_pinged {
            return Poll::Ready(Ok(HEADER));
        }
        let most = if self.left == 0 { header.map_or(buf.len(), length) } else { self.left };
        let taken = Pin::new(&mut self.inner).poll_write(cx, &buf[..most.min(buf.len())]);
        let written = ready!(self.in_time(cx, taken))?;
        self.left = most - written;
        self.has_pinged |= is_ping;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let taken = Pin::new(&mut self.inner).poll_flush(cx);
        self.in_time(cx, taken)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let taken = Pin::new(&mut self.inner).poll_close(cx);
        self.in_time(cx, taken)
    }
}

fn is_ping(header: &[u8; HEADER]) -> bool {
    header[1] == PING && u16::from_be_bytes([header[2], header[3]]) & SYN != 0
}

/// Of the whole frame.
fn length(header: &[u8; HEADER]) -> usize {
    let [.., a, b, c, d] = *header;
    HEADER + if header[1] == DATA { u32::from_be_bytes([a, b, c, d]) as usize } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::executor::block_on;
    use futures::future::poll_fn;

    const ANSWER: u16 = 2;

    fn frame(kind: u8, flags: u16, length: u32, body: &[u8]) -> Vec<u8> {
        let head = [&[0, kind][..], &flags.to_be_bytes(), &[0, 0, 0, 0], &length.to_be_bytes()].concat();
        [&head, body].concat()
    }

    fn data(body: &[u8]) -> Vec<u8> {
        frame(DATA, 0, body.len() as u32, body)
    }

    /// Takes up to so many bytes at once.
    struct Narrow {
        most: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let taken = buf.len().min(self.most);
            self.taken.extend_from_slice(&buf[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// As Yamux does: the header, then the body.
    fn written(frames: &[&[u8]], most: usize) -> Vec<u8> {
        let mut swallower = Swallower::new(Narrow { most, taken: Vec::new() });
        for frame in frames {
            let (header, body) = frame.split_at(HEADER);
            for mut piece in [header, body] {
                while !piece.is_empty() {
                    let written = poll_fn(|cx| Pin::new(&mut swallower).poll_write(cx, piece));
                    piece = &piece[block_on(written).expect("it takes all")..];
                }
            }
        }
        swallower.inner.taken
    }

    #[test]
    fn the_first_ping_passes_and_those_after_it_do_not() {
        let (first, second, third) =
            (frame(PING, SYN, 0, b""), frame(PING, SYN, 1, b""), frame(PING, SYN, 2, b""));
        let (answer, hello, update) = (frame(PING, ANSWER, 1, b""), data(b"hello"), frame(1, 0, 4096, b""));
        for most in [1, 5, 12, 100] {
            let all = written(&[&hello, &first, &update, &second, &answer, &hello, &third], most);
            assert_eq!(all, [&hello[..], &first, &update, &answer, &hello].concat(), "{most} bytes at once");
        }
    }

    /// Takes nothing, as a full socket whose other end does not read.
    struct Full;

    impl AsyncWrite for Full {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_other_end_takes_nothing_ends() {
        let late = |work| tokio::time::timeout(PATIENCE * 2, work);
        let hello = data(b"hello");
        let mut swallower = Swallower::new(Full);
        let written = poll_fn(|cx| Pin::new(&mut swallower).poll_write(cx, &hello).map_ok(drop));
        assert_eq!(late(written.boxed()).await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut swallower = Swallower::new(Full);
        let flushed = poll_fn(|cx| Pin::new(&mut swallower).poll_flush(cx));
        assert_eq!(late(flushed.boxed()).await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut swallower = Swallower::new(Full);
        let mut closed = poll_fn(|cx| Pin::new(&mut swallower).poll_close(cx)).boxed();
        assert!(tokio::time::timeout(PATIENCE / 2, &mut closed).await.is_err(), "it may take a while");
        assert_eq!(late(closed).await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    /// Takes a byte now and then.
    struct Slow(Pin<Box<Sleep>>);

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            ready!(self.0.as_mut().poll(cx));
            self.0 = Box::pin(sleep(PATIENCE * 9 / 10));
            Poll::Ready(Ok(1))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_takes_little_at_a_time_goes_on() {
        let mut swallower = Swallower::new(Slow(Box::pin(sleep(PATIENCE / 2))));
        futures::AsyncWriteExt::write_all(&mut swallower, &data(b"hello")).await.expect("it takes all");
    }

    #[test]
    fn what_looks_like_a_ping_within_data_is_data() {
        let (ping, empty) = (frame(PING, SYN, 7, b""), data(b""));
        let body = data(&[&ping[..], &ping].concat());
        for most in [1, 12, 24, 100] {
            let all = written(&[&ping, &body, &empty, &ping, &body], most);
            assert_eq!(all, [&ping[..], &body, &empty, &body].concat(), "{most} bytes at once");
        }
    }
}
