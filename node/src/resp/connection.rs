//! One client: reads commands, runs them in order, writes the replies together.

use super::budget::Share;
use super::frame::Frame;
use super::lobby::{Lobby, Waiting};
use super::request::{COMMAND_MAX, RequestReader};
use super::stream::{Moved, Stream};
use crate::commands::session::{Session, no_room_frame};
use crate::commands::{DataCall, Prepared};
use futures::future::join_all;
use serde_bytes::ByteBuf;
use starling_crdt::Command;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Bytes read at once.
const READ_SIZE: usize = 16 * 1024;
/// Replies are written when so many bytes of them wait, even though more commands are at hand.
const WRITE_SIZE: usize = 256 * 1024;
/// Keys of pipelined commands that run at once; one command may have more.
const PIPELINE_MAX: usize = 128;
/// So much is kept at most of what is read while the client takes no replies: as much as one command may be.
const AHEAD_MAX: usize = COMMAND_MAX;
/// A client that takes nothing of its replies for so long is let go; its memory is needed for others.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How long, and how much, is read and dropped of what a client still sends after an error.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_MAX: usize = COMMAND_MAX;

/// Serves the client until it goes, breaks the protocol, or the peer stops.
pub async fn run(
    stream: Stream,
    mut session: Session,
    share: Share,
    lobby: Arc<Lobby>,
    waiting: Option<Waiting>,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut wire = Wire::new(stream, share, lobby, waiting);
    loop {
        if let Err(error) = answer(&mut wire, &mut session).await? {
            Frame::error(format!("ERR {error}")).encode(session.version, &mut wire.replies);
            wire.write().await?;
            return wire.part().await;
        }
        wire.write().await?;
        session.answers.leave(0);
        if session.closing {
            return wire.part().await;
        }
        if *stopped.borrow() {
            // Over TLS it waits for the client.
            return timeout(PARTING, wire.stream.shutdown()).await.unwrap_or(Ok(()));
        }
        if std::mem::take(&mut wire.has_more) {
            continue;
        }
        wire.reader.relax();
        // Gives back what was answered.
        wire.share.hold(wire.reader.held());
        let read = tokio::select! {
            read = wire.stream.read(wire.reader.buffer(), READ_SIZE) => read?,
            _ = stopped.changed() => continue,
            line = session.until_token_ends() => {
                Frame::error(line).encode(session.version, &mut wire.replies);
                continue;
            }
            () = Waiting::shown_out(&mut wire.waiting) => return Ok(()),
        };
        match read {
            0 => return Ok(()),
            _ if wire.share.hold(wire.reader.held()) => {}
            _ => return full(&mut wire, &session).await,
        }
    }
}

/// All clients together have sent more than there is room for.
async fn full(wire: &mut Wire, session: &Session) -> io::Result<()> {
    Frame::error(
        "BUSY too much is being sent to this peer at once; nothing of this command was done; try again",
    )
    .encode(session.version, &mut wire.replies);
    wire.write().await?;
    wire.part().await
}

/// Answers all commands that are at hand. The inner error is what the client got wrong.
async fn answer(
    wire: &mut Wire,
    session: &mut Session,
) -> io::Result<Result<(), super::frame::ProtocolError>> {
    let mut batch = Batch::default();
    while !session.closing {
        wire.trust(session.is_in());
        // Much may have been read ahead, and most commands wait for nothing: others have their turn between.
        tokio::task::consume_budget().await;
        let command = match wire.reader.next_command() {
            Ok(Some(words)) if words.is_empty() => continue,
            Ok(Some(words)) => session.take(words),
            outcome => {
                batch.run(session, wire).await?;
                return Ok(outcome.map(|_| ()));
            }
        };
        session.server.totals.commands.fetch_add(1, Ordering::Relaxed);
        match command {
            Prepared::Data(call) => {
                if !batch.fits(&call) {
                    batch.run(session, wire).await?;
                }
                batch.push(call);
            }
            Prepared::Other(spec, args) => {
                batch.run(session, wire).await?;
                let frame = session.other(spec, args).await;
                put_counted(frame, session, wire).await?;
            }
            Prepared::Refused(frame) => {
                batch.run(session, wire).await?;
                put(frame, session, wire).await?;
            }
        }
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
}

impl Batch {
    fn fits(&self, call: &DataCall) -> bool {
        // They are so few that each is compared with each sooner than they would be put in order.
        let meets = |(key, command): &(ByteBuf, Command)| {
            let mut others = self.calls.iter().flat_map(|call| &call.plan).filter(|(other, _)| other == key);
            others.any(|(_, other)| command.writes() || other.writes())
        };
        self.calls.is_empty() || self.named + call.plan.len() <= PIPELINE_MAX && !call.plan.iter().any(meets)
    }

    fn push(&mut self, call: DataCall) {
        self.named += call.plan.len();
        self.calls.push(call);
    }

    async fn run(&mut self, session: &Session, wire: &mut Wire) -> io::Result<()> {
        self.named = 0;
        let mut calls = std::mem::take(&mut self.calls);
        if calls.len() == 1 {
            // As almost always, unless the client pipelines.
            put(session.data(calls.remove(0)).await, session, wire).await?;
        } else {
            for frame in join_all(calls.into_iter().map(|call| session.data(call))).await {
                put(frame, session, wire).await?;
            }
        }
        session.answers.leave(wire.replies.len());
        Ok(())
    }
}

/// The reply to what is no command on keys; some of these are long, such as a page of keys.
async fn put_counted(frame: Frame, session: &Session, wire: &mut Wire) -> io::Result<()> {
    let before = wire.replies.len();
    frame.encode(session.version, &mut wire.replies);
    drop(frame);
    if wire.replies.len() > WRITE_SIZE && !session.answers.take(wire.replies.len() - before) {
        wire.replies.truncate(before);
        no_room_frame().encode(session.version, &mut wire.replies);
    }
    write_if_large(session, wire).await?;
    session.answers.leave(wire.replies.len());
    Ok(())
}

/// Writes what waits once it is much, so that large replies are not all in memory twice.
async fn put(frame: Frame, session: &Session, wire: &mut Wire) -> io::Result<()> {
    frame.encode(session.version, &mut wire.replies);
    drop(frame);
    write_if_large(session, wire).await
}

async fn write_if_large(session: &Session, wire: &mut Wire) -> io::Result<()> {
    let waiting = wire.replies.len();
    if waiting >= WRITE_SIZE {
        wire.write().await?;
        session.answers.give_back(waiting);
    }
    Ok(())
}

/// The connection, with what has come and what is to go.
struct Wire {
    stream: Stream,
    reader: RequestReader,
    share: Share,
    replies: Vec<u8>,
    lobby: Arc<Lobby>,
    /// While the client is not in.
    waiting: Option<Waiting>,
    /// The client may send while it takes no replies.
    trusted: bool,
    /// Something was read while replies were written.
    has_more: bool,
    /// It sends no more.
    ended: bool,
}

impl Wire {
    fn new(stream: Stream, share: Share, lobby: Arc<Lobby>, waiting: Option<Waiting>) -> Self {
        let (reader, replies) = Default::default();
        Self { stream, reader, share, replies, lobby, waiting, trusted: false, has_more: false, ended: false }
    }

    fn trust(&mut self, trusted: bool) {
        self.trusted = trusted;
        self.reader.trust(trusted);
        // One that logs out waits as well.
        let waiting = self.waiting.take();
        self.waiting = (!trusted).then(|| waiting.unwrap_or_else(|| self.lobby.enter()));
    }

    /// Ends the connection after an error while the client may still be sending. Where something is unread the
    /// system resets a connection that is closed, and the client never reads what was wrong.
    async fn part(&mut self) -> io::Result<()> {
        self.reader = RequestReader::default();
        self.share.hold(0);
        let mut waiting = self.waiting.take();
        tokio::select! {
            _ = timeout(PARTING, self.drop_what_comes()) => Ok(()),
            () = Waiting::shown_out(&mut waiting) => Ok(()),
        }
    }

    async fn drop_what_comes(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let (mut dropped, mut buffer) = (0, Vec::new());
        while dropped < PARTING_MAX {
            buffer.clear();
            match self.stream.read(&mut buffer, READ_SIZE).await? {
                0 => break,
                read => dropped += read,
            }
        }
        Ok(())
    }

    /// Writes what waits, as long as the client takes something of it now and then.
    async fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.replies.len() {
            let taken = match self.stream.try_write(&self.replies[written..]) {
                Some(taken) => taken?,
                None => self.write_patiently(written).await?,
            };
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            written += taken;
        }
        if written > 0 && self.stream.keeps_back() {
            self.write_patiently(written).await?;
        }
        if self.replies.capacity() > WRITE_SIZE {
            self.replies = Vec::new();
        } else {
            self.replies.clear();
        }
        Ok(())
    }

    /// Errors: the client takes nothing for too long, or has to make room for others before it is in.
    async fn write_patiently(&mut self, from: usize) -> io::Result<usize> {
        let mut waiting = self.waiting.take();
        let taken = tokio::select! {
            taken = timeout(WRITE_PATIENCE, self.write_or_read(from)) => taken.unwrap_or_else(|_| Err(let_go("the client does not read"))),
            () = Waiting::shown_out(&mut waiting) => Err(let_go("others want to log in")),
        };
        self.waiting = waiting;
        taken
    }

    /// Writes some of what waits once the client takes it, or where all is written has it sent. Many clients send the
    /// whole of a pipeline before they take the first reply, as Redis lets them: so it is read on meanwhile.
    async fn write_or_read(&mut self, from: usize) -> io::Result<usize> {
        while self.has_room() {
            let (rest, buffer) = (&self.replies[from..], self.reader.buffer());
            match self.stream.write_or_read(rest, buffer, READ_SIZE).await? {
                Moved::Written(taken) => return Ok(taken),
                Moved::Read(0) => self.ended = true,
                Moved::Read(_) => self.has_more = true,
            }
        }
        self.stream.write(&self.replies[from..]).await
    }

    /// Whether more may be read before what was read is answered.
    fn has_room(&mut self) -> bool {
        let has_room = self.reader.unread() + READ_SIZE <= AHEAD_MAX;
        self.trusted && !self.ended && has_room && self.share.hold(self.reader.held() + READ_SIZE)
    }
}

fn let_go(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::prepare;

    fn call(line: &str) -> DataCall {
        match prepare(line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()) {
            Prepared::Data(call) => call,
            _ => panic!("{line} is no command on keys"),
        }
    }

    #[test]
    fn commands_run_at_once_unless_one_writes_what_another_names() {
        let mut batch = Batch::default();
        for line in ["get a", "mget a b", "set c 1", "mget d a"] {
            assert!(batch.fits(&call(line)), "{line}");
            batch.push(call(line));
        }
        for line in ["set b 1", "get c", "set c 2", "mset e 1 d 2"] {
            assert!(!batch.fits(&call(line)), "{line}");
        }
        let many = call(&format!("mget {}", "e ".repeat(PIPELINE_MAX)));
        assert!(!batch.fits(&many) && Batch::default().fits(&many), "there are enough keys");
    }
}
