//! TLS of the client port: the peer's side, and that of the console.

use crate::error::Error;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme, StreamOwned,
};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::certificate::X509Certificate;

/// Most certificates of a file that are read.
const CERTIFICATES_MAX: usize = 1024;
/// How often the files of the client port are looked at: they are renewed every few weeks, days before the
/// old ones end.
const RENEWAL: Duration = Duration::from_secs(60);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The peer's side of the client port. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
}

/// What clients are shown, and the files that it comes from.
#[derive(Debug)]
struct Shown {
    certificate: PathBuf,
    key: PathBuf,
    now: RwLock<Arc<CertifiedKey>>,
}

impl Tls {
    /// Shows the certificate, and those between it and one that clients trust, of one PEM file; the private
    /// key is in another. Errors: a file cannot be used; the two do not belong together.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let now = RwLock::new(Arc::new(certified(certificate, key)?));
        let shown = Arc::new(Shown { certificate: certificate.into(), key: key.into(), now });
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|why| Error::new("TLS cannot be used").why(why))?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), shown })
    }

    pub async fn accept(
        &self,
        stream: tokio::net::TcpStream,
    ) -> io::Result<TlsStream<tokio::net::TcpStream>> {
        self.acceptor.accept(stream).await
    }

    /// Reads the files again every minute, for ever: certificates are renewed while peers run. Files that
    /// cannot be used, as one half of a pair that is being replaced, change nothing.
    pub async fn keep_fresh(&self) {
        let mut complained = false;
        loop {
            tokio::time::sleep(RENEWAL).await;
            let shown = self.shown.clone();
            match tokio::task::spawn_blocking(move || shown.renew()).await {
                Ok(Ok(renewed)) => {
                    complained = false;
                    if renewed {
                        tracing::info!("clients are shown the renewed certificate");
                    }
                }
                Ok(Err(error)) if !complained => {
                    complained = true;
                    tracing::warn!(%error, "the certificate of the client port cannot be renewed; the old one goes on");
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

impl Shown {
    /// True: the files have changed, and new clients are shown what is in them now. Errors: as of `open`.
    fn renew(&self) -> Result<bool, Error> {
        let found = certified(&self.certificate, &self.key)?;
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let renewed = now.cert != found.cert;
        if renewed {
            *now = Arc::new(found);
        }
        Ok(renewed)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello) -> Option<Arc<CertifiedKey>> {
        Some(self.now.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let chain = certificates(certificate)?;
    readable("private key", key)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| unusable("private key", key, why))?;
    CertifiedKey::from_der(chain, private, &provider())
        .map_err(|why| unusable("certificate and its key", certificate, why))
}

/// Until when the first certificate of a PEM file counts, in seconds since the Unix epoch. Errors: it cannot
/// be read.
pub fn ends_at(certificate: &Path) -> Result<u64, Error> {
    of_first(certificate, |first| u64::try_from(first.validity().not_after.timestamp()).unwrap_or(0))
}

/// Whether the first certificate of a PEM file is signed by itself. Errors: it cannot be read.
pub fn is_self_signed(certificate: &Path) -> Result<bool, Error> {
    of_first(certificate, |first| first.issuer() == first.subject())
}

fn of_first<T>(path: &Path, ask: impl FnOnce(&X509Certificate<'_>) -> T) -> Result<T, Error> {
    let chain = certificates(path)?;
    let (_, first) =
        x509_parser::parse_x509_certificate(&chain[0]).map_err(|why| unusable("certificate", path, why))?;
    Ok(ask(&first))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    readable("certificate", path)?;
    let read = CertificateDer::pem_file_iter(path).map_err(|why| unusable("certificate", path, why))?;
    let found: Result<Vec<_>, _> = read.take(CERTIFICATES_MAX).collect();
    let found = found.map_err(|why| unusable("certificate", path, why))?;
    if found.is_empty() {
        return Err(unusable("certificate", path, "there is none in it"));
    }
    Ok(found)
}

/// A file that is not there has no form that could be wrong.
fn readable(what: &str, path: &Path) -> Result<(), Error> {
    std::fs::File::open(path).map(drop).map_err(|why| {
        Error::usage(format!("the {what} in {} cannot be used", path.display()))
            .why(why)
            .hint("see that the file is there, and that this user may read it")
    })
}

fn unusable(what: &str, path: &Path, why: impl std::fmt::Display) -> Error {
    Error::usage(format!("the {what} in {} cannot be used", path.display())).why(why).hint(
        "both files are PEM: --tls-cert begins with BEGIN CERTIFICATE, --tls-key with BEGIN PRIVATE KEY",
    )
}

/// Whom a client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those whom this machine trusts.
    Machine,
    /// The certificates of a PEM file, those that they have signed, and the very ones.
    File(std::path::PathBuf),
}

/// Errors: the file whose certificates are to be believed cannot be used.
pub fn usable(trust: &Trust) -> Result<(), Error> {
    let Trust::File(path) = trust else { return Ok(()) };
    readable("certificate", path).map_err(|error| {
        error.hint("see that the file of --tls-ca is there, and that this user may read it")
    })?;
    let found = certificates(path).map(drop);
    found.map_err(|error| error.hint("--tls-ca names a file in PEM, which has BEGIN CERTIFICATE in it"))
}

/// Why a handshake failed, and what a person can do about it. `None`: TLS has no part in this error.
pub fn failed(error: &io::Error) -> Option<(String, &'static str)> {
    const NAME_IT: &str = "name its certificate with --tls-ca FILE";
    let rustls::Error::InvalidCertificate(found) = error.get_ref()?.downcast_ref()? else {
        let is_message = matches!(error.get_ref()?.downcast_ref()?, rustls::Error::InvalidMessage(_));
        return is_message
            .then(|| ("it answers without TLS".into(), "this port speaks no TLS; leave out --tls"));
    };
    Some(match found {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ("its certificate is for another name".into(), NAME_IT)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("its certificate has expired".into(), "renew it where the peer runs")
        }
        // Signed by itself, by somebody unknown or in a way that is not taken: what helps is the same.
        _ => ("its certificate is not signed by anyone whom this machine trusts".into(), NAME_IT),
    })
}

/// Nothing is sent yet: the handshake comes with the first bytes. Errors: nobody could be trusted; `host` is
/// no name that a certificate can have.
pub fn connect<S: Read + Write>(
    stream: S,
    host: &str,
    trust: &Trust,
) -> io::Result<StreamOwned<ClientConnection, S>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let name = ServerName::try_from(host.to_owned()).map_err(|why| invalid(format!("{host}: {why}")))?;
    let verifier = Verifier::of(trust).map_err(invalid)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|why| invalid(why.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(session, stream))
}

/// As usual, and beside it a certificate that is itself in the file is believed, whatever name it has: so
/// that one who signed it alone, or is reached by an address, needs no authority.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn of(trust: &Trust) -> Result<Self, String> {
        let (trusted, pinned) = match trust {
            Trust::Machine => (rustls_native_certs::load_native_certs().certs, Vec::new()),
            Trust::File(path) => {
                let found = certificates(path).map_err(|error| error.to_string())?;
                (found.clone(), found)
            }
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted);
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let usual = usual.map_err(|_| "this machine trusts no certificates; name one with --tls-ca FILE")?;
        Ok(Self { usual, pinned })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pinned.iter().any(|pinned| pinned == shown) {
            return Ok(ServerCertVerified::assertion());
        }
        self.usual.verify_server_cert(shown, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(home: &Path) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (home.join("cert.pem"), home.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.key_pair.serialize_pem()).unwrap();
        (certificate, key)
    }

    #[test]
    fn a_renewed_certificate_is_shown_and_what_cannot_be_used_is_not() {
        let home = tempfile::tempdir().unwrap();
        let (certificate, key) = write(home.path());
        let tls = Tls::open(&certificate, &key).unwrap();
        let shown = || tls.shown.now.read().unwrap().cert.clone();
        let first = shown();
        assert!(!tls.shown.renew().unwrap(), "nothing has changed");
        let old_key = std::fs::read(&key).unwrap();
        write(home.path());
        let new_key = std::fs::read(&key).unwrap();
        std::fs::write(&key, old_key).unwrap();
        assert!(tls.shown.renew().is_err(), "half of the pair is new");
        assert_eq!(shown(), first);
        std::fs::write(&key, new_key).unwrap();
        assert!(tls.shown.renew().unwrap());
        assert_eq!(shown(), certificates(&certificate).unwrap());
        assert_ne!(shown(), first);
    }

    #[test]
    fn until_when_a_certificate_counts_is_read() {
        let home = tempfile::tempdir().unwrap();
        let (certificate, key) = write(home.path());
        // 4096-01-01, which rcgen writes unless it is told otherwise.
        assert_eq!(ends_at(&certificate).unwrap(), 67_090_118_400);
        assert!(ends_at(&key).is_err());
    }
}
