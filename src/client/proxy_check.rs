//! `rtlogd doctor --url`: what lies between this program and a daemon, and whether it lets streams through.
//!
//! Each check is a request of a kind that readers and browsers send. The daemon's answers to them are known, so a
//! different one is the work of a proxy.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout};

use super::connect::{ClientResponse, RemoteDaemon, percent_encode};
use super::proxy_fix::{PathProblem, ProxyKind};
use super::{ClientError, MAX_RESPONSE_SIZE, refusal, streams};

/// The time within which the daemon answers. It sends the first bytes of a stream at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The time within which a quiet stream sends a comment: `limits: keep_alive`, which is 15 s by default, and a reserve.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// An address of another machine (RFC 5737), as a client could claim to have it.
const CLAIMED_ADDRESS: &str = "203.0.113.1";

/// A problem on the way to the daemon, and how to fix it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PathFinding {
    pub(crate) problem: String,
    pub(crate) fix: String,
}

/// Checks the way to a daemon. Takes up to half a minute.
///
/// # Errors
/// If the daemon cannot be reached at all, or its streams may not be listed.
pub(crate) fn check_path(server: &RemoteDaemon) -> Result<Vec<PathFinding>, ClientError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
    runtime.block_on(check(server))
}

async fn check(server: &RemoteDaemon) -> Result<Vec<PathFinding>, ClientError> {
    let live = get(server, "/health/live", &[]).await?;
    let proxy = ProxyKind::of(&live.headers);
    let finding = |problem: &PathProblem| PathFinding { problem: problem.to_string(), fix: problem.fix(proxy) };
    if !live.status.is_success() {
        let refused = error_of(live).await;
        return if names_other_host(&refused, server) {
            Ok(vec![finding(&PathProblem::WrongHost)])
        } else {
            Err(server.explain_base_path(refused).await)
        };
    }
    let listed = streams(server).await?;
    // Reading a process may start it.
    let readable = listed.iter().find(|stream| stream.kind != "process" || stream.is_running());
    let reading = async {
        match readable {
            Some(stream) => check_reading(server, &stream.name).await,
            None => Ok(vec![PathProblem::NothingToRead]),
        }
    };
    let (reading, socket, host, forwarded) =
        tokio::join!(reading, check_websocket(server), check_host(server), check_forwarded(server));
    let problems = [reading?, socket?, host?, forwarded?].concat();
    Ok(problems.iter().map(finding).collect())
}

/// Returns whether the daemon refuses a host name that is not the one of its address.
fn names_other_host(refused: &ClientError, server: &RemoteDaemon) -> bool {
    let origin = server.origin().unwrap_or_default();
    let host = origin.split_once("://").map_or("", |(_, authority)| authority);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    matches!(refused, ClientError::Refused { detail, .. }
        if detail.contains("is not a name of this server") && !detail.contains(host))
}

/// Reads a quiet stream until its first comment.
async fn check_reading(server: &RemoteDaemon, name: &str) -> Result<Vec<PathProblem>, ClientError> {
    // A connection for several streams, even with one: rtlogd never compresses it, so whoever does is a proxy.
    let path = format!("/streams?stream={}&tail=0&format=sse", percent_encode(name));
    let began = Instant::now();
    let headers = [("accept", "text/event-stream"), ("accept-encoding", "gzip")];
    let answer = timeout(ANSWER_TIMEOUT, server.send_any(Method::GET, &path, &headers, Bytes::new())).await;
    let Ok(answer) = answer else { return Ok(vec![PathProblem::Buffers]) };
    let mut answer = answer?;
    if !answer.status.is_success() {
        return Err(error_of(answer).await);
    }
    let mut problems = Vec::new();
    let coding = answer.headers.get(header::CONTENT_ENCODING).and_then(|coding| coding.to_str().ok());
    if let Some(coding) = coding.filter(|coding| *coding != "identity") {
        problems.push(PathProblem::Compresses(coding.to_owned()));
    }
    match timeout(ANSWER_TIMEOUT, answer.next()).await {
        Err(_) => problems.push(PathProblem::Buffers),
        Ok(Ok(Some(_))) => match timeout(KEEP_ALIVE_TIMEOUT, answer.next()).await {
            Err(_) => problems.push(PathProblem::HoldsBack(KEEP_ALIVE_TIMEOUT)),
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None) | Err(_)) => problems.push(PathProblem::Cuts(began.elapsed())),
        },
        Ok(Ok(None) | Err(_)) => problems.push(PathProblem::Cuts(began.elapsed())),
    }
    Ok(problems)
}

/// Opens the control channel.
async fn check_websocket(server: &RemoteDaemon) -> Result<Vec<PathProblem>, ClientError> {
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "rtlogd.v1"),
        ("sec-websocket-key", "cnRsb2dkIGRvY3RvciEhIQ=="),
    ];
    let answer = match get(server, "/control", &headers).await {
        Ok(answer) => answer,
        // The proxy closes the connection at the handshake.
        Err(ClientError::Connection(_)) => {
            return Ok(vec![PathProblem::NoWebSocket("the connection was closed".into())]);
        }
        Err(error) => return Err(error),
    };
    Ok(match answer.status {
        StatusCode::SWITCHING_PROTOCOLS => Vec::new(),
        // The daemon refuses for another reason, after it has seen the handshake.
        status if status != StatusCode::UPGRADE_REQUIRED && is_problem(&answer) => Vec::new(),
        status => vec![PathProblem::NoWebSocket(status.to_string())],
    })
}

/// Logs in without a token, as a page of the daemon does. A page of another site is refused in another way.
async fn check_host(server: &RemoteDaemon) -> Result<Vec<PathProblem>, ClientError> {
    let Some(origin) = server.origin() else { return Ok(Vec::new()) };
    let (anonymous, headers) = (server.clone().with_token(None), [("origin", origin.as_str())]);
    let answer = anonymous.send_any(Method::POST, "/login", &headers, Bytes::new());
    let answer = timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| server.late())??;
    Ok(if answer.status == StatusCode::FORBIDDEN { vec![PathProblem::WrongHost] } else { Vec::new() })
}

/// Sends requests without a token, some of which claim to come from elsewhere.
async fn check_forwarded(server: &RemoteDaemon) -> Result<Vec<PathProblem>, ClientError> {
    let anonymous = server.clone().with_token(None);
    let forwarded = format!("for={CLAIMED_ADDRESS}");
    let plain = refusal_detail(&anonymous, &[]).await?;
    let mut problems = Vec::new();
    match &plain {
        Some(detail) if detail.contains("does not name its client") => problems.push(PathProblem::NoForwardedFor),
        Some(detail) if detail.contains("is not in `trusted_proxies`") => problems.push(PathProblem::NotTrusted),
        // If a claim makes a difference, the daemon sees the headers of clients and none of the proxy.
        None if refusal_detail(&anonymous, &[("x-forwarded-for", CLAIMED_ADDRESS)]).await?.is_some() => {
            problems.push(PathProblem::ClientsAreLocal);
        }
        Some(_) | None => {}
    }
    for claim in [("x-real-ip", CLAIMED_ADDRESS), ("forwarded", &forwarded)] {
        let detail = refusal_detail(&anonymous, &[claim]).await?;
        if detail.is_some_and(|detail| detail.contains("do not agree on the client")) {
            problems.push(PathProblem::ClaimsPass(claim.0));
        }
    }
    Ok(problems)
}

/// The reason why the list of streams is refused; `None` if it is not.
async fn refusal_detail(server: &RemoteDaemon, headers: &[(&str, &str)]) -> Result<Option<String>, ClientError> {
    let answer = get(server, "/streams", headers).await?;
    if answer.status.is_success() {
        return Ok(None);
    }
    match error_of(answer).await {
        ClientError::Refused { detail, .. } => Ok(Some(detail)),
        error => Err(error),
    }
}

async fn get(server: &RemoteDaemon, path: &str, headers: &[(&str, &str)]) -> Result<ClientResponse, ClientError> {
    let answer = timeout(ANSWER_TIMEOUT, server.send_any(Method::GET, path, headers, Bytes::new())).await;
    answer.map_err(|_| server.late())?
}

/// Returns whether the daemon itself refuses (RFC 9457).
fn is_problem(answer: &ClientResponse) -> bool {
    answer.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json")
}

/// The error for a refusal.
async fn error_of(answer: ClientResponse) -> ClientError {
    let status = answer.status;
    refusal(status, &answer.read_all(MAX_RESPONSE_SIZE).await.unwrap_or_default())
}
