//! Names whose value is a secret.

/// The kind of value that a name has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretKind {
    /// A password.
    Password,
    /// `pass` and similar names, which may also be a verdict.
    Pass,
    /// `pwd`, which may also be a directory.
    Pwd,
    /// A key, secret or token of some kind.
    Secret,
    /// `token` alone, which may also be a token of a parser.
    Token,
    /// `auth` and similar names: only a value that looks random is a secret.
    Auth,
    /// A header with a scheme and credentials (RFC 9110, section 11.6.2).
    Authorization,
    /// A header with cookies (RFC 6265).
    Cookie,
    /// A file with a secret; a value that is not a path is treated as the secret.
    File,
}

/// The longest name that is examined, in bytes. Of a longer one only the end is examined.
pub(super) const MAX_SECRET_NAME_SIZE: usize = 128;

/// Words after a name that do not change its meaning.
const NAME_QUALIFIERS: [&str; 21] = [
    "value",
    "val",
    "hash",
    "digest",
    "text",
    "plain",
    "plaintext",
    "raw",
    "string",
    "str",
    "base64",
    "b64",
    "confirm",
    "confirmation",
    "repeat",
    "again",
    "old",
    "new",
    "current",
    "encrypted",
    "binary",
];

/// Words before `key` that make it a secret.
const SECRET_KEY_PREFIXES: [&str; 42] = [
    "api",
    "access",
    "private",
    "priv",
    "secret",
    "signing",
    "sign",
    "signature",
    "encryption",
    "encrypt",
    "decryption",
    "master",
    "auth",
    "authentication",
    "account",
    "shared",
    "session",
    "storage",
    "license",
    "licence",
    "consumer",
    "crypto",
    "cipher",
    "aes",
    "hmac",
    "jwt",
    "ssh",
    "deploy",
    "webhook",
    "admin",
    "sas",
    "subscription",
    "gpg",
    "pgp",
    "root",
    "functions",
    "management",
    "service",
    "app",
    "application",
    "integration",
    "ingest",
];

/// Words before `token` that make it harmless: positions, counts, and the vocabulary of parsers and language models.
const HARMLESS_TOKEN_PREFIXES: [&str; 36] = [
    "max",
    "min",
    "num",
    "no",
    "n",
    "next",
    "page",
    "prev",
    "previous",
    "unexpected",
    "expected",
    "bos",
    "eos",
    "pad",
    "unk",
    "mask",
    "sep",
    "cls",
    "special",
    "stop",
    "start",
    "end",
    "first",
    "last",
    "per",
    "prompt",
    "completion",
    "input",
    "output",
    "total",
    "cached",
    "continuation",
    "sync",
    "lookahead",
    "cancellation",
    "current",
];

/// Endings of names that are written as one word.
const PASSWORD_NAME_ENDINGS: [&str; 18] = [
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "passcode",
    "passwrd",
    "userpass",
    "dbpass",
    "storepass",
    "keypass",
    "rootpass",
    "adminpass",
    "mypass",
    "smtppass",
    "mailpass",
    "ldappass",
    "sshpass",
    "requirepass",
];
const ONE_WORD_KEY_NAMES: [&str; 19] = [
    "apikey",
    "secretkey",
    "accesskey",
    "privatekey",
    "authkey",
    "signingkey",
    "encryptionkey",
    "masterkey",
    "accountkey",
    "sharedkey",
    "licensekey",
    "sshkey",
    "deploykey",
    "storagekey",
    "sessionkey",
    "appkey",
    "adminkey",
    "jwtkey",
    "masterauth",
];

/// The kind of a name; `None` if its value is no secret.
pub(super) fn classify(name: &[u8]) -> Option<SecretKind> {
    let words = split_words(&name[name.len().saturating_sub(MAX_SECRET_NAME_SIZE)..]);
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let [rest @ .., "file" | "path" | "filename"] = &words[..] {
        return classify_words(rest)
            .filter(|kind| !matches!(kind, SecretKind::Auth | SecretKind::Pass | SecretKind::Cookie))
            .map(|_| SecretKind::File);
    }
    while words.len() > 1 && words.last().is_some_and(|last| NAME_QUALIFIERS.contains(last)) {
        words.pop();
    }
    if let [rest @ .., "id"] = &words[..]
        && matches!(rest, [.., "access", "key"] | [.., "accesskey" | "secret"])
    {
        return Some(SecretKind::Secret);
    }
    classify_words(&words)
}

fn classify_words(words: &[&str]) -> Option<SecretKind> {
    let (last, before) = words.split_last()?;
    let last = last.trim_end_matches(|c: char| c.is_ascii_digit());
    let before = before.last().copied();
    let single = last.strip_suffix('s').unwrap_or(last);
    if PASSWORD_NAME_ENDINGS.iter().any(|ending| last.ends_with(ending) || single.ends_with(ending)) {
        return Some(SecretKind::Password);
    }
    match (before, last) {
        (_, "pass") => Some(SecretKind::Pass),
        (_, "pw" | "dbpw" | "rootpw" | "userpw" | "adminpw" | "bindpw") => Some(SecretKind::Password),
        (_, "pwd" | "oldpwd") => Some(SecretKind::Pwd),
        (None, "token") => Some(SecretKind::Token),
        (Some(before), "token") => (!HARMLESS_TOKEN_PREFIXES.contains(&before)).then_some(SecretKind::Secret),
        (_, "nexttoken" | "pagetoken") => None,
        (_, "authorization" | "authorisation") => Some(SecretKind::Authorization),
        (_, "cookie" | "cookies") => Some(SecretKind::Cookie),
        (_, "auth") => Some(SecretKind::Auth),
        (Some("amz" | "goog"), "signature") | (_, "credential" | "credentials" | "cred" | "creds" | "sig") => {
            Some(SecretKind::Secret)
        }
        (Some(before), "key" | "keys") => SECRET_KEY_PREFIXES.contains(&before).then_some(SecretKind::Secret),
        _ if last.ends_with("pwd") => Some(SecretKind::Password),
        _ if last.ends_with("token") || last.ends_with("secret") => Some(SecretKind::Secret),
        _ if ONE_WORD_KEY_NAMES.iter().any(|ending| single.ends_with(ending)) => Some(SecretKind::Secret),
        _ => None,
    }
}

/// The words of a name in lower case, separated by `_`, `-`, `.` and capitals: `apiKey`, `APIKey`, `DB_PASS`.
fn split_words(name: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for (at, byte) in name.iter().enumerate() {
        if matches!(byte, b'_' | b'-' | b'.') {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            continue;
        }
        let before = at.checked_sub(1).and_then(|before| name.get(before)).copied().unwrap_or(b'_');
        let after = name.get(at + 1).copied().unwrap_or(b'_');
        let begins = byte.is_ascii_uppercase()
            && (before.is_ascii_lowercase() || before.is_ascii_uppercase() && after.is_ascii_lowercase());
        if begins && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        word.push(char::from(byte.to_ascii_lowercase()));
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_distinguished_from_others() {
        use SecretKind::{Auth, Authorization, Cookie, File, Pass, Password, Pwd, Secret, Token};
        let table = [
            (
                Password,
                "password Password DB_PASSWORD dbPassword db.password PGPASSWORD passwd pwd_password password2 \
                passwords passphrase SSH-PASSPHRASE keyStorePassword password_hash newPassword \
                password_confirmation Dpassword userpass storepass mypwd db_pw UserPassword1",
            ),
            (Pass, "pass PASS DB_PASS dbPass smtp.pass tests_pass"),
            (Pwd, "pwd PWD OLDPWD db_pwd"),
            (
                Secret,
                "secret client_secret clientSecret CLIENT-SECRET appsecret api_key apiKey APIKey apikey \
                x-api-key X-Api-Key Ocp-Apim-Subscription-Key private_key privateKey AccountKey SharedAccessKey \
                AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID secret_id access_token accessToken authToken _authToken \
                CI_JOB_TOKEN refresh-token csrftoken credentials X-Amz-Signature sig SecretString api_keys \
                signing_key encryptionKey",
            ),
            (Token, "token Token TOKEN"),
            (Auth, "auth _auth proxyAuth"),
            (Authorization, "authorization Proxy-Authorization HTTP_AUTHORIZATION"),
            (Cookie, "cookie Set-Cookie HTTP_COOKIE cookies sessionCookie"),
            (File, "db_password_file POSTGRES_PASSWORD_FILE tokenPath private_key_file"),
        ];
        for (kind, names) in table {
            for name in names.split_whitespace() {
                assert_eq!(classify(name.as_bytes()), Some(kind), "{name}");
            }
        }
        let harmless = "author authority authenticated keyboard key keys primary_key publicKey public_key cache-key \
            tokens max_tokens max_token next_token nextPageToken token_type tokenizer passed passes passing \
            password_policy passwordLength password-stdin secretName secretRef secretKeyRef secrets \
            imagePullSecrets cookie_domain compass bypass monkey turkey api access KeyError signature \
            token.rs password.go secretary credit accredited partition_key foreignKey oauth2 passenger \
            hotkey _ id";
        for name in harmless.split_whitespace() {
            assert_eq!(classify(name.as_bytes()), None, "{name}");
        }
        assert_eq!(classify(b""), None);
    }
}
