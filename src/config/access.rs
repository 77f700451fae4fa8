//! Who gets in, as it is written: rights, the names of streams they are for, and whose tokens count.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest pattern of names, in bytes: four of the longest names, each with a star.
const MAX_NAME_PATTERN_SIZE: usize = 264;

/// Something that may be done with a stream. None of them has another in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// To see what it says.
    Read,
    /// To type into its process, and to append to it where it is filled by POST.
    Input,
    /// To start, stop and signal its process.
    Admin,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Input, Self::Admin];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Input => "input",
            Self::Admin => "admin",
        }
    }
}

/// Names of streams, or values of claims: `*` stands for any letters, also none, `?` for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamePattern(String);

/// A text that is not a [`NamePattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern has 1 to {MAX_NAME_PATTERN_SIZE} bytes, where * stands for any letters and ? for one; this is {0:?}"
)]
pub struct BadNamePattern(String);

impl NamePattern {
    /// Whether `text` is one of these. Takes at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        // Behind the last star, and the place in the text where it ends for now.
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
    /// The streams, by name.
    pub streams: Vec<NamePattern>,
    /// What may be done with them.
    pub allow: Vec<Right>,
}

impl Grant {
    /// Whether it gives this right for a stream of this name; `None` asks for any stream.
    pub fn gives(&self, right: Right, stream: Option<&str>) -> bool {
        self.allow.contains(&right) && stream.is_none_or(|name| self.streams.iter().any(|p| p.matches(name)))
    }
}

/// Who gets in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccessConfig {
    /// The directory of our own keys; `None` if we give out no tokens.
    pub keys: Option<PathBuf>,
    /// Others whose tokens count.
    pub issuers: Vec<IssuerConfig>,
}

impl AccessConfig {
    /// Whether there is nobody whose tokens count.
    pub fn accepts_no_tokens(&self) -> bool {
        self.keys.is_none() && self.issuers.is_empty()
    }
}

/// How connections are kept from being read on the way. All paths are absolute.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsConfig {
    /// The certificate, and those between it and the root, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// Whose certificates clients must show; `None` if they need none.
    pub client_ca: Option<PathBuf>,
}

/// Somebody else who gives out tokens, such as a CI.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerConfig {
    /// What its tokens have as `iss`.
    pub issuer: String,
    /// What its tokens have in `aud`.
    pub audience: String,
    /// Its public keys: a JWKS file (RFC 7517) or one key as PEM.
    pub keys: PathBuf,
    /// What its tokens give: all grants whose claims are there.
    pub grants: Vec<ClaimGrant>,
}

/// Rights for those whose tokens say something.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimGrant {
    /// Claims that all must be there, with a value like this. A number or a truth counts as it is written.
    pub claims: BTreeMap<String, NamePattern>,
    /// What they may do then.
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
