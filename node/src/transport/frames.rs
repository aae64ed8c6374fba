//! Frames on a stream: four bytes of length, big endian, then the frame.

use super::driver::Command;
use super::inputs::Queue;
use super::keys::peer_text;
use super::link::{KEPT_BYTES, Link, Links, Stats, Taken};
use crate::admission::Admission;
use futures::io::BufReader;
use futures::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use starling_protocol::ids::PeerId;
use starling_protocol::input::Input;
use starling_protocol::member::Record;
use starling_protocol::message::{Class, FRAME_MAX, Message, MessageError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Read at once from a stream: some hundred small frames.
const READ_BYTES: usize = 64 * 1024;
/// Messages that go to the event loop together, at most.
const BATCH_MAX: usize = 64;
/// A stream that ends sooner is not replaced at once, so that two that disagree do not spin.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// Writes what waits until the stream ends or is replaced; then asks for another if frames wait.
pub(super) async fn write(stream: Stream, number: u64, peer: PeerId, class: Class, links: Arc<Links>) {
    let Some(link) = links.get(&peer) else { return };
    let opened = Instant::now();
    if let Err(error) = write_frames(stream, number, &link, class).await {
        tracing::debug!(peer = peer_text(&peer), class = class.name(), %error, "a stream to a peer ended");
    }
    if !link.outbox(class).lost(number) {
        return;
    }
    tokio::time::sleep(SHORT_LIFE.saturating_sub(opened.elapsed())).await;
    links.command_or_wait(Command::Open { peer, class }).await;
}

async fn write_frames(stream: Stream, number: u64, link: &Link, class: Class) -> io::Result<()> {
    let outbox = link.outbox(class);
    let (mut back, mut stream) = stream.split();
    let mut batch = Vec::new();
    loop {
        match outbox.take(number, &mut batch) {
            Taken::Frames => {
                stream.write_all(&batch).await?;
                batch.clear();
                batch.shrink_to(KEPT_BYTES);
            }
            Taken::Nothing => {
                stream.flush().await?;
                tokio::select! {
                    () = outbox.ready() => {}
                    ended = end_of(&mut back) => return ended,
                }
            }
            Taken::Replaced => return stream.close().await,
        }
    }
}

/// Nothing is said on the way back, so whatever is read there is the end.
async fn end_of(back: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    match back.read(&mut [0; 1]).await? {
        0 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an answer on a stream of frames")),
    }
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("a message of class {0} on the stream of another")]
    Class(&'static str),
    #[error("the peer stops")]
    Stopping,
}

/// Reads until the stream ends or says something malformed. Waits while the event loop is behind, so
/// that the sender is slowed down instead of our memory filling up.
pub(super) async fn read(
    stream: Stream,
    from: PeerId,
    class: Class,
    links: Arc<Links>,
    queue: Queue,
    admission: Arc<Admission>,
) {
    let Some(link) = links.get_or_insert(from) else { return };
    let mut reader = BufReader::with_capacity(READ_BYTES, stream);
    let mut long = Vec::new();
    let error = loop {
        let (messages, bytes, ended) = read_batch(&mut reader, &mut long, |message| {
            if message.class() == class { Ok(()) } else { Err(ReadError::Class(message.class().name())) }
        })
        .await;
        let count = messages.len();
        if links.gate.blocks(&from) {
            Stats::add(&links.stats.swallowed, count);
        } else if count > 0 {
            links.heard(&link);
            Stats::add(&links.stats.received, count);
            let messages = messages.into_iter().map(|message| as_shown(&admission, from, message));
            let inputs = messages.map(|message| Input::Received { from, message }).collect();
            if !queue.send(inputs, bytes).await {
                break ReadError::Stopping;
            }
        }
        if let Err(error) = ended {
            break error;
        }
    };
    report(&error, from, class, &link, &links.stats);
}

/// Without what a peer says of itself under other certificates than it has shown here. Records count whatever has been
/// revoked since they were signed; so one that is in as less than it was would go on as what it was, by its old ones.
fn as_shown(admission: &Admission, from: PeerId, mut message: Message) -> Message {
    if let Message::Gossip(gossip) = &mut message {
        let may = |record: &Record| record.id != from || admission.has_shown(from, &record.certificates);
        gossip.records.retain(may);
    }
    message
}

/// The next frame and those that have arrived whole behind it, until one is not what `check` takes: their messages,
/// and the bytes of all of them.
async fn read_batch(
    reader: &mut BufReader<impl AsyncRead + Unpin>,
    long: &mut Vec<u8>,
    check: impl Fn(&Message) -> Result<(), ReadError>,
) -> (Vec<Message>, usize, Result<(), ReadError>) {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    loop {
        let read = read_frame(reader, long).await;
        match read.and_then(|(message, len)| check(&message).map(|()| (message, len))) {
            Ok((message, len)) => {
                messages.push(message);
                bytes += len;
            }
            Err(error) => return (messages, bytes, Err(error)),
        }
        if messages.len() >= BATCH_MAX || !has_next(reader.buffer()) {
            return (messages, bytes, Ok(()));
        }
    }
}

/// True where a whole frame lies there.
fn has_next(buffer: &[u8]) -> bool {
    let frame = buffer.split_first_chunk::<4>();
    frame.is_some_and(|(prefix, rest)| rest.len() >= u32::from_be_bytes(*prefix) as usize)
}

fn report(error: &ReadError, from: PeerId, class: Class, link: &Link, stats: &Stats) {
    let class = class.name();
    match error {
        ReadError::Io(error) => {
            tracing::debug!(peer = peer_text(&from), class, %error, "a stream of a peer ended")
        }
        ReadError::Stopping => {}
        ReadError::Message(_) | ReadError::Class(_) => {
            Stats::add(&stats.malformed, 1);
            if !link.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    peer = peer_text(&from),
                    class,
                    %error,
                    "a peer sent what it must not; its stream is closed"
                );
            }
        }
    }
}

/// A message, and the length of its frame. A frame that has arrived whole is decoded where it lies; a longer one is
/// gathered in `long`, which grows with what arrives, never with what is announced.
async fn read_frame(
    reader: &mut BufReader<impl AsyncRead + Unpin>,
    long: &mut Vec<u8>,
) -> Result<(Message, usize), ReadError> {
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix).await?;
    let len = u32::from_be_bytes(prefix) as usize;
    if len > FRAME_MAX {
        return Err(MessageError::TooLong(len).into());
    }
    if reader.buffer().len() >= len {
        let message = Message::decode(&reader.buffer()[..len])?;
        reader.consume_unpin(len);
        return Ok((message, len));
    }
    long.clear();
    long.shrink_to(KEPT_BYTES);
    reader.take(len as u64).read_to_end(long).await?;
    if long.len() < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok((Message::decode(long)?, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;
    use starling_protocol::member::View;
    use starling_protocol::message::{Gossip, GossipBody};

    fn ping(seq: u64) -> Message {
        let (records, accusations, sent) = (Vec::new(), Vec::new(), None);
        Message::Gossip(Gossip {
            view: View::default(),
            records,
            accusations,
            sent,
            body: GossipBody::Ping { seq },
        })
    }

    fn framed(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    /// Of each batch what was read, in order, and the error that ended it all.
    async fn batches_of(bytes: Vec<u8>) -> (Vec<Vec<Message>>, ReadError) {
        let (mut reader, mut long) = (BufReader::with_capacity(READ_BYTES, Cursor::new(bytes)), Vec::new());
        let mut batches = Vec::new();
        loop {
            let (messages, bytes, ended) = read_batch(&mut reader, &mut long, |_| Ok(())).await;
            assert_eq!(bytes, messages.iter().map(|message| message.encode().len()).sum::<usize>());
            batches.push(messages);
            if let Err(error) = ended {
                return (batches, error);
            }
        }
    }

    #[tokio::test]
    async fn frames_that_have_arrived_whole_are_batches_that_are_no_longer_than_they_may_be() {
        let count = BATCH_MAX as u64 + 2;
        let mut bytes: Vec<u8> = (1..=count).flat_map(|seq| framed(&ping(seq).encode())).collect();
        bytes.truncate(bytes.len() - 1);
        let (batches, error) = batches_of(bytes).await;
        let lengths: Vec<_> = batches.iter().map(Vec::len).collect();
        assert_eq!(lengths, [BATCH_MAX, 1, 0], "the last frame has not arrived whole");
        assert!(batches.concat().into_iter().eq((1..count).map(ping)));
        assert!(matches!(error, ReadError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn what_comes_before_a_frame_that_is_refused_is_delivered() {
        let too_long = (FRAME_MAX as u32 + 1).to_be_bytes().to_vec();
        for bad in [framed(&[]), framed(b"nonsense"), [too_long, vec![0; 64]].concat()] {
            let (batches, error) = batches_of([framed(&ping(1).encode()), bad].concat()).await;
            assert_eq!(batches.concat(), [ping(1)]);
            assert!(matches!(error, ReadError::Message(_)), "{error}");
        }
    }
}
