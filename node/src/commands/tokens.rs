//! Commands about tokens for clients.

use super::admission::{admission, blocking, done, duration_text, ttl};
use super::session::Session;
use super::{
    Arguments, BASE, Group, Kind, Run, Spec, list, parse_id, shown, subcommand, text, unknown_subcommand,
    upper,
};
use crate::admission::TokenRecord;
use crate::network::wall_ms;
use crate::render::json;
use crate::resp::frame::Frame;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use starling_protocol::admission::token::{PREFIX_MAX, Scope, Token};
use std::time::Duration;

/// Longest and usual time that a token counts.
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const OURS: Spec = Spec { group: Group::Network, kind: Kind::Admin, ..BASE };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "token",
        arity: -3,
        usage: "CREATE PREFIX prefix [ALLOW read,write] [TTL 30d] [TOKEN | JSON] | REVOKE id|token",
        summary: "A token lets a client use the keys that begin with a prefix, at any peer, and nothing else",
        caveat: "clients give it as the password: AUTH token; whoever has it can use it. Without ALLOW it is \
                 for reading. Write alone: replies of INCR and its like still tell what was there",
        example: "token create prefix app/ allow read,write ttl 30d",
        run: Run::Ask(|session, args| Box::pin(token(session, args))),
        ..OURS
    },
    Spec {
        name: "tokens",
        arity: -1,
        usage: "[JSON]",
        summary: "The tokens that this peer has given",
        example: "tokens",
        run: Run::Ask(|session, args| Box::pin(tokens(session, args))),
        ..OURS
    },
];

/// The object that `TOKEN CREATE JSON` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenPage {
    pub token: String,
    pub id: String,
    pub prefix: String,
    pub allow: String,
    /// How long it counts from now.
    pub seconds: u64,
}

/// A line of `TOKENS JSON`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TokensLine {
    id: String,
    prefix: String,
    allow: String,
    /// `open`, `expired` or `revoked`.
    state: String,
    /// How long it still counts.
    seconds: u64,
}

impl TokenPage {
    /// What to know about it, in one line; a command is at its end.
    pub fn words(&self) -> String {
        let Self { id, prefix, allow, seconds, .. } = self;
        let keys =
            if prefix.is_empty() { "all keys".into() } else { format!("keys that begin with {prefix}") };
        format!(
            "lets a client {} {keys} for {}; to take it back: starling token revoke {id}",
            allow.replace(',', " and "),
            duration_text(*seconds),
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Page,
    Token,
    Json,
}

async fn token(session: &mut Session, args: Arguments) -> Frame {
    let (word, rest) = subcommand(args);
    match word.as_str() {
        "CREATE" => create(session, &rest).await.unwrap_or_else(Frame::error),
        "REVOKE" => revoke(session, &rest).await.unwrap_or_else(Frame::error),
        _ => unknown_subcommand("token", &word),
    }
}

async fn create(session: &Session, words: &[Vec<u8>]) -> Result<Frame, String> {
    let (scope, ttl, shape) = asked(words)?;
    let admission = admission(session)?;
    let (prefix, allow) = (text(&scope.prefix), allow_text(&scope));
    let token = blocking(move || admission.give_token(scope, ttl)).await?;
    let page = TokenPage {
        token: token.text(),
        id: HEXLOWER.encode(&*token.serial),
        prefix,
        allow,
        seconds: ttl.as_secs(),
    };
    Ok(match shape {
        Shape::Token => Frame::bulk(page.token),
        Shape::Json => Frame::bulk(json(&page)),
        Shape::Page => session.page(&format!("{}\n{}", page.token, page.words())),
    })
}

fn asked(words: &[Vec<u8>]) -> Result<(Scope, Duration, Shape), String> {
    let (mut prefix, mut allow, mut time, mut shape) = (None, (true, false), TTL, Shape::Page);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value =
            || words.next().ok_or_else(|| format!("ERR syntax error: {} lacks its value", upper(word)));
        match upper(word).as_str() {
            "PREFIX" => prefix = Some(prefix_of(value()?)?),
            "ALLOW" => allow = verbs(value()?)?,
            "TTL" => time = ttl(value()?, TTL_MAX)?,
            "TOKEN" => shape = Shape::Token,
            "JSON" => shape = Shape::Json,
            other => return Err(format!("ERR syntax error at '{}'; HELP TOKEN", shown(other.as_bytes()))),
        }
    }
    let prefix =
        prefix.ok_or("ERR syntax error: PREFIX is missing: the keys that it is for; '' means all keys")?;
    let (read, write) = allow;
    Ok((Scope { prefix, read, write }, time, shape))
}

fn prefix_of(word: &[u8]) -> Result<ByteBuf, String> {
    if word.len() > PREFIX_MAX {
        return Err(format!("ERR syntax error: PREFIX has {} bytes; the most is {PREFIX_MAX}", word.len()));
    }
    Ok(ByteBuf::from(word))
}

/// `read`, `write` or `read,write`, as reading and writing.
fn verbs(word: &[u8]) -> Result<(bool, bool), String> {
    let (mut read, mut write) = (false, false);
    for verb in upper(word).split(',') {
        match verb {
            "READ" => read = true,
            "WRITE" => write = true,
            _ => {
                return Err(format!(
                    "ERR syntax error: ALLOW is read, write or read,write, not '{}'",
                    shown(word)
                ));
            }
        }
    }
    Ok((read, write))
}

async fn revoke(session: &Session, words: &[Vec<u8>]) -> Result<Frame, String> {
    let [word] = words else { return Err("ERR syntax error; usage: TOKEN REVOKE id|token".into()) };
    let admission = admission(session)?;
    if Token::is_like(word) {
        let token = Token::parse(&text(word)).map_err(|why| format!("ERR {why}"))?;
        return Ok(done(blocking(move || admission.revoke_token(&token)).await));
    }
    let id = parse_id(word).ok_or_else(|| {
        format!("ERR '{}' is neither a token nor a token's id; TOKENS lists them", shown(word))
    })?;
    Ok(done(blocking(move || admission.revoke_own_token(id)).await))
}

async fn tokens(session: &mut Session, args: Arguments) -> Frame {
    let lines = admission(session).map(|admission| admission.tokens().iter().map(TokensLine::new).collect());
    list::answer::<TokensLine>(
        session,
        ("TOKENS", &args),
        lines,
        "no tokens were given here; TOKEN CREATE gives one",
    )
}

impl TokensLine {
    fn new(record: &TokenRecord) -> Self {
        let now = wall_ms();
        let state = match () {
            () if record.revoked => "revoked",
            () if now > record.expires_ms => "expired",
            () => "open",
        };
        Self {
            id: HEXLOWER.encode(&*record.serial),
            prefix: text(&record.scope.prefix),
            allow: allow_text(&record.scope),
            state: state.into(),
            seconds: record.expires_ms.saturating_sub(now) / 1000,
        }
    }
}

impl list::Line for TokensLine {
    const HEADER: &'static [&'static str] = &["ID", "STATE", "ALLOWS", "LEFT", "PREFIX"];

    fn row(&self) -> Vec<String> {
        let left = if self.state == "open" { duration_text(self.seconds) } else { String::new() };
        let prefix = shown(self.prefix.as_bytes());
        vec![self.id.clone(), self.state.clone(), self.allow.clone(), left, prefix]
    }
}

fn allow_text(scope: &Scope) -> String {
    let verbs = [("read", scope.read), ("write", scope.write)];
    verbs.iter().filter(|(_, allowed)| *allowed).map(|(verb, _)| *verb).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Arguments {
        text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn wishes_are_read_and_the_usual_token_reads_alone() {
        let (scope, ttl, shape) = asked(&words("ttl 2h prefix app/ json allow WRITE,read")).unwrap();
        let app = Scope { prefix: ByteBuf::from(*b"app/"), read: true, write: true };
        assert_eq!((scope, ttl, shape), (app.clone(), Duration::from_secs(7200), Shape::Json));
        let usual = asked(&words("prefix app/")).unwrap();
        assert_eq!(usual, (Scope { write: false, ..app }, TTL, Shape::Page));
    }

    #[test]
    fn wishes_that_cannot_be_are_refused_with_what_can() {
        let long = format!("prefix {}", "x".repeat(PREFIX_MAX + 1));
        for (text, said) in [
            ("allow read", "PREFIX is missing"),
            ("prefix", "PREFIX lacks its value"),
            (long.as_str(), "the most is 128"),
            ("prefix a allow all", "read, write or read,write"),
            ("prefix a allow ,", "read, write or read,write"),
            ("prefix a ttl 367d", "at most 366d"),
            ("prefix a nonsense", "HELP TOKEN"),
        ] {
            let line = asked(&words(text)).unwrap_err();
            assert!(line.contains(said), "{text}: {line}");
        }
    }
}
