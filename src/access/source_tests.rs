//! Tests of tokens and of keys in files: which tokens stay valid when a file is broken, removed, replaced or changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::issuers::tests::{CI_ISSUER, claims, ecdsa, jwks, spec};
use super::key_reloader::KeyReloader;
use super::keyring::Keyring;
use super::token::Token;
use super::{BadToken, KeyKind, SigningKeys};
use crate::config::{self, Grant, Right};

/// Two own keys, two issuers, and a token of each.
struct TokenSources {
    directory: tempfile::TempDir,
    spec: config::AccessConfig,
    reloader: KeyReloader,
    tokens: [(&'static str, String); 4],
}

const OTHER_ISSUER: &str = "https://other.example.com";

fn signed_by(key: &EncodingKey, kid: &str, issuer: &str) -> String {
    let mut claims = claims();
    claims["iss"] = json!(issuer);
    claims["jti"] = json!(format!("job of {kid}").replace(' ', "-"));
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

impl TokenSources {
    fn new() -> Self {
        let directory_guard = tempfile::tempdir().unwrap();
        let directory = directory_guard.path().join("keys");
        super::create_first_key(&directory, KeyKind::Hs256).unwrap();
        let grant = Grant { streams: vec!["*".parse().unwrap()], allow: vec![Right::Read] };
        let sign = || SigningKeys::load(&directory).sign(&grant, Duration::from_hours(1), None).unwrap().token;
        let first = sign();
        super::rotate_keys(&directory, Some(KeyKind::Ed25519)).unwrap();
        let second = sign();
        let issuer = |name: &str, file: &str, kid: &str| {
            let (key, point) = ecdsa();
            let path = directory_guard.path().join(file);
            fs::write(&path, jwks(&point, kid)).unwrap();
            let issuer = config::IssuerConfig { issuer: name.into(), ..spec(&path) };
            (issuer, signed_by(&key, kid, name))
        };
        let (ci, third) = issuer(CI_ISSUER, "ci.jwks", "k1");
        let (other, fourth) = issuer(OTHER_ISSUER, "other.jwks", "o1");
        let spec = config::AccessConfig { keys: Some(directory), issuers: vec![ci, other] };
        let reloader = KeyReloader::new(spec.clone()).unwrap();
        let tokens = [
            ("of our first key", first),
            ("of our second key", second),
            ("of the CI", third),
            ("of another issuer", fourth),
        ];
        let sources = Self { directory: directory_guard, spec, reloader, tokens };
        assert_eq!(sources.refused(), [None, None, None, None]);
        sources
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The files of the own keys, the older first.
    fn key_files(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.path("keys")).unwrap().map(|entry| entry.unwrap().path());
        let mut keys: Vec<_> = all.filter(|path| path.file_name().unwrap() != "revoked").collect();
        keys.sort();
        keys
    }

    fn verify(&self, number: usize) -> Result<Token, BadToken> {
        self.reloader.handle().keyring().verify(&self.tokens[number].1, SystemTime::now())
    }

    /// The reason why each token is refused, if it is.
    fn refused(&self) -> [Option<BadToken>; 4] {
        [0, 1, 2, 3].map(|number| self.verify(number).err())
    }
}

/// Writes a file with this content.
fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap();
}

#[test]
fn a_broken_source_affects_no_other_tokens_and_revocations_apply() {
    type BrokenSourceCase = (&'static str, fn(&TokenSources), [bool; 4]);
    /// All tokens stay valid: a CI whose file is broken keeps the keys that were read before.
    const ALL_ACCEPTED: [bool; 4] = [true; 4];
    let table: [BrokenSourceCase; 12] = [
        ("half a JWKS", |sources| write(&sources.path("ci.jwks"), "{"), ALL_ACCEPTED),
        ("an empty JWKS file", |sources| write(&sources.path("ci.jwks"), ""), ALL_ACCEPTED),
        ("the page of an error", |sources| write(&sources.path("ci.jwks"), "<html>502</html>"), ALL_ACCEPTED),
        ("a JWKS that is too long", |sources| write(&sources.path("ci.jwks"), " ".repeat(300 << 10)), ALL_ACCEPTED),
        (
            "a FIFO that nobody writes to",
            |sources| {
                fs::remove_file(sources.path("ci.jwks")).unwrap();
                let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
                rustix::fs::mknodat(rustix::fs::CWD, sources.path("ci.jwks"), fifo, mode, 0).unwrap();
            },
            ALL_ACCEPTED,
        ),
        ("no JWKS file", |sources| fs::remove_file(sources.path("ci.jwks")).unwrap(), [true, true, false, true]),
        ("a JWKS without keys", |sources| write(&sources.path("ci.jwks"), "{\"keys\":[]}"), [true, true, false, true]),
        ("a stray key that others may read", |sources| write(&sources.path("keys/9.ed25519"), "x"), ALL_ACCEPTED),
        (
            "a ninth key",
            |sources| {
                for number in 0..7 {
                    let path = sources.path(&format!("keys/0{number}.hs256"));
                    fs::copy(&sources.key_files()[0], &path).unwrap();
                }
            },
            ALL_ACCEPTED,
        ),
        (
            "our first key, which others may read now",
            |sources| fs::set_permissions(&sources.key_files()[0], fs::Permissions::from_mode(0o644)).unwrap(),
            [false, true, true, true],
        ),
        ("our second key, overwritten", |sources| write(&sources.key_files()[1], "x"), [true, false, true, true]),
        (
            "a directory of keys that others may write",
            |sources| fs::set_permissions(sources.path("keys"), fs::Permissions::from_mode(0o777)).unwrap(),
            [false, false, true, true],
        ),
    ];
    for (what, spoil, accepted) in table {
        let mut sources = TokenSources::new();
        let id = sources.verify(3).unwrap().id;
        spoil(&sources);
        sources.reloader.poll();
        assert_eq!(sources.refused().map(|why| why.is_none()), accepted, "{what}");
        write(&sources.path("keys/revoked"), format!("{id}\n"));
        sources.reloader.poll();
        let still = [accepted[0], accepted[1], accepted[2], false];
        assert_eq!(sources.refused().map(|why| why.is_none()), still, "{what}: {id} is revoked");
        assert_eq!(sources.verify(3), Err(BadToken::Revoked), "{what}");
    }
}

#[test]
fn a_source_that_is_broken_at_the_start_affects_no_other_tokens() {
    let sources = TokenSources::new();
    write(&sources.path("ci.jwks"), "{");
    write(&sources.key_files()[1], "x");
    let reloader = KeyReloader::new(sources.spec.clone()).unwrap();
    let accepted =
        |number: usize| reloader.handle().keyring().verify(&sources.tokens[number].1, SystemTime::now()).is_ok();
    assert_eq!([0, 1, 2, 3].map(accepted), [true, false, false, true]);
    write(&sources.path("other.jwks"), "{");
    write(&sources.key_files()[0], "x");
    assert!(KeyReloader::new(sources.spec.clone()).is_err(), "with no key at all it does not start");
}

#[test]
fn no_token_is_valid_while_the_list_of_revoked_tokens_cannot_be_read() {
    let sources = TokenSources::new();
    fs::create_dir(sources.path("keys/revoked")).unwrap();
    let mut reloader = KeyReloader::new(sources.spec.clone()).unwrap();
    let prove = |reloader: &KeyReloader, number: usize| {
        reloader.handle().keyring().verify(&sources.tokens[number].1, SystemTime::now())
    };
    assert_eq!(
        [prove(&reloader, 0), prove(&reloader, 2)],
        [Err(BadToken::RevocationListUnreadable), Err(BadToken::RevocationListUnreadable)]
    );
    fs::remove_dir(sources.path("keys/revoked")).unwrap();
    reloader.poll();
    assert!(prove(&reloader, 0).is_ok() && prove(&reloader, 2).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_response_ends_when_the_key_or_the_grant_of_its_token_is_removed() {
    type SourceChangeCase = (&'static str, fn(&mut TokenSources), [Option<BadToken>; 4]);
    let gone = || Some(BadToken::UnknownKey);
    let table: [SourceChangeCase; 10] = [
        (
            "our first key is removed",
            |sources| fs::remove_file(&sources.key_files()[0]).unwrap(),
            [gone(), None, None, None],
        ),
        (
            "our second key is replaced by another of the same name",
            |sources| {
                let other = tempfile::tempdir().unwrap();
                fs::set_permissions(other.path(), fs::Permissions::from_mode(0o700)).unwrap();
                fs::rename(super::create_first_key(other.path(), KeyKind::Ed25519).unwrap(), &sources.key_files()[1])
                    .unwrap();
            },
            [None, gone(), None, None],
        ),
        (
            "the CI has another key",
            |sources| write(&sources.path("ci.jwks"), jwks(&ecdsa().1, "k2")),
            [None, None, gone(), None],
        ),
        (
            "the CI has another key of the same id",
            |sources| write(&sources.path("ci.jwks"), jwks(&ecdsa().1, "k1")),
            [None, None, gone(), None],
        ),
        ("the CI's file is broken", |sources| write(&sources.path("ci.jwks"), "{"), [None, None, None, None]),
        (
            "the CI is removed from the configuration",
            |sources| drop(sources.spec.issuers.remove(0)),
            [None, None, Some(BadToken::UnknownIssuer), None],
        ),
        (
            "the CI's tokens give other rights",
            |sources| sources.spec.issuers[0].grants[0].grant.allow = vec![Right::Read],
            [None, None, Some(BadToken::GrantsChanged), None],
        ),
        (
            "the CI's tokens need another claim",
            |sources| {
                sources.spec.issuers[0].grants[0].claims.insert("branch".into(), "main".parse().unwrap());
            },
            [None, None, Some(BadToken::GrantsChanged), None],
        ),
        (
            "the CI's tokens are for another audience",
            |sources| sources.spec.issuers[0].audience = "another".into(),
            [None, None, Some(BadToken::InvalidClaims), None],
        ),
        (
            "the CI's tokens give more than before",
            |sources| {
                let more = sources.spec.issuers[0].grants[0].clone();
                sources.spec.issuers[0].grants.insert(0, config::ClaimGrant { claims: [].into(), ..more });
            },
            [None, None, None, None],
        ),
    ];
    for (what, change, ended) in table {
        let mut sources = TokenSources::new();
        let watches = [0, 1, 2, 3].map(|number| {
            let token = Arc::new(sources.verify(number).unwrap());
            tokio::spawn(sources.reloader.handle().until_invalid(token))
        });
        tokio::task::yield_now().await;
        change(&mut sources);
        sources.reloader.set_spec(sources.spec.clone());
        sources.reloader.poll();
        for ((watch, why), (whose, _)) in watches.into_iter().zip(ended).zip(&sources.tokens) {
            let over = tokio::time::timeout(Duration::from_secs(1), watch).await.ok().map(Result::unwrap);
            assert_eq!(over, why, "{what}: {whose}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_ends_when_its_token_is_revoked() {
    let mut sources = TokenSources::new();
    for number in 0..4 {
        let token = Arc::new(sources.verify(number).unwrap());
        let mut over = pin!(sources.reloader.handle().until_invalid(token.clone()));
        assert!(tokio::time::timeout(Duration::from_mins(10), &mut over).await.is_err(), "the token is still valid");
        super::revoke(&sources.path("keys"), &token.id).unwrap();
        sources.reloader.poll();
        assert_eq!(over.await, BadToken::Revoked);
    }
}

/// A token with an unknown key makes the key files be read again.
#[tokio::test]
async fn a_new_key_is_accepted_with_the_first_token_that_it_signed() {
    let sources = TokenSources::new();
    let keys = sources.reloader.handle();
    let access = super::AccessControl::new(990, false, keys);
    let (directory_guard, tokens) = (sources.directory, sources.tokens);
    tokio::spawn(sources.reloader.watch());
    let directory = directory_guard.path().join("keys");
    let grant = Grant { streams: vec!["*".parse().unwrap()], allow: vec![Right::Read] };
    let peer = super::Peer::Unix { uid: 1, pid: None };
    for _ in 0..3 {
        super::rotate_keys(&directory, None).unwrap();
        let made = SigningKeys::load(&directory).sign(&grant, Duration::from_hours(1), None).unwrap();
        access.identify(peer, Some(super::PresentedToken::Bearer(&made.token))).await.unwrap();
    }
    let old = access.identify(peer, Some(super::PresentedToken::Bearer(&tokens[0].1))).await;
    assert_eq!(old.unwrap_err(), BadToken::UnknownKey, "its key was removed");
}

#[test]
fn keys_that_are_the_same_stay_in_their_generation() {
    let sources = TokenSources::new();
    let fewer = config::AccessConfig { issuers: sources.spec.issuers[..1].to_vec(), ..sources.spec.clone() };
    let without_keys = config::AccessConfig { keys: None, ..sources.spec.clone() };
    let specs = [&sources.spec, &fewer, &without_keys];
    for (at, before) in specs.iter().enumerate() {
        let before = Keyring::load(before, &Keyring::default());
        let changed = specs.map(|spec| Keyring::load(spec, &before).generation != before.generation);
        let mut expected = [true; 3];
        expected[at] = false;
        assert_eq!(changed, expected, "{at}");
    }
}

#[test]
fn only_if_no_key_at_all_can_be_used_the_start_fails() {
    let sources = TokenSources::new();
    write(&sources.path("ci.jwks"), "{");
    let keys = sources.spec.keys.as_ref().unwrap();
    let broken = config::AccessConfig { keys: None, issuers: sources.spec.issuers[..1].to_vec() };
    let with_keys = config::AccessConfig { keys: Some(keys.clone()), ..broken.clone() };
    let with_issuer = config::AccessConfig { keys: None, ..sources.spec.clone() };
    let starts = [&broken, &with_keys, &with_issuer].map(|spec| KeyReloader::new(spec.clone()).is_ok());
    assert_eq!(starts, [false, true, true]);
    let empty = sources.path("empty");
    fs::create_dir(&empty).unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o700)).unwrap();
    let lacks = [None, Some(keys), Some(&empty)].map(|keys| {
        let spec = config::AccessConfig { keys: keys.cloned(), ..config::AccessConfig::default() };
        Keyring::lacks_first_key(&spec)
    });
    assert_eq!(lacks, [false, false, true]);
}

#[tokio::test]
async fn a_new_configuration_is_in_use_with_its_problems_once_it_was_applied() {
    let sources = TokenSources::new();
    let handle = sources.reloader.handle();
    let (directory, spec) = (sources.directory, sources.spec);
    tokio::spawn(sources.reloader.watch());
    assert_eq!(Keyring::problems(&spec), Vec::<String>::new());
    fs::remove_file(directory.path().join("other.jwks")).unwrap();
    let problems = handle.set_spec_and_wait(spec.clone()).await;
    assert!(problems.len() == 1 && problems[0].contains("other.jwks"), "{problems:?}");
    let alone = Keyring::problems(&spec);
    assert!(alone.len() == 1 && alone[0].contains("its tokens are refused"), "{alone:?}");
}

/// Signs any header and any claims with an HS256 key that is on the disk.
fn sign_any(key: &Path, header: &Value, claims: &Value) -> String {
    let secret = STANDARD.decode(fs::read_to_string(key).unwrap().trim()).unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[test]
fn an_own_token_is_valid_only_if_its_header_is_understood_and_its_times_apply() {
    let directory_guard = tempfile::tempdir().unwrap();
    let directory = directory_guard.path().join("keys");
    let file = super::create_first_key(&directory, KeyKind::Hs256).unwrap();
    let ring = Keyring::with_keys(SigningKeys::load(&directory));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let header = json!({"alg": "HS256", "kid": file.file_stem().unwrap().to_str().unwrap()});
    let claims = json!({
        "iss": "rtlogd", "jti": "one", "iat": now, "exp": now + 600, "streams": ["*"], "allow": ["read"],
    });
    let with = |base: &Value, name: &str, value: &Value| {
        let mut changed = base.clone();
        changed[name] = value.clone();
        changed
    };
    let prove = |header: &Value, claims: &Value| ring.verify(&sign_any(&file, header, claims), SystemTime::now()).err();
    assert_eq!(prove(&header, &claims), None);
    let long = |length: usize| with(&claims, "sub", &json!("x".repeat(length)));
    assert_eq!((prove(&header, &long(2 << 10)), prove(&header, &long(4 << 10))), (None, Some(BadToken::Malformed)));
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), Value::Null, json!("exp"), json!({}), json!(["x", "y"])] {
        assert_eq!(prove(&with(&header, "crit", &crit), &claims), Some(BadToken::UnknownExtension), "{crit}");
    }
    assert_eq!(
        prove(&with(&header, "x", &json!(["crit"])), &claims),
        None,
        "what is unknown and not critical is ignored"
    );
    let times = [
        ("nbf", json!(now + 600), Some(BadToken::NotYetValid)),
        ("nbf", json!(now + 20), Some(BadToken::NotYetValid)),
        ("nbf", json!("tomorrow"), Some(BadToken::InvalidClaims)),
        ("nbf", json!(now - 1), None),
        ("exp", json!(now - 2), Some(BadToken::Expired)),
        ("exp", Value::Null, Some(BadToken::InvalidClaims)),
        ("iat", json!(now + 600), Some(BadToken::NotYetValid)),
        ("iat", json!(now + 10), None),
        ("iat", json!(now - 6000), None),
    ];
    for (name, value, why) in times {
        assert_eq!(prove(&header, &with(&claims, name, &value)), why, "{name}: {value}");
    }
    let unnamed = with(&claims, "jti", &json!("no word\n#"));
    let token = ring.verify(&sign_any(&file, &header, &unnamed), SystemTime::now()).unwrap();
    assert_eq!(token.key(), file.file_stem().unwrap().to_str());
    super::revoke(&directory, &token.id).unwrap();
}
