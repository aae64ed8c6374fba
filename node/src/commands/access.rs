//! What a connection may do: all, after the password or where none is asked for; what its token says; or
//! nothing yet.

use super::session::Session;
use super::{Arguments, Kind, NO_KEY, Prepared, Spec, shown};
use crate::admission::Admission;
use crate::network::wall_ms;
use crate::resp::frame::Frame;
use starling_protocol::admission::token::{Scope, Token, TokenError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Commands that clients may give before they have said who they are.
const BEFORE_AUTH: [&str; 4] = ["auth", "hello", "quit", "reset"];
const NOAUTH: &str = "NOAUTH Authentication required.";

pub enum Access {
    Nothing,
    Full,
    Scoped(Box<Holder>),
}

/// A connection that has shown a token.
pub struct Holder {
    token: Token,
    until_ms: u64,
    admission: Arc<Admission>,
    /// Tells when revocations come, so that not each command looks for one.
    revocations: watch::Receiver<u64>,
}

impl Holder {
    /// Errors: the token does not count.
    pub fn new(text: &str, admission: Arc<Admission>) -> Result<Self, TokenError> {
        let token = Token::parse(text)?;
        // Before the check: what comes during it is looked at with the first command.
        let revocations = admission.watch_revocations();
        let until_ms = admission.check_token(&token)?;
        Ok(Self { token, until_ms, admission, revocations })
    }

    /// Errors: it counts no more.
    fn check(&mut self) -> Result<(), TokenError> {
        if wall_ms() > self.until_ms {
            return Err(TokenError::Expired);
        }
        if self.revocations.has_changed().unwrap_or(true) {
            self.revocations.mark_unchanged();
            if self.admission.is_revoked(&self.token) {
                return Err(TokenError::Revoked);
            }
        }
        Ok(())
    }

    /// Until it counts no more.
    async fn ended(&mut self) -> TokenError {
        loop {
            if let Err(why) = self.check() {
                return why;
            }
            let left = Duration::from_millis(self.until_ms.saturating_sub(wall_ms()) + 1);
            tokio::select! {
                // That it has changed is for `check` to see.
                Ok(()) = self.revocations.changed() => self.revocations.mark_changed(),
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

impl Session {
    /// What may run; else the refusal. Every command comes by here, also those inside of others.
    pub fn admit(&mut self, prepared: Prepared) -> Prepared {
        if matches!(&prepared, Prepared::Other(spec, _) if BEFORE_AUTH.contains(&spec.name)) {
            return prepared;
        }
        let refusal = match &mut self.access {
            Access::Full => return prepared,
            Access::Nothing => NOAUTH.to_owned(),
            Access::Scoped(holder) => match holder.check() {
                Ok(()) => match refusal(&holder.token.scope, &prepared) {
                    Some(line) => line,
                    None => return prepared,
                },
                Err(why) => self.token_ended(why),
            },
        };
        Prepared::Refused(Frame::error(refusal))
    }

    /// Until the token that the client has shown counts no more; then the line for that. Never, where it has shown none.
    pub async fn until_token_ends(&mut self) -> String {
        let Access::Scoped(holder) = &mut self.access else { return std::future::pending().await };
        let why = holder.ended().await;
        self.token_ended(why)
    }

    /// The connection ends with it, so that its place is free for others. Returns the line for why.
    fn token_ended(&mut self, why: TokenError) -> String {
        (self.access, self.closing) = (Access::Nothing, true);
        format!("NOAUTH {why}; connect again with another")
    }

    /// Whether this key may be told of: scans meet all keys.
    pub fn sees(&self, key: &[u8]) -> bool {
        match &self.access {
            Access::Nothing => false,
            Access::Full => true,
            Access::Scoped(holder) => key.starts_with(&holder.token.scope.prefix),
        }
    }

    /// It has said who it is, or need not.
    pub fn is_in(&self) -> bool {
        !matches!(self.access, Access::Nothing)
    }

    pub fn is_scoped(&self) -> bool {
        matches!(self.access, Access::Scoped(_))
    }
}

/// The line for what a token does not allow. `None`: it does. Nothing is run of a command of which it
/// allows only a part.
fn refusal(scope: &Scope, prepared: &Prepared) -> Option<String> {
    match prepared {
        Prepared::Refused(_) => None,
        Prepared::Data(call) => {
            let writes = call.plan.iter().any(|(_, command)| command.writes());
            let keys = call.plan.iter().map(|(key, _)| key.as_slice());
            verb(scope, call.spec, writes).or_else(|| outside(scope, keys))
        }
        Prepared::Other(spec, args) => match spec.kind {
            Kind::Admin => Some(format!(
                "NOPERM {} needs a full login; a token is for keys alone",
                spec.name.to_ascii_uppercase()
            )),
            Kind::Local => None,
            Kind::Read | Kind::Write => {
                verb(scope, spec, spec.kind == Kind::Write).or_else(|| outside(scope, keys_of(spec, args)))
            }
        },
    }
}

/// Commands that are no plan have one key or none.
fn keys_of<'a>(spec: &Spec, args: &'a Arguments) -> impl Iterator<Item = &'a [u8]> {
    args.first().filter(|_| spec.keys != NO_KEY).map(Vec::as_slice).into_iter()
}

fn verb(scope: &Scope, spec: &Spec, writes: bool) -> Option<String> {
    let (allowed, does, allows) =
        if writes { (scope.write, "writes", "reading") } else { (scope.read, "reads", "writing") };
    let name = spec.name.to_ascii_uppercase();
    (!allowed).then(|| format!("NOPERM {name} {does}; this token allows {allows} only"))
}

fn outside<'a>(scope: &Scope, mut keys: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let key = keys.find(|key| !key.starts_with(&scope.prefix))?;
    let (key, prefix) = (shown(key), shown(&scope.prefix));
    Some(format!("NOPERM key '{key}' is not yours; this token is for keys that begin with '{prefix}'"))
}

#[cfg(test)]
mod tests {
    use super::super::{all, prepare};
    use super::*;
    use serde_bytes::ByteBuf;

    fn scope(prefix: &str, read: bool, write: bool) -> Scope {
        Scope { prefix: ByteBuf::from(prefix.as_bytes()), read, write }
    }

    fn said(scope: &Scope, line: &str) -> Option<String> {
        refusal(scope, &prepare(line.split(' ').map(|word| word.as_bytes().to_vec()).collect()))
    }

    /// Whatever is added to the table: with a token no key outside, no administration.
    #[test]
    fn no_command_of_the_table_reaches_beyond_a_token() {
        for spec in all() {
            let elsewhere = said(&scope("elsewhere/", true, true), spec.example);
            let nothing = said(&scope("", spec.kind == Kind::Write, spec.kind != Kind::Write), spec.example);
            let everything = said(&scope("", true, true), spec.example);
            match spec.kind {
                Kind::Admin => {
                    assert!(everything.unwrap().contains("needs a full login"), "{}", spec.name);
                }
                Kind::Read | Kind::Write => {
                    let has_keys = spec.keys != NO_KEY;
                    assert_eq!(elsewhere.is_some(), has_keys, "{}", spec.name);
                    assert!(nothing.unwrap().ends_with(" only"), "{}", spec.name);
                    assert_eq!(everything, None, "{}", spec.name);
                }
                Kind::Local => assert_eq!((elsewhere, nothing), (None, None), "{}", spec.name),
            }
        }
    }

    #[test]
    fn a_command_that_is_allowed_in_part_is_refused_whole_and_the_key_is_named() {
        let app = scope("app/", true, true);
        assert_eq!(said(&app, "mget app/a app/b"), None);
        assert_eq!(
            said(&app, "mget app/a other").as_deref(),
            Some("NOPERM key 'other' is not yours; this token is for keys that begin with 'app/'")
        );
        assert!(said(&app, "del app/a app").unwrap().contains("'app'"));
        assert!(said(&app, "mset app/a 1 b app/").unwrap().contains("'b'"));
        let reader = scope("app/", true, false);
        assert_eq!(
            said(&reader, "set app/a 1").as_deref(),
            Some("NOPERM SET writes; this token allows reading only")
        );
        assert_eq!(said(&reader, "nonsense"), None, "it has its own error");
    }
}
