//! The address of a daemon, and a single request to it.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::select;
use tokio::time::timeout;

use super::{ClientError, refusal, tls};

/// The socket of an installed daemon.
const DEFAULT_DAEMON_SOCKET: &str = "/run/rtlogd/rtlogd.sock";

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A daemon, and the token for it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RemoteDaemon {
    endpoint: Endpoint,
    token: Option<String>,
}

/// The address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Endpoint {
    Unix(PathBuf),
    /// Host and port, and the path under which a proxy serves the daemon, without a slash at the end.
    Tcp {
        secure: bool,
        authority: String,
        base: String,
    },
}

/// The error for a text that is not the address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an address of rtlogd: {0:?} (such as http://127.0.0.1:7070 or unix:/run/rtlogd/rtlogd.sock)")]
pub(crate) struct BadUrl(String);

impl RemoteDaemon {
    /// The Unix socket if it exists, otherwise the default port of this machine.
    pub(crate) fn default_local() -> Self {
        if Path::new(DEFAULT_DAEMON_SOCKET).exists() {
            return Endpoint::Unix(DEFAULT_DAEMON_SOCKET.into()).into();
        }
        Endpoint::Tcp { secure: false, authority: "127.0.0.1:7070".to_owned(), base: String::new() }.into()
    }

    /// The same daemon, with this token.
    pub(crate) fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// Sends a request, and waits without limit for the head of the response.
    pub(super) async fn send_request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<ClientResponse, ClientError> {
        let missing = |error| ClientError::Unreachable(self.to_string(), error);
        let late = |_| missing(io::ErrorKind::TimedOut.into());
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<_> =
            headers.iter().copied().chain(bearer.as_deref().map(|bearer| ("authorization", bearer))).collect();
        let headers = headers.as_slice();
        match &self.endpoint {
            Endpoint::Unix(socket) => {
                let stream =
                    timeout(CONNECT_TIMEOUT, UnixStream::connect(socket)).await.map_err(late)?.map_err(missing)?;
                exchange(stream, "localhost", request(method, "localhost", path, headers, body)?).await
            }
            Endpoint::Tcp { secure, authority, base } => {
                let stream =
                    timeout(CONNECT_TIMEOUT, TcpStream::connect(authority)).await.map_err(late)?.map_err(missing)?;
                let path = format!("{base}{path}");
                let request = request(method, authority, &path, headers, body)?;
                if !secure {
                    return exchange(stream, authority, request).await;
                }
                let stream =
                    timeout(CONNECT_TIMEOUT, tls::connect(stream, authority)).await.map_err(late)?.map_err(missing)?;
                exchange(stream, authority, request).await
            }
        }
    }
}

impl From<Endpoint> for RemoteDaemon {
    fn from(place: Endpoint) -> Self {
        Self { endpoint: place, token: None }
    }
}

/// The debug output omits the token.
impl fmt::Debug for RemoteDaemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("place", &self.endpoint).finish_non_exhaustive()
    }
}

impl FromStr for RemoteDaemon {
    type Err = BadUrl;
    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl(text.chars().take(100).collect());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Endpoint::Unix(path.into()).into()) } else { Err(bad()) };
        }
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let (Some(scheme), Some(host), None) = (uri.scheme_str(), uri.host(), uri.query()) else { return Err(bad()) };
        let (secure, port) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(bad()),
        };
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(port));
        Ok(Endpoint::Tcp { secure, authority, base: uri.path().trim_end_matches('/').to_owned() }.into())
    }
}

impl fmt::Display for RemoteDaemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Tcp { secure, authority, base } => {
                write!(f, "http{}://{authority}{base}", if *secure { "s" } else { "" })
            }
        }
    }
}

fn request(
    method: Method,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body)).map_err(|error| ClientError::UnexpectedResponse(error.to_string()))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    request: Request<Full<Bytes>>,
) -> Result<ClientResponse, ClientError> {
    log::debug!(host, path:% = request.uri(); "request");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Connection)?;
    let mut connection: ConnectionDriver = Box::pin(connection);
    let mut sent = Box::pin(sender.send_request(request));
    let response = loop {
        select! {
            response = &mut sent => break response.map_err(ClientError::Connection)?,
            // The sender reports the error when the connection ends.
            ended = &mut connection => connection = Box::pin(async { ended?; std::future::pending().await }),
        }
    };
    let (head, body) = response.into_parts();
    let answer = ClientResponse { status: head.status, body, driver: connection };
    if head.status.is_success() {
        return Ok(answer);
    }
    let status = head.status;
    let body = answer.read_all(64 << 10).await.unwrap_or_default();
    Err(refusal(status, &body))
}

/// The future that drives the exchange.
type ConnectionDriver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// A response whose body has not been read yet.
pub(super) struct ClientResponse {
    pub(super) status: StatusCode,
    body: Incoming,
    driver: ConnectionDriver,
}

impl ClientResponse {
    /// The next part of the body; `None` at its regular end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = select! {
                biased;
                frame = self.body.frame() => frame,
                ended = &mut self.driver => {
                    // The body knows whether its end was regular.
                    self.driver = Box::pin(async { ended?; std::future::pending().await });
                    continue;
                }
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::Connection(error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Reads the whole body, up to `most` bytes.
    pub(super) async fn read_all(mut self, most: usize) -> Result<Vec<u8>, ClientError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            if all.len() + bytes.len() > most {
                return Err(ClientError::UnexpectedResponse(format!("more than {most} bytes")));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

/// Encodes a text as a part of a path or of a query (RFC 3986, section 2.3).
pub(super) fn percent_encode(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a text takes all");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_or_a_socket() {
        let at = |secure, authority: &str, base: &str| {
            RemoteDaemon::from(Endpoint::Tcp { secure, authority: authority.to_owned(), base: base.to_owned() })
        };
        let tcp = |authority: &str, base: &str| at(false, authority, base);
        let table = [
            ("https://ci.example.com", at(true, "ci.example.com:443", "")),
            ("http://127.0.0.1:7070", tcp("127.0.0.1:7070", "")),
            ("http://[::1]:7070/", tcp("[::1]:7070", "")),
            ("http://ci.example.com/logs/", tcp("ci.example.com:80", "/logs")),
            ("unix:/run/x.sock", Endpoint::Unix("/run/x.sock".into()).into()),
            ("unix:///run/x.sock", Endpoint::Unix("/run/x.sock".into()).into()),
        ];
        for (text, server) in table {
            assert_eq!(text.parse(), Ok(server), "{text}");
        }
        for bad in ["", "127.0.0.1:7070", "unix:x", "http://", "http://a/?b", "ftp://a"] {
            assert!(bad.parse::<RemoteDaemon>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_would_end_a_parameter_is_escaped() {
        assert_eq!(percent_encode("a b&c=d/é+~._-"), "a%20b%26c%3Dd%2F%C3%A9%2B~._-");
    }
}
