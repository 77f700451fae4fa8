//! Our own keys: files in one directory, that only its owner may read. Each is named after its id; the newest signs, all
//! are believed, so that tokens outlive the change to a new key.
//!
//! `ID.ed25519` is a private key as PEM (PKCS #8, RFC 8410), `ID.hs256` a secret in base64. `revoked` lists the tokens that
//! count no more, an id each line.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::{Deserialize, Serialize};

use crate::config::{Grant, Right};

use super::token::OURS;

/// Most keys in the directory: two, and room for a change that was begun anew.
const KEYS: usize = 8;

/// How many keys are believed behind a change: the new one and the one before.
const KEPT: usize = 2;

/// Longest file of a key, in bytes.
const KEY_FILE: u64 = 4 << 10;

/// Longest list of revoked tokens, in bytes: some hundred thousand.
const REVOKED_FILE: u64 = 4 << 20;

/// Length of a secret, in bytes: as long as what it makes (RFC 7518, section 3.2).
const SECRET: usize = 32;

/// Where the ids of tokens that count no more are listed.
const REVOKED: &str = "revoked";

/// How PEM begins and ends (RFC 7468).
const PEM: [&str; 2] = ["-----BEGIN PRIVATE KEY-----\n", "-----END PRIVATE KEY-----\n"];

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot read {0:?}")]
    Read(PathBuf, #[source] io::Error),
    #[error("cannot write {0:?}")]
    Write(PathBuf, #[source] io::Error),
    #[error(
        "others than its owner may read or write {0:?} (mode {1:o}); it may be known to them: make a new key, or chmod {2}"
    )]
    Open(PathBuf, u32, &'static str),
    #[error("{0:?} is no key (rtlogd token --init makes one)")]
    NotAKey(PathBuf),
    #[error("{0:?} has more than {KEYS} keys; remove the oldest")]
    TooMany(PathBuf),
    #[error("{0:?} has a key already; rtlogd token --rotate makes a new one and keeps the one before")]
    There(PathBuf),
    #[error("{0:?} has no key; rtlogd token --init makes one")]
    Empty(PathBuf),
    #[error("the system gives no random numbers")]
    Random,
    #[error("the token cannot be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// Which kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A key pair (RFC 8037).
    Ed25519,
    /// A secret (RFC 7518, section 3.2).
    Hs256,
}

impl Kind {
    fn extension(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Hs256 => "hs256",
        }
    }

    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::Ed25519 => Algorithm::EdDSA,
            Self::Hs256 => Algorithm::HS256,
        }
    }
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) kind: Kind,
    signs: EncodingKey,
    pub(super) proves: DecodingKey,
}

/// All keys, the newest last, and what they do not stand for any more.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(super) all: Vec<Key>,
    pub(super) revoked: HashSet<String>,
}

/// What a token of ours says.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Claims {
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

/// A token that was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) token: String,
    pub(crate) id: String,
    pub(crate) expires: SystemTime,
}

impl Keys {
    /// Reads the directory. One that is not there has no keys.
    pub(crate) fn load(directory: &Path) -> Result<Self, KeyError> {
        let failed = |error| KeyError::Read(directory.to_owned(), error);
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            entries => entries.map_err(failed)?,
        };
        let mode = fs::metadata(directory).map_err(failed)?.mode();
        if mode & 0o022 != 0 {
            return Err(KeyError::Open(directory.to_owned(), mode & 0o7777, "go-w"));
        }
        let mut keys = Self::default();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let kind = match path.extension().and_then(|extension| extension.to_str()) {
                Some("ed25519") => Kind::Ed25519,
                Some("hs256") => Kind::Hs256,
                _ => continue,
            };
            if keys.all.len() == KEYS {
                return Err(KeyError::TooMany(directory.to_owned()));
            }
            keys.all.push(Key::load(&path, kind)?);
        }
        // Ids begin with when they were made.
        keys.all.sort_by(|a, b| a.id.cmp(&b.id));
        let revoked = directory.join(REVOKED);
        match File::open(&revoked).and_then(|file| read(file, REVOKED_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(KeyError::Read(revoked, error)),
            Ok(text) => {
                let ids = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
                keys.revoked = ids.filter(|id| !id.is_empty()).map(str::to_owned).collect();
            }
        }
        Ok(keys)
    }

    /// One new key that is in no file: what it signs counts as long as this is held.
    pub(super) fn fleeting(kind: Kind) -> Result<Self, KeyError> {
        let key = Key::parse("0", kind, &Key::make(kind)?).ok_or(KeyError::Random)?;
        Ok(Self { all: vec![key], ..Self::default() })
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Makes a token: what it allows, on which streams, for how long, and for whom.
    pub(crate) fn sign(&self, grant: &Grant, lifetime: Duration, who: Option<String>) -> Result<Made, KeyError> {
        let key = self.all.last().ok_or(KeyError::Random)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut random = [0; 9];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| KeyError::Random)?;
        let jti = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
        let exp = now.as_secs().saturating_add(lifetime.as_secs());
        let claims = Claims {
            iss: OURS.to_owned(),
            jti: jti.clone(),
            iat: now.as_secs(),
            exp,
            sub: who,
            streams: grant.streams.iter().map(ToString::to_string).collect(),
            allow: grant.allow.clone(),
        };
        let header = Header { kid: Some(key.id.clone()), ..Header::new(key.kind.algorithm()) };
        let token = jsonwebtoken::encode(&header, &claims, &key.signs).map_err(KeyError::Sign)?;
        Ok(Made { token, id: jti, expires: SystemTime::UNIX_EPOCH + Duration::from_secs(exp) })
    }
}

impl Key {
    fn load(path: &Path, kind: Kind) -> Result<Self, KeyError> {
        let failed = |error| KeyError::Read(path.to_owned(), error);
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.mode() & 0o077 != 0 {
            return Err(KeyError::Open(path.to_owned(), found.mode() & 0o7777, "600"));
        }
        let text = read(file, KEY_FILE).map_err(failed)?;
        let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        Self::parse(id, kind, &text).ok_or_else(|| KeyError::NotAKey(path.to_owned()))
    }

    fn parse(id: &str, kind: Kind, text: &str) -> Option<Self> {
        let [begin, end] = PEM.map(str::trim_end);
        let body = match kind {
            Kind::Ed25519 => text.trim().strip_prefix(begin)?.strip_suffix(end)?,
            Kind::Hs256 => text,
        };
        let bytes = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
        let (signs, proves) = match kind {
            Kind::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&bytes).ok()?;
                (EncodingKey::from_ed_der(&bytes), DecodingKey::from_ed_der(pair.public_key().as_ref()))
            }
            Kind::Hs256 if bytes.len() < SECRET => return None,
            Kind::Hs256 => (EncodingKey::from_secret(&bytes), DecodingKey::from_secret(&bytes)),
        };
        Some(Self { id: id.to_owned(), kind, signs, proves })
    }

    /// The text of a new one.
    fn make(kind: Kind) -> Result<String, KeyError> {
        match kind {
            Kind::Ed25519 => {
                let random = aws_lc_rs::rand::SystemRandom::new();
                let key = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Random)?;
                let [begin, end] = PEM;
                Ok(format!("{begin}{}\n{end}", STANDARD.encode(key.as_ref())))
            }
            Kind::Hs256 => {
                let mut secret = [0; SECRET];
                aws_lc_rs::rand::fill(&mut secret).map_err(|_| KeyError::Random)?;
                Ok(STANDARD.encode(secret) + "\n")
            }
        }
    }
}

/// The id of a token, which is not proved.
pub(crate) fn id_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        jti: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Named>(token).ok().map(|named| named.jti)
}

/// Makes the first key, and the directory if there is none. Gives the path of the key.
pub(crate) fn init(directory: &Path, kind: Kind) -> Result<PathBuf, KeyError> {
    if !Keys::load(directory)?.all.is_empty() {
        return Err(KeyError::There(directory.to_owned()));
    }
    if !directory.exists() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| KeyError::Write(directory.to_owned(), error))?;
    }
    add(directory, kind)
}

/// Makes a new key that signs from now on; of the others the newest stays. Gives the new one, and those that are removed.
pub(crate) fn rotate(directory: &Path, kind: Option<Kind>) -> Result<(PathBuf, Vec<PathBuf>), KeyError> {
    let keys = Keys::load(directory)?;
    let last = keys.all.last().ok_or_else(|| KeyError::Empty(directory.to_owned()))?;
    let made = add(directory, kind.unwrap_or(last.kind))?;
    let old = keys.all.len().saturating_sub(KEPT - 1);
    let mut removed = Vec::new();
    for key in keys.all.iter().take(old) {
        let path = directory.join(&key.id).with_extension(key.kind.extension());
        fs::remove_file(&path).map_err(|error| KeyError::Write(path.clone(), error))?;
        removed.push(path);
    }
    Ok((made, removed))
}

/// Makes a token count no more.
pub(crate) fn revoke(directory: &Path, id: &str) -> Result<PathBuf, KeyError> {
    let path = directory.join(REVOKED);
    let failed = |error| KeyError::Write(path.clone(), error);
    let is_new = !path.exists();
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(format!("{id}\n").as_bytes()).map_err(failed)?;
    if is_new {
        belong(&path, directory).map_err(failed)?;
    }
    Ok(path)
}

fn add(directory: &Path, kind: Kind) -> Result<PathBuf, KeyError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // As many digits as until the year 2286, so that they sort; and a part that tells two apart that are made at once.
    let id = format!("{:013}-{:04x}", now.as_millis(), fastrand::u16(..));
    let path = directory.join(id).with_extension(kind.extension());
    let failed = |error| KeyError::Write(path.clone(), error);
    let text = Key::make(kind)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    belong(&path, directory).map_err(failed)?;
    Ok(path)
}

/// What root makes in a directory of the daemon's is the daemon's.
fn belong(path: &Path, directory: &Path) -> io::Result<()> {
    let (owner, made) = (fs::metadata(directory)?, fs::metadata(path)?);
    if owner.uid() == made.uid() {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))
}

fn read(file: File, most: u64) -> io::Result<String> {
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {most} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    impl Keys {
        /// The same keys, and this token does not count.
        pub(crate) fn without(&self, id: &str) -> Self {
            let copy = |key: &Key| Key {
                id: key.id.clone(),
                kind: key.kind,
                signs: key.signs.clone(),
                proves: key.proves.clone(),
            };
            Self { all: self.all.iter().map(copy).collect(), revoked: [id.to_owned()].into() }
        }
    }

    #[test]
    fn keys_are_made_changed_and_kept_from_others() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("keys");
        assert!(Keys::load(&directory).unwrap().is_empty(), "one that is not there has none");
        assert!(matches!(rotate(&directory, None), Err(KeyError::Empty(_))));
        let first = init(&directory, Kind::Hs256).unwrap();
        assert!(matches!(init(&directory, Kind::Hs256), Err(KeyError::There(_))));
        for path in [&first, &directory] {
            let mode = fs::metadata(path).unwrap().mode() & 0o077;
            assert_eq!(mode, 0, "{path:?}");
        }
        let (second, removed) = rotate(&directory, Some(Kind::Ed25519)).unwrap();
        assert!(removed.is_empty() && first.exists());
        let (third, removed) = rotate(&directory, None).unwrap();
        assert_eq!(removed, [first]);
        let keys = Keys::load(&directory).unwrap();
        let ids: Vec<_> = keys.all.iter().map(|key| key.id.as_str()).collect();
        let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert_eq!(ids, [stem(&second), stem(&third)], "the newest last");
        revoke(&directory, "one").unwrap();
        revoke(&directory, "two").unwrap();
        fs::write(directory.join("revoked"), "one\n two # a laptop that was stolen\n\n").unwrap();
        assert_eq!(Keys::load(&directory).unwrap().revoked, ["one".to_owned(), "two".to_owned()].into());
        fs::set_permissions(&third, fs::Permissions::from_mode(0o640)).unwrap();
        let open = Keys::load(&directory).unwrap_err();
        assert!(matches!(open, KeyError::Open(..)) && open.to_string().contains("chmod 600"), "{open}");
        fs::set_permissions(&third, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&third, "hello").unwrap();
        assert!(matches!(Keys::load(&directory), Err(KeyError::NotAKey(_))));
    }
}
