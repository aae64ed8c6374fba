//! What is said on a connection before anything else: both sides show their certificates. Later the same
//! protocol carries revocations.

use super::keys::peer_text;
use super::places::{Origin, SharedPlaces};
use crate::admission::{Admission, to_oneself};
use crate::network::wall_ms;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use libp2p::swarm::ConnectionId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use starling_protocol::admission::certificate::{Grant, Refusal};
use starling_protocol::admission::revocation::REVOCATIONS_MAX;
use starling_protocol::admission::wire::{
    ADMISSION_FRAME_MAX, JoinReply, JoinRequest, Opening, REVOCATIONS_PER_FRAME, Refused, Reply, Verdict,
    decode, encode,
};
use starling_protocol::ids::PeerId;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long all of an exchange may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one that is refused may take to read why, before the connection is closed.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Newcomers that are answered at once, half of them from one address; one more is turned away and comes again.
const NEWCOMERS_AT_ONCE: usize = 16;
/// Verdicts that wait for the driver; while they are that many, those who bring more wait.
pub(super) const VERDICTS_MAX: usize = 256;

/// What is to be said on a stream of the admission protocol, once it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saying {
    Hello,
    Digest,
    Push,
}

/// How an exchange of certificates has ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Both are content. `differ`: the other one knows other revocations.
    Admitted { grant: Grant, differ: bool },
    /// This peer refuses the other.
    Refused(Refusal),
    /// The other refuses this peer.
    RefusedBy(Refusal),
    /// The stream broke, or what was said was nonsense.
    Broken(io::Error),
    /// Asked for revocations: the other one knows others.
    Differ,
}

pub(super) struct Told {
    pub peer: PeerId,
    pub connection: ConnectionId,
    pub outcome: Outcome,
}

/// Everything that the streams of this protocol need.
#[derive(Clone)]
pub(super) struct Desk {
    pub admission: Arc<Admission>,
    verdicts: mpsc::Sender<Told>,
    newcomers: SharedPlaces,
}

impl Desk {
    pub fn new(admission: Arc<Admission>, verdicts: mpsc::Sender<Told>) -> Self {
        Self { admission, verdicts, newcomers: SharedPlaces::new(NEWCOMERS_AT_ONCE) }
    }

    async fn tell(&self, peer: PeerId, connection: ConnectionId, outcome: Outcome) {
        // An error means that the transport stops.
        let _ = self.verdicts.send(Told { peer, connection, outcome }).await;
    }

    /// The stream was opened by this peer.
    pub async fn say(self, saying: Saying, mut stream: Stream, peer: PeerId, connection: ConnectionId) {
        let said = match saying {
            Saying::Hello => {
                let outcome = timeout(PATIENCE, self.hello(&mut stream, peer)).await;
                self.tell(peer, connection, in_time(outcome)).await;
                return;
            }
            Saying::Digest => {
                let told = Opening::Digest { revoked: self.digest(), now_ms: wall_ms() };
                timeout(PATIENCE, write(&mut stream, &told)).await
            }
            Saying::Push => timeout(PATIENCE, self.push(&mut stream)).await,
        };
        if !matches!(said, Ok(Ok(()))) {
            tracing::debug!(peer = peer_text(&peer), "revocations could not be told");
        }
        let _ = timeout(LAST_WORDS, stream.close()).await;
    }

    /// The stream was opened by the other peer, which has been let in or not.
    pub async fn answer(self, mut stream: Stream, peer: PeerId, connection: ConnectionId, is_in: bool) {
        let outcome = timeout(PATIENCE, self.answered(&mut stream, peer, is_in)).await;
        let outcome = match outcome {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(outcome))) => outcome,
            Ok(Err(error)) => Outcome::Broken(error),
            Err(_) => Outcome::Broken(io::ErrorKind::TimedOut.into()),
        };
        if let Outcome::Refused(_) = outcome {
            read_its_end(&mut stream).await;
        }
        self.tell(peer, connection, outcome).await;
    }

    async fn hello(&self, stream: &mut Stream, peer: PeerId) -> io::Result<Outcome> {
        let (chain, revoked) = (self.admission.own_chain(), self.digest());
        write(stream, &Opening::Hello { chain, revoked }).await?;
        let (chain, theirs) = match read(stream).await? {
            Reply::Welcome { chain, revoked } => (chain, revoked),
            Reply::Refused(refused) => return Ok(self.refused(refused).await),
        };
        match self.admission.check(peer, &chain) {
            Ok(grant) => {
                write(stream, &Verdict::Welcome).await?;
                stream.close().await?;
                Ok(Outcome::Admitted { grant, differ: theirs != revoked })
            }
            Err(refusal) => {
                write(stream, &Verdict::Refused(self.refused_with(refusal, &chain))).await?;
                stream.close().await?;
                read_its_end(stream).await;
                Ok(Outcome::Refused(refusal))
            }
        }
    }

    /// `None`: there is nothing to tell the driver.
    async fn answered(&self, stream: &mut Stream, peer: PeerId, is_in: bool) -> io::Result<Option<Outcome>> {
        match read(stream).await? {
            Opening::Hello { chain, .. } => self.welcome(stream, peer, &chain).await.map(Some),
            Opening::Digest { revoked, now_ms } if is_in => {
                self.admission.hear_clock(peer, now_ms);
                Ok((revoked != self.digest()).then_some(Outcome::Differ))
            }
            Opening::Push { all } if is_in => self.pushed(stream, all).await,
            Opening::Digest { .. } | Opening::Push { .. } => Err(invalid("a stranger tells of revocations")),
        }
    }

    async fn welcome(&self, stream: &mut Stream, peer: PeerId, chain: &[u8]) -> io::Result<Outcome> {
        let grant = match self.admission.check(peer, chain) {
            Ok(grant) => grant,
            Err(refusal) => {
                write(stream, &Reply::Refused(self.refused_with(refusal, chain))).await?;
                stream.close().await?;
                return Ok(Outcome::Refused(refusal));
            }
        };
        let (chain, revoked) = (self.admission.own_chain(), self.digest());
        write(stream, &Reply::Welcome { chain, revoked }).await?;
        match read(stream).await? {
            // The one that dialled sees whether they differ, and begins.
            Verdict::Welcome => Ok(Outcome::Admitted { grant, differ: false }),
            Verdict::Refused(refused) => Ok(self.refused(refused).await),
        }
    }

    fn refused_with(&self, refusal: Refusal, chain: &[u8]) -> Refused {
        let is_revoked = refusal == Refusal::Revoked;
        Refused { refusal, revocation: is_revoked.then(|| self.admission.revocation_of(chain)).flatten() }
    }

    /// The other one does not want this peer; if it has a proof of that, it is kept.
    async fn refused(&self, refused: Refused) -> Outcome {
        if let Some(revocation) = refused.revocation {
            let admission = self.admission.clone();
            let learned = blocking(move || admission.learn(&[revocation])).await;
            if !matches!(learned, Ok(Ok(_))) {
                tracing::debug!("a refusal came with a revocation that is none");
            }
        }
        Outcome::RefusedBy(refused.refusal)
    }

    async fn push(&self, stream: &mut Stream) -> io::Result<()> {
        write(stream, &Opening::Push { all: true }).await?;
        for some in self.admission.revocations().chunks(REVOCATIONS_PER_FRAME) {
            write(stream, &some.to_vec()).await?;
        }
        Ok(())
    }

    async fn pushed(&self, stream: &mut Stream, all: bool) -> io::Result<Option<Outcome>> {
        let (mut theirs, mut held) = (0, 0);
        loop {
            let frame = match read_frame(stream, ADMISSION_FRAME_MAX).await {
                Ok(frame) => frame,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            };
            let some: Vec<ByteBuf> = decode(&frame).map_err(invalid)?;
            theirs += some.len();
            if theirs > REVOCATIONS_MAX || some.is_empty() {
                return Err(invalid("more revocations than there can be"));
            }
            let admission = self.admission.clone();
            held += blocking(move || admission.learn(&some)).await?.map_err(invalid)?;
        }
        // One who has more, or has some from others who stand higher, tells them.
        Ok((all && self.admission.revocations_known() > held).then_some(Outcome::Differ))
    }

    fn digest(&self) -> serde_bytes::ByteArray<32> {
        self.admission.revoked_digest()
    }

    /// A newcomer shows its ticket. Whoever says nothing keeps its place for a while, but none of another address.
    pub fn newcomer(&self, mut stream: Stream, peer: PeerId, from: Origin) {
        let Ok(place) = self.newcomers.take(from) else {
            tracing::debug!(peer = peer_text(&peer), "a newcomer is turned away: too many are answered");
            return;
        };
        let admission = self.admission.clone();
        tokio::spawn(async move {
            let _place = place;
            let answered = async {
                let request: JoinRequest = read(&mut stream).await?;
                let reply: JoinReply = blocking(move || admission.redeem(peer, &request)).await?;
                write(&mut stream, &reply).await?;
                stream.close().await
            };
            if let Ok(Err(error)) = timeout(PATIENCE, answered).await {
                tracing::debug!(peer = peer_text(&peer), %error, "a newcomer went away");
            }
        });
    }
}

/// What this peer's own user must read: others do not let it in.
pub(super) fn report_refused_by(admission: &Admission, peer: PeerId, refusal: Refusal) {
    if admission.refused_by(peer, refusal) {
        let (peer, why) = (peer_text(&peer), to_oneself(refusal));
        tracing::error!(peer, why, "a peer of this network does not let this one in; see `starling status`");
    }
}

fn in_time(outcome: Result<io::Result<Outcome>, tokio::time::error::Elapsed>) -> Outcome {
    match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Broken(error),
        Err(_) => Outcome::Broken(io::ErrorKind::TimedOut.into()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The other side closes once it has read the last words; or it does not.
async fn read_its_end(stream: &mut Stream) {
    let _ = timeout(LAST_WORDS, stream.read(&mut [0; 1])).await;
}

pub(super) async fn write<T: Serialize>(stream: &mut Stream, message: &T) -> io::Result<()> {
    let frame = encode(message);
    stream.write_all(&(frame.len() as u32).to_be_bytes()).await?;
    stream.write_all(&frame).await?;
    stream.flush().await
}

pub(super) async fn read<T: Serialize + DeserializeOwned>(stream: &mut Stream) -> io::Result<T> {
    let frame = read_frame(stream, ADMISSION_FRAME_MAX).await?;
    decode(&frame).map_err(invalid)
}

/// Takes memory as bytes arrive, not as they are announced.
pub(super) async fn read_frame(stream: &mut Stream, most: usize) -> io::Result<Vec<u8>> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await?;
    let len = u32::from_be_bytes(prefix) as usize;
    if len > most {
        return Err(invalid("a frame that is longer than any is"));
    }
    let mut frame = Vec::new();
    stream.take(len as u64).read_to_end(&mut frame).await?;
    if frame.len() < len { Err(invalid("a frame that ends too soon")) } else { Ok(frame) }
}
