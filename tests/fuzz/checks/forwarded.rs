//! Headers that proxies write: whatever a client sends, it is never taken for this machine, nor for another client.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use rtlogd::config::Network;
use rtlogd::resolve_for_fuzz;

/// The address of the client as its proxy sees it.
const CLIENT: &str = "203.0.113.9";

/// The headers that a client may write, by their number in the input.
const NAMES: [&str; 8] = [
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-proto",
    "x-forwarded-host",
    "via",
    "x-forwarded-port",
    "x-other",
];

/// The first byte chooses the proxy. Each line is a header that the client writes: a byte for its name, and its value.
pub fn forwarded(data: &[u8]) {
    let ([chosen], rest) = super::choices::<1>(data);
    let mut headers = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n').take(32) {
        let Some((name, value)) = line.split_first() else { continue };
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        headers.extend(HeaderValue::from_bytes(value).ok().map(|value| (name, value)));
    }
    let trusted: Vec<Network> = ["127.0.0.1", "10.0.0.0/8"].map(|text| text.parse().expect("a network")).into();
    let (proxy, stranger) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 3], 1)));
    let client: IpAddr = CLIENT.parse().expect("an address");

    let (local, named, https) = resolve_for_fuzz(stranger, &headers, &trusted);
    let written = headers.keys().any(|name| name != "x-other");
    assert_eq!(local, !written, "without a proxy, only a request without such headers is local");
    assert!(named.is_none() && !https, "an untrusted peer is believed: {headers:?}");

    let (local, named, _) = resolve_for_fuzz(proxy, &headers, &trusted);
    assert!(!local, "a proxy is taken for this machine: {headers:?}");
    let addresses = ["forwarded", "x-forwarded-for", "x-real-ip"];
    let names_somebody = addresses.into_iter().any(|name| headers.contains_key(name));
    assert!(names_somebody || named.is_none(), "nobody was named: {headers:?}");

    // As proxies are set up: they write one header, or two that agree, and pass on what they do not know.
    match chosen % 4 {
        0 => append(&mut headers, "x-forwarded-for", CLIENT),
        1 => overwrite(&mut headers, "x-forwarded-for", CLIENT),
        2 => overwrite(&mut headers, "forwarded", "for=203.0.113.9;proto=http"),
        _ => {
            append(&mut headers, "x-forwarded-for", CLIENT);
            overwrite(&mut headers, "x-real-ip", CLIENT);
        }
    }
    overwrite(&mut headers, "x-forwarded-proto", "http");
    let (local, named, https) = resolve_for_fuzz(proxy, &headers, &trusted);
    assert!(!local && !https, "{headers:?}");
    assert!(named.is_none_or(|named| named == client), "{named:?} and not the client: {headers:?}");
}

fn overwrite(headers: &mut HeaderMap, name: &'static str, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

/// As nginx does it with `$proxy_add_x_forwarded_for`.
fn append(headers: &mut HeaderMap, name: &'static str, value: &'static str) {
    let mut line = Vec::new();
    for given in headers.get_all(name) {
        line.extend_from_slice(given.as_bytes());
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(value.as_bytes());
    headers.insert(name, HeaderValue::from_bytes(&line).expect("values and commas"));
}
