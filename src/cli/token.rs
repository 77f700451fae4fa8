//! `rtlogd token`: creates tokens, and the keys that sign them. The command needs no daemon; a running one notices new
//! keys.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use crate::access::{self, KeyError, KeyKind, SigningKeys};
use crate::client::terminal;
use crate::client::terminal::SafeText;
use crate::config::{self, Grant};
use crate::event::with_causes;

use super::arguments::{AlgorithmArgument, TokenArguments};
use super::{CliFailure, DEFAULT_CONFIG_PATH, EXIT_USAGE, load, print};

/// Runs the command. Only the token or a path goes to standard output; notes and warnings go to standard error.
pub(super) fn token(arguments: TokenArguments) -> Result<ExitCode, CliFailure> {
    let TokenArguments { config, keys, stream, allow, expires, name, init, rotate, revoke, algorithm } = arguments;
    let keys_given = keys.is_some();
    let directory = match keys {
        Some(directory) => directory,
        None => key_directory(config.as_deref())?,
    };
    let failed = |error: KeyError| -> CliFailure { (error.into(), 1) };
    let kind = algorithm.map(|algorithm| match algorithm {
        AlgorithmArgument::Ed25519 => KeyKind::Ed25519,
        AlgorithmArgument::Hs256 => KeyKind::Hs256,
    });
    if init {
        let path = access::create_first_key(&directory, kind.unwrap_or(KeyKind::Ed25519)).map_err(failed)?;
        return print(&format!("{}\n", path.display()));
    }
    if rotate {
        let (made, removed) = access::rotate_keys(&directory, kind).map_err(failed)?;
        for path in removed {
            print_note(&format!("removed {}; its tokens are no longer valid\n", path.display()));
        }
        return print(&format!("{}\n", made.display()));
    }
    if let Some(revoked) = revoke {
        let issuers = if keys_given { Vec::new() } else { access_of(config.as_deref())?.issuers };
        return revoke_token(&config::AccessConfig { keys: Some(directory), issuers }, &revoked);
    }
    let keys = SigningKeys::load(&directory);
    for fault in keys.load_errors() {
        print_warning(fault);
    }
    let keys = keys.usable(&directory).map_err(failed)?;
    let grant = Grant { streams: stream, allow };
    let made = keys.sign(&grant, expires, name).map_err(failed)?;
    print_note(&format!("token {}, valid until {}\n", made.id, expiry_text(made.expires)));
    print(&(made.token + "\n"))
}

/// Adds a token, or its id, to the list of revoked tokens, and reports the effect.
fn revoke_token(spec: &config::AccessConfig, token_or_id: &str) -> Result<ExitCode, CliFailure> {
    let directory = spec.keys.as_deref().unwrap_or(Path::new(""));
    let token_or_id = token_or_id.trim();
    let from_token = access::token_id_in(token_or_id);
    let id = from_token.as_deref().unwrap_or(token_or_id);
    let looks_like_a_token = token_or_id.starts_with("ey") && token_or_id.contains('.');
    if !access::is_valid_token_id(id) || id.starts_with("--") || (from_token.is_none() && looks_like_a_token) {
        let why =
            "this is neither a complete token nor the id of a token (`rtlogd token` prints the id when it makes one)";
        return Err((why.into(), EXIT_USAGE));
    }
    // The token is verified before it is on the list, since it would no longer be valid afterwards.
    let proved = from_token
        .is_some()
        .then(|| access::Keyring::load(spec, &access::Keyring::default()).verify(token_or_id, SystemTime::now()));
    let (path, was_revoked) = access::revoke(directory, id).map_err(|error| -> CliFailure { (error.into(), 1) })?;
    if was_revoked {
        print_note(&format!("rtlogd: warning: {id} was already revoked; nothing was changed\n"));
        return print(&format!("{}\n", path.display()));
    }
    match proved {
        Some(Ok(token)) => {
            let key = token.key().map_or_else(String::new, |key| format!(" by key {key}"));
            print_note(&format!(
                "revoked {}{key}, which would have expired at {}; streams opened with it end within seconds\n",
                token.display_name(),
                expiry_text(token.expires())
            ));
        }
        Some(Err(why)) => {
            print_note(&format!("revoked {id}\nrtlogd: warning: the token was already invalid: {why}\n"));
        }
        None => print_note(&format!("revoked {id}; rtlogd cannot tell whether a token with this id exists\n")),
    }
    print(&format!("{}\n", path.display()))
}

/// The expiry time of a token, for people.
fn expiry_text(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "the end of time".to_owned(), |time| time.to_string())
}

/// The key directory that the configuration names.
fn key_directory(config: Option<&Path>) -> Result<PathBuf, CliFailure> {
    access_of(config)?.keys.ok_or_else(|| {
        let why = format!(
            "{} names no directory of keys (set `access: {{ keys: /etc/rtlogd/keys }}` there, or use --keys)",
            config.unwrap_or(Path::new(DEFAULT_CONFIG_PATH)).display()
        );
        (why.into(), EXIT_USAGE)
    })
}

fn access_of(config: Option<&Path>) -> Result<config::AccessConfig, CliFailure> {
    Ok(load(config, "token")?.access)
}

/// The token in a file, without surrounding white space.
pub(super) fn read_token_file(path: &Path) -> Result<String, CliFailure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| -> CliFailure {
        (format!("cannot read the token in {}: {error}", path.display()).into(), 1)
    })?;
    Ok(text.trim().to_owned())
}

fn print_note(text: &str) {
    terminal::print_error(&SafeText::lines(text));
}

fn print_warning(error: &dyn std::error::Error) {
    terminal::print_error(&SafeText::message(&format!("rtlogd: warning: {}", with_causes(error))));
}
