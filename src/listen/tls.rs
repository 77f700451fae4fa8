//! TLS: the certificate and the key are reloaded from their files. New connections use the new certificate; open
//! connections are not affected.

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
use tokio_util::sync::CancellationToken;

use crate::access::effective_user_name;
use crate::config;

use super::protocol::{ConnectionStep, Transport};

/// Interval at which the files are checked. A new certificate is in use after this time at the latest.
const CERT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum size of a file of certificates or a key, in bytes: a chain has a few kilobytes, a bundle of roots several
/// hundred.
const MAX_PEM_FILE_SIZE: u64 = 1 << 20;

/// The protocols of a connection (RFC 7301), in order of preference.
const ALPN_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1). No method of HTTP begins with it.
const TLS_HANDSHAKE_RECORD: u8 = 0x16;

/// The reasons why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read {0:?}")]
    Read(PathBuf, #[source] io::Error),
    #[error("{user} may not read {path:?} (run: chown {user} {path:?})")]
    Denied { path: PathBuf, user: String },
    #[error("{0:?} contains no {1} in PEM form")]
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

impl TlsError {
    fn read(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { path: path.to_owned(), user: effective_user_name() },
            _ => Self::Read(path.to_owned(), error),
        }
    }
}

/// The TLS configuration of new connections. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct TlsServer(watch::Receiver<Arc<ServerConfig>>);

/// The task that reloads the files.
#[derive(Debug)]
pub(crate) struct CertReloader {
    spec: config::TlsConfig,
    seen: Vec<CertFileStamp>,
    current: watch::Sender<Arc<ServerConfig>>,
}

/// The identity of a file's content: inode, time of change and size.
type CertFileStamp = Option<(u64, i64, i64, u64)>;

impl TlsServer {
    /// Reads the files.
    pub(crate) fn open(spec: &config::TlsConfig) -> Result<(Self, CertReloader), TlsError> {
        let seen = file_stamps(spec);
        let current = watch::Sender::new(Arc::new(load(spec)?));
        Ok((Self(current.subscribe()), CertReloader { spec: spec.clone(), seen, current }))
    }

    /// Performs the TLS handshake within a time, if the connection begins with one; otherwise returns the stream as it is.
    /// The future is boxed, since the task of the connection would otherwise reserve its memory to the end.
    pub(super) fn accept(
        self,
        stream: TcpStream,
        timeout: Duration,
        finish: CancellationToken,
    ) -> ConnectionStep<Result<Box<dyn Transport>, TcpStream>> {
        Box::pin(async move {
            let accepted = tokio::time::timeout(timeout, self.accept_if_spoken(stream));
            Ok(finish.run_until_cancelled(accepted).await.ok_or("the daemon stops")???)
        })
    }

    async fn accept_if_spoken(&self, stream: TcpStream) -> io::Result<Result<Box<dyn Transport>, TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? != 1 || first != [TLS_HANDSHAKE_RECORD] {
            return Ok(Err(stream));
        }
        let current = self.0.borrow().clone();
        Ok(Ok(Box::new(TlsAcceptor::from(current).accept(stream).await?)))
    }
}

impl CertReloader {
    /// Reads the files again whenever one changes. After an error, the previous certificate stays in use.
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

/// Returns true for a loopback address: traffic that does not leave the machine needs no TLS.
pub(super) fn is_same_host(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Loads a configuration for TLS 1.2 and 1.3 with the defaults of rustls, none of whose cipher suites is known to be
/// weak.
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
    let mode = fs::metadata(&spec.key).map_err(|error| TlsError::read(&spec.key, error))?.mode();
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
    read.map_err(|error| TlsError::read(path, error))?;
    Ok(bytes)
}

fn file_stamps(spec: &config::TlsConfig) -> Vec<CertFileStamp> {
    let stamp = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    };
    [&spec.certificate, &spec.key].into_iter().chain(&spec.client_ca).map(stamp).collect()
}
