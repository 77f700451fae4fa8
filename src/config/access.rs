//! The access settings of a configuration: rights, patterns for the names of streams, and the accepted issuers of
//! tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest pattern of names, in bytes: four of the longest names, each with a star.
const MAX_NAME_PATTERN_SIZE: usize = 264;

/// A right on a stream. No right includes another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// To read its events.
    Read,
    /// To type into its process, and to push lines to it.
    Input,
    /// To start, stop and signal its process.
    Admin,
}

impl Right {
    /// All rights.
    pub const ALL: [Self; 3] = [Self::Read, Self::Input, Self::Admin];

    /// The name of the right in configurations and tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Input => "input",
            Self::Admin => "admin",
        }
    }
}

/// A pattern for names of streams or values of claims: `*` stands for any number of characters, `?` for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamePattern(String);

/// A text that is not a [`NamePattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a pattern: {0:?} (1 to {MAX_NAME_PATTERN_SIZE} bytes, in which * stands for any characters and ? for one)"
)]
pub struct BadNamePattern(String);

impl NamePattern {
    /// Returns whether `text` matches. Cost: at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        // The index in the pattern after the last star, and the index in the text up to which that star matches at
        // present.
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    p += 1;
                    star = Some((p, t));
                }
                Some(&c) if c == b'?' || c == text[t] => (p, t) = (p + 1, t + 1),
                _ => match star {
                    Some((behind, end)) => {
                        (p, t) = (behind, end + 1);
                        star = Some((behind, t));
                    }
                    None => return false,
                },
            }
        }
        pattern.iter().skip(p).all(|&c| c == b'*')
    }
}

impl FromStr for NamePattern {
    type Err = BadNamePattern;
    fn from_str(text: &str) -> Result<Self, BadNamePattern> {
        let fits = (1..=MAX_NAME_PATTERN_SIZE).contains(&text.len()) && !text.contains(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(BadNamePattern(text.chars().take(100).collect())) }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Rights for some streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Patterns for the names of the streams.
    pub streams: Vec<NamePattern>,
    /// The rights on them.
    pub allow: Vec<Right>,
}

impl Grant {
    /// Returns whether the grant gives this right for a stream of this name; `None` asks for any stream.
    pub fn gives(&self, right: Right, stream: Option<&str>) -> bool {
        self.allow.contains(&right) && stream.is_none_or(|name| self.streams.iter().any(|p| p.matches(name)))
    }
}

/// The keys and issuers whose tokens are accepted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccessConfig {
    /// The directory of the daemon's own keys; `None` if it has none.
    pub keys: Option<PathBuf>,
    /// Other issuers whose tokens are accepted.
    pub issuers: Vec<IssuerConfig>,
}

impl AccessConfig {
    /// Returns whether no tokens are accepted.
    pub fn accepts_no_tokens(&self) -> bool {
        self.keys.is_none() && self.issuers.is_empty()
    }
}

/// The certificate for TLS. All paths are absolute.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsConfig {
    /// The certificate and its chain up to the root, as PEM.
    pub certificate: PathBuf,
    /// The private key, as PEM.
    pub key: PathBuf,
    /// The authorities that must have issued the certificates of clients; `None` if clients need none.
    pub client_ca: Option<PathBuf>,
}

/// Another issuer of tokens, such as a CI system.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerConfig {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` of its tokens.
    pub audience: String,
    /// Its public keys: a JWKS file (RFC 7517) or one key as PEM.
    pub keys: PathBuf,
    /// The grants of its tokens: a token has all grants whose claims it has.
    pub grants: Vec<ClaimGrant>,
}

/// A grant for tokens with certain claims.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimGrant {
    /// The claims that a token must have, all of them, and patterns for their values. A number, `true` or `false` is
    /// matched as it is written.
    pub claims: BTreeMap<String, NamePattern>,
    /// The rights of such a token.
    pub grant: Grant,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_stands_for_names() {
        let table = [
            ("build", "build", true),
            ("build", "build-1", false),
            ("build-*", "build-", true),
            ("build-*", "build-1", true),
            ("build-*", "xbuild-1", false),
            ("*", "", true),
            ("*-x", "a-x-x", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("**", "anything", true),
        ];
        for (pattern, name, fits) in table {
            assert_eq!(pattern.parse::<NamePattern>().unwrap().matches(name), fits, "{pattern} {name}");
        }
        assert!("".parse::<NamePattern>().is_err() && "a\n".parse::<NamePattern>().is_err());
        assert!("x".repeat(MAX_NAME_PATTERN_SIZE + 1).parse::<NamePattern>().is_err());
    }

    proptest! {
        #[test]
        fn it_does_as_a_regular_expression_would(pattern in "[ab*?]{1,8}", name in "[ab]{0,10}") {
            let expression = format!("^{}$", pattern.replace('*', ".*").replace('?', "."));
            let fits = regex::Regex::new(&expression).unwrap().is_match(&name);
            prop_assert_eq!(pattern.parse::<NamePattern>().unwrap().matches(&name), fits);
        }
    }

    #[test]
    fn a_grant_gives_its_rights_for_its_streams() {
        let grant = Grant { streams: vec!["a-*".parse().unwrap(), "b".parse().unwrap()], allow: vec![Right::Input] };
        assert!(grant.gives(Right::Input, Some("a-1")) && grant.gives(Right::Input, Some("b")));
        assert!(grant.gives(Right::Input, None) && !grant.gives(Right::Read, None));
        assert!(!grant.gives(Right::Input, Some("c")) && !grant.gives(Right::Read, Some("b")));
    }
}
