//! `rtlogd reload`: asks the daemon to read its configuration again, and receives the result.
//!
//! Reloads have a separate socket. The addresses of `listen` are not suitable: they are in the configuration, which may
//! be the part that is wrong. The socket is named after the path of the configuration, in a directory that both sides
//! can find. Only the daemon's user and root may connect. The reply is one word and lines for people.

use std::env;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{debug, warn};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, unix};
use tokio::time::timeout;

/// The longest reply, in bytes: a hundred mistakes with long paths.
const MAX_RELOAD_REPLY_SIZE: u64 = 1 << 20;

/// The longest time that the client may take to read the reply.
const REPLY_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of a reload, with lines for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReloadResult {
    /// The configuration is in force.
    Applied(String),
    /// The configuration is wrong, and nothing was changed.
    Refused(String),
    /// The configuration is valid, but some of it could not be applied.
    PartlyApplied(String),
}

impl ReloadResult {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Applied(text) => ("done", text),
            Self::Refused(text) => ("refused", text),
            Self::PartlyApplied(text) => ("failed", text),
        }
    }

    fn parse(answer: &str) -> Option<Self> {
        let (word, text) = answer.split_once('\n')?;
        let text = text.to_owned();
        match word {
            "done" => Some(Self::Applied(text)),
            "refused" => Some(Self::Refused(text)),
            "failed" => Some(Self::PartlyApplied(text)),
            _ => None,
        }
    }
}

/// The reason why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error("no rtlogd with the configuration {0:?} can be reached (is it running, and may you reload it?)")]
    NotRunning(PathBuf, #[source] Option<io::Error>),
    #[error("the daemon ended before the reload was done")]
    Disconnected(#[source] Option<io::Error>),
}

/// Asks the daemon that serves the configuration at `path` to reload it, and waits for the result. Blocks.
pub(crate) fn request_reload(path: &Path) -> Result<ReloadResult, ReloadError> {
    let mut cause = None;
    let connected =
        socket_paths(path).find_map(|path| UnixStream::connect(path).map_err(|error| cause = Some(error)).ok());
    let stream = connected.ok_or_else(|| ReloadError::NotRunning(path.to_owned(), cause))?;
    let mut answer = String::new();
    let read = stream.take(MAX_RELOAD_REPLY_SIZE).read_to_string(&mut answer);
    read.map_err(|error| ReloadError::Disconnected(Some(error)))?;
    ReloadResult::parse(&answer).ok_or(ReloadError::Disconnected(None))
}

/// The paths where the socket of a configuration may be, in order of preference.
fn socket_paths(config: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let path = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let name = format!("reload-{:08x}.sock", crc32fast::hash(path.as_os_str().as_encoded_bytes()));
    socket_directories().into_iter().map(move |directory| directory.join(&name))
}

/// The runtime directory that systemd made for the service; otherwise the user's own, and that of a daemon that root
/// started.
fn socket_directories() -> Vec<PathBuf> {
    if let Some(given) = env::var_os("RUNTIME_DIRECTORY") {
        return env::split_paths(&given).take(1).collect();
    }
    let user_directory = env::var_os("XDG_RUNTIME_DIR").map(|user_directory| Path::new(&user_directory).join("rtlogd"));
    user_directory.into_iter().chain([PathBuf::from(SYSTEM_RUNTIME_DIRECTORY)]).collect()
}

/// The runtime directory of a daemon that root or systemd started.
pub(crate) const SYSTEM_RUNTIME_DIRECTORY: &str = "/run/rtlogd";

/// The listener for reload requests.
#[derive(Debug)]
pub(crate) struct ReloadListener(Option<(UnixListener, PathBuf)>);

impl ReloadListener {
    /// A listener that never receives a request.
    pub(crate) fn disabled() -> Self {
        Self(None)
    }

    /// The listener for the configuration at `path`. Without a directory for its socket there is none, but SIGHUP still
    /// works.
    pub(crate) fn open(path: &Path) -> Self {
        let mut causes = Vec::new();
        for path in socket_paths(path) {
            match listen(&path) {
                Ok(listener) => return Self(Some((listener, path))),
                Err(error) => causes.push(format!("{}: {error}", path.display())),
            }
        }
        debug!(error = causes.join("; ").as_str(); "`rtlogd reload` cannot ask this daemon, only SIGHUP can");
        Self(None)
    }

    /// The next request. May be dropped at any time.
    pub(crate) async fn accept(&self) -> ReloadRequest {
        let Some((listener, _)) = &self.0 else { return std::future::pending().await };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return ReloadRequest(Some(stream.into_split().1)),
                Err(error) => {
                    warn!(errno = error.raw_os_error(), error:% = error; "cannot accept a request to reload");
                    tokio::time::sleep(REPLY_WRITE_TIMEOUT).await;
                }
            }
        }
    }
}

impl Drop for ReloadListener {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.0
            && let Err(error) = fs::remove_file(path)
        {
            debug!(path:? = path, error:% = error; "cannot remove the socket");
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        fs::create_dir(directory)?;
    }
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        // The daemon that created the socket no longer runs.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A request to reload, and the connection for its result; a signal expects none.
#[derive(Debug)]
pub(crate) struct ReloadRequest(Option<unix::OwnedWriteHalf>);

impl ReloadRequest {
    /// A request by a signal, which expects no reply.
    pub(crate) fn by_signal() -> Self {
        Self(None)
    }

    /// Sends the result.
    pub(crate) async fn answer(self, result: &ReloadResult) {
        let Some(mut stream) = self.0 else { return };
        let (word, text) = result.parts();
        let answer = format!("{word}\n{text}");
        if !matches!(timeout(REPLY_WRITE_TIMEOUT, stream.write_all(answer.as_bytes())).await, Ok(Ok(()))) {
            debug!("the client that asked for the reload did not wait for the result");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_sent_and_parsed() {
        let text = "a.yaml:1:2: wrong\na.yaml:3:4: wrong too".to_owned();
        for result in [
            ReloadResult::Applied(text.clone()),
            ReloadResult::Refused(text.clone()),
            ReloadResult::PartlyApplied(text),
        ] {
            let (word, text) = result.parts();
            assert_eq!(ReloadResult::parse(&format!("{word}\n{text}")), Some(result));
        }
        assert_eq!(ReloadResult::parse(""), None);
        assert_eq!(ReloadResult::parse("done"), None);
    }

    #[test]
    fn each_configuration_has_a_socket_of_its_own() {
        let path = |path: &str| socket_paths(Path::new(path)).last().unwrap();
        assert_eq!(path("/etc/rtlogd/rtlogd.yaml"), path("/etc/rtlogd/rtlogd.yaml"));
        assert_ne!(path("/etc/rtlogd/rtlogd.yaml"), path("/etc/rtlogd/a/rtlogd.yaml"));
    }
}
