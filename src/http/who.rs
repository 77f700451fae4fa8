//! Who sends a request: what it shows for itself in its headers or its query (RFC 6750), and what a proxy says of it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, StatusCode, header};

use crate::access::{Access, BadToken, Caller, Peer, Shown};
use crate::config::Network;

use super::problem::Problem;

/// The cookie that `POST /login` sets.
pub(super) const COOKIE: &str = "rtlogd";

/// The parameter for those who can set no header, such as `EventSource`.
pub(super) const PARAMETER: &str = "access_token";

/// The caller; takes its token out of the parameters, so that nothing else sees it.
pub(super) fn caller(
    access: &Access,
    peer: Peer,
    headers: &HeaderMap,
    parameters: &mut Vec<(String, String)>,
) -> Result<Caller, Problem> {
    let mut in_url = Vec::new();
    parameters.retain_mut(|(name, value)| {
        let is_token = name == PARAMETER;
        if is_token {
            in_url.push(std::mem::take(value));
        }
        !is_token
    });
    let in_header = bearer(headers)?;
    let shown = match (in_header, in_url.as_slice()) {
        (Some(token), []) => Some(Shown::Bearer(token)),
        (None, [token]) => Some(Shown::Url(token)),
        (None, []) => cookie(headers).map(Shown::Cookie),
        (Some(_), [_, ..]) | (None, [_, _, ..]) => return Err(Problem::bad(BadToken::Two.to_string())),
    };
    access.caller(peer, shown).map_err(|why| refused(&why))
}

/// 401: the token does not count (RFC 6750, section 3.1).
pub(super) fn refused(why: &BadToken) -> Problem {
    Problem::token(why.to_string())
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Problem::bad("Authorization is given twice; which one is meant?"));
    }
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    token.map(Some).ok_or_else(|| Problem::token("Authorization has to be: Bearer TOKEN"))
}

/// The first of our cookies (RFC 6265, section 5.4).
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Where a request came from: through trusted proxies, as the last of them says who is not one itself.
pub(super) fn origin(peer: Peer, headers: &HeaderMap, trusted: &[Network]) -> Peer {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let Peer::Tcp(proxy) = peer else { return peer };
    if !is_trusted(proxy.ip()) {
        return peer;
    }
    let mut last = peer;
    for hop in hops(headers).into_iter().rev() {
        // What hides its name, or lies, is not this machine: it gets what strangers get.
        let address = hop.unwrap_or_else(|| IpAddr::from([0, 0, 0, 0]));
        last = Peer::tcp(SocketAddr::new(address, 0));
        if hop.is_none() || !is_trusted(address) {
            break;
        }
    }
    last
}

/// Whether the last proxy says that its client came by TLS.
pub(super) fn was_secure(peer: Peer, headers: &HeaderMap, trusted: &[Network]) -> bool {
    let Peer::Tcp(proxy) = peer else { return false };
    let text = |name: &str| headers.get_all(name).iter().next_back().and_then(|value| value.to_str().ok());
    let forwarded = text("forwarded").and_then(|value| parameter(value.rsplit(',').next()?, "proto"));
    let proto = forwarded.or_else(|| text("x-forwarded-proto")?.rsplit(',').next());
    trusted.iter().any(|network| network.contains(proxy.ip()))
        && proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
}

/// All that the proxies say, in their order: `Forwarded` (RFC 7239), else `X-Forwarded-For`. `None` is no address.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lists = |name: &str| {
        let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
        values.flat_map(|value| value.split(',')).map(str::trim).map(str::to_owned).collect::<Vec<_>>()
    };
    let forwarded = lists("forwarded");
    if forwarded.is_empty() {
        return lists("x-forwarded-for").iter().map(|node| address(node)).collect();
    }
    forwarded.iter().map(|element| address(parameter(element, "for")?)).collect()
}

fn parameter<'a>(element: &'a str, wanted: &str) -> Option<&'a str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim_matches('"'))
}

/// The address of a node (RFC 7239, section 6), with or without a port.
fn address(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|rest| rest.split(']').next());
    if let Some(bare) = bare {
        return bare.parse().ok();
    }
    let parsed = node.parse::<IpAddr>().ok().or_else(|| node.parse::<SocketAddr>().map(|socket| socket.ip()).ok());
    parsed.map(|address| address.to_canonical())
}

/// A refusal of who has not the right.
impl From<crate::access::Denied> for Problem {
    fn from(denied: crate::access::Denied) -> Self {
        use crate::access::Denied;
        match denied {
            Denied::Stranger => Self::token(denied.to_string()),
            Denied::Right { .. } => Self::new(StatusCode::FORBIDDEN, denied.to_string()),
            Denied::Hidden(name) => Self::no_stream(&name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_says_who_it_speaks_for() {
        let trusted: Vec<Network> = ["127.0.0.1", "10.0.0.0/8"].map(|text| text.parse().unwrap()).into();
        let table = [
            ("127.0.0.1", "x-forwarded-for", "203.0.113.9", "203.0.113.9"),
            ("127.0.0.1", "x-forwarded-for", "127.0.0.1, 203.0.113.9", "203.0.113.9"),
            ("127.0.0.1", "x-forwarded-for", "203.0.113.9, 10.1.1.1", "203.0.113.9"),
            ("127.0.0.1", "x-forwarded-for", "203.0.113.9:4711", "203.0.113.9"),
            ("127.0.0.1", "x-forwarded-for", "nonsense", "0.0.0.0"),
            ("127.0.0.1", "x-forwarded-for", "10.1.1.1", "10.1.1.1"),
            ("127.0.0.1", "forwarded", "for=\"[2001:db8::1]:47\";proto=https", "2001:db8::1"),
            ("127.0.0.1", "forwarded", "for=127.0.0.1, For=198.51.100.4;by=x", "198.51.100.4"),
            ("127.0.0.1", "forwarded", "for=_hidden", "0.0.0.0"),
            ("127.0.0.1", "forwarded", "proto=https", "0.0.0.0"),
            ("127.0.0.1", "x-other", "1.2.3.4", "127.0.0.1"),
            // Nobody's word is believed but theirs.
            ("192.0.2.1", "x-forwarded-for", "127.0.0.1", "192.0.2.1"),
        ];
        for (peer, name, value, client) in table {
            let mut headers = HeaderMap::new();
            headers.insert(http::HeaderName::from_static(name), value.parse().unwrap());
            let peer = Peer::tcp(SocketAddr::new(peer.parse().unwrap(), 7));
            let Peer::Tcp(found) = origin(peer, &headers, &trusted) else { panic!("{peer}") };
            assert_eq!(found.ip(), client.parse::<IpAddr>().unwrap(), "{name}: {value}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        let peer = |text: &str| Peer::tcp(text.parse().unwrap());
        assert!(was_secure(peer("127.0.0.1:1"), &headers, &trusted));
        assert!(!was_secure(peer("192.0.2.1:1"), &headers, &trusted));
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers), None);
        headers.append(header::COOKIE, "a=b; rtlogdx=1".parse().unwrap());
        assert_eq!(cookie(&headers), None);
        headers.append(header::COOKIE, "c=d; rtlogd=x.y.z; rtlogd=2".parse().unwrap());
        assert_eq!(cookie(&headers), Some("x.y.z"));
    }
}
