//! `rtlogd token`: makes tokens, and the keys that sign them. It needs no daemon; a running one sees new keys by itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::access::{self, KeyError, Keys, Kind};
use crate::config::Grant;

use super::arguments::{Algorithm, TokenArguments};
use super::{CONFIG, Failure, MISTAKE, load, print};

/// Does what is asked for. The token alone goes to standard output, what there is to say of it to standard error.
pub(super) fn token(arguments: TokenArguments) -> Result<ExitCode, Failure> {
    let TokenArguments { config, keys, stream, allow, expires, name, init, rotate, revoke, algorithm } = arguments;
    let directory = match keys {
        Some(directory) => directory,
        None => configured(config.as_deref())?,
    };
    let failed = |error: KeyError| -> Failure { (error.into(), 1) };
    let kind = algorithm.map(|algorithm| match algorithm {
        Algorithm::Ed25519 => Kind::Ed25519,
        Algorithm::Hs256 => Kind::Hs256,
    });
    if init {
        let path = access::init(&directory, kind.unwrap_or(Kind::Ed25519)).map_err(failed)?;
        return print(&format!("{}\n", path.display()));
    }
    if rotate {
        let (made, removed) = access::rotate(&directory, kind).map_err(failed)?;
        for path in removed {
            say(&format!("removed {}; its tokens count no more\n", path.display()));
        }
        return print(&format!("{}\n", made.display()));
    }
    if let Some(revoked) = revoke {
        let id = access::id_of(&revoked).unwrap_or(revoked);
        if id.is_empty() || id.contains(|c: char| c.is_whitespace() || c == '#') {
            return Err(("not the id of a token (rtlogd token says it when it makes one)".into(), MISTAKE));
        }
        let path = access::revoke(&directory, &id).map_err(failed)?;
        return print(&format!("{}\n", path.display()));
    }
    let keys = Keys::load(&directory).map_err(failed)?;
    if keys.is_empty() {
        return Err(failed(KeyError::Empty(directory)));
    }
    let grant = Grant { streams: stream, allow };
    let made = keys.sign(&grant, expires, name).map_err(failed)?;
    let until = jiff::Timestamp::try_from(made.expires).map_or_else(|_| "for ever".to_owned(), |time| time.to_string());
    say(&format!("token {}, until {until}\n", made.id));
    print(&(made.token + "\n"))
}

/// The directory that the configuration names.
fn configured(config: Option<&Path>) -> Result<PathBuf, Failure> {
    let config = config.unwrap_or(Path::new(CONFIG));
    load(Some(config))?.access.keys.ok_or_else(|| {
        let why = format!(
            "{} names no directory of keys (write `access: {{ keys: /etc/rtlogd/keys }}` there, or give --keys)",
            config.display()
        );
        (why.into(), MISTAKE)
    })
}

/// The token in a file, without the end of its line.
pub(super) fn from_file(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text
        .map_err(|error| -> Failure { (format!("cannot read the token in {}: {error}", path.display()).into(), 1) })?;
    Ok(text.trim().to_owned())
}

fn say(text: &str) {
    // With standard error gone there is nobody left to tell.
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}
