//! The page at `/`, its frame for dashboards at `/embed/NAME`, and the custom element at `/rtlogd.js`. They are plain
//! files in `page/`, served unchanged: there is no build step, and nothing is loaded from other servers. The page gets
//! its data by the same requests as any other client.
//!
//! The URLs of the files contain their hash, so a browser can cache them for ever and never mixes two versions.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use regex::Regex;
use warp::reply::Response;

use crate::access::WebOrigins;
use crate::event::StreamName;

use super::problem::{AllowedMethods, Problem};
use super::response::{entity_tag, matches_entity_tag};

/// The placeholder for the hash in the pages.
const HASH_PLACEHOLDER: &str = "{hash}";

const INDEX_HTML: &str = include_str!("page/index.html");
const EMBED_HTML: &str = include_str!("page/embed.html");

/// Builds the table of files in `page/`.
macro_rules! files {
    ($($name:literal,)+) => { &[$(($name, include_str!(concat!("page/", $name))),)+] };
}

/// The files that the pages refer to.
const PAGE_FILES: &[(&str, &str)] = files![
    "main.js",
    "streams.js",
    "viewer.js",
    "finder.js",
    "runs.js",
    "tally.js",
    "merged.js",
    "typist.js",
    "server.js",
    "icons.js",
    "embed.js",
    "element.js",
    "colours.js",
    "ansi.js",
    "markers.js",
    "reader.js",
    "channel.js",
    "lines.js",
    "gutter.js",
    "headings.js",
    "logview.js",
    "progress.js",
    "told.js",
    "rows.js",
    "look.js",
    "page.css",
    "icon.svg",
];

/// The modules of the custom element, each after those it imports.
const ELEMENT_MODULES: &[&str] = &[
    "colours.js",
    "ansi.js",
    "markers.js",
    "reader.js",
    "channel.js",
    "progress.js",
    "told.js",
    "lines.js",
    "rows.js",
    "headings.js",
    "look.js",
    "element.js",
];

/// The hash of all files together.
static PAGE_HASH: LazyLock<String> = LazyLock::new(|| {
    let mut hash = crc32fast::Hasher::new();
    for (_, text) in PAGE_FILES {
        hash.update(text.as_bytes());
    }
    format!("{:08x}", hash.finalize())
});

static ELEMENT_SCRIPT: LazyLock<String> = LazyLock::new(element_script);

/// The text of a file in `page/`.
fn file(name: &str) -> Option<&'static str> {
    PAGE_FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The element's modules as one script. They refer to each other only by name, so they form one script once their
/// imports and exports are removed; comments and indentation are removed, too.
fn element_script() -> String {
    let comments = Regex::new(r"(?s)/\*\*.*?\*/ ?").expect("it is a pattern");
    let mut script = String::from("// <rtlogd-stream>, as rtlogd serves it.\n{\n");
    for text in ELEMENT_MODULES.iter().filter_map(|name| file(name)) {
        let text = comments.replace_all(text, "");
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("import ")) {
            script.push_str(line.strip_prefix("export ").unwrap_or(line));
            script.push('\n');
        }
    }
    // No name is declared twice, so that the shorter word has the same effect; no literal contains either word.
    without_blanks(&(script + "}\n")).replace("const ", "let ")
}

/// The script without the blanks and line ends that separate nothing. Strings, templates and regular expressions stay as
/// they are.
fn without_blanks(script: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '"' | '\'' | '`') || !c.is_ascii();
    let mut compact = String::with_capacity(script.len());
    let mut rest = script;
    while let Some(c) = rest.chars().next() {
        let before = compact.chars().next_back();
        let length = match c {
            '"' | '\'' | '`' => literal_length(rest, c),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if compact.ends_with("return") || before.is_none_or(|c| "(,=:[!&|?{};>\n".contains(c)) => {
                literal_length(rest, c)
            }
            ' ' | '\n' => {
                let blanks = rest.len() - rest.trim_start_matches([' ', '\n']).len();
                let next = rest.split_at(blanks).1.chars().next();
                let line_ends = rest.split_at(blanks).0.contains('\n');
                let (Some(before), Some(next)) = (before, next) else { break };
                let separates = if line_ends {
                    !"{;,([\n".contains(before) && !"}.?:&|)".contains(next)
                } else {
                    (is_word(before) && is_word(next)) || (before == next && "+-".contains(next))
                };
                if separates {
                    compact.push(if line_ends { '\n' } else { ' ' });
                }
                rest = rest.split_at(blanks).1;
                continue;
            }
            c => c.len_utf8(),
        };
        let (copied, following) = rest.split_at(length);
        compact.push_str(copied);
        rest = following;
    }
    compact + "\n"
}

/// The length of the string, template or regular expression at the start of `text`, which `quote` begins and ends.
fn literal_length(text: &str, quote: char) -> usize {
    let (mut at, mut in_class) = (1, false);
    while let Some(c) = text.split_at(at).1.chars().next() {
        at += match c {
            '\\' => 1 + text.split_at(at + 1).1.chars().next().map_or(0, char::len_utf8),
            '$' if quote == '`' && text.split_at(at + 1).1.starts_with('{') => {
                2 + expression_length(text.split_at(at + 2).1)
            }
            '[' | ']' if quote == '/' => {
                in_class = c == '[';
                1
            }
            c if c == quote && !in_class => return at + 1,
            c => c.len_utf8(),
        };
    }
    at
}

/// The length of an expression in a template, with the brace that ends it.
fn expression_length(text: &str) -> usize {
    let (mut at, mut depth) = (0, 1);
    while let Some(c) = text.split_at(at).1.chars().next() {
        at += match c {
            '"' | '\'' | '`' => literal_length(text.split_at(at).1, c),
            c => c.len_utf8(),
        };
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            break;
        }
    }
    at
}

/// The time for which a browser may cache a response.
#[derive(Clone, Copy)]
enum CachePolicy {
    /// Revalidate each time, which the entity tag makes cheap.
    Revalidate,
    /// Cache for a year: another version has another URL.
    Immutable,
}

/// A request for a page. The pages are public, so the sender is not authenticated; the data that a page shows is
/// requested separately.
#[derive(Debug)]
pub(super) struct PageRequest<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// The origins whose pages may show these pages in a frame.
    pub(super) origins: &'a WebOrigins,
    /// The variable segments of the path.
    pub(super) names: &'a [&'a str],
}

impl PageRequest<'_> {
    fn name(&self, number: usize) -> &str {
        self.names.get(number).copied().unwrap_or_default()
    }
}

fn html(text: &str) -> PageAsset {
    let text = text.replace(HASH_PLACEHOLDER, &PAGE_HASH);
    PageAsset { text, media_type: HTML_TYPE, kept: CachePolicy::Revalidate }
}

/// `GET /`.
pub(super) fn index(request: &PageRequest<'_>) -> Result<Response, Problem> {
    html(INDEX_HTML).answer(request).map(|response| with_page_policy(response, "'none'"))
}

/// `GET /embed/NAME`.
pub(super) fn embed(request: &PageRequest<'_>) -> Result<Response, Problem> {
    if request.name(0).parse::<StreamName>().is_err() {
        return Err(Problem::no_stream_at(request.name(0)));
    }
    html(EMBED_HTML).answer(request).map(|response| with_page_policy(response, &request.origins.frame_ancestors()))
}

/// `GET /rtlogd.js`.
pub(super) fn element(request: &PageRequest<'_>) -> Result<Response, Problem> {
    let script = PageAsset { text: ELEMENT_SCRIPT.clone(), media_type: JAVASCRIPT_TYPE, kept: CachePolicy::Revalidate };
    script.answer(request).map(allow_all_origins)
}

/// `GET /page/HASH/NAME`.
pub(super) fn asset(request: &PageRequest<'_>) -> Result<Response, Problem> {
    let (version, name) = (request.name(0), request.name(1));
    let text = file(name).filter(|_| version == *PAGE_HASH);
    let gone = || Problem::new(StatusCode::NOT_FOUND, "no such part of the page; load the page again");
    let media_type = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => JAVASCRIPT_TYPE,
    };
    let asset = PageAsset { text: text.ok_or_else(gone)?.to_owned(), media_type, kept: CachePolicy::Immutable };
    asset.answer(request)
}

const HTML_TYPE: &str = "text/html; charset=utf-8";
const JAVASCRIPT_TYPE: &str = "text/javascript; charset=utf-8";

/// A text that is served as a file.
struct PageAsset {
    text: String,
    media_type: &'static str,
    kept: CachePolicy,
}

impl PageAsset {
    /// The text, or 304 for a client that already has it.
    fn answer(self, request: &PageRequest<'_>) -> Result<Response, Problem> {
        if *request.method != Method::GET && *request.method != Method::HEAD {
            return Err(Problem::method(AllowedMethods::Get));
        }
        let tag = entity_tag(self.text.as_bytes());
        let known = matches_entity_tag(request.headers, &tag);
        let mut response = Response::new(if known { String::new() } else { self.text }.into());
        let headers = response.headers_mut();
        if known {
            headers.insert(header::ETAG, tag);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
            headers.insert(header::ETAG, tag);
        }
        let kept = match self.kept {
            CachePolicy::Revalidate => "no-cache",
            CachePolicy::Immutable => "public, max-age=31536000, immutable",
        };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
        Ok(response)
    }
}

/// Adds the policy of a page: it runs only this server's scripts, connects only to this server, and only `framers` may
/// show it in a frame.
fn with_page_policy(mut response: Response, framers: &str) -> Response {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors {framers}; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let headers = response.headers_mut();
    let policy = HeaderValue::try_from(policy).expect("an origin has no other letters than a header may");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// Lets pages of any origin load the element; the access to data is decided separately.
fn allow_all_origins(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_element_is_one_small_script() {
        let script = element_script();
        // Without compression: about as much as one picture.
        assert!(script.len() <= 52 << 10, "{} bytes", script.len());
        for word in ["import ", "export ", "/**", "innerHTML", "eval("] {
            assert!(!script.lines().any(|line| line.trim_start().starts_with(word)), "{word}");
        }
        assert!(script.contains("customElements.define(\"rtlogd-stream\""));
    }

    #[test]
    fn only_blanks_that_separate_nothing_are_removed() {
        for (written, expected) in [
            ("const a = b + 1;\nreturn a;", "const a=b+1;return a;\n"),
            ("a = b\nc = d", "a=b\nc=d\n"),
            ("x = a + +b - -c", "x=a+ +b- -c\n"),
            (
                "f(\"a  b\", 'c  \\' d', `e  ${g(\"}\", { h: `i  j` })}  k`)",
                "f(\"a  b\",'c  \\' d',`e  ${g(\"}\", { h: `i  j` })}  k`)\n",
            ),
            ("r = /[/\"] \\/ '/g.test(t) / 2", "r=/[/\"] \\/ '/g.test(t)/2\n"),
            ("return /a  b/", "return/a  b/\n"),
            ("if (a) {\n  b()\n}\nelse c()", "if(a){b()}\nelse c()\n"),
        ] {
            assert_eq!(without_blanks(written), expected, "{written}");
        }
    }

    #[test]
    fn each_file_that_is_named_is_there() {
        for (name, text) in PAGE_FILES.iter().chain(&[("index.html", INDEX_HTML), ("embed.html", EMBED_HTML)]) {
            let quoted = text.split(['"', '\'']).filter_map(|part| part.strip_prefix("./"));
            for quoted in quoted.filter(|name| !name.is_empty()) {
                assert!(file(quoted).is_some(), "{name} names {quoted}");
            }
            assert!(!text.contains("innerHTML") && !text.contains("http-equiv"), "{name}");
        }
    }
}
