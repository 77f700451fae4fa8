//! TLS as a client: the server's certificate is verified with the system's roots, or those that `SSL_CERT_FILE` names,
//! and with the certificates of `--ca`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The reason why no certificate can be verified. No server was asked yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("cannot read the certificates of --ca {0:?}")]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("the file of --ca {path:?} has no certificates: {why}")]
    NoCertificate { path: PathBuf, why: String },
    #[error("this system trusts no certificates (install ca-certificates, or name a file with --ca or SSL_CERT_FILE)")]
    NoRoots,
    #[error("TLS cannot be used")]
    Setup(#[source] rustls::Error),
}

/// The certificates that are trusted, ready for a handshake.
pub(super) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts the certificates of the system, those of the file `ca`, and those that they signed. Blocks.
    pub(super) fn load(ca: Option<&Path>) -> Result<Self, TrustError> {
        let pinned = ca.map_or_else(|| Ok(Vec::new()), read_certificates)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(pinned.iter().cloned());
        if roots.is_empty() {
            return Err(TrustError::NoRoots);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let chain = chain.map_err(|error| TrustError::Setup(rustls::Error::General(error.to_string())))?;
        let verifier = Arc::new(PinningVerifier { chain, pinned });
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(TrustError::Setup)?.dangerous().with_custom_certificate_verifier(verifier);
        Ok(Self(Arc::new(config.with_no_client_auth())))
    }

    /// Performs the TLS handshake with the server of this name and port.
    pub(super) async fn connect(self, stream: TcpStream, authority: &str) -> io::Result<TlsStream<TcpStream>> {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.0).connect(name, stream).await
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let unreadable = |error| TrustError::Unreadable(path.to_owned(), error);
    let none = |why: String| TrustError::NoCertificate { path: path.to_owned(), why };
    let text = std::fs::read(path).map_err(unreadable)?;
    let read = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|error| none(error.to_string()))?;
    if !read.is_empty() {
        return Ok(read);
    }
    Err(none(if memchr::memmem::find(&text, b"PRIVATE KEY-----").is_some() {
        "it is a private key; name the file of the certificate".to_owned()
    } else {
        "a certificate in PEM form begins with `-----BEGIN CERTIFICATE-----`".to_owned()
    }))
}

/// Returns whether the handshake failed because the server's answer was not TLS.
pub(super) fn is_plain_answer(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(error, Some(rustls::Error::InvalidMessage(_)))
}

/// The reason why a server's certificate is not trusted, and what to do; `None` for other errors.
pub(super) fn explain(error: &io::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(reason) = error.get_ref()?.downcast_ref()? else { return None };
    let (why, fix) = match reason {
        CertificateError::UnknownIssuer => ("this system does not know who signed it", NAME_SIGNER),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("it has expired", "renew it on the server")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("it is not valid yet", "compare the clocks of both machines")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ("it is for another host name", "use the name that it is for in the address")
        }
        CertificateError::Other(reason) if reason.0.is::<SelfSigned>() => {
            ("it is self-signed", "if it is the right one, copy its file from the server and name it with --ca FILE")
        }
        CertificateError::Other(_) => ("it is a CA certificate, or its form is not accepted for a server", NAME_SIGNER),
        reason => return Some(format!("{reason} ({NAME_SIGNER})")),
    };
    Some(format!("{why} ({fix})"))
}

/// The advice for a certificate whose signer is unknown.
const NAME_SIGNER: &str =
    "if it is the right one, name its file, or that of the certificate that signed it, with --ca FILE";

/// The mark of a certificate that is not trusted and that signed itself, as `openssl req -x509` makes it.
#[derive(Debug, thiserror::Error)]
#[error("it is self-signed")]
struct SelfSigned;

/// Returns whether a certificate names itself as the one that signed it (RFC 5280, section 3.2).
fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.issuer() == certificate.subject() && !certificate.subject().is_empty())
}

/// Verifies a chain of certificates, and accepts a certificate that the user named itself.
///
/// `openssl req -x509` makes certificates that may sign others, which a server may not show by the rules of the web
/// (RFC 5280, section 4.2.1.9), and others sign with an authority that the user does not have. The user's own file is
/// proof enough: the certificate must be one of it, byte by byte.
#[derive(Debug)]
struct PinningVerifier {
    chain: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for PinningVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // Expiry and the like have errors of their own, and are checked before the form of the certificate and who
            // signed it.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_) | CertificateError::UnknownIssuer))
                if self.pinned.iter().any(|pinned| pinned == certificate) =>
            {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_) | CertificateError::UnknownIssuer))
                if is_self_signed(certificate) =>
            {
                Err(CertificateError::Other(OtherError(Arc::new(SelfSigned))).into())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
