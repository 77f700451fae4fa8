//! `access`, and `tls`, word for word. The structs are also the JSON Schema, so their comments are for users.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::access::{NamePattern, Right};
use crate::config::parse::located::{Entries, Located, OneOrMany, Setting};

/// Who may read and control streams.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Access")]
pub(crate) struct AccessConfig {
    /// The directory of the keys that sign tokens, as `rtlogd token --init` makes it. Default: none; rtlogd then has no
    /// tokens of its own.
    pub(in crate::config) keys: Setting<String>,
    /// Other systems whose tokens are accepted, such as a CI system. Default: none.
    pub(in crate::config) issuers: Setting<Vec<Located<IssuerConfig>>>,
    /// Whether other machines may read without a token and without TLS; private streams still need a token. Default:
    /// false.
    pub(crate) insecure: Setting<bool>,
}

/// An issuer whose tokens are accepted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Issuer")]
pub(crate) struct IssuerConfig {
    /// The `iss` of its tokens, such as `https://gitlab.example.com`.
    pub(in crate::config) issuer: Setting<String>,
    /// The `aud` of its tokens. Choose a name that is used only for this rtlogd.
    pub(in crate::config) audience: Setting<String>,
    /// The file with its public keys: a JWKS, or one key as PEM. `RS256`, `ES256` and `EdDSA` are supported.
    pub(in crate::config) keys: Setting<String>,
    /// What its tokens permit: the rights of all entries whose claims match the token's.
    pub(in crate::config) grants: Setting<Vec<Located<RawClaimGrant>>>,
}

/// Rights for tokens with certain claims.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Claims")]
pub(crate) struct RawClaimGrant {
    /// The claims that a token must have, with patterns for their values: `*` stands for any characters, `?` for one.
    /// All of them must match.
    pub(in crate::config) claims: Setting<Entries<NamePattern>>,
    /// The streams, by name: `*` stands for any characters, `?` for one.
    pub(in crate::config) stream: Setting<OneOrMany<NamePattern>>,
    /// The rights on these streams.
    pub(in crate::config) allow: Setting<OneOrMany<Right>>,
}

/// The certificate for TLS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub(crate) struct TlsConfig {
    /// The file with the certificate and its chain, as PEM. It is read again when it changes.
    pub(in crate::config) certificate: Setting<String>,
    /// The file with the private key, as PEM. It must not be world-readable.
    pub(in crate::config) key: Setting<String>,
    /// The file with the certificates of authorities, as PEM. Clients must then show a certificate that one of them has
    /// issued. Default: none; clients need no certificate.
    pub(in crate::config) client_ca: Setting<String>,
}
