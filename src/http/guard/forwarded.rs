//! The origin of a request: the only place that decides whether a client is local, from the connection and the headers
//! that proxies write.
//!
//! A request is local only if it came directly. If it has a header that only proxies write, or comes from a trusted
//! proxy, its client is the one that trusted proxies name, or else unknown. Several headers may name the client. Most
//! proxies set one of them and pass on what the client wrote into the others, so all of them must agree.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use http::HeaderMap;
use log::warn;
use tokio::time::Instant;

use crate::access::{Peer, ProxiedClient, TrustedProxies, UnnamedReason};
use crate::event::lock;

/// Headers that only proxies write, in addition to all whose names begin with [`FORWARDED_PREFIX`].
const PROXY_HEADERS: [&str; 21] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "client-ip",
    "fly-client-ip",
    "x-azure-clientip",
    "x-envoy-external-address",
    "x-proxyuser-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-original-host",
    "x-original-url",
    "front-end-https",
    "cdn-loop",
    "cf-ray",
];

/// The prefix of `X-Forwarded-For`, `-Host`, `-Proto`, `-Port`, `-Server`, `-Prefix` and similar headers, including
/// `X-Forward-For`.
const FORWARDED_PREFIX: &str = "x-forward";

/// Minimum interval between log messages about proxies that are not trusted.
const UNTRUSTED_LOG_INTERVAL: Duration = Duration::from_hours(1);

/// The resolved sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResolvedPeer {
    pub(crate) peer: Peer,
    /// True if the trusted proxies report that their client used TLS. Always `false` for a direct connection.
    pub(crate) https: bool,
}

/// Resolves the sender of a request. No other code decides this.
pub(crate) fn resolve_peer(peer: Peer, headers: &HeaderMap, proxies: &TrustedProxies) -> ResolvedPeer {
    if proxies.is_proxy(peer) {
        return proxied_peer(peer, headers, proxies);
    }
    let has_proxy_header = headers
        .keys()
        .any(|name| PROXY_HEADERS.contains(&name.as_str()) || name.as_str().starts_with(FORWARDED_PREFIX));
    let peer = if has_proxy_header { unnamed_client(peer, UnnamedReason::UntrustedProxy) } else { peer };
    ResolvedPeer { peer, https: false }
}

/// The sender of a request that a trusted proxy passed on.
fn proxied_peer(peer: Peer, headers: &HeaderMap, proxies: &TrustedProxies) -> ResolvedPeer {
    let forwarded = forwarded_elements(headers);
    let chains = [
        forwarded.as_ref().map(|elements| match elements {
            Ok(elements) => elements.iter().map(|element| element.client.as_deref().and_then(parse_node)).collect(),
            Err(MalformedForwarded) => vec![None],
        }),
        header_list(headers, "x-forwarded-for")
            .map(|nodes| nodes.iter().map(|text| parse_node(text)).collect::<Vec<_>>()),
        header_list(headers, "x-real-ip").map(|nodes| match nodes.as_slice() {
            [text] => vec![parse_node(text)],
            _ => vec![None],
        }),
    ];
    let [by_forwarded, by_list, by_real_ip] =
        chains.map(|chain| chain.map(|chain| nearest_untrusted_hop(&chain, proxies)));
    // The inner one of two proxies writes the address of the outer one into X-Real-IP, which does not name the client.
    let names_proxy = |named: &Option<ForwardingHop>| matches!(named, Some(ForwardingHop { client: Some(client), .. }) if proxies.contains(*client));
    let by_real_ip =
        by_real_ip.filter(|_| !(names_proxy(&by_real_ip) && (by_forwarded.is_some() || by_list.is_some())));
    let mut named = [by_forwarded, by_list, by_real_ip].into_iter().flatten();
    let Some(first) = named.next() else {
        return ResolvedPeer { peer: unnamed_client(peer, UnnamedReason::NoHeader), https: was_https(headers, None) };
    };
    match first.client {
        Some(client) if named.all(|hop| hop.client == Some(client)) => {
            let element = by_forwarded.and_then(|hop| forwarded?.ok()?.into_iter().nth(hop.at));
            let peer = Peer::Proxied(ProxiedClient::Named(client));
            ResolvedPeer { peer, https: was_https(headers, element.as_ref()) }
        }
        Some(_) | None => ResolvedPeer { peer: unnamed_client(peer, UnnamedReason::Ambiguous), https: false },
    }
}

fn unnamed_client(peer: Peer, why: UnnamedReason) -> Peer {
    let proxy = match peer {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Unix { .. } | Peer::Proxied(_) => None,
    };
    Peer::Proxied(ProxiedClient::Unnamed { proxy, why })
}

/// One hop of a forwarding chain.
#[derive(Debug, Clone, Copy)]
struct ForwardingHop {
    /// The address; `None` if the text is not an address.
    client: Option<IpAddr>,
    /// The index of the hop in the chain.
    at: usize,
}

/// The hop nearest to this server that is not a trusted proxy; the first hop if all are trusted.
fn nearest_untrusted_hop(chain: &[Option<IpAddr>], proxies: &TrustedProxies) -> ForwardingHop {
    let is_client = |hop: &Option<IpAddr>| hop.is_none_or(|address| !proxies.contains(address));
    let at = chain.iter().rposition(is_client).unwrap_or(0);
    ForwardingHop { client: chain.get(at).copied().flatten(), at }
}

/// Returns true if every header that states the protocol says `https`. `element` is the element of `Forwarded` that
/// names the client.
fn was_https(headers: &HeaderMap, element: Option<&ForwardedElement>) -> bool {
    let protocols = header_list(headers, "x-forwarded-proto").unwrap_or_default();
    let mut protocols =
        protocols.iter().map(String::as_str).chain(element.and_then(|element| element.proto.as_deref())).peekable();
    protocols.peek().is_some() && protocols.all(|proto| proto.eq_ignore_ascii_case("https"))
}

/// All values of a header that is a comma-separated list, over all its lines; `None` if the header is missing.
fn header_list(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let text = |line: &http::HeaderValue| line.to_str().unwrap_or("?").to_owned();
    let values = lines.map(text).collect::<Vec<_>>();
    Some(values.iter().flat_map(|line| line.split(',')).map(|value| value.trim().to_owned()).collect())
}

/// One element of `Forwarded` (RFC 7239, section 4), written by one proxy.
#[derive(Debug, Default)]
struct ForwardedElement {
    /// The value of `for=`.
    client: Option<String>,
    /// The value of `proto=`.
    proto: Option<String>,
}

/// The error for a `Forwarded` header that does not follow the grammar.
#[derive(Debug)]
struct MalformedForwarded;

/// The elements of all `Forwarded` headers, in order; `None` if there is no such header.
fn forwarded_elements(headers: &HeaderMap) -> Option<Result<Vec<ForwardedElement>, MalformedForwarded>> {
    let mut lines = headers.get_all("forwarded").iter().peekable();
    lines.peek()?;
    let mut elements = Vec::new();
    for line in lines {
        match line.to_str().map_err(|_| MalformedForwarded).and_then(parse_elements) {
            Ok(more) => elements.extend(more),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(if elements.is_empty() { Err(MalformedForwarded) } else { Ok(elements) })
}

/// The elements of one header line. A quoted value may contain commas and semicolons, so the line is parsed from left
/// to right.
fn parse_elements(line: &str) -> Result<Vec<ForwardedElement>, MalformedForwarded> {
    let mut elements = Vec::new();
    let mut rest = line;
    loop {
        let element;
        (element, rest) = parse_element(rest)?;
        elements.extend(element);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(elements),
            None => return Err(MalformedForwarded),
        }
    }
}

/// The first element of `text`, and the rest: nothing, or text that begins with a comma. An empty element is `None`.
fn parse_element(text: &str) -> Result<(Option<ForwardedElement>, &str), MalformedForwarded> {
    let mut names: Vec<String> = Vec::new();
    let mut element = ForwardedElement::default();
    let mut rest = text.trim_start();
    loop {
        rest = rest.trim_start();
        if let Some(next) = rest.strip_prefix(';') {
            rest = next;
            continue;
        }
        if rest.is_empty() || rest.starts_with(',') {
            return Ok(((!names.is_empty()).then_some(element), rest));
        }
        let (name, after) = rest.split_once('=').ok_or(MalformedForwarded)?;
        let name = name.trim_end().to_ascii_lowercase();
        if !is_token(&name) || names.contains(&name) {
            return Err(MalformedForwarded);
        }
        let (value, after) = parse_value(after)?;
        match name.as_str() {
            "for" => element.client = Some(value),
            "proto" => element.proto = Some(value),
            _ => {}
        }
        names.push(name);
        rest = after.trim_start();
        if !(rest.is_empty() || rest.starts_with([',', ';'])) {
            return Err(MalformedForwarded);
        }
    }
}

/// A token or a quoted string, and the rest of the text.
fn parse_value(text: &str) -> Result<(String, &str), MalformedForwarded> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        // Ports and IPv6 addresses have to be quoted, but often are not.
        let plain = value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\=".contains(&byte));
        return if plain && !value.is_empty() { Ok((value.to_owned(), rest)) } else { Err(MalformedForwarded) };
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, quoted.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(letters.next().ok_or(MalformedForwarded)?.1),
            _ => value.push(letter),
        }
    }
    Err(MalformedForwarded)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The address of a node, with or without a port (RFC 7239, section 6). `None` for `unknown`, for an obfuscated name,
/// and for anything else that is not an address.
fn parse_node(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let is_port = |text: &str| {
                !text.is_empty()
                    && text.len() <= 6
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            if !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
                return None;
            }
            IpAddr::V6(address.parse().ok()?)
        }
        None => text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?,
    };
    Some(address.to_canonical())
}

/// Logs requests that came through a proxy that is not trusted, at most once an hour, since anyone can send such a
/// header.
#[derive(Debug, Default)]
pub(crate) struct UntrustedLog(Mutex<Option<Instant>>);

impl UntrustedLog {
    /// Logs the request if its proxy is not trusted and no such request was logged within the last hour.
    pub(crate) fn note(&self, connection: Peer, arrival: ResolvedPeer) {
        let Peer::Proxied(ProxiedClient::Unnamed { why: UnnamedReason::UntrustedProxy, .. }) = arrival.peer else {
            return;
        };
        if self.is_due(Instant::now()) {
            warn!(
                peer:% = connection;
                "a request from {connection} carries headers that only proxies write, and this peer is not in `trusted_proxies`: \
                its clients need tokens; if it is your proxy, name it there"
            );
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut last = lock(&self.0);
        if last.is_some_and(|last| now - last < UNTRUSTED_LOG_INTERVAL) {
            return false;
        }
        *last = Some(now);
        true
    }
}

/// Reads what headers say about a client: whether the request is local, the named client, and whether it used TLS. For
/// `tests/fuzz` only; not part of the crate's stable interface.
#[doc(hidden)]
pub fn resolve_for_fuzz(
    peer: SocketAddr,
    headers: &HeaderMap,
    trusted: &[crate::config::Network],
) -> (bool, Option<IpAddr>, bool) {
    let proxies = TrustedProxies::from_networks(trusted);
    let ResolvedPeer { peer, https } = resolve_peer(Peer::tcp(peer), headers, &proxies);
    let client = match peer {
        Peer::Proxied(ProxiedClient::Named(client)) => Some(client),
        Peer::Tcp(_) | Peer::Unix { .. } | Peer::Proxied(ProxiedClient::Unnamed { .. }) => None,
    };
    (matches!(peer, Peer::Tcp(_) | Peer::Unix { .. }), client, https)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected result: a direct request, this client, or an unnamed client for this reason.
    #[derive(Debug, PartialEq)]
    enum ExpectedPeer {
        Direct,
        Client(&'static str),
        Stranger(UnnamedReason),
    }
    use ExpectedPeer::{Client, Direct, Stranger};
    use UnnamedReason::{Ambiguous, NoHeader, UntrustedProxy};

    fn proxies() -> TrustedProxies {
        let configured: Vec<_> =
            ["127.0.0.1", "10.0.0.0/8", "fd00::/8", "unix:33"].map(|text| text.parse().unwrap()).into();
        TrustedProxies::new(&configured).unwrap()
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn tcp(ip: &str) -> Peer {
        Peer::tcp(SocketAddr::new(ip.parse().unwrap(), 7))
    }

    fn check(peer: Peer, lines: &[(&str, &str)], expected: &ExpectedPeer) {
        let ResolvedPeer { peer: found, .. } = resolve_peer(peer, &headers(lines), &proxies());
        let is = match found {
            Peer::Tcp(_) | Peer::Unix { .. } => {
                assert_eq!(found, peer);
                *expected == Direct
            }
            Peer::Proxied(ProxiedClient::Named(client)) => {
                matches!(expected, Client(text) if text.parse::<IpAddr>() == Ok(client))
            }
            Peer::Proxied(ProxiedClient::Unnamed { why, .. }) => *expected == Stranger(why),
        };
        assert!(is, "{peer} with {lines:?} is {found:?}, expected {expected:?}");
    }

    #[test]
    fn only_a_direct_connection_is_local() {
        let unix = |uid| Peer::Unix { uid, pid: None };
        for peer in [tcp("127.0.0.2"), tcp("::1"), tcp("192.0.2.1"), unix(0), unix(1000)] {
            check(peer, &[], &Direct);
            check(peer, &[("x-other", "127.0.0.1"), ("host", "localhost"), ("x-real-ips", "1.2.3.4")], &Direct);
            // A sender that writes such a header without being trusted is not local, whatever the header says.
            for (name, value) in [
                ("forwarded", "for=127.0.0.1"),
                ("forwarded", ""),
                ("x-forwarded-for", "127.0.0.1"),
                ("X-FORWARDED-FOR", "::1"),
                ("x-forwarded-host", "localhost"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-port", "443"),
                ("x-forwarded-server", "x"),
                ("x-forwarded", "x"),
                ("x-real-ip", "127.0.0.1"),
                ("true-client-ip", "127.0.0.1"),
                ("cf-connecting-ip", "127.0.0.1"),
                ("x-forward-for", "127.0.0.1"),
                ("client-ip", "127.0.0.1"),
                ("x-envoy-external-address", "127.0.0.1"),
                ("cdn-loop", "x"),
                ("via", "1.1 x"),
            ] {
                check(peer, &[(name, value)], &Stranger(UntrustedProxy));
            }
        }
        for proxy in [tcp("127.0.0.1"), tcp("::ffff:127.0.0.1"), tcp("10.1.1.1"), tcp("fd12::1"), unix(33)] {
            check(proxy, &[], &Stranger(NoHeader));
            check(proxy, &[("via", "1.1 x"), ("x-forwarded-host", "ci.example.com")], &Stranger(NoHeader));
            check(proxy, &[("x-forwarded-for", "203.0.113.9")], &Client("203.0.113.9"));
        }
    }

    #[test]
    fn a_trusted_proxy_names_its_client() {
        let table: &[(&[(&str, &str)], ExpectedPeer)] = &[
            (&[("x-forwarded-for", "127.0.0.1, 203.0.113.9")], Client("203.0.113.9")),
            (&[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "203.0.113.9")], Client("203.0.113.9")),
            (&[("x-forwarded-for", "203.0.113.9, 10.1.1.1")], Client("203.0.113.9")),
            (&[("x-forwarded-for", "203.0.113.9, 10.1.1.1, fd00::7")], Client("203.0.113.9")),
            (&[("x-forwarded-for", "203.0.113.9:4711")], Client("203.0.113.9")),
            (&[("x-forwarded-for", "[2001:db8::1]:4711")], Client("2001:db8::1")),
            (&[("x-forwarded-for", "2001:db8::1")], Client("2001:db8::1")),
            (&[("x-forwarded-for", "::ffff:203.0.113.9")], Client("203.0.113.9")),
            // All hops are trusted proxies: the first is used as the client, but is still not local.
            (&[("x-forwarded-for", "10.1.1.1")], Client("10.1.1.1")),
            (&[("x-forwarded-for", "127.0.0.1")], Client("127.0.0.1")),
            (&[("x-forwarded-for", "nonsense")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "203.0.113.9,")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "unknown, 10.1.1.1")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "127.1")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "2130706433")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "fe80::1%eth0")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "[2001:db8::1]x")], Stranger(Ambiguous)),
            (&[("forwarded", "for=\"[2001:db8::1]:47\";proto=https")], Client("2001:db8::1")),
            (&[("forwarded", "for=127.0.0.1, For=198.51.100.4;by=x")], Client("198.51.100.4")),
            (&[("forwarded", "for=127.0.0.1"), ("forwarded", "FOR = \"198.51.100.4:_x\"")], Stranger(Ambiguous)),
            (&[("forwarded", "for=127.0.0.1"), ("forwarded", "FOR=\"198.51.100.4:80\"")], Client("198.51.100.4")),
            (&[("forwarded", "by=\"a,b;for=127.0.0.1\";for=198.51.100.4")], Client("198.51.100.4")),
            (&[("forwarded", "for=_hidden")], Stranger(Ambiguous)),
            (&[("forwarded", "for=unknown")], Stranger(Ambiguous)),
            (&[("forwarded", "proto=https")], Stranger(Ambiguous)),
            (&[("forwarded", "for=198.51.100.4;for=127.0.0.1")], Stranger(Ambiguous)),
            (&[("forwarded", "for=\"198.51.100.4")], Stranger(Ambiguous)),
            (&[("forwarded", "for=\"198.51.100.4\"127.0.0.1")], Stranger(Ambiguous)),
            (&[("forwarded", "198.51.100.4")], Stranger(Ambiguous)),
            (&[("forwarded", "")], Stranger(Ambiguous)),
            (&[("forwarded", ",")], Stranger(Ambiguous)),
            (&[("x-real-ip", "203.0.113.9")], Client("203.0.113.9")),
            (&[("x-real-ip", "203.0.113.9"), ("x-real-ip", "127.0.0.1")], Stranger(Ambiguous)),
            (&[("x-real-ip", "203.0.113.9, 127.0.0.1")], Stranger(Ambiguous)),
            // The header that the proxy sets contradicts the one that it passes on.
            (&[("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=127.0.0.1")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=\"[::1]\"")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=_x")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "203.0.113.9")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "198.51.100.4"), ("x-real-ip", "203.0.113.9")], Stranger(Ambiguous)),
            (&[("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")], Client("203.0.113.9")),
            (&[("x-forwarded-for", "9.9.9.9, 203.0.113.9"), ("x-real-ip", "203.0.113.9")], Client("203.0.113.9")),
            // Both layers of proxies set X-Real-IP: the inner one names the outer one.
            (&[("x-forwarded-for", "203.0.113.9, 10.0.0.7"), ("x-real-ip", "10.0.0.7")], Client("203.0.113.9")),
        ];
        for (lines, expected) in table {
            check(tcp("127.0.0.1"), lines, expected);
            check(Peer::Unix { uid: 33, pid: None }, lines, expected);
            check(tcp("192.0.2.1"), lines, &Stranger(UntrustedProxy));
        }
    }

    #[test]
    fn tls_is_what_all_say_of_the_same_client() {
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[("x-forwarded-proto", "https")], true),
            (&[("x-forwarded-proto", "HTTPS")], true),
            (&[("x-forwarded-proto", "http")], false),
            (&[("x-forwarded-proto", "https, http")], false),
            (&[("x-forwarded-proto", "http, https")], false),
            (&[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], false),
            (&[("x-forwarded-proto", "")], false),
            (&[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")], true),
            (&[("forwarded", "for=203.0.113.9;proto=https")], true),
            (&[("forwarded", "for=203.0.113.9;Proto=\"https\", for=10.0.0.1;proto=http")], true),
            (&[("forwarded", "for=127.0.0.1;proto=https, for=203.0.113.9;proto=http")], false),
            (&[("forwarded", "for=127.0.0.1;proto=https, for=203.0.113.9")], false),
            (&[("forwarded", "for=203.0.113.9;proto=https"), ("x-forwarded-proto", "http")], false),
            (&[("forwarded", "for=127.0.0.1;proto=https"), ("x-forwarded-for", "203.0.113.9")], false),
            (&[("forwarded", "for=_x"), ("x-forwarded-proto", "https")], false),
            (&[], false),
        ];
        for (lines, expected) in table {
            let https = |peer| resolve_peer(peer, &headers(lines), &proxies()).https;
            assert_eq!(https(tcp("127.0.0.1")), *expected, "{lines:?}");
            assert!(!https(tcp("192.0.2.1")), "an untrusted peer with {lines:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_untrusted_proxy_is_logged_once_an_hour() {
        let (log, start) = (UntrustedLog::default(), Instant::now());
        assert!(log.is_due(start));
        assert!(!log.is_due(start + Duration::from_mins(59)));
        assert!(log.is_due(start + Duration::from_mins(61)));
    }
}
