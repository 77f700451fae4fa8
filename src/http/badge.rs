//! `GET /streams/NAME/badge.svg`: the state, progress and duration of one stream as a small picture, for use in other
//! pages. The picture has no script and is always revalidated: caches may store it, but must ask before they show it.

use std::fmt::Write as _;
use std::time::SystemTime;

use http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use crate::event::{EndCause, Progress, ProgressState, RunEnd, SourceState, Time, duration_words};
use crate::stream::LogInfo;

use super::app::readable_info;
use super::problem::Problem;
use super::request::HttpRequest;
use super::response::{entity_tag, matches_entity_tag};

/// White text on each of these colours has a contrast of at least 4.5 (WCAG 2.2, 1.4.3), and each colour is visible on
/// white and on black.
const BADGE_BLUE: &str = "#0969da";
const BADGE_GREEN: &str = "#1a7f37";
const BADGE_RED: &str = "#cf222e";
const BADGE_AMBER: &str = "#9a6700";
const BADGE_GREY: &str = "#57606a";

/// The height of the picture, the padding of each text, and the radius of the corners, in pixels.
const BADGE_HEIGHT: u32 = 20;
const BADGE_PADDING: u32 = 7;
const BADGE_CORNER_RADIUS: u32 = 4;

/// The content of the picture.
#[derive(Debug, PartialEq)]
struct Badge {
    text: String,
    color: &'static str,
    /// The filled part of the bar, in percent; `None` without a bar.
    bar: Option<f64>,
}

/// The current picture, or 304 for a client that already has it.
pub(super) fn badge(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let entry = request.stream(name)?;
    let now = SystemTime::now().into();
    let svg = draw(entry.log.name().as_str(), &describe(&readable_info(&entry, now)?, now));
    let tag = entity_tag(svg.as_bytes());
    let known = matches_entity_tag(&request.headers, &tag);
    let mut response = Response::new(if known { String::new() } else { svg }.into());
    let headers = response.headers_mut();
    if !known {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml; charset=utf-8"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // A picture that is opened directly is a page of this server.
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    // Each use is revalidated (RFC 9111, 5.2.2.4), which the tag makes cheap; without this, a proxy could show an old
    // state.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(header::ETAG, tag);
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    Ok(response)
}

fn describe(info: &LogInfo, now: Time) -> Badge {
    match &info.run {
        Some(run) => match &run.ended {
            Some((_, end)) => badge_of_ended_run(end),
            None => badge_of_running(info.progress.as_deref(), now.seconds_since(run.started)),
        },
        None => match (info.progress.as_deref(), info.state.as_deref()) {
            (Some(progress), _) => badge_of_running(Some(progress), now.seconds_since(progress.started)),
            (None, Some(state)) => badge_of_state(state),
            (None, None) => Badge { text: "unknown".into(), color: BADGE_GREY, bar: None },
        },
    }
}

fn badge_of_ended_run(end: &RunEnd) -> Badge {
    let took = |word: &str| end.duration.map(|took| format!(" {word} {}", duration_words(took))).unwrap_or_default();
    let after = took("after");
    let (words, color) = match (end.cause, end.code, &end.signal) {
        (EndCause::Stopped | EndCause::DaemonStopped, _, _) => (format!("stopped{after}"), BADGE_GREY),
        (EndCause::Exited | EndCause::Signalled, Some(0), _) => (format!("passed{}", took("in")), BADGE_GREEN),
        (EndCause::Exited | EndCause::Signalled, Some(code), _) => (format!("failed ({code}){after}"), BADGE_RED),
        (EndCause::Exited | EndCause::Signalled, None, Some(signal)) => {
            (format!("killed ({signal}){after}"), BADGE_RED)
        }
        (EndCause::Exited | EndCause::Signalled, None, None) => (format!("failed{after}"), BADGE_RED),
        (EndCause::DaemonKilled | EndCause::Lost, _, _) => (format!("lost{after}"), BADGE_RED),
    };
    Badge { text: words, color, bar: None }
}

/// The badge of a task that has been running for `seconds`.
fn badge_of_running(progress: Option<&Progress>, seconds: f64) -> Badge {
    // Tenths would make another picture of each request.
    let since = duration_words(seconds.floor());
    let percent = progress.and_then(|progress| progress.percent);
    let far = percent.map(|percent| format!("{}%", percent.floor()));
    let stale = progress.is_some_and(|progress| progress.stale);
    let (words, color) = match progress.map_or(ProgressState::Indeterminate, |progress| progress.state) {
        // The duration of a finished task ends with the task, not now.
        ProgressState::Done => ("done".to_owned(), BADGE_GREEN),
        ProgressState::Error => ("failed".to_owned(), BADGE_RED),
        ProgressState::Paused => {
            (format!("paused{}", far.map(|far| format!(" at {far}")).unwrap_or_default()), BADGE_AMBER)
        }
        ProgressState::Running | ProgressState::Indeterminate if stale => {
            (format!("quiet{} · {since}", far.map(|far| format!(" at {far}")).unwrap_or_default()), BADGE_AMBER)
        }
        ProgressState::Running | ProgressState::Indeterminate => {
            (format!("{} · {since}", far.unwrap_or_else(|| "running".into())), BADGE_BLUE)
        }
    };
    let bar = percent.filter(|_| color == BADGE_BLUE || color == BADGE_AMBER);
    Badge { text: words, color, bar }
}

fn badge_of_state(state: &SourceState) -> Badge {
    let (words, color) = match state {
        SourceState::Following { .. } | SourceState::Polling { .. } | SourceState::Reading { .. } => {
            ("following", BADGE_BLUE)
        }
        SourceState::Receiving => ("receiving", BADGE_BLUE),
        SourceState::Running { .. } => ("running", BADGE_BLUE),
        SourceState::Waiting { .. } => ("waiting", BADGE_GREY),
        SourceState::Denied { .. } => ("denied", BADGE_RED),
        SourceState::BackingOff { .. } => ("failed, will retry", BADGE_AMBER),
        SourceState::Degraded { .. } => ("not recorded", BADGE_AMBER),
        SourceState::Stopping => ("stopping", BADGE_GREY),
        SourceState::Stopped { .. } => ("stopped", BADGE_GREY),
    };
    Badge { text: words.into(), color, bar: None }
}

/// The approximate width of a text of 11 pixels; `textLength` stretches the text to this width, whatever font the
/// reader has.
fn text_width(text: &str) -> u32 {
    let tenths: u32 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '.' | ',' | '·' | '\'' | '|' => 32,
            ' ' | 'f' | 't' | 'r' | '(' | ')' | '-' | 'I' => 42,
            'm' | 'w' | 'M' | 'W' | '%' => 100,
            'A'..='Z' | '_' => 76,
            _ => 66,
        })
        .sum();
    tenths.div_ceil(10)
}

fn draw(name: &str, badge: &Badge) -> String {
    let Badge { text: words, color, bar } = badge;
    let (left, right) = (text_width(name), text_width(words));
    let (middle, whole) = (left + 2 * BADGE_PADDING, left + right + 4 * BADGE_PADDING);
    let (name, words) = (escape_xml(name), escape_xml(words));
    let mut svg = String::new();
    let mut add = |part: std::fmt::Arguments<'_>| svg.write_fmt(part).expect("a String takes all");
    add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole}\" height=\"{BADGE_HEIGHT}\" viewBox=\"0 0 {whole} {BADGE_HEIGHT}\" \
         role=\"img\" aria-label=\"{name}: {words}\"><title>{name}: {words}</title>\
         <style>@media (prefers-color-scheme:dark){{.n{{fill:#2d333b}}.e{{stroke:#768390}}}}</style>\
         <clipPath id=\"c\"><rect width=\"{whole}\" height=\"{BADGE_HEIGHT}\" rx=\"{BADGE_CORNER_RADIUS}\"/></clipPath><g clip-path=\"url(#c)\">\
         <rect class=\"n\" width=\"{middle}\" height=\"{BADGE_HEIGHT}\" fill=\"#3b434b\"/>\
         <rect x=\"{middle}\" width=\"{}\" height=\"{BADGE_HEIGHT}\" fill=\"{color}\"/>",
        whole - middle
    ));
    if let Some(percent) = bar {
        let full = f64::from(whole - middle) * percent / 100.0;
        add(format_args!(
            "<rect x=\"{middle}\" y=\"{0}\" width=\"{1}\" height=\"3\" fill=\"#000\" fill-opacity=\".35\"/>\
             <rect x=\"{middle}\" y=\"{0}\" width=\"{full:.1}\" height=\"3\" fill=\"#fff\" fill-opacity=\".9\"/>",
            BADGE_HEIGHT - 3,
            whole - middle
        ));
    }
    let line = if bar.is_some() { 13 } else { 14 };
    add(format_args!(
        "</g><rect class=\"e\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"{BADGE_CORNER_RADIUS}\" fill=\"none\" stroke=\"#000\" \
         stroke-opacity=\".25\"/><g fill=\"#fff\" font-family=\"Verdana,DejaVu Sans,Geneva,sans-serif\" font-size=\"11\">\
         <text x=\"{BADGE_PADDING}\" y=\"{line}\" textLength=\"{left}\" lengthAdjust=\"spacingAndGlyphs\">{name}</text>\
         <text x=\"{}\" y=\"{line}\" textLength=\"{right}\" lengthAdjust=\"spacingAndGlyphs\">{words}</text></g></svg>\n",
        whole - 1,
        BADGE_HEIGHT - 1,
        middle + BADGE_PADDING
    ));
    svg
}

/// Escapes the characters that end an element or an attribute (XML 1.0, section 2.4).
fn escape_xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(code: Option<i32>, signal: Option<&str>, cause: EndCause) -> RunEnd {
        RunEnd {
            run: 1,
            code,
            signal: signal.map(str::to_owned),
            duration: Some(192.0),
            peak_memory: None,
            cause,
            killed: Vec::new(),
        }
    }

    #[test]
    fn what_it_says_is_what_people_ask() {
        let table = [
            (badge_of_ended_run(&end(Some(0), None, EndCause::Exited)), "passed in 3m 12s", BADGE_GREEN),
            (badge_of_ended_run(&end(Some(2), None, EndCause::Exited)), "failed (2) after 3m 12s", BADGE_RED),
            (
                badge_of_ended_run(&end(None, Some("SEGV"), EndCause::Signalled)),
                "killed (SEGV) after 3m 12s",
                BADGE_RED,
            ),
            (badge_of_ended_run(&end(None, Some("TERM"), EndCause::DaemonStopped)), "stopped after 3m 12s", BADGE_GREY),
            (
                badge_of_ended_run(&RunEnd { duration: None, ..end(None, None, EndCause::DaemonKilled) }),
                "lost",
                BADGE_RED,
            ),
            (
                badge_of_ended_run(&RunEnd { duration: Some(0.31), ..end(Some(0), None, EndCause::Exited) }),
                "passed in 0.3s",
                BADGE_GREEN,
            ),
            (badge_of_running(None, 7.9), "running · 7s", BADGE_BLUE),
            (badge_of_state(&SourceState::Waiting { reason: "x".into() }), "waiting", BADGE_GREY),
        ];
        for (badge, words, color) in table {
            assert_eq!((badge.text.as_str(), badge.color), (words, color));
        }
        let half = Progress { percent: Some(45.7), state: ProgressState::Running, ..Progress::begun(Time(0)) };
        let badge = badge_of_running(Some(&half), 7500.0);
        assert_eq!((badge.text.as_str(), badge.bar), ("45% · 2h 5m", Some(45.7)));
        let stale = Progress { stale: true, ..half };
        assert_eq!(badge_of_running(Some(&stale), 90_000.0).text, "quiet at 45% · 1d 1h");
    }

    #[test]
    fn nothing_in_a_text_ends_an_element() {
        let badge = Badge { text: "a<b>\"c\" & 'd'\u{1}".into(), color: BADGE_RED, bar: Some(12.5) };
        let svg = draw("x\"><script>", &badge);
        assert!(!svg.contains("<script") && !svg.contains('\u{1}'), "{svg}");
        assert!(svg.contains("a&lt;b&gt;&quot;c&quot; &amp; &#39;d&#39;\u{fffd}"), "{svg}");
    }
}
