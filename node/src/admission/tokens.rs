//! Tokens for clients: giving, checking and revoking them.

use super::{Admission, files, millis, random, revocation_error, to_oneself};
use crate::network::wall_ms;
use serde::{Deserialize, Serialize};
use starling_protocol::admission::certificate::Serial;
use starling_protocol::admission::revocation::Revocation;
use starling_protocol::admission::token::{Scope, Token, TokenError};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// Most tokens that are remembered. Of those that have ended the oldest is forgotten first.
const TOKENS_MAX: usize = 1024;

/// A token that this peer has given, without what makes it worth something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    pub serial: Serial,
    pub scope: Scope,
    pub expires_ms: u64,
    pub revoked: bool,
}

impl TokenRecord {
    fn has_ended(&self, now_ms: u64) -> bool {
        self.revoked || now_ms > self.expires_ms
    }
}

impl Admission {
    fn token_book(&self) -> MutexGuard<'_, Vec<TokenRecord>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a token. Errors, in words for the user: this peer may give none; too many are open; the disk.
    pub fn give_token(&self, scope: Scope, ttl: Duration) -> Result<Token, String> {
        self.own_grant().map_err(|refusal| to_oneself(refusal).to_owned())?;
        let (serial, chain, now) = (Serial::new(random()?), self.state().chain.clone(), wall_ms());
        let expires_ms = now.saturating_add(millis(ttl));
        let token = Token::issue(&self.genesis, chain, &self.keys, serial, scope.clone(), expires_ms)
            .ok_or("this peer owns no data, so it gives no tokens; ask one that does")?;
        self.change_tokens(|tokens| {
            if tokens.len() >= TOKENS_MAX {
                let ended = tokens.iter().position(|token| token.has_ended(now));
                tokens.remove(ended.ok_or("there are too many tokens; revoke one that is not needed")?);
            }
            tokens.push(TokenRecord { serial, scope, expires_ms, revoked: false });
            Ok(())
        })?;
        Ok(token)
    }

    /// Those that this peer has given, in the order in which they were.
    pub fn tokens(&self) -> Vec<TokenRecord> {
        let mut tokens = self.token_book().clone();
        let state = self.state();
        for token in &mut tokens {
            token.revoked |= state.revocations.has(self.me(), token.serial);
        }
        tokens
    }

    /// Checks a token that a client shows. Returns until when it counts. Errors: why it does not.
    pub fn check_token(&self, token: &Token) -> Result<u64, TokenError> {
        // Cheap first: anybody may show anything.
        if self.is_revoked(token) {
            return Err(TokenError::Revoked);
        }
        let until_ms = token.verify(&self.genesis, wall_ms())?;
        // That takes its time, in which it may have been.
        if self.is_revoked(token) { Err(TokenError::Revoked) } else { Ok(until_ms) }
    }

    /// Whether a token that was good counts no more, or the peer that gave it is out.
    pub fn is_revoked(&self, token: &Token) -> bool {
        self.state().revocations.of_token(&self.genesis, token).is_some()
    }

    /// Revokes one that this peer has given. Errors, in words for the user: it has given none of that id;
    /// too many were revoked; the disk, in spite of which it counts.
    pub fn revoke_own_token(&self, serial: Serial) -> Result<(), String> {
        if !self.token_book().iter().any(|token| token.serial == serial) {
            return Err(
                "this peer gave no token of that id; TOKENS lists those that it gave. With the token \
                        itself instead of the id, its giver and those above it can revoke it anywhere"
                    .into(),
            );
        }
        let chain = self.state().chain.clone();
        let revoked = Revocation::of_token(&self.genesis, chain, serial, &self.keys, wall_ms());
        self.take_in_own(vec![revoked.map_err(revocation_error)?])
    }

    /// Revokes a token that was shown. Errors: as `revoke_own_token`; this peer does not stand above its
    /// giver.
    pub fn revoke_token(&self, token: &Token) -> Result<(), String> {
        let (_, chain) = token.issuer(&self.genesis);
        let revoked = Revocation::of_token(&self.genesis, chain.clone(), token.serial, &self.keys, wall_ms());
        self.take_in_own(vec![revoked.map_err(revocation_error)?])
    }

    fn change_tokens(
        &self,
        change: impl FnOnce(&mut Vec<TokenRecord>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut book = self.token_book();
        let mut tokens = book.clone();
        change(&mut tokens)?;
        files::save_tokens(&self.directory, &tokens).map_err(|error| error.to_string())?;
        *book = tokens;
        Ok(())
    }
}
