//! TLS as a client: the server's certificate is verified with the system's roots, or those that `SSL_CERT_FILE` names.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Performs the TLS handshake with the server of this name and port.
pub(super) async fn connect(stream: TcpStream, authority: &str) -> io::Result<TlsStream<TcpStream>> {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    if roots.add_parsable_certificates(found.certs).0 == 0 {
        return Err(io::Error::other(
            "this system has no roots to believe (package ca-certificates, or SSL_CERT_FILE)",
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
