//! Who is let into the network, as this peer sees it: its own certificate, those of others, revocations,
//! and the invites that it has made. All of it survives restarts.

mod clocks;
mod files;
mod invites;
mod met;
#[cfg(test)]
mod tests;
mod tokens;

use crate::error::Error;
use crate::network::wall_ms;
use crate::transport::{Keys, peer_text};
use clocks::Clocks;
use met::Met;
use serde_bytes::{ByteArray, ByteBuf};
use starling_protocol::admission::certificate::{Chain, Grant, Refusal};
use starling_protocol::admission::invite::Invites;
use starling_protocol::admission::revocation::{Revocation, RevocationError, Revocations};
use starling_protocol::genesis::SignedGenesis;
use starling_protocol::ids::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub use clocks::ClockDifference;
pub use files::{has_certificate, save_certificate};
pub use invites::{InviteLine, Wish};
pub use tokens::TokenRecord;

/// Most peers whose certificates are remembered, as many as there may be members. For one more another is forgotten,
/// and has to show its own again after the next revocation.
const MET_MAX: usize = 4096;
/// Most peers that have refused this one which are remembered.
const REFUSALS_MAX: usize = 16;

/// Shared by the transport, which lets peers in by it, and by the commands that change it.
pub struct Admission {
    keys: Keys,
    genesis: SignedGenesis,
    directory: PathBuf,
    state: Mutex<Inner>,
    /// Held while the book is written to disk, so not to be waited for where peers are let in. Locked before
    /// `state`, never after it.
    invites: Mutex<Invites>,
    /// Whether revocations count that are not on disk. Held while some are taken in and written, so that none is lost of
    /// those that come at once. Locked before `state`, never after it.
    unsaved: Mutex<bool>,
    /// The tokens that this peer has given. Locked and written as `invites`.
    tokens: Mutex<Vec<TokenRecord>>,
    /// Counts changes of the revocations, for those who pass them on.
    revoked: watch::Sender<u64>,
    /// Nobody needs a ticket who comes to this peer.
    admits_anyone: bool,
    /// What is to be added to this machine's clock, by the clocks of others.
    clock_correction_ms: Arc<AtomicI64>,
}

/// What has come of the wish that a peer be out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// How many of its certificates are known that this peer may not revoke.
    pub remain: usize,
}

struct Inner {
    chain: Chain,
    revocations: Revocations,
    /// The certificates of those who have shown one, for revoking them.
    met: BTreeMap<PeerId, Met>,
    /// Who does not let this peer in, and why.
    refusals: BTreeMap<PeerId, Refusal>,
    /// Those that were news: they come again at each try to connect.
    told: BTreeMap<PeerId, Refusal>,
    /// Those of the member table.
    members: BTreeSet<PeerId>,
    clocks: Clocks,
}

/// What has come of revocations that were to be taken in.
#[derive(Default)]
struct Taken {
    /// How many of them count now.
    held: usize,
    /// Why the first that was not taken was not.
    failed: Option<RevocationError>,
    /// Why they could not be written to disk; they count nevertheless.
    unsaved: Option<Error>,
}

impl Taken {
    /// That there is no room for one is no fault of those who tell it: they know more, and will tell the rest.
    fn learned(self, malformed: Option<RevocationError>) -> Result<usize, String> {
        match malformed.or(self.failed) {
            None | Some(RevocationError::Full | RevocationError::FullOfTokens) => Ok(self.held),
            Some(error) => Err(error.to_string()),
        }
    }
}

impl Admission {
    /// Reads what the directory has. Errors: a file is damaged; this peer's own certificate is missing, or
    /// counts no more.
    pub fn open(directory: &Path, keys: Keys, genesis: SignedGenesis) -> Result<Self, Error> {
        let mut revocations = Revocations::default();
        for bytes in files::load_revocations(directory)? {
            let found = Revocation::decode(&bytes);
            match found.and_then(|found| revocations.insert(&genesis, found)) {
                Ok(_) | Err(RevocationError::Full | RevocationError::FullOfTokens) => {}
                Err(_) => return Err(files::damaged(directory, files::REVOCATIONS)),
            }
        }
        let inner = Inner {
            chain: files::load_certificate(directory)?,
            revocations,
            met: BTreeMap::new(),
            refusals: BTreeMap::new(),
            told: BTreeMap::new(),
            members: BTreeSet::new(),
            clocks: Clocks::default(),
        };
        let admission = Self {
            keys,
            genesis,
            directory: directory.to_path_buf(),
            state: Mutex::new(inner),
            invites: Mutex::new(files::load_invites(directory)?),
            unsaved: Mutex::default(),
            tokens: Mutex::new(files::load_tokens(directory)?),
            revoked: watch::channel(0).0,
            admits_anyone: false,
            clock_correction_ms: Arc::default(),
        };
        match admission.own_grant() {
            Ok(_) => Ok(admission),
            Err(refusal) => Err(admission.not_admitted(refusal)),
        }
    }

    fn not_admitted(&self, refusal: Refusal) -> Error {
        let name = &self.genesis.genesis().name;
        let hint = match refusal {
            Refusal::NotYetValid => "set this machine's clock, and start again",
            _ => "have somebody in the network run `starling invite`, and use that line here",
        };
        Error::new(format!("this peer may not enter its network {name:?}"))
            .why(to_oneself(refusal))
            .hint(hint)
    }

    /// From here on nobody needs a ticket who comes to this peer.
    pub fn admit_anyone(&mut self) {
        self.admits_anyone = true;
    }

    fn state(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn genesis(&self) -> &SignedGenesis {
        &self.genesis
    }

    pub fn me(&self) -> PeerId {
        self.keys.peer()
    }

    /// What this peer itself may be.
    pub fn own_grant(&self) -> Result<Grant, Refusal> {
        let state = self.state();
        state.verdict(&self.genesis, self.me(), &state.chain)
    }

    /// Whether this peer's own certificate was revoked. Its signatures are not checked for it.
    pub fn is_out(&self) -> bool {
        let state = self.state();
        state.revocations.of(&state.chain).is_some()
    }

    /// What this peer shows to others.
    pub fn own_chain(&self) -> ByteBuf {
        ByteBuf::from(self.state().chain.encode())
    }

    /// Checks what another peer shows; remembers it if it is good.
    pub fn check(&self, peer: PeerId, chain: &[u8]) -> Result<Grant, Refusal> {
        let chain = Chain::decode(chain)?;
        let mut state = self.state();
        let grant = state.verdict(&self.genesis, peer, &chain)?;
        if state.met.len() >= MET_MAX && !state.met.contains_key(&peer) {
            state.met.pop_first();
        }
        let not_after_ms = grant.not_after_ms;
        match state.met.get_mut(&peer) {
            Some(met) => met.shows(chain, not_after_ms),
            None => drop(state.met.insert(peer, Met::new(chain, not_after_ms))),
        }
        state.refusals.remove(&peer);
        Ok(grant)
    }

    /// False if a peer has shown another certificate here than this. Of one that is not remembered: true.
    pub fn has_shown(&self, peer: PeerId, certificates: &[u8]) -> bool {
        self.state().met.get(&peer).is_none_or(|met| met.chain.encode() == certificates)
    }

    /// Whether one that was let in would be let in still. Who is not remembered has to show its certificate again. What
    /// was signed is signed for ever, and not verified anew: this is asked where others wait, of all peers at once.
    pub fn check_again(&self, peer: PeerId) -> Result<(), Refusal> {
        let state = self.state();
        let Met { chain, not_after_ms, .. } = state.met.get(&peer).ok_or(Refusal::NoCertificate)?;
        match state.revocations.of(chain) {
            Some(_) => Err(Refusal::Revoked),
            None if wall_ms() > *not_after_ms => Err(Refusal::Expired),
            None => Ok(()),
        }
    }

    /// These are in the member table now.
    pub fn members_are(&self, members: BTreeSet<PeerId>) {
        self.state().members = members;
    }

    /// Another peer does not let this one in. True: that is news. Anybody can say so; it counts where that is a member,
    /// or has shown a certificate, or where this peer's own certificate is no good as far as it knows itself.
    pub fn refused_by(&self, peer: PeerId, refusal: Refusal) -> bool {
        let mut state = self.state();
        let is_known = state.members.contains(&peer) || state.met.contains_key(&peer);
        if !is_known && state.verdict(&self.genesis, self.me(), &state.chain).is_ok() {
            return false;
        }
        if state.refusals.len() >= REFUSALS_MAX && !state.refusals.contains_key(&peer) {
            return false;
        }
        state.refusals.insert(peer, refusal);
        let has_room = state.told.len() < REFUSALS_MAX || state.told.contains_key(&peer);
        has_room && state.told.insert(peer, refusal) != Some(refusal)
    }

    /// Who does not let this peer in, and why.
    pub fn refusals(&self) -> Vec<(PeerId, Refusal)> {
        self.state().refusals.iter().map(|(peer, refusal)| (*peer, *refusal)).collect()
    }

    /// Another peer tells what time it is there.
    pub fn hear_clock(&self, peer: PeerId, theirs_ms: u64) {
        self.state().clocks.hear(peer, theirs_ms, wall_ms(), Instant::now());
        let difference = self.clock_difference();
        let correction = difference.map_or(0, |difference| difference.correction_ms());
        let before = self.clock_correction_ms.swap(correction, Ordering::Relaxed);
        if before == 0 && correction != 0 {
            let ahead_s = -correction / 1000;
            tracing::warn!(
                ahead_s,
                "this machine's clock is far from the others': writes are stamped by theirs"
            );
        }
    }

    /// Milliseconds to be added to this machine's clock for what others compare; 0 unless it is hours off.
    pub fn clock_correction(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.clock_correction_ms)
    }

    /// `None`: nobody has told lately.
    pub fn clock_difference(&self) -> Option<ClockDifference> {
        self.state().clocks.difference(Instant::now())
    }

    /// Takes all certificates of a peer back that are known here, for ever. Errors, in words for the user: none of it is
    /// known; this peer stands above none; there is no room; the disk, in spite of which it counts.
    pub fn revoke(&self, peer: PeerId) -> Result<Revoked, String> {
        let chains = self.chains_of(peer);
        if chains.is_empty() {
            return Err(
                "that peer's certificate has not been seen here since this peer started; revoke it at the \
                        peer that invited it, or when it is connected"
                    .into(),
            );
        }
        let sign = |chain| Revocation::sign(&self.genesis, chain, &self.keys, wall_ms());
        let (signed, failed): (Vec<_>, Vec<_>) = chains.into_iter().map(sign).partition(Result::is_ok);
        let remain = failed.len();
        match failed.into_iter().find_map(Result::err) {
            Some(error) if signed.is_empty() => Err(revocation_error(error)),
            _ => self.take_in_own(signed.into_iter().flatten().collect()).map(|()| Revoked { remain }),
        }
    }

    /// What it has shown, and what it was given here.
    fn chains_of(&self, peer: PeerId) -> Vec<Chain> {
        let state = self.state();
        if peer == self.me() {
            return vec![state.chain.clone()];
        }
        let mut chains: Vec<Chain> =
            state.met.get(&peer).into_iter().flat_map(Met::chains).cloned().collect();
        drop(state);
        let book = self.book();
        let given = book.iter().flat_map(|invite| &invite.taken).filter(|(to, _)| *to == peer);
        for chain in given.filter_map(|(_, chain)| Chain::decode(chain).ok()) {
            if !chains.contains(&chain) {
                chains.push(chain);
            }
        }
        chains
    }

    /// Revocations that another peer knows. Returns how many of them count here now. Errors: one of them is not as it
    /// must be; all others were taken in.
    pub fn learn(&self, found: &[ByteBuf]) -> Result<usize, String> {
        let found: Vec<_> = found.iter().map(|bytes| Revocation::decode(bytes)).collect();
        let malformed = found.iter().find_map(|read| read.as_ref().err().copied());
        let found: Vec<_> = found.into_iter().filter_map(Result::ok).collect();
        self.take_in(found).learned(malformed)
    }

    /// Revokes, at the wish of a person. Errors, in words for the user: there is no room; the disk.
    fn take_in_own(&self, revoked: Vec<Revocation>) -> Result<(), String> {
        let Taken { failed, unsaved, .. } = self.take_in(revoked);
        match (failed, unsaved) {
            (Some(error), _) => Err(revocation_error(error)),
            (None, Some(error)) => Err(format!(
                "it is revoked, here and at all who are told of it, but this peer could not write that down, and \
                 after a restart knows it from the others alone: {error}"
            )),
            (None, None) => Ok(()),
        }
    }

    /// Takes in what it can of these.
    fn take_in(&self, found: Vec<Revocation>) -> Taken {
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        let mut revocations = self.state().revocations.clone();
        let (before, mut taken) = (revocations.len(), Taken::default());
        let mut news = 0;
        for revocation in &found {
            match revocations.insert(&self.genesis, revocation.clone()) {
                Ok(true) => {
                    news += 1;
                    self.report(revocation);
                }
                Ok(false) => {}
                Err(error) => taken.failed = taken.failed.or(Some(error)),
            }
        }
        taken.held = found.iter().filter(|found| revocations.holds(&self.genesis, found)).count();
        if news > 0 {
            if revocations.len() == before {
                tracing::debug!(news, "for what was revoked other revocations had to go");
            }
            // They count at once: those who let peers in wait for no disk, nor for one that works.
            self.state().revocations = revocations.clone();
            self.revoked.send_modify(|version| *version += 1);
        }
        if news > 0 || *unsaved {
            taken.unsaved = files::save_revocations(&self.directory, &revocations).err();
            *unsaved = taken.unsaved.is_some();
        }
        if let Some(error) = &taken.unsaved {
            tracing::error!(%error, "what was revoked could not be written down");
        }
        taken
    }

    fn report(&self, revocation: &Revocation) {
        let peer = peer_text(&revocation.subject(&self.genesis));
        let by = peer_text(&revocation.signer);
        match revocation.token {
            Some(_) => tracing::info!(peer, by, "a token was revoked"),
            None => tracing::warn!(peer, by, "a peer's certificate was revoked"),
        }
    }

    /// Equal digests: the same revocations are known.
    pub fn revoked_digest(&self) -> ByteArray<32> {
        self.state().revocations.digest()
    }

    pub fn revocations_known(&self) -> usize {
        self.state().revocations.len()
    }

    /// All, those of certificates first.
    pub fn revocations(&self) -> Vec<ByteBuf> {
        self.state().revocations.iter().map(|revocation| ByteBuf::from(revocation.encode())).collect()
    }

    /// Why this chain counts no more.
    pub fn revocation_of(&self, chain: &[u8]) -> Option<ByteBuf> {
        let chain = Chain::decode(chain).ok()?;
        self.state().revocations.of(&chain).map(|revocation| ByteBuf::from(revocation.encode()))
    }

    /// Tells when revocations have come.
    pub fn watch_revocations(&self) -> watch::Receiver<u64> {
        self.revoked.subscribe()
    }
}

impl Inner {
    fn verdict(&self, genesis: &SignedGenesis, peer: PeerId, chain: &Chain) -> Result<Grant, Refusal> {
        let grant = chain.verify(genesis, peer, wall_ms())?;
        match self.revocations.of(chain) {
            Some(_) => Err(Refusal::Revoked),
            None => Ok(grant),
        }
    }

    fn is_good(&self, genesis: &SignedGenesis, peer: PeerId, chain: &[u8]) -> bool {
        Chain::decode(chain).is_ok_and(|chain| self.verdict(genesis, peer, &chain).is_ok())
    }
}

/// A refusal, to the one that is refused.
pub fn to_oneself(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoCertificate => "it has no certificate, which a ticket gets it",
        Refusal::Malformed => "its certificate is damaged",
        Refusal::OtherNetwork => "its certificate is of another network",
        Refusal::OtherPeer => "its certificate is of another key; was identity.key replaced?",
        Refusal::Untrusted => "its certificate does not lead to the founder of the network",
        Refusal::NotYetValid => {
            "its certificate is not valid yet, so a clock is wrong: here or where it was made"
        }
        Refusal::Expired => "its certificate has expired, if the clock of this machine is right",
        Refusal::Revoked => "its certificate was revoked by somebody in the network",
    }
}

fn revocation_error(error: RevocationError) -> String {
    match error {
        RevocationError::Signer => "only the founder, and those through whom that peer came in, may revoke \
                                    its certificate and its tokens; do so at one of them"
            .to_owned(),
        RevocationError::Untrusted => "the founder's own key cannot be revoked".to_owned(),
        other => other.to_string(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn random() -> Result<[u8; 16], String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system has no random numbers: {error}"))?;
    Ok(bytes)
}
