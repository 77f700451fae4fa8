//! rtlogd's own keys: files in one directory, readable by their owner only. Each file is named after the id of its key.
//! The newest key signs; all keys verify, so that tokens stay valid after a rotation. Each file is loaded separately:
//! one that cannot be used affects the tokens of that key and no others.
//!
//! `ID.ed25519` is a private key as PEM (PKCS #8, RFC 8410), `ID.hs256` a secret in base64. `revoked` lists the tokens
//! that are no longer valid; see [`revoked`](super::revoked).

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::access::directory::Directory;
use crate::config::{Grant, Right};

use super::token::OWN_ISSUER;

/// Maximum number of keys in use: two, and room for repeated rotations. If there are more, the newest are used.
const MAX_SIGNING_KEYS: usize = 8;

/// Maximum number of files that are tried as keys, the newest first by name. More files than this are a mistake, not
/// keys.
const MAX_KEY_FILES: usize = 64;

/// Number of keys that remain after a rotation: the new one and its predecessor.
const KEYS_AFTER_ROTATION: usize = 2;

/// Maximum size of a key file, in bytes.
const MAX_KEY_FILE_SIZE: u64 = 4 << 10;

/// Length of a secret, in bytes: the length of the HMAC that it makes (RFC 7518, section 3.2).
const SECRET_SIZE: usize = 32;

/// The first and the last line of a key in PEM (RFC 7468).
const PEM_DELIMITERS: [&str; 2] = ["-----BEGIN PRIVATE KEY-----\n", "-----END PRIVATE KEY-----\n"];

/// The reasons why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot read {0:?}")]
    Read(PathBuf, #[source] io::Error),
    #[error("cannot write {0:?}")]
    Write(PathBuf, #[source] io::Error),
    #[error("cannot remove {0:?}")]
    Remove(PathBuf, #[source] io::Error),
    #[error(
        "users other than its owner can read or write {0:?} (mode {1:o}), and may know the key; make a new key, or chmod {2}"
    )]
    InsecurePermissions(PathBuf, u32, &'static str),
    #[error("{0:?} is not a key (rtlogd token --init makes one)")]
    NotAKey(PathBuf),
    #[error("{0:?} has more than {MAX_SIGNING_KEYS} keys, and only the newest are used; remove the others")]
    TooMany(PathBuf),
    #[error("{0:?} already has a key; rtlogd token --rotate makes a new one and keeps the previous one")]
    AlreadyExists(PathBuf),
    #[error("{0:?} has no key; rtlogd token --init makes one")]
    Empty(PathBuf),
    #[error("the system does not provide random numbers")]
    Random,
    #[error("the token cannot be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyKind {
    /// A key pair (RFC 8037).
    Ed25519,
    /// A secret (RFC 7518, section 3.2).
    Hs256,
}

impl KeyKind {
    fn extension(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Hs256 => "hs256",
        }
    }

    /// The kind of key that a file of this name must contain; `None` if the name is not that of a key.
    fn of_file(name: &Path) -> Option<Self> {
        let extension = name.extension()?;
        [Self::Ed25519, Self::Hs256].into_iter().find(|kind| extension == kind.extension())
    }

    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::Ed25519 => Algorithm::EdDSA,
            Self::Hs256 => Algorithm::HS256,
        }
    }
}

/// The digest of a key file, which tells one content from another.
pub(super) type KeyDigest = [u8; 32];

pub(super) fn key_digest(text: &[u8]) -> KeyDigest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// One signing key.
#[derive(Debug)]
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) kind: KeyKind,
    encoding_key: EncodingKey,
    pub(super) verifying_key: DecodingKey,
    digest: KeyDigest,
}

/// The usable keys, the newest last, and the reasons why other keys cannot be used.
#[derive(Debug, Default)]
pub(crate) struct SigningKeys {
    pub(super) all: Vec<Arc<SigningKey>>,
    load_errors: Vec<KeyError>,
}

/// The claims of rtlogd's own tokens.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct TokenClaims {
    pub(super) iss: String,
    pub(super) jti: String,
    pub(super) iat: u64,
    pub(super) exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sub: Option<String>,
    /// The streams, as patterns.
    pub(super) streams: Vec<String>,
    pub(super) allow: Vec<Right>,
}

/// A token that was just issued.
#[derive(Debug)]
pub(crate) struct IssuedToken {
    pub(crate) token: String,
    pub(crate) id: String,
    pub(crate) expires: SystemTime,
}

impl KeyError {
    /// Returns true if the cause is a shortage of the machine's resources and not the file. The content of the file is
    /// then unknown, so the key that was read from it before stays in use.
    fn is_transient(&self) -> bool {
        const TRANSIENT_ERRORS: [Errno; 7] =
            [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::INTR, Errno::AGAIN, Errno::STALE];
        matches!(self, Self::Read(_, error) if Errno::from_io_error(error).is_some_and(|why| TRANSIENT_ERRORS.contains(&why)))
    }
}

impl SigningKeys {
    /// Reads the keys of a directory. A directory that does not exist has no keys.
    pub(crate) fn load(directory: &Path) -> Self {
        Self::load_after(directory, &Self::default())
    }

    /// Reads the keys as [`load`](Self::load) does. If a file cannot be read for lack of descriptors or memory, its key
    /// is taken from `before`.
    pub(super) fn load_after(directory: &Path, before: &Self) -> Self {
        match Directory::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => Self::unreadable(KeyError::Read(directory.to_owned(), error), before),
            Ok(opened) => Self::load_from(&opened, before).unwrap_or_else(|error| Self::unreadable(error, before)),
        }
    }

    /// The result of loading a directory that cannot be read at all.
    fn unreadable(error: KeyError, before: &Self) -> Self {
        let all = if error.is_transient() { before.all.clone() } else { Vec::new() };
        Self { all, load_errors: vec![error] }
    }

    fn load_from(directory: &Directory, before: &Self) -> Result<Self, KeyError> {
        let mode = directory.mode();
        if mode & 0o022 != 0 {
            return Err(KeyError::InsecurePermissions(directory.display_path(""), mode, "go-w"));
        }
        let mut files = std::collections::BTreeSet::new();
        let unreadable = |error| KeyError::Read(directory.display_path(""), error);
        for name in directory.names().map_err(unreadable)? {
            let name = name.map_err(unreadable)?;
            files.extend(KeyKind::of_file(Path::new(&name)).map(|kind| (name, kind)));
            if files.len() > MAX_KEY_FILES {
                files.pop_first();
            }
        }
        let mut keys = Self::default();
        for (name, kind) in files.into_iter().rev() {
            let name = Path::new(&name);
            let key = match SigningKey::load(directory, name, kind) {
                Ok(key) => Arc::new(key),
                Err(error) => {
                    let known = before.all.iter().find(|key| key.kind == kind && key.has_name(name));
                    let known = known.filter(|_| error.is_transient()).cloned();
                    keys.load_errors.push(error);
                    let Some(known) = known else { continue };
                    known
                }
            };
            if keys.all.len() == MAX_SIGNING_KEYS {
                keys.load_errors.push(KeyError::TooMany(directory.display_path("")));
                break;
            }
            keys.all.push(key);
        }
        // An id begins with the time at which its key was made.
        keys.all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(keys)
    }

    /// Returns true if both sets verify the same tokens.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let known = |keys: &Self| keys.all.iter().map(|key| (key.id.clone(), key.kind, key.digest)).collect::<Vec<_>>();
        known(self) == known(other)
    }

    /// The reasons why some or all keys cannot be used. Each names its file.
    pub(crate) fn load_errors(&self) -> &[KeyError] {
        &self.load_errors
    }

    /// Returns the keys unchanged if at least one of them can be used.
    ///
    /// # Errors
    /// If no key can be used: the reason, if one is known.
    pub(crate) fn usable(mut self, directory: &Path) -> Result<Self, KeyError> {
        if !self.all.is_empty() {
            return Ok(self);
        }
        Err(self.load_errors.drain(..).next().unwrap_or_else(|| KeyError::Empty(directory.to_owned())))
    }

    /// One new key that is kept in memory only. Its tokens are valid as long as this object exists.
    pub(super) fn ephemeral(kind: KeyKind) -> Result<Self, KeyError> {
        let key = SigningKey::parse("0", kind, &SigningKey::generate(kind)?).ok_or(KeyError::Random)?;
        Ok(Self { all: vec![Arc::new(key)], load_errors: Vec::new() })
    }

    /// Returns true if there is no usable key.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Issues a token for `who` with these rights, valid for `lifetime`.
    pub(crate) fn sign(&self, grant: &Grant, lifetime: Duration, who: Option<String>) -> Result<IssuedToken, KeyError> {
        let key = self.all.last().ok_or(KeyError::Random)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut random = [0; 9];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| KeyError::Random)?;
        let jti = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
        let exp = now.as_secs().saturating_add(lifetime.as_secs());
        let claims = TokenClaims {
            iss: OWN_ISSUER.to_owned(),
            jti: jti.clone(),
            iat: now.as_secs(),
            exp,
            sub: who,
            streams: grant.streams.iter().map(ToString::to_string).collect(),
            allow: grant.allow.clone(),
        };
        let header = Header { kid: Some(key.id.clone()), ..Header::new(key.kind.algorithm()) };
        let token = jsonwebtoken::encode(&header, &claims, &key.encoding_key).map_err(KeyError::Sign)?;
        Ok(IssuedToken { token, id: jti, expires: SystemTime::UNIX_EPOCH + Duration::from_secs(exp) })
    }
}

impl SigningKey {
    fn load(directory: &Directory, name: &Path, kind: KeyKind) -> Result<Self, KeyError> {
        let path = directory.display_path(name);
        let failed = |error| KeyError::Read(path.clone(), error);
        let file = directory.read(name).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.mode() & 0o077 != 0 {
            return Err(KeyError::InsecurePermissions(path, found.mode() & 0o7777, "600"));
        }
        let text = read_limited(file, MAX_KEY_FILE_SIZE).map_err(failed)?;
        let id = name.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        Self::parse(id, kind, &text).ok_or(KeyError::NotAKey(path))
    }

    fn has_name(&self, name: &Path) -> bool {
        name.file_stem().is_some_and(|stem| stem == self.id.as_str())
    }

    /// The name of the key's file.
    fn file_name(&self) -> String {
        format!("{}.{}", self.id, self.kind.extension())
    }

    fn parse(id: &str, kind: KeyKind, text: &str) -> Option<Self> {
        let [begin, end] = PEM_DELIMITERS.map(str::trim_end);
        let body = match kind {
            KeyKind::Ed25519 => text.trim().strip_prefix(begin)?.strip_suffix(end)?,
            KeyKind::Hs256 => text,
        };
        let bytes = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
        let (signs, proves) = match kind {
            KeyKind::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&bytes).ok()?;
                (EncodingKey::from_ed_der(&bytes), DecodingKey::from_ed_der(pair.public_key().as_ref()))
            }
            KeyKind::Hs256 if bytes.len() < SECRET_SIZE => return None,
            KeyKind::Hs256 => (EncodingKey::from_secret(&bytes), DecodingKey::from_secret(&bytes)),
        };
        Some(Self { id: id.to_owned(), kind, encoding_key: signs, verifying_key: proves, digest: key_digest(&bytes) })
    }

    /// The file content of a new key.
    fn generate(kind: KeyKind) -> Result<String, KeyError> {
        match kind {
            KeyKind::Ed25519 => {
                let random = aws_lc_rs::rand::SystemRandom::new();
                let key = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Random)?;
                let [begin, end] = PEM_DELIMITERS;
                Ok(format!("{begin}{}\n{end}", STANDARD.encode(key.as_ref())))
            }
            KeyKind::Hs256 => {
                let mut secret = [0; SECRET_SIZE];
                aws_lc_rs::rand::fill(&mut secret).map_err(|_| KeyError::Random)?;
                Ok(STANDARD.encode(secret) + "\n")
            }
        }
    }
}

/// Creates the first key, and the directory if it does not exist. Returns the path of the key.
///
/// # Errors
/// If there is a key already, even one that cannot be used, since the new key would be the second.
pub(crate) fn create_first_key(directory: &Path, kind: KeyKind) -> Result<PathBuf, KeyError> {
    let mut keys = SigningKeys::load(directory);
    if let Some(fault) = keys.load_errors.drain(..).next() {
        return Err(fault);
    }
    if !keys.all.is_empty() {
        return Err(KeyError::AlreadyExists(directory.to_owned()));
    }
    let opened = Directory::create(directory).map_err(|error| KeyError::Write(directory.to_owned(), error))?;
    add_key(&opened, kind, None)
}

/// Creates a new key, which signs from now on. Of the other keys, only the newest is kept. Returns the path of the new
/// key and the paths of the removed ones.
pub(crate) fn rotate_keys(directory: &Path, kind: Option<KeyKind>) -> Result<(PathBuf, Vec<PathBuf>), KeyError> {
    let opened = Directory::open_for_writing(directory).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Empty(directory.to_owned()),
        _ => KeyError::Read(directory.to_owned(), error),
    })?;
    let keys = SigningKeys::load_from(&opened, &SigningKeys::default())?.usable(directory)?;
    let last = keys.all.last().ok_or_else(|| KeyError::Empty(directory.to_owned()))?;
    let made = add_key(&opened, kind.unwrap_or(last.kind), Some(last))?;
    let old = keys.all.len().saturating_sub(KEYS_AFTER_ROTATION - 1);
    let mut removed = Vec::new();
    for key in keys.all.iter().take(old) {
        let path = opened.display_path(key.file_name());
        opened.remove(key.file_name()).map_err(|error| KeyError::Remove(path.clone(), error))?;
        removed.push(path);
    }
    Ok((made, removed))
}

/// Creates a key whose id sorts after `last`, even if the clock was set back in the meantime.
fn add_key(directory: &Directory, kind: KeyKind, last: Option<&Arc<SigningKey>>) -> Result<PathBuf, KeyError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let made = last.and_then(|key| key.id.split_once('-')?.0.parse::<u128>().ok());
    let made = made.map_or(now.as_millis(), |made| now.as_millis().max(made.saturating_add(1)));
    // The time has the number of digits that it needs until the year 2286, so that names sort by time; the random part
    // tells apart two keys that are made at the same moment.
    let name = format!("{made:013}-{:04x}.{}", fastrand::u16(..), kind.extension());
    let path = directory.display_path(&name);
    let text = SigningKey::generate(kind)?;
    directory.write_new(&name, text.as_bytes()).map_err(|error| KeyError::Write(path.clone(), error))?;
    Ok(path)
}

/// Reads the text of a file, which may be at most `most` bytes long.
fn read_limited(file: File, most: u64) -> io::Result<String> {
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {most} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn ids(keys: &SigningKeys) -> Vec<&str> {
        keys.all.iter().map(|key| key.id.as_str()).collect()
    }

    fn stem(path: &Path) -> &str {
        path.file_stem().unwrap().to_str().unwrap()
    }

    #[test]
    fn keys_are_made_changed_and_kept_from_others() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("keys");
        let none = SigningKeys::load(&directory);
        assert!(none.all.is_empty() && none.load_errors().is_empty(), "one that is not there has none");
        assert!(matches!(rotate_keys(&directory, None), Err(KeyError::Empty(_))));
        let first = create_first_key(&directory, KeyKind::Hs256).unwrap();
        assert!(matches!(create_first_key(&directory, KeyKind::Hs256), Err(KeyError::AlreadyExists(_))));
        for path in [&first, &directory] {
            let mode = fs::metadata(path).unwrap().mode() & 0o077;
            assert_eq!(mode, 0, "{path:?}");
        }
        let (second, removed) = rotate_keys(&directory, Some(KeyKind::Ed25519)).unwrap();
        assert!(removed.is_empty() && first.exists());
        let (third, removed) = rotate_keys(&directory, None).unwrap();
        assert_eq!(removed, [first]);
        let keys = SigningKeys::load(&directory);
        assert_eq!(ids(&keys), [stem(&second), stem(&third)], "the newest last");
        let ahead = directory.join("9000000000000-0000.ed25519");
        fs::rename(&third, &ahead).unwrap();
        let (fourth, _) = rotate_keys(&directory, None).unwrap();
        assert_eq!(
            ids(&SigningKeys::load(&directory)),
            [stem(&ahead), stem(&fourth)],
            "although the clock was set back"
        );
    }

    #[test]
    fn one_that_cannot_be_used_costs_its_own_tokens_and_no_others() {
        type BrokenKeyCase = (&'static str, fn(&Path), &'static str);
        let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let table: [BrokenKeyCase; 9] = [
            (
                "others may read it",
                |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap(),
                "chmod 600",
            ),
            (
                "its group may write it",
                |path| fs::set_permissions(path, fs::Permissions::from_mode(0o620)).unwrap(),
                "chmod 600",
            ),
            ("it is no key", |path| fs::write(path, "hello").unwrap(), "is not a key"),
            ("it is empty", |path| fs::write(path, "").unwrap(), "is not a key"),
            ("it is not text", |path| fs::write(path, [0xff; 64]).unwrap(), "cannot read"),
            ("it is too long", |path| fs::write(path, vec![b'A'; 5000]).unwrap(), "cannot read"),
            (
                "it is a directory",
                |path| {
                    fs::remove_file(path).unwrap();
                    fs::create_dir(path).unwrap();
                },
                "cannot read",
            ),
            (
                "it is a FIFO that nobody writes to",
                |path| {
                    fs::remove_file(path).unwrap();
                    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
                        .unwrap();
                },
                "cannot read",
            ),
            (
                "it is a link to nothing",
                |path| {
                    fs::remove_file(path).unwrap();
                    std::os::unix::fs::symlink("nothing", path).unwrap();
                },
                "cannot read",
            ),
        ];
        for (what, spoil, expected) in table {
            let place = tempfile::tempdir().unwrap();
            set_mode(place.path(), 0o700);
            let (first, second) =
                (create_first_key(place.path(), KeyKind::Ed25519).unwrap(), rotate_keys(place.path(), None).unwrap().0);
            let before = SigningKeys::load(place.path());
            for (spoiled, good) in [(&second, &first), (&first, &second)] {
                let kept = fs::read(spoiled).unwrap();
                spoil(spoiled);
                let keys = SigningKeys::load_after(place.path(), &before);
                assert_eq!(ids(&keys), [stem(good)], "{what}");
                let [fault] = keys.load_errors() else { panic!("{what}: {:?}", keys.load_errors()) };
                assert!(
                    fault.to_string().contains(expected) && fault.to_string().contains(stem(spoiled)),
                    "{what}: {fault}"
                );
                fs::remove_file(spoiled).or_else(|_| fs::remove_dir(spoiled)).unwrap();
                fs::write(spoiled, kept).unwrap();
                set_mode(spoiled, 0o600);
            }
            fs::remove_file(&first).unwrap();
            let keys = SigningKeys::load_after(place.path(), &before);
            assert!(ids(&keys) == [stem(&second)] && keys.load_errors().is_empty(), "one that was removed is no fault");
            set_mode(place.path(), 0o770);
            let open = SigningKeys::load_after(place.path(), &before);
            assert!(open.all.is_empty() && open.load_errors()[0].to_string().contains("chmod go-w"), "{open:?}");
        }
    }

    #[test]
    fn of_too_many_the_newest_are_believed() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let directory = Directory::open_for_writing(place.path()).unwrap();
        for number in 0..MAX_SIGNING_KEYS + 2 {
            directory
                .write_new(&format!("{number:02}.hs256"), SigningKey::generate(KeyKind::Hs256).unwrap().as_bytes())
                .unwrap();
        }
        let keys = SigningKeys::load(place.path());
        assert_eq!((keys.all.len(), ids(&keys)[0]), (MAX_SIGNING_KEYS, "02"));
        assert!(matches!(keys.load_errors(), [KeyError::TooMany(_)]));
        for number in 0..MAX_KEY_FILES {
            fs::write(place.path().join(format!("z{number}.hs256")), "no key").unwrap();
        }
        assert!(SigningKeys::load(place.path()).load_errors().len() <= MAX_KEY_FILES);
    }

    #[test]
    fn what_cannot_be_read_only_now_stays_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
        create_first_key(place.path(), KeyKind::Ed25519).unwrap();
        let before = SigningKeys::load(place.path());
        for (errno, stays) in [(Errno::MFILE, true), (Errno::IO, true), (Errno::NOMEM, true), (Errno::ACCESS, false)] {
            let error = KeyError::Read(place.path().to_owned(), errno.into());
            assert_eq!(SigningKeys::unreadable(error, &before).all.len() == 1, stays, "{errno}");
        }
    }
}
