//! Authentication: the caller of a request, from the token in its headers, its cookie or its query (RFC 6750).

use http::{HeaderMap, StatusCode, header};

use crate::access::{AccessControl, BadToken, Caller, Peer, PresentedToken};

use crate::http::problem::Problem;

/// The cookie that `POST /login` sets if rtlogd is reached at the default port of the scheme; otherwise see
/// [`cookie_name`].
pub(crate) const COOKIE_NAME: &str = "rtlogd";

/// The query parameter for clients that cannot set headers, such as `EventSource`.
pub(crate) const TOKEN_PARAMETER: &str = "access_token";

/// Identifies the caller. The token is removed from the parameters, so that no handler sees it.
pub(crate) async fn caller(
    access: &AccessControl,
    peer: Peer,
    headers: &HeaderMap,
    parameters: &mut Vec<(String, String)>,
) -> Result<Caller, Problem> {
    let mut in_url = Vec::new();
    parameters.retain_mut(|(name, value)| {
        let is_token = name == TOKEN_PARAMETER;
        if is_token {
            in_url.push(std::mem::take(value));
        }
        !is_token
    });
    let in_header = bearer_token(headers)?;
    let shown = match (in_header, in_url.as_slice()) {
        (Some(token), []) => Some(PresentedToken::Bearer(token)),
        (None, [token]) => Some(PresentedToken::Url(token)),
        (None, []) => cookie_token(headers).map(PresentedToken::Cookie),
        (Some(_), [_, ..]) | (None, [_, _, ..]) => return Err(Problem::bad(BadToken::SeveralTokens.to_string())),
    };
    access.identify(peer, shown).await.map_err(|why| refused(&why))
}

/// 401: the token is not valid (RFC 6750, section 3.1).
pub(crate) fn refused(why: &BadToken) -> Problem {
    Problem::token(why.to_string())
}

fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad("Authorization is given twice; give it once"));
    }
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    token.map(Some).ok_or_else(|| Problem::token("Authorization must have the form: Bearer TOKEN"))
}

/// The name of the cookie, with the port at which the browser reached rtlogd: `rtlogd-7070`.
///
/// Browsers send cookies to all ports of a host (RFC 6265, section 8.5), so two servers on one host would overwrite
/// each other's.
pub(super) fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map(|(_, port)| port);
    match port.filter(|port| !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit())) {
        Some(port) => format!("{COOKIE_NAME}-{port}"),
        None => COOKIE_NAME.to_owned(),
    }
}

/// The first cookie whose name has the port of this request; otherwise the first with the plain name, which rtlogd may
/// have set behind a proxy that changes `Host`.
fn cookie_token(headers: &HeaderMap) -> Option<&str> {
    let pairs = || {
        let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='))
    };
    let named = |wanted: &str| pairs().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    named(&cookie_name(headers)).or_else(|| named(COOKIE_NAME))
}

/// The response to a caller who lacks the right.
impl From<crate::access::AccessDenied> for Problem {
    fn from(denied: crate::access::AccessDenied) -> Self {
        use crate::access::AccessDenied;
        match denied {
            AccessDenied::TokenNeeded(_) => Self::token(denied.to_string()),
            AccessDenied::Right { .. } | AccessDenied::TokenInUrl(_) => {
                Self::new(StatusCode::FORBIDDEN, denied.to_string())
            }
            AccessDenied::NoSuchStream(name) => Self::no_stream(&name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie_token(&headers), None);
        headers.append(header::COOKIE, "a=b; rtlogdx=1".parse().unwrap());
        assert_eq!(cookie_token(&headers), None);
        headers.append(header::COOKIE, "c=d; rtlogd=x.y.z; rtlogd=2".parse().unwrap());
        assert_eq!(cookie_token(&headers), Some("x.y.z"));
        // The cookie for this port takes precedence, and cookies for other ports belong to other servers.
        headers.append(header::COOKIE, "rtlogd-8080=other; rtlogd-7070=ours".parse().unwrap());
        for (host, expected) in [
            ("localhost:7070", "ours"),
            ("[::1]:7070", "ours"),
            ("localhost:8080", "other"),
            ("localhost:9090", "x.y.z"),
            ("localhost", "x.y.z"),
            ("[::1]", "x.y.z"),
            ("localhost:", "x.y.z"),
        ] {
            headers.insert(header::HOST, host.parse().unwrap());
            assert_eq!(cookie_token(&headers), Some(expected), "{host}");
        }
    }
}
