//! Checks `access` and `tls`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::parse::located::{Located, OneOrMany, Setting};
use crate::config::raw;
use crate::config::report::NodeLocation;
use crate::config::{AccessConfig, ClaimGrant, Grant, IssuerConfig, TlsConfig};

use super::context::{CheckContext, value, with_location};

pub(super) fn check_tls(context: &mut CheckContext<'_>, at: Located<raw::access::TlsConfig>) -> Option<TlsConfig> {
    let raw = at.value?;
    let mut path = |field: Setting<String>| {
        with_location(field).and_then(|(location, path)| context.resolve_path(location, &path))
    };
    let (certificate, key, client_ca) = (path(raw.certificate), path(raw.key), path(raw.client_ca));
    if certificate.is_none() || key.is_none() {
        context.wrong(at.location, "`tls` needs `certificate` and `key`, each a PEM file");
    }
    Some(TlsConfig { certificate: certificate?, key: key?, client_ca })
}

pub(super) fn check_access(context: &mut CheckContext<'_>, raw: raw::access::AccessConfig) -> AccessConfig {
    let keys = with_location(raw.keys).and_then(|(location, path)| context.resolve_path(location, &path));
    let issuers = value(raw.issuers).unwrap_or_default();
    AccessConfig { keys, issuers: issuers.into_iter().filter_map(|at| check_issuer(context, at)).collect() }
}

fn check_issuer(context: &mut CheckContext<'_>, at: Located<raw::access::IssuerConfig>) -> Option<IssuerConfig> {
    let raw = at.value?;
    let issuer = required_text(context, &at.location, value(raw.issuer), "issuer", "the `iss` of its tokens");
    let audience = required_text(context, &at.location, value(raw.audience), "audience", "the `aud` of its tokens");
    let keys = with_location(raw.keys).and_then(|(location, path)| context.resolve_path(location, &path));
    let keys = match keys {
        None => required_text(context, &at.location, None, "keys", "the file with its public keys").map(PathBuf::from),
        keys => keys,
    };
    let grants: Vec<_> =
        value(raw.grants).unwrap_or_default().into_iter().filter_map(|at| check_claims(context, at)).collect();
    if grants.is_empty() {
        let advice = "an issuer needs `grants` (such as [{claims: {sub: '*'}, stream: build, allow: read}])";
        context.wrong(at.location, advice);
    }
    Some(IssuerConfig { issuer: issuer?, audience: audience?, keys: keys?, grants })
}

fn check_claims(context: &mut CheckContext<'_>, at: Located<raw::access::RawClaimGrant>) -> Option<ClaimGrant> {
    let raw = at.value?;
    let claims = value(raw.claims).map_or_else(Vec::new, |entries| entries.0);
    let claims: BTreeMap<_, _> =
        claims.into_iter().filter_map(|(name, pattern)| Some((name.value?, pattern.value?))).collect();
    if claims.is_empty() {
        // Without this check, every token of the issuer would be accepted; those of a public CI are available to
        // everybody.
        context.wrong(at.location, "a grant needs `claims`, each of which a token must have (such as {sub: '*'})");
    }
    let streams = values(raw.stream);
    let allow = values(raw.allow);
    if streams.is_empty() || allow.is_empty() {
        context.wrong(at.location, "a grant needs `stream` and `allow` (such as stream: 'build-*', allow: [read])");
    }
    Some(ClaimGrant { claims, grant: Grant { streams, allow } })
}

fn required_text(
    context: &mut CheckContext<'_>,
    location: &NodeLocation,
    text: Option<String>,
    key: &str,
    what: &str,
) -> Option<String> {
    let text = text.filter(|text| !text.is_empty());
    if text.is_none() {
        context.wrong(*location, format!("an issuer needs `{key}`: {what}"));
    }
    text
}

fn values<T>(field: Setting<OneOrMany<T>>) -> Vec<T> {
    value(field).map_or_else(Vec::new, |many| many.0.into_iter().filter_map(|at| at.value).collect())
}
