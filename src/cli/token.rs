//! `rtlogd token`: makes tokens, and the keys that sign them. It needs no daemon; a running one sees new keys by itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use crate::access::{self, KeyError, Keys, Kind};
use crate::config::{self, Grant};
use crate::terminal::{self, Text};

use super::arguments::{Algorithm, TokenArguments};
use super::{CONFIG, Failure, MISTAKE, load, print};

/// Does what is asked for. The token alone goes to standard output, what there is to say of it to standard error.
pub(super) fn token(arguments: TokenArguments) -> Result<ExitCode, Failure> {
    let TokenArguments { config, keys, stream, allow, expires, name, init, rotate, revoke, algorithm } = arguments;
    let keys_given = keys.is_some();
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
        let issuers = if keys_given { Vec::new() } else { access_of(config.as_deref())?.issuers };
        return revoke_token(&config::Access { keys: Some(directory), issuers }, &revoked);
    }
    let keys = Keys::load(&directory);
    for fault in keys.faults() {
        warn(fault);
    }
    let keys = keys.usable(&directory).map_err(failed)?;
    let grant = Grant { streams: stream, allow };
    let made = keys.sign(&grant, expires, name).map_err(failed)?;
    say(&format!("token {}, until {}\n", made.id, until(made.expires)));
    print(&(made.token + "\n"))
}

/// Puts a token, or its id, on the list, and says what that achieves.
fn revoke_token(spec: &config::Access, given: &str) -> Result<ExitCode, Failure> {
    let directory = spec.keys.as_deref().unwrap_or(Path::new(""));
    let given = given.trim();
    let from_token = access::id_in(given);
    let id = from_token.as_deref().unwrap_or(given);
    let looks_like_a_token = given.starts_with("ey") && given.contains('.');
    if !access::fits_the_list(id) || id.starts_with("--") || (from_token.is_none() && looks_like_a_token) {
        let why = "this is neither a whole token nor the id of one (rtlogd token says the id when it makes a token)";
        return Err((why.into(), MISTAKE));
    }
    // Before it is on the list, since then it would not be proved.
    let proved = from_token
        .is_some()
        .then(|| access::Ring::load(spec, &access::Ring::default()).prove(given, SystemTime::now()));
    let (path, was_revoked) = access::revoke(directory, id).map_err(|error| -> Failure { (error.into(), 1) })?;
    if was_revoked {
        say(&format!("rtlogd: warning: {id} is on the list already; nothing was changed\n"));
        return print(&format!("{}\n", path.display()));
    }
    match proved {
        Some(Ok(token)) => {
            let key = token.key().map_or_else(String::new, |key| format!(" by key {key}"));
            say(&format!(
                "revoked {}{key}, which would have expired at {}; streams opened with it end within seconds\n",
                token.name(),
                until(token.expires())
            ));
        }
        Some(Err(why)) => {
            say(&format!("revoked {id}\nrtlogd: warning: the token was refused before, too: {why}\n"));
        }
        None => say(&format!("revoked {id}; whether a token has this id only the token itself would show\n")),
    }
    print(&format!("{}\n", path.display()))
}

/// When a token expires, for people.
fn until(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "the end of time".to_owned(), |time| time.to_string())
}

/// The directory that the configuration names.
fn configured(config: Option<&Path>) -> Result<PathBuf, Failure> {
    access_of(config)?.keys.ok_or_else(|| {
        let why = format!(
            "{} names no directory of keys (write `access: {{ keys: /etc/rtlogd/keys }}` there, or give --keys)",
            config.unwrap_or(Path::new(CONFIG)).display()
        );
        (why.into(), MISTAKE)
    })
}

fn access_of(config: Option<&Path>) -> Result<config::Access, Failure> {
    Ok(load(config)?.access)
}

/// The token in a file, without the end of its line.
pub(super) fn from_file(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text
        .map_err(|error| -> Failure { (format!("cannot read the token in {}: {error}", path.display()).into(), 1) })?;
    Ok(text.trim().to_owned())
}

fn say(text: &str) {
    terminal::tell(&Text::lines(text));
}

fn warn(error: &dyn std::error::Error) {
    let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
    terminal::tell(&Text::message(&format!("rtlogd: warning: {error}{cause}")));
}
