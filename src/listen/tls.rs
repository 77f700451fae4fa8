//! TLS: certificate and key as their files have them now. New connections take what is new; those that are open stay.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config;

/// How often the files are looked at: a new certificate is in use so much later, at most.
const CERT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Longest file of certificates or of a key, in bytes: a chain has a few kilobytes, a bundle of roots some hundred.
const MAX_PEM_FILE_SIZE: u64 = 1 << 20;

/// What a connection may speak (RFC 7301), the better first.
const ALPN_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How a TLS connection begins: a record with a handshake (RFC 8446, section 5.1). No method of HTTP begins so.
const TLS_HANDSHAKE_RECORD: u8 = 0x16;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read {0:?}")]
    Read(PathBuf, #[source] io::Error),
    #[error("{0:?} has no {1} as PEM")]
    Empty(PathBuf, &'static str),
    #[error(
        "everybody on this machine may read the key {0:?} (mode {1:o}); run chmod o-r, and replace the key, since others may have read it"
    )]
    InsecureKeyPermissions(PathBuf, u32),
    #[error("{0:?} and {1:?} do not match, or cannot be used")]
    Unusable(PathBuf, PathBuf, #[source] rustls::Error),
    #[error("{0:?} cannot be used to verify the certificates of clients")]
    ClientCa(PathBuf, #[source] rustls::server::VerifierBuilderError),
}

/// What new connections are met with. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct TlsServer(watch::Receiver<Arc<ServerConfig>>);

/// Looks after the files.
#[derive(Debug)]
pub(crate) struct CertReloader {
    spec: config::TlsConfig,
    seen: Vec<CertFileStamp>,
    current: watch::Sender<Arc<ServerConfig>>,
}

/// What a file is known by.
type CertFileStamp = Option<(u64, i64, i64, u64)>;

impl TlsServer {
    /// Reads the files.
    pub(crate) fn open(spec: &config::TlsConfig) -> Result<(Self, CertReloader), TlsError> {
        let seen = file_stamps(spec);
        let current = watch::Sender::new(Arc::new(load(spec)?));
        Ok((Self(current.subscribe()), CertReloader { spec: spec.clone(), seen, current }))
    }

    /// Whether a connection begins as TLS does; waits for its first byte.
    pub(super) async fn is_spoken(stream: &TcpStream) -> io::Result<bool> {
        let mut first = [0];
        Ok(stream.peek(&mut first).await? == 1 && first == [TLS_HANDSHAKE_RECORD])
    }

    /// Shakes hands.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let current = self.0.borrow().clone();
        TlsAcceptor::from(current).accept(stream).await
    }
}

impl CertReloader {
    /// Reads the files again whenever one changes. After an error those that were read before stay in force.
    pub(crate) async fn watch(mut self) {
        let mut tick = tokio::time::interval(CERT_POLL_INTERVAL);
        loop {
            tick.tick().await;
            let looked = spawn_blocking(move || {
                let seen = file_stamps(&self.spec);
                let changed = (seen != self.seen).then(|| load(&self.spec));
                self.seen = seen;
                (self, changed)
            });
            let Ok((back, changed)) = looked.await else { return };
            self = back;
            match changed {
                None => {}
                Some(Ok(config)) => {
                    self.current.send_replace(Arc::new(config));
                    info!("the certificate changed, and is in use");
                }
                Some(Err(error)) => {
                    let cause =
                        std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
                    warn!(error:% = error; "the certificate changed and cannot be used; the previous one stays in use{cause}");
                }
            }
        }
    }
}

/// Whether an address is this machine's: what does not leave it needs no TLS.
pub(super) fn is_same_host(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// TLS 1.2 and 1.3 with what rustls has for them: no suite of it is known to be weak.
fn load(spec: &config::TlsConfig) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Unusable(spec.certificate.clone(), spec.key.clone(), error))?;
    let builder = match &spec.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            let added = roots.add_parsable_certificates(certificates(path)?);
            if added.0 == 0 {
                return Err(TlsError::Empty(path.clone(), "certificate"));
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::ClientCa(path.clone(), error))?)
        }
    };
    let mode = fs::metadata(&spec.key).map_err(|error| TlsError::Read(spec.key.clone(), error))?.mode();
    if mode & 0o007 != 0 {
        return Err(TlsError::InsecureKeyPermissions(spec.key.clone(), mode & 0o7777));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&spec.key)?);
    let key = key.map_err(|_| TlsError::Empty(spec.key.clone(), "private key"))?;
    let chain = certificates(&spec.certificate)?;
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|error| TlsError::Unusable(spec.certificate.clone(), spec.key.clone(), error))?;
    config.alpn_protocols = ALPN_PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?).filter_map(Result::ok).collect();
    if all.is_empty() { Err(TlsError::Empty(path.to_owned(), "certificate")) } else { Ok(all) }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_PEM_FILE_SIZE).read_to_end(&mut bytes));
    read.map_err(|error| TlsError::Read(path.to_owned(), error))?;
    Ok(bytes)
}

fn file_stamps(spec: &config::TlsConfig) -> Vec<CertFileStamp> {
    let stamp = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    };
    [&spec.certificate, &spec.key].into_iter().chain(&spec.client_ca).map(stamp).collect()
}
