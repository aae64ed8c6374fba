//! One client: reads commands, runs them in order, writes the replies together.

use super::budget::Share;
use super::frame::Frame;
use super::lobby::Waiting;
use super::request::RequestReader;
use super::stream::Stream;
use crate::commands::session::Session;
use crate::commands::{DataCall, Prepared};
use futures::future::join_all;
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Bytes read at once.
const READ_SIZE: usize = 16 * 1024;
/// Replies are written when so many bytes of them wait, even though more commands are at hand.
const WRITE_SIZE: usize = 256 * 1024;
/// Keys of pipelined commands that run at once; one command may have more.
const PIPELINE_MAX: usize = 128;
/// A client that takes nothing of its replies for so long is let go; its memory is needed for others.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Serves the client until it goes, breaks the protocol, or the peer stops.
pub async fn run(
    mut stream: Stream,
    mut session: Session,
    mut share: Share,
    mut waiting: Option<Waiting>,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut reader = RequestReader::default();
    let mut replies = Vec::new();
    loop {
        if let Err(error) = answer(&mut stream, &mut reader, &mut session, &mut replies).await? {
            Frame::error(format!("ERR {error}")).encode(session.version, &mut replies);
            session.closing = true;
        }
        write(&mut stream, &mut replies).await?;
        if session.closing || *stopped.borrow() {
            return stream.shutdown().await;
        }
        if session.is_in() {
            waiting = None;
        }
        reader.relax();
        // It holds no more than before, so there is room.
        share.hold(reader.held());
        let read = tokio::select! {
            read = stream.read(reader.buffer(), READ_SIZE) => read?,
            _ = stopped.changed() => continue,
            () = Waiting::shown_out(&mut waiting) => return Ok(()),
        };
        match read {
            0 => return Ok(()),
            _ if share.hold(reader.held()) => {}
            _ => return full(&mut stream, &session).await,
        }
    }
}

/// All clients together have sent more than there is room for.
async fn full(stream: &mut Stream, session: &Session) -> io::Result<()> {
    let mut line = Vec::new();
    Frame::error(
        "BUSY too much is being sent to this peer at once; Nothing of this command was done; try again",
    )
    .encode(session.version, &mut line);
    write(stream, &mut line).await?;
    stream.shutdown().await
}

/// Answers all commands that are at hand. The inner error is what the client got wrong.
async fn answer(
    stream: &mut Stream,
    reader: &mut RequestReader,
    session: &mut Session,
    replies: &mut Vec<u8>,
) -> io::Result<Result<(), super::frame::ProtocolError>> {
    let mut batch = Batch::default();
    while !session.closing {
        reader.trust(session.is_in());
        let command = match reader.next_command() {
            Ok(Some(words)) => session.take(words),
            outcome => {
                batch.run(session, stream, replies).await?;
                return Ok(outcome.map(|_| ()));
            }
        };
        session.server.totals.commands.fetch_add(1, Ordering::Relaxed);
        match command {
            Prepared::Data(call) => {
                if !batch.fits(&call) {
                    batch.run(session, stream, replies).await?;
                }
                batch.push(call);
            }
            Prepared::Other(spec, args) => {
                batch.run(session, stream, replies).await?;
                let frame = session.other(spec, args).await;
                frame.encode(session.version, replies);
            }
            Prepared::Refused(frame) => {
                batch.run(session, stream, replies).await?;
                frame.encode(session.version, replies);
            }
        }
        write_if_large(stream, replies).await?;
    }
    Ok(Ok(()))
}

/// Pipelined commands that may run at once: no key is written beside another command on it. Replies
/// keep the order of the commands.
#[derive(Default)]
struct Batch {
    calls: Vec<DataCall>,
    /// Keys that are named, each as often as it is.
    named: usize,
    /// The keys of these commands, and whether one of them writes there.
    keys: BTreeMap<ByteBuf, bool>,
}

impl Batch {
    fn fits(&self, call: &DataCall) -> bool {
        (self.calls.is_empty() || self.named + call.plan.len() <= PIPELINE_MAX)
            && call
                .plan
                .iter()
                .all(|(key, command)| self.keys.get(key).is_none_or(|written| !written && !command.writes()))
    }

    fn push(&mut self, call: DataCall) {
        for (key, command) in &call.plan {
            *self.keys.entry(key.clone()).or_default() |= command.writes();
        }
        self.named += call.plan.len();
        self.calls.push(call);
    }

    async fn run(&mut self, session: &Session, stream: &mut Stream, replies: &mut Vec<u8>) -> io::Result<()> {
        self.keys.clear();
        self.named = 0;
        let mut calls = std::mem::take(&mut self.calls);
        if calls.len() == 1 {
            // As almost always, unless the client pipelines.
            session.data(calls.remove(0)).await.encode(session.version, replies);
            return Ok(());
        }
        for frame in join_all(calls.into_iter().map(|call| session.data(call))).await {
            frame.encode(session.version, replies);
            drop(frame);
            write_if_large(stream, replies).await?;
        }
        Ok(())
    }
}

/// So that large replies are not all in memory twice.
async fn write_if_large(stream: &mut Stream, replies: &mut Vec<u8>) -> io::Result<()> {
    if replies.len() >= WRITE_SIZE { write(stream, replies).await } else { Ok(()) }
}

/// Writes some of it once the client takes it.
async fn write_patiently(stream: &mut Stream, rest: &[u8]) -> io::Result<usize> {
    patiently(stream.write(rest)).await
}

async fn patiently<T>(written: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let taken = tokio::time::timeout(WRITE_PATIENCE, written).await;
    taken.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the client does not read"))?
}

/// Writes what waits, as long as the client takes something of it now and then.
async fn write(stream: &mut Stream, replies: &mut Vec<u8>) -> io::Result<()> {
    let mut rest = replies.as_slice();
    while !rest.is_empty() {
        let taken = match stream.try_write(rest) {
            Some(taken) => taken?,
            None => write_patiently(stream, rest).await?,
        };
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = &rest[taken..];
    }
    if !replies.is_empty() {
        patiently(stream.flush()).await?;
    }
    if replies.capacity() > WRITE_SIZE {
        *replies = Vec::new();
    } else {
        replies.clear();
    }
    Ok(())
}
