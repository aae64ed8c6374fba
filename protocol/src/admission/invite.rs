//! The invites that one peer has made, and what became of them.
//!
//! A ticket is redeemed by the peer that made it and by no other. So there is one book for each ticket,
//! and no cut of the network, nor any two requests at once, can redeem it more often than it says: the
//! half of a cut network without the inviter lets nobody in by that ticket.

use super::certificate::Role;
use super::ticket::{InviteId, Prefix, Secret, proof};
use crate::ids::PeerId;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// Most invites in a book; one more is refused until one has ended.
pub const INVITES_MAX: usize = 256;
/// Most machines that one ticket lets in.
pub const USES_MAX: u16 = 1000;

/// One invite. Without the secret: the key checks proofs, and makes them too, so keep the book private.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    pub id: InviteId,
    key: ByteArray<32>,
    pub role: Role,
    pub uses: u16,
    /// Milliseconds since the Unix epoch, by the inviter's clock.
    pub created_ms: u64,
    pub expires_ms: u64,
    pub withdrawn: bool,
    /// Who came in by it, and the chain each was given.
    pub taken: Vec<(PeerId, ByteBuf)>,
}

/// What an invite is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    Spent,
    Expired,
    Withdrawn,
}

impl Invite {
    pub fn new(secret: &Secret, role: Role, uses: u16, created_ms: u64, expires_ms: u64) -> Self {
        let (id, key) = (secret.id(), secret.key());
        Self { id, key, role, uses, created_ms, expires_ms, withdrawn: false, taken: Vec::new() }
    }

    pub fn state(&self, now_ms: u64) -> State {
        match () {
            () if self.withdrawn => State::Withdrawn,
            () if self.taken.len() >= usize::from(self.uses) => State::Spent,
            () if now_ms > self.expires_ms => State::Expired,
            () => State::Open,
        }
    }
}

/// Why a ticket lets nobody in. Told to the joiner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinRefusal {
    #[error("the inviter does not know this ticket; it has ended long ago, or is of another network")]
    Unknown,
    #[error("the ticket was revoked")]
    Withdrawn,
    #[error("the ticket has expired")]
    Expired,
    #[error("the ticket was used already, by another machine")]
    Spent,
    #[error("the inviter itself may let in nobody any more")]
    NotAllowed,
    #[error("the inviter cannot save who comes in; its log says why")]
    NotSaved,
    #[error("this machine came in by this ticket once, and the certificate that it got counts no more")]
    Ended,
}

/// What a good proof leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// This peer came in by it before: its chain, as it was given then.
    Again(ByteBuf),
    /// It may come in, with this role, once `record` has been called and saved.
    Anew(Role),
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invites(Vec<Invite>);

impl Invites {
    /// False: the book is full, and all in it are open.
    #[must_use]
    pub fn add(&mut self, invite: Invite, now_ms: u64) -> bool {
        if self.0.len() >= INVITES_MAX {
            // Those who came in have their certificates; the oldest that has ended is forgotten.
            let ended = self.0.iter().position(|invite| invite.state(now_ms) != State::Open);
            let Some(ended) = ended else { return false };
            self.0.remove(ended);
        }
        self.0.push(invite);
        true
    }

    /// In the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Invite> {
        self.0.iter()
    }

    /// A ticket is shown. The same peer may come again and again: it gets what it got. Nothing changes.
    pub fn redeem(
        &self,
        now_ms: u64,
        network: Prefix,
        me: PeerId,
        joiner: PeerId,
        shown: (InviteId, ByteArray<32>),
    ) -> Result<Redeemed, JoinRefusal> {
        let (id, found) = shown;
        let known = self.0.iter().find(|invite| invite.id == id).ok_or(JoinRefusal::Unknown)?;
        let expected = proof(&known.key, network, me, joiner);
        // Compared as hashes: in constant time.
        if blake3::Hash::from_bytes(*expected) != blake3::Hash::from_bytes(*found) {
            return Err(JoinRefusal::Unknown);
        }
        if let Some((_, chain)) = known.taken.iter().find(|(peer, _)| *peer == joiner) {
            return Ok(Redeemed::Again(chain.clone()));
        }
        match known.state(now_ms) {
            State::Open => Ok(Redeemed::Anew(known.role)),
            State::Spent => Err(JoinRefusal::Spent),
            State::Expired => Err(JoinRefusal::Expired),
            State::Withdrawn => Err(JoinRefusal::Withdrawn),
        }
    }

    /// Counts a use. Must be saved before the chain is handed out.
    pub fn record(&mut self, id: InviteId, joiner: PeerId, chain: Vec<u8>) {
        let known = self.0.iter_mut().find(|invite| invite.id == id);
        known.into_iter().for_each(|invite| invite.taken.push((joiner, ByteBuf::from(chain.clone()))));
    }

    /// Lets nobody else in. False: no invite has this id.
    pub fn withdraw(&mut self, id: InviteId) -> bool {
        let known = self.0.iter_mut().find(|invite| invite.id == id);
        known.map(|invite| invite.withdrawn = true).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Prefix = ByteArray::new([1; 16]);

    fn peer(n: u64) -> PeerId {
        PeerId::numbered(n)
    }

    fn secret(n: u8) -> Secret {
        Secret([n; 16])
    }

    /// A book of peer 0 with one invite, from 100 to 200.
    fn book(uses: u16) -> Invites {
        let mut book = Invites::default();
        assert!(book.add(Invite::new(&secret(1), Role::Storage, uses, 100, 200), 100));
        book
    }

    fn shown(secret: &Secret, joiner: PeerId) -> (InviteId, ByteArray<32>) {
        (secret.id(), proof(&secret.key(), NETWORK, peer(0), joiner))
    }

    /// One who comes with the ticket, and is recorded if it may come in.
    fn come(book: &mut Invites, now_ms: u64, joiner: PeerId) -> Result<Redeemed, JoinRefusal> {
        let redeemed = book.redeem(now_ms, NETWORK, peer(0), joiner, shown(&secret(1), joiner));
        if let Ok(Redeemed::Anew(_)) = redeemed {
            book.record(secret(1).id(), joiner, joiner.0.to_vec());
        }
        redeemed
    }

    #[test]
    fn one_use_is_one_peer_however_often_it_comes() {
        let mut book = book(1);
        assert_eq!(come(&mut book, 150, peer(1)), Ok(Redeemed::Anew(Role::Storage)));
        let again = Ok(Redeemed::Again(ByteBuf::from(peer(1).0.to_vec())));
        assert_eq!(come(&mut book, 150, peer(1)), again);
        assert_eq!(come(&mut book, 150, peer(2)), Err(JoinRefusal::Spent));
        assert_eq!(come(&mut book, 999, peer(1)), again, "its answer may have been lost");
    }

    #[test]
    fn a_ticket_ends_by_time_by_use_and_by_its_inviter() {
        let mut book = book(2);
        assert_eq!(come(&mut book, 201, peer(1)), Err(JoinRefusal::Expired));
        assert!(come(&mut book, 200, peer(1)).is_ok());
        assert!(book.withdraw(secret(1).id()));
        assert_eq!(come(&mut book, 150, peer(2)), Err(JoinRefusal::Withdrawn));
        assert!(!book.withdraw(secret(2).id()));
    }

    #[test]
    fn a_proof_that_was_seen_lets_no_other_peer_in() {
        let book = book(1);
        let seen = shown(&secret(1), peer(1));
        let stolen = book.redeem(150, NETWORK, peer(0), peer(2), seen);
        assert_eq!(stolen, Err(JoinRefusal::Unknown));
        let guessed = (secret(1).id(), ByteArray::new([0; 32]));
        assert_eq!(book.redeem(150, NETWORK, peer(0), peer(1), guessed), Err(JoinRefusal::Unknown));
        let elsewhere = book.redeem(150, ByteArray::new([2; 16]), peer(0), peer(1), seen);
        assert_eq!(elsewhere, Err(JoinRefusal::Unknown), "a ticket of another network");
    }

    /// Two halves of a cut each have a peer that wants to come in by one ticket for one machine. The half
    /// with the inviter lets one in. In the other half nobody can: no other book has the ticket.
    #[test]
    fn two_halves_of_a_cut_redeem_a_ticket_no_more_often_than_it_says() {
        let (mut inviter, mut other_half) = (book(1), Invites::default());
        assert!(other_half.add(Invite::new(&secret(2), Role::Storage, 1, 100, 200), 100));
        assert!(come(&mut inviter, 150, peer(1)).is_ok());
        let at_other = |secret: &Secret| (secret.id(), proof(&secret.key(), NETWORK, peer(9), peer(2)));
        for proved in [shown(&secret(1), peer(2)), at_other(&secret(1))] {
            let refused = other_half.redeem(150, NETWORK, peer(9), peer(2), proved);
            assert_eq!(refused, Err(JoinRefusal::Unknown));
        }
        let by_its_own = other_half.redeem(150, NETWORK, peer(9), peer(2), at_other(&secret(2)));
        assert_eq!(by_its_own, Ok(Redeemed::Anew(Role::Storage)));
        // Healed, the other one finds the inviter, and that the ticket is spent.
        assert_eq!(come(&mut inviter, 150, peer(2)), Err(JoinRefusal::Spent));
    }

    #[test]
    fn a_full_book_forgets_what_has_ended_and_nothing_else() {
        let mut book = Invites::default();
        let invite = |n: u16, expires_ms| {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            Invite::new(&Secret(bytes), Role::Client, 1, 0, expires_ms)
        };
        for n in 0..INVITES_MAX as u16 {
            assert!(book.add(invite(n, if n == 7 { 10 } else { 1000 }), 5));
        }
        assert!(!book.add(invite(999, 1000), 5), "all are open");
        assert!(book.add(invite(999, 1000), 500), "one has ended");
        assert!(!book.add(invite(1000, 1000), 500));
        assert_eq!(book.iter().count(), INVITES_MAX);
    }
}
