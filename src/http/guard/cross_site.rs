//! Requests from pages of other sites: the only place that recognises them.
//!
//! Any page can make its visitor's browser send requests to rtlogd. Such a page cannot read the responses, but a
//! request may have effects: the first reader of a stream may start a process. So a request of a foreign page can
//! neither send commands nor start anything.

use http::{HeaderMap, header};

use crate::access::WebOrigins;

/// Returns true if the request comes from a page that is neither rtlogd's own nor one of `origins`. Programs other than
/// browsers do not send the headers that name the origin.
///
/// A browser sends `Origin` with requests whose response a script can read and with every command (Fetch, section 3.2),
/// and `Sec-Fetch-Site` with all others (Fetch Metadata, section 2.3) if rtlogd is reached by TLS or as `localhost`;
/// otherwise only `Referer` remains.
pub(crate) fn is_cross_site(headers: &HeaderMap, origins: &WebOrigins) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut values = headers.get_all(header::ORIGIN).iter();
    match (values.next(), values.next()) {
        (Some(origin), None) => return !origin.to_str().is_ok_and(|origin| origins.allow(origin, host)),
        (Some(_), Some(_)) => return true,
        (None, _) => {}
    }
    let mut sites = headers.get_all("sec-fetch-site").iter().peekable();
    if sites.peek().is_some() {
        return !sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    }
    headers.get_all(header::REFERER).iter().any(|referer| {
        let origin = referer.to_str().ok().and_then(origin_of);
        !origin.is_some_and(|origin| origins.allow(&origin, host))
    })
}

/// The origin of a page, from its URL: scheme, host and port.
fn origin_of(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    // Browsers remove the user information; a URL that has it may hide its real host.
    (!authority.contains('@')).then(|| format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_told_from_ours_and_from_programs() {
        let origins = WebOrigins::new(&["https://dash.example.com".parse().unwrap()]);
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[], false),
            (&[("accept", "image/*")], false),
            (&[("origin", "http://localhost:7070")], false),
            (&[("origin", "https://dash.example.com"), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", "https://evil.example")], true),
            (&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], true),
            (&[("origin", "null")], true),
            (&[("origin", "")], true),
            (&[("origin", "https://dash.example.com"), ("origin", "https://evil.example")], true),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "Cross-Site")], true),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], true),
            (&[("sec-fetch-site", "same-origin"), ("referer", "https://evil.example/")], false),
            (&[("referer", "http://localhost:7070/streams/a")], false),
            (&[("referer", "http://localhost:7070")], false),
            (&[("referer", "https://dash.example.com/ci?x=1#y")], false),
            (&[("referer", "http://localhost:8080/")], true),
            (&[("referer", "https://evil.example/http://localhost:7070/")], true),
            (&[("referer", "http://localhost:7070@evil.example/")], true),
            (&[("referer", "https://evil.example")], true),
            (&[("referer", "about:blank")], true),
        ];
        for (lines, foreign) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost:7070".parse().unwrap());
            for (name, value) in *lines {
                headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
            }
            assert_eq!(is_cross_site(&headers, &origins), *foreign, "{lines:?}");
        }
    }
}
