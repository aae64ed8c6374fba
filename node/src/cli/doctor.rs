//! `starling doctor`: what stands in the way of a peer on this machine, and what to do about it.

mod machine;
mod peers;

use crate::config::{Options, Origin, SettingFlags, Values};
use crate::console::{Place, Reach};
use crate::directory::Directory;
use crate::error::{Error, FAILURE, USAGE};
use crate::network::wall_ms;
use crate::open_files;
use crate::password::Password;
use crate::resp::tls;
use crate::stdio;
use anstyle::AnsiColor;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    place: Place,
    /// One JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, and not as well as it might.
    Warn,
    Fail,
}

/// One check and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), fix: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, found: found.into(), fix: Some(fix.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(check, found, fix) }
    }

    /// For this no peer starts.
    fn of(check: &'static str, error: &Error) -> Self {
        Self { fix: error.what_to_do().map(str::to_owned), ..Self::fail(check, error.line(), "") }
    }
}

/// The exit code is 1 if a check has failed. Takes a few seconds at most.
pub fn run(args: Args) -> Result<ExitCode, Error> {
    let values = Values::resolve(&args.settings, &|name| std::env::var_os(name))?;
    let (told, answers_at) = running(&values, args.place.clone())?;
    let mut findings = Vec::new();
    match Options::new(&values) {
        Ok(mut options) => {
            as_it_runs(&mut options, &values);
            findings.push(configuration(&options));
            findings.push(open_files(options.clone()));
            findings.extend(options.tls_cert.as_deref().map(client_certificate));
            findings.extend(machine::examine(&options));
            // What another peer needs is no matter of these settings.
            let is_at_rest = Directory::is_in_use(&options.dir).is_ok_and(|used| !used);
            if is_at_rest && options.dir.exists() && !args.place.names_peer() {
                findings.extend(machine::store(&options.dir));
                findings.extend(machine::ports(&options, answers_at.as_deref()));
            }
        }
        Err(error) => {
            findings.push(Finding::fail("configuration", error.to_string(), "starling config show"));
        }
    }
    findings.extend(told);
    if args.json {
        stdio::text(crate::render::json(&findings))?;
    } else {
        findings.iter().try_for_each(show)?;
    }
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Ok(if failed { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS })
}

/// A peer that runs there says with what it was started; a flag asks what would come of it.
fn as_it_runs(options: &mut Options, values: &Values) {
    let Ok(Some(ready)) = Directory::running(&options.dir) else { return };
    let ready: serde_json::Value = serde_json::from_slice(&ready).unwrap_or_default();
    let said = |key: &str, field: &str| {
        let is_asked = matches!(values.value(key).origin, Origin::Flag(_));
        ready.get(field).and_then(|text| text.as_str()).filter(|_| !is_asked)
    };
    if let Some(resp) = said("resp", "resp").and_then(|text| text.parse().ok()) {
        // Whatever that is, it was accepted.
        (options.resp, options.insecure_resp) = (resp, true);
    }
    if let Some(file) = said("password-file", "password_file").map(PathBuf::from) {
        options.password = Password::load(&file).ok();
        options.password_file = Some(file);
    }
    if let Some(certificate) = said("tls-cert", "tls_cert") {
        options.tls_cert = Some(certificate.into());
    }
}

/// What the peer says that runs: the one that is named, or else that of this directory, or at the usual port. If it
/// answers, also where.
fn running(values: &Values, place: Place) -> Result<(Vec<Finding>, Option<String>), Error> {
    let path = |key| values.text(key).map(PathBuf::from);
    let dir = path("dir").filter(|_| match values.value("dir").origin {
        Origin::Flag(_) => true,
        // As for every command: there, or at the usual port.
        Origin::Default => false,
        _ => !place.names_peer(),
    });
    let reach = Reach { place, dir, password_file: path("password-file") };
    match reach.link() {
        Ok(mut link) => {
            let told = peers::examine(&mut link);
            Ok((told, link.is_connected().then(|| link.address().to_owned())))
        }
        Err(error) if error.code() == USAGE => Err(error),
        Err(error) => {
            let fix = error.what_to_do().unwrap_or("starling up");
            Ok((vec![Finding::warn("peer", error.line(), fix)], None))
        }
    }
}

fn show(finding: &Finding) -> Result<(), Error> {
    let (word, color) = match finding.verdict {
        Verdict::Ok => ("ok  ", AnsiColor::Green),
        Verdict::Warn => ("warn", AnsiColor::Yellow),
        Verdict::Fail => ("fail", AnsiColor::Red),
    };
    let style = color.on_default();
    stdio::text(format_args!("{style}{word}{style:#}  {:<14}  {}", finding.check, finding.found))?;
    finding.fix.iter().try_for_each(|fix| stdio::text(format_args!("{:22}fix: {fix}", "")))
}

fn configuration(options: &Options) -> Finding {
    const CHECK: &str = "configuration";
    let resp = options.resp;
    if resp.ip().is_loopback() || options.password.is_some() || options.port.tls.is_some() {
        return Finding::ok(CHECK, format!("every setting can be used; clients at {resp}"));
    }
    let fix = "give clients a password with --password-file or tokens over TLS, or keep --resp on 127.0.0.1";
    if options.insecure_resp {
        return Finding::warn(CHECK, format!("clients at {resp} need no password"), fix);
    }
    Finding::fail(CHECK, format!("clients at {resp} would need no password, so no peer starts"), fix)
}

/// Of a process that is started as this one was.
fn open_files(mut options: Options) -> Finding {
    const CHECK: &str = "open files";
    const FIX: &str = "ulimit -n 65536 where the peer is started, or LimitNOFILE=65536 of its systemd unit";
    match open_files::share_out(open_files::raise(), &mut options.port, &mut options.limits) {
        Ok(None) => Finding::ok(CHECK, format!("enough for {} clients", options.port.clients)),
        Ok(Some(fewer)) => Finding::warn(CHECK, fewer, FIX),
        Err(error) => Finding::fail(CHECK, error.line(), FIX),
    }
}

/// Days before its end at which a certificate should have been renewed: those who renew by themselves do so a
/// month before.
const RENEWED_BEFORE: u64 = 14;

fn client_certificate(path: &Path) -> Finding {
    const FIX: &str = "renew it and put the new one in its place; a running peer takes it up within a minute";
    match tls::ends_at(path) {
        Ok(end) => ending(&path.display().to_string(), end.saturating_sub(wall_ms() / 1000), FIX),
        Err(error) => Finding::fail(TLS, error.to_string(), FIX),
    }
}

const TLS: &str = "tls";

fn ending(path: &str, seconds: u64, fix: &str) -> Finding {
    let days = seconds / 86_400;
    match seconds {
        0 => Finding::fail(TLS, format!("the certificate in {path} has ended: clients refuse it"), fix),
        _ if days < RENEWED_BEFORE => {
            Finding::warn(TLS, format!("the certificate in {path} ends in {days} days"), fix)
        }
        _ => Finding::ok(TLS, format!("the certificate in {path} counts for {days} days more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_ends_soon_is_a_warning_and_one_that_has_ended_a_failure() {
        let verdict = |seconds| ending("cert.pem", seconds, "renew it").verdict;
        assert_eq!(verdict(0), Verdict::Fail);
        assert_eq!(verdict(13 * 86_400), Verdict::Warn);
        assert_eq!(verdict(14 * 86_400), Verdict::Ok);
    }
}
