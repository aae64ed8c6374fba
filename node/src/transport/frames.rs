//! Frames on a stream: four bytes of length, big endian, then the frame.

use super::driver::Command;
use super::keys::peer_text;
use super::link::{KEPT_BYTES, Link, Links, Stats, Taken};
use futures::io::BufReader;
use futures::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use starling_protocol::admission::certificate::Grant;
use starling_protocol::ids::PeerId;
use starling_protocol::input::Input;
use starling_protocol::message::{Class, FRAME_MAX, Message, MessageError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Read at once from a stream: some hundred small frames.
const READ_BYTES: usize = 64 * 1024;
/// A stream that ends sooner is not replaced at once, so that two that disagree do not spin.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// Writes what waits until the stream ends or is replaced; then asks for another if frames wait.
pub(super) async fn write(stream: Stream, number: u64, peer: PeerId, class: Class, links: Arc<Links>) {
    let Some(link) = links.get(&peer) else { return };
    let opened = Instant::now();
    if let Err(error) = write_frames(stream, number, &link, class, &links.stats).await {
        tracing::debug!(peer = peer_text(&peer), class = class.name(), %error, "a stream to a peer ended");
    }
    if !link.outbox(class).lost(number) {
        return;
    }
    tokio::time::sleep(SHORT_LIFE.saturating_sub(opened.elapsed())).await;
    links.command_or_wait(Command::Open { peer, class }).await;
}

async fn write_frames(
    stream: Stream,
    number: u64,
    link: &Link,
    class: Class,
    stats: &Stats,
) -> io::Result<()> {
    let outbox = link.outbox(class);
    let (mut back, mut stream) = stream.split();
    let mut batch = Vec::new();
    loop {
        match outbox.take(number, &mut batch) {
            Taken::Frames(count) => {
                stream.write_all(&batch).await?;
                Stats::add(&stats.sent, count);
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
    #[error("it claims another zone or a larger weight than its certificate allows")]
    Exceeds,
    #[error("the peer stops")]
    Stopping,
}

/// Reads until the stream ends or says something malformed. Waits while the event loop is behind, so
/// that the sender is slowed down instead of our memory filling up.
pub(super) async fn read(
    stream: Stream,
    from: PeerId,
    class: Class,
    grant: Grant,
    links: Arc<Links>,
    inputs: mpsc::Sender<Input>,
) {
    let Some(link) = links.get_or_insert(from) else { return };
    let mut reader = BufReader::with_capacity(READ_BYTES, stream);
    let mut long = Vec::new();
    let error = loop {
        let message = match read_frame(&mut reader, &mut long).await {
            Ok(message) if exceeds(&message, &from, &grant) => break ReadError::Exceeds,
            Ok(message) if message.class() == class => message,
            Ok(message) => break ReadError::Class(message.class().name()),
            Err(error) => break error,
        };
        if links.gate.blocks(&from) {
            Stats::add(&links.stats.swallowed, 1);
            continue;
        }
        links.heard(&link);
        Stats::add(&links.stats.received, 1);
        if inputs.send(Input::Received { from, message }).await.is_err() {
            break ReadError::Stopping;
        }
    };
    report(&error, from, class, &link, &links.stats);
}

/// True if a peer says more of itself than it was granted.
fn exceeds(message: &Message, from: &PeerId, grant: &Grant) -> bool {
    let Message::Gossip(gossip) = message else { return false };
    let zone = grant.zone.as_ref();
    let mut own = gossip.records.iter().filter(|record| record.id == *from);
    own.any(|record| record.weight > grant.weight_max || zone.is_some_and(|zone| *zone != record.zone))
}

fn report(error: &ReadError, from: PeerId, class: Class, link: &Link, stats: &Stats) {
    let class = class.name();
    match error {
        ReadError::Io(error) => {
            tracing::debug!(peer = peer_text(&from), class, %error, "a stream of a peer ended")
        }
        ReadError::Stopping => {}
        ReadError::Message(_) | ReadError::Class(_) | ReadError::Exceeds => {
            Stats::add(&stats.malformed, 1);
            if !link.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(peer = peer_text(&from), class, %error, "a peer sent what it must not; its stream is closed");
            }
        }
    }
}

/// A frame that has arrived whole is decoded where it lies; a longer one is gathered in `long`, which
/// grows with what arrives, never with what is announced.
async fn read_frame(reader: &mut BufReader<Stream>, long: &mut Vec<u8>) -> Result<Message, ReadError> {
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix).await?;
    let len = u32::from_be_bytes(prefix) as usize;
    if len > FRAME_MAX {
        return Err(MessageError::TooLong(len).into());
    }
    if reader.buffer().len() >= len {
        let message = Message::decode(&reader.buffer()[..len])?;
        reader.consume_unpin(len);
        return Ok(message);
    }
    long.clear();
    long.shrink_to(KEPT_BYTES);
    reader.take(len as u64).read_to_end(long).await?;
    if long.len() < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Message::decode(long)?)
}
