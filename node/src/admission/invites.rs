//! Invites: making them, and letting in by them.

use super::{Admission, files, millis, random, to_oneself};
use crate::network::wall_ms;
use crate::transport::peer_text;
use serde_bytes::{ByteArray, ByteBuf};
use starling_protocol::admission::certificate::{CLOCK_TOLERANCE_MS, Chain, Role, Serial, Terms};
use starling_protocol::admission::invite::{Invite, Invites, JoinRefusal, Redeemed, State};
use starling_protocol::admission::ticket::{InviteId, Secret, prefix_of, proof};
use starling_protocol::admission::wire::{JoinReply, JoinRequest};
use starling_protocol::ids::PeerId;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// How long a certificate counts. Long, because a store whose peers all expire on one day is worse than
/// one from which a lost peer must be taken by hand: that is what revocations are for.
const CERTIFICATE_TIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What an inviter wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub role: Role,
    pub uses: u16,
    pub ttl: Duration,
}

/// An invite as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteLine {
    pub id: InviteId,
    pub role: Role,
    pub uses: u16,
    pub taken: Vec<PeerId>,
    pub expires_ms: u64,
    pub state: State,
}

impl Admission {
    pub(super) fn book(&self) -> MutexGuard<'_, Invites> {
        self.invites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an invite. Errors, in words for the user: this peer may let in nobody; there are too many
    /// invites; the disk.
    pub fn invite(&self, wish: Wish) -> Result<(Secret, InviteLine), String> {
        let grant = self.own_grant().map_err(|refusal| to_oneself(refusal).to_owned())?;
        if grant.delegations == 0 {
            return Err("this peer may let in nobody: it is a client, or too far from the founder; \
                        invite at another peer"
                .into());
        }
        let (secret, now) = (Secret(random()?), wall_ms());
        let expires_ms = now.saturating_add(millis(wish.ttl));
        let invite = Invite::new(&secret, wish.role, wish.uses, now, expires_ms);
        let line = line_of(&invite, now);
        self.change_invites(|invites| match invites.add(invite, now) {
            true => Ok(()),
            false => Err("there are too many open invites; take one back with INVITE REVOKE id".into()),
        })?;
        Ok((secret, line))
    }

    /// All invites, in the order in which they were made.
    pub fn invites(&self) -> Vec<InviteLine> {
        let now = wall_ms();
        self.book().iter().map(|invite| line_of(invite, now)).collect()
    }

    /// Lets nobody else in by this invite. Errors: no invite has this id; the disk.
    pub fn withdraw(&self, id: InviteId) -> Result<(), String> {
        self.change_invites(|invites| match invites.withdraw(id) {
            true => Ok(()),
            false => Err("no invite of this peer has that id; INVITES lists them".into()),
        })
    }

    /// Answers a newcomer that shows a ticket. Writes to the disk.
    pub fn redeem(&self, joiner: PeerId, request: &JoinRequest) -> JoinReply {
        match self.try_redeem(joiner, request) {
            Ok(chain) => JoinReply::Welcome { genesis: ByteBuf::from(self.genesis.encode()), chain },
            Err(refusal) => {
                let peer = peer_text(&joiner);
                match refusal {
                    // Anybody can come without a ticket, and again and again.
                    JoinRefusal::Unknown => tracing::debug!(peer, why = %refusal, "a newcomer was refused"),
                    _ => tracing::warn!(peer, why = %refusal, "a newcomer was refused"),
                }
                JoinReply::Refused(refusal)
            }
        }
    }

    fn try_redeem(&self, joiner: PeerId, request: &JoinRequest) -> Result<ByteBuf, JoinRefusal> {
        let network = prefix_of(&self.genesis.network_id());
        if request.network != network {
            return Err(JoinRefusal::Unknown);
        }
        self.own_grant().map_err(|_| JoinRefusal::NotAllowed)?;
        let shown = (request.invite, request.proof);
        if self.admits_anyone && shown == self.open_door(joiner) {
            tracing::info!(peer = peer_text(&joiner), "a newcomer was let in, as anyone is");
            return Ok(ByteBuf::from(self.certify(joiner, Role::Storage)?.encode()));
        }
        let mut book = self.book();
        let role = match book.redeem(wall_ms(), network, self.me(), joiner, shown)? {
            Redeemed::Anew(role) => role,
            Redeemed::Again(chain) if self.state().is_good(&self.genesis, joiner, &chain) => {
                return Ok(chain);
            }
            Redeemed::Again(_) => return Err(JoinRefusal::Ended),
        };
        let chain = self.certify(joiner, role)?;
        let mut invites = book.clone();
        invites.record(request.invite, joiner, chain.encode());
        // Saved under the lock: whoever comes next finds the use counted, or nothing was given out.
        files::save_invites(&self.directory, &invites).map_err(|error| {
            tracing::error!(%error, "a newcomer could not be let in");
            JoinRefusal::NotSaved
        })?;
        *book = invites;
        tracing::info!(peer = peer_text(&joiner), ?role, "a newcomer was let in by a ticket");
        Ok(ByteBuf::from(chain.encode()))
    }

    fn certify(&self, joiner: PeerId, role: Role) -> Result<Chain, JoinRefusal> {
        let terms = terms(role).map_err(|_| JoinRefusal::NotAllowed)?;
        let chain = self.state().chain.issue(&self.genesis, &self.keys, joiner, terms);
        chain.ok_or(JoinRefusal::NotAllowed)
    }

    /// What one shows that has no ticket.
    fn open_door(&self, joiner: PeerId) -> (InviteId, ByteArray<32>) {
        let network = self.genesis.network_id();
        let secret = Secret::open_door(&network);
        (secret.id(), proof(&secret.key(), prefix_of(&network), self.me(), joiner))
    }

    fn change_invites(&self, change: impl FnOnce(&mut Invites) -> Result<(), String>) -> Result<(), String> {
        let mut book = self.book();
        let mut invites = book.clone();
        change(&mut invites)?;
        files::save_invites(&self.directory, &invites).map_err(|error| error.to_string())?;
        *book = invites;
        Ok(())
    }
}

fn line_of(invite: &Invite, now_ms: u64) -> InviteLine {
    InviteLine {
        id: invite.id,
        role: invite.role,
        uses: invite.uses,
        taken: invite.taken.iter().map(|(peer, _)| *peer).collect(),
        expires_ms: invite.expires_ms,
        state: invite.state(now_ms),
    }
}

pub(super) fn terms(role: Role) -> Result<Terms, String> {
    let now = wall_ms();
    Ok(Terms {
        role,
        serial: Serial::new(random()?),
        not_before_ms: now.saturating_sub(CLOCK_TOLERANCE_MS),
        not_after_ms: now.saturating_add(millis(CERTIFICATE_TIME)),
    })
}
