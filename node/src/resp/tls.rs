//! TLS of the client port: the peer's side, and that of the console.

use crate::error::Error;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    StreamOwned,
};
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Most certificates of a file that are read.
const CERTIFICATES_MAX: usize = 1024;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Shows the certificate, and those between it and one that clients trust, of one PEM file; the private key
/// is in another. Errors: a file cannot be used; the two do not belong together.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Error> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| unusable("private key", key, why))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|why| Error::new("TLS cannot be used").why(why))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|why| unusable("certificate and its key", certificate, why))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).map_err(|why| unusable("certificate", path, why))?;
    let found: Result<Vec<_>, _> = read.take(CERTIFICATES_MAX).collect();
    let found = found.map_err(|why| unusable("certificate", path, why))?;
    if found.is_empty() {
        return Err(unusable("certificate", path, "there is none in it"));
    }
    Ok(found)
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

pub type ClientStream = StreamOwned<ClientConnection, TcpStream>;

/// Nothing is sent yet: the handshake comes with the first bytes. Errors: nobody could be trusted; `host` is
/// no name that a certificate can have.
pub fn connect(stream: TcpStream, host: &str, trust: &Trust) -> io::Result<ClientStream> {
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
