//! The address of a daemon, and a single request to it.

use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::select;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::{ClientError, refusal, tls};

/// The socket of an installed daemon.
const DEFAULT_DAEMON_SOCKET: &str = "/run/rtlogd/rtlogd.sock";

/// The default port of this machine.
const DEFAULT_DAEMON_ADDRESS: &str = "127.0.0.1:7070";

/// The environment variable with the address of the daemon.
pub(crate) const URL_VARIABLE: &str = "RTLOGD_URL";

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A daemon, and the token for it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RemoteDaemon {
    endpoint: Endpoint,
    token: Option<String>,
    /// Certificates that are trusted in addition to those of the system.
    ca: Option<PathBuf>,
}

/// The address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Endpoint {
    /// The socket of an installed daemon if it exists and this user may open it, otherwise the default port of this
    /// machine.
    Local,
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
    /// The daemon of this machine.
    pub(crate) fn default_local() -> Self {
        Endpoint::Local.into()
    }

    /// Returns whether commands reach this daemon without an option: it is the one that the environment names, or else that
    /// of this machine.
    pub(super) fn is_default(&self) -> bool {
        let named = std::env::var(URL_VARIABLE).ok().and_then(|text| text.parse::<Self>().ok());
        self.endpoint == named.map_or(Endpoint::Local, |daemon| daemon.endpoint)
    }

    /// The same daemon, with this token.
    pub(crate) fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// Another daemon, with the token and the certificates of this one.
    pub(super) fn at(self, daemon: Self) -> Self {
        Self { endpoint: daemon.endpoint, ..self }
    }

    /// The same daemon, whose certificate may also be one of this file, or signed by one of them.
    pub(crate) fn with_ca(self, ca: Option<PathBuf>) -> Self {
        Self { ca, ..self }
    }

    /// Sends a request, and waits without limit for the head of the response, which must be a success.
    pub(super) async fn send_request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<OutgoingBody>,
    ) -> Result<ClientResponse, ClientError> {
        let answer = self.send_any(method, path, headers, body).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status;
        let body = answer.read_all(64 << 10).await.unwrap_or_default();
        Err(refusal(status, &body))
    }

    /// Sends a request, and waits without limit for the head of the response, whatever its status.
    pub(super) async fn send_any(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<OutgoingBody>,
    ) -> Result<ClientResponse, ClientError> {
        let body = body.into();
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<_> =
            headers.iter().copied().chain(bearer.as_deref().map(|bearer| ("authorization", bearer))).collect();
        let headers = headers.as_slice();
        match &self.endpoint {
            Endpoint::Local => match connect(UnixStream::connect(DEFAULT_DAEMON_SOCKET)).await {
                Ok(stream) => exchange(stream, "localhost", request(method, "localhost", path, headers, body)?).await,
                Err(error) => {
                    let denied = error.kind() == io::ErrorKind::PermissionDenied;
                    let stream = connect(TcpStream::connect(DEFAULT_DAEMON_ADDRESS)).await;
                    let stream = stream.map_err(|error| self.unreachable(error, denied))?;
                    let request = request(method, DEFAULT_DAEMON_ADDRESS, path, headers, body)?;
                    exchange(stream, DEFAULT_DAEMON_ADDRESS, request).await
                }
            },
            Endpoint::Unix(socket) => {
                let stream = connect(UnixStream::connect(socket)).await;
                let stream = stream.map_err(|error| self.unreachable(error, false))?;
                exchange(stream, "localhost", request(method, "localhost", path, headers, body)?).await
            }
            Endpoint::Tcp { secure, authority, base } => {
                let trust = secure.then(|| tls::Trust::load(self.ca.as_deref())).transpose()?;
                let stream = connect(TcpStream::connect(authority)).await;
                let stream = stream.map_err(|error| self.unreachable(error, false))?;
                let path = format!("{base}{path}");
                let request = request(method, authority, &path, headers, body)?;
                let answer = match trust {
                    None => exchange(stream, authority, request).await,
                    Some(trust) => {
                        let stream = connect(trust.connect(stream, authority)).await;
                        let stream = stream.map_err(|error| match tls::explain(&error) {
                            Some(why) => ClientError::Untrusted { server: self.to_string(), why },
                            None if tls::is_plain_answer(&error) => ClientError::PlainServer(authority.clone()),
                            None => self.unreachable(error, false),
                        })?;
                        exchange(stream, authority, request).await
                    }
                };
                answer.map_err(|error| match error {
                    ClientError::Connection(error) if error.is_parse() => ClientError::NotHttp(authority.clone()),
                    error => error,
                })
            }
        }
    }

    /// The same daemon under another base path.
    fn with_base_path(&self, base_path: &str) -> Option<Self> {
        let Endpoint::Tcp { secure, authority, .. } = self.endpoint.clone() else { return None };
        let endpoint = Endpoint::Tcp { secure, authority, base: base_path.trim_end_matches('/').to_owned() };
        Some(Self { endpoint, ..self.clone() })
    }

    /// Adds the right address to a refusal whose reason is that the daemon's paths begin differently.
    pub(super) async fn explain_base_path(&self, refused: ClientError) -> ClientError {
        let ClientError::Refused { status: StatusCode::NOT_FOUND, detail, base_path, unknown_stream } = refused else {
            return refused;
        };
        let has_base = matches!(&self.endpoint, Endpoint::Tcp { base, .. } if !base.is_empty());
        let right = match &base_path {
            Some(base_path) => self.with_base_path(base_path),
            // The daemon has none. Below the wrong one there is nothing at all, not even its health.
            None if has_base && !self.is_alive().await => self.with_base_path(""),
            None => None,
        };
        match right {
            Some(right) if right != *self && right.is_alive().await => {
                ClientError::OtherBasePath { detail, address: right.to_string() }
            }
            _ => ClientError::Refused { status: StatusCode::NOT_FOUND, detail, base_path, unknown_stream },
        }
    }

    /// Returns whether a daemon answers below this address.
    async fn is_alive(&self) -> bool {
        Box::pin(self.send_request(Method::GET, "/health/live", &[], Bytes::new())).await.is_ok()
    }

    /// The origin of the daemon's own page; `None` for a socket, which browsers cannot reach.
    pub(super) fn origin(&self) -> Option<String> {
        match &self.endpoint {
            Endpoint::Local | Endpoint::Unix(_) => None,
            Endpoint::Tcp { secure, authority, .. } => {
                Some(format!("http{}://{authority}", if *secure { "s" } else { "" }))
            }
        }
    }

    /// The error for a daemon that does not answer in time.
    pub(super) fn late(&self) -> ClientError {
        self.unreachable(io::ErrorKind::TimedOut.into(), false)
    }

    /// The error for a daemon that does not answer. `denied` says that its socket exists but may not be opened.
    fn unreachable(&self, error: io::Error, denied: bool) -> ClientError {
        if denied {
            return ClientError::SocketDenied { socket: DEFAULT_DAEMON_SOCKET, address: DEFAULT_DAEMON_ADDRESS };
        }
        ClientError::Unreachable(self.to_string(), error)
    }
}

/// Waits for a connection, but not for ever.
async fn connect<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The body of a request: bytes, or a reader that is sent as it is read.
pub(super) enum OutgoingBody {
    Bytes(Bytes),
    Reader(Box<dyn AsyncRead + Send + Sync + Unpin>),
}

impl From<Bytes> for OutgoingBody {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// The body as hyper sends it.
type SentBody = BoxBody<Bytes, io::Error>;

impl OutgoingBody {
    fn into_sent(self) -> SentBody {
        match self {
            Self::Bytes(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed(),
            Self::Reader(reader) => StreamBody::new(ReaderStream::new(reader).map_ok(Frame::data)).boxed(),
        }
    }
}

impl From<Endpoint> for RemoteDaemon {
    fn from(place: Endpoint) -> Self {
        Self { endpoint: place, token: None, ca: None }
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
        if text.starts_with('/') {
            return Ok(Endpoint::Unix(text.into()).into());
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Endpoint::Unix(path.into()).into()) } else { Err(bad()) };
        }
        // A port, with or without a colon, is one of this machine.
        let port = text.strip_prefix(':').unwrap_or(text);
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let url = match port.parse::<u16>() {
            Ok(port) if port > 0 => format!("http://{}:{port}", std::net::Ipv4Addr::LOCALHOST),
            _ if is_number => return Err(bad()),
            // `127.0.0.1:7070` is what people copy from a configuration.
            _ if !text.contains("://") => format!("http://{text}"),
            _ => text.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|host| !host.is_empty());
        let (Some(scheme), Some(host), None) = (uri.scheme_str(), host, uri.query()) else { return Err(bad()) };
        let (secure, port) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(bad()),
        };
        // A number that is no port is not taken for the default one.
        let names_port = uri.authority().is_some_and(|authority| authority.as_str().len() > host.len());
        let port = uri.port_u16().or((!names_port).then_some(port)).ok_or_else(bad)?;
        let authority = format!("{host}:{port}");
        Ok(Endpoint::Tcp { secure, authority, base: uri.path().trim_end_matches('/').to_owned() }.into())
    }
}

impl fmt::Display for RemoteDaemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Local => write!(f, "http://{DEFAULT_DAEMON_ADDRESS}"),
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
    body: OutgoingBody,
) -> Result<Request<SentBody>, ClientError> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into_sent()).map_err(|error| ClientError::UnexpectedResponse(error.to_string()))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    request: Request<SentBody>,
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
    Ok(ClientResponse { status: head.status, headers: head.headers, body, driver: connection })
}

/// The error with which the reader of a request's body ended; `None` if the body is not the reason.
pub(super) fn body_error(error: &hyper::Error) -> Option<io::Error> {
    let cause = std::error::Error::source(error).filter(|_| error.is_user())?;
    let cause = cause.downcast_ref::<io::Error>()?;
    Some(
        cause
            .raw_os_error()
            .map_or_else(|| io::Error::new(cause.kind(), cause.to_string()), io::Error::from_raw_os_error),
    )
}

/// The future that drives the exchange.
type ConnectionDriver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// A response whose body has not been read yet.
pub(super) struct ClientResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
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
            ("/run/x.sock", Endpoint::Unix("/run/x.sock".into()).into()),
            ("127.0.0.1:7070", tcp("127.0.0.1:7070", "")),
            ("[::1]:7070", tcp("[::1]:7070", "")),
            ("localhost:7070/logs", tcp("localhost:7070", "/logs")),
            ("ci.example.com", tcp("ci.example.com:80", "")),
            ("18103", tcp("127.0.0.1:18103", "")),
            (":7070", tcp("127.0.0.1:7070", "")),
        ];
        for (text, server) in table {
            assert_eq!(text.parse(), Ok(server), "{text}");
        }
        for bad in
            ["", "unix:x", "http://", "http://a/?b", "ftp://a", "a b", ":", "0", "99999", ":99999", "127.0.0.1:99999"]
        {
            assert!(bad.parse::<RemoteDaemon>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_would_end_a_parameter_is_escaped() {
        assert_eq!(percent_encode("a b&c=d/é+~._-"), "a%20b%26c%3Dd%2F%C3%A9%2B~._-");
    }
}
