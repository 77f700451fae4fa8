//! `GET /streams/NAME/badge.svg`: one stream in one small picture, for pages that others write: how it is, how far, how
//! long. A picture without script, and always asked for anew: caches may keep it, but not show it unasked.

use std::fmt::Write as _;
use std::time::SystemTime;

use http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use crate::event::{EndCause, Progress, ProgressState, RunEnd, SourceState, Time};
use crate::stream::Info;

use super::problem::Problem;
use super::{Request, has, info_of, tag};

/// White text on each of these has a contrast of at least 4.5 (WCAG 2.2, 1.4.3), and each is seen on white and on black.
const BLUE: &str = "#0969da";
const GREEN: &str = "#1a7f37";
const RED: &str = "#cf222e";
const AMBER: &str = "#9a6700";
const GREY: &str = "#57606a";

/// The picture's height, the space beside each text, and the corners' radius, in pixels.
const HEIGHT: u32 = 20;
const PAD: u32 = 7;
const RADIUS: u32 = 4;

/// What the picture says.
#[derive(Debug, PartialEq)]
struct Badge {
    words: String,
    color: &'static str,
    /// How much of the bar is full, in percent; `None` without a bar.
    bar: Option<f64>,
}

/// The picture as it is now, or 304 for one who has it.
pub(super) fn badge(name: &str, request: &Request) -> Result<Response, Problem> {
    let entry = request.stream(name)?;
    let now = SystemTime::now().into();
    let svg = draw(entry.log.name().as_str(), &describe(&info_of(&entry, now)?, now));
    let tag = tag(svg.as_bytes());
    let known = has(&request.headers, &tag);
    let mut response = Response::new(if known { String::new() } else { svg }.into());
    let headers = response.headers_mut();
    if !known {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml; charset=utf-8"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Opened by itself it is a page of ours.
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    // Revalidated each time (RFC 9111, 5.2.2.4), which the tag makes cheap; else a proxy would show how it was.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(header::ETAG, tag);
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    Ok(response)
}

fn describe(info: &Info, now: Time) -> Badge {
    match &info.run {
        Some(run) => match &run.ended {
            Some((_, end)) => ended(end),
            None => going(info.progress.as_deref(), now.seconds_since(run.started)),
        },
        None => match (info.progress.as_deref(), info.state.as_deref()) {
            (Some(progress), _) => going(Some(progress), now.seconds_since(progress.started)),
            (None, Some(state)) => of_state(state),
            (None, None) => Badge { words: "unknown".into(), color: GREY, bar: None },
        },
    }
}

fn ended(end: &RunEnd) -> Badge {
    let took = |word: &str| end.duration.map(|took| format!(" {word} {}", duration(took))).unwrap_or_default();
    let after = took("after");
    let (words, color) = match (end.cause, end.code, &end.signal) {
        (EndCause::Stopped | EndCause::DaemonStopped, _, _) => (format!("stopped{after}"), GREY),
        (EndCause::Exited | EndCause::Signalled, Some(0), _) => (format!("passed{}", took("in")), GREEN),
        (EndCause::Exited | EndCause::Signalled, Some(code), _) => (format!("failed ({code}){after}"), RED),
        (EndCause::Exited | EndCause::Signalled, None, Some(signal)) => (format!("killed ({signal}){after}"), RED),
        (EndCause::Exited | EndCause::Signalled, None, None) => (format!("failed{after}"), RED),
        (EndCause::DaemonKilled, _, _) => (format!("lost{after}"), RED),
    };
    Badge { words, color, bar: None }
}

/// Of what goes on since `seconds`.
fn going(progress: Option<&Progress>, seconds: f64) -> Badge {
    let since = duration(seconds);
    let percent = progress.and_then(|progress| progress.percent);
    let far = percent.map(|percent| format!("{}%", percent.floor()));
    let stale = progress.is_some_and(|progress| progress.stale);
    let (words, color) = match progress.map_or(ProgressState::Indeterminate, |progress| progress.state) {
        // What is over took until then, however late it is now.
        ProgressState::Done => ("done".to_owned(), GREEN),
        ProgressState::Error => ("failed".to_owned(), RED),
        ProgressState::Paused => (format!("paused{}", far.map(|far| format!(" at {far}")).unwrap_or_default()), AMBER),
        ProgressState::Running | ProgressState::Indeterminate if stale => {
            (format!("quiet{} · {since}", far.map(|far| format!(" at {far}")).unwrap_or_default()), AMBER)
        }
        ProgressState::Running | ProgressState::Indeterminate => {
            (format!("{} · {since}", far.unwrap_or_else(|| "running".into())), BLUE)
        }
    };
    let bar = percent.filter(|_| color == BLUE || color == AMBER);
    Badge { words, color, bar }
}

fn of_state(state: &SourceState) -> Badge {
    let (words, color) = match state {
        SourceState::Following { .. } | SourceState::Polling { .. } | SourceState::Reading { .. } => {
            ("following", BLUE)
        }
        SourceState::Receiving => ("receiving", BLUE),
        SourceState::Running { .. } => ("running", BLUE),
        SourceState::Waiting { .. } => ("waiting", GREY),
        SourceState::Denied { .. } => ("denied", RED),
        SourceState::BackingOff { .. } => ("failed, tried again later", AMBER),
        SourceState::Degraded { .. } => ("not recorded", AMBER),
        SourceState::Stopping => ("stopping", GREY),
        SourceState::Stopped { .. } => ("stopped", GREY),
    };
    Badge { words: words.into(), color, bar: None }
}

/// Two units at most: `7s`, `3m 12s`, `2h 5m`, `4d 3h`.
fn duration(seconds: f64) -> String {
    let seconds = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// About how wide a text of 11 pixels is; the picture then makes it exactly so, whatever letters the reader has.
fn width(text: &str) -> u32 {
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
    let Badge { words, color, bar } = badge;
    let (left, right) = (width(name), width(words));
    let (middle, whole) = (left + 2 * PAD, left + right + 4 * PAD);
    let (name, words) = (escaped(name), escaped(words));
    let mut svg = String::new();
    let mut add = |part: std::fmt::Arguments<'_>| svg.write_fmt(part).expect("a String takes all");
    add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole}\" height=\"{HEIGHT}\" viewBox=\"0 0 {whole} {HEIGHT}\" \
         role=\"img\" aria-label=\"{name}: {words}\"><title>{name}: {words}</title>\
         <style>@media (prefers-color-scheme:dark){{.n{{fill:#2d333b}}.e{{stroke:#768390}}}}</style>\
         <clipPath id=\"c\"><rect width=\"{whole}\" height=\"{HEIGHT}\" rx=\"{RADIUS}\"/></clipPath><g clip-path=\"url(#c)\">\
         <rect class=\"n\" width=\"{middle}\" height=\"{HEIGHT}\" fill=\"#3b434b\"/>\
         <rect x=\"{middle}\" width=\"{}\" height=\"{HEIGHT}\" fill=\"{color}\"/>",
        whole - middle
    ));
    if let Some(percent) = bar {
        let full = f64::from(whole - middle) * percent / 100.0;
        add(format_args!(
            "<rect x=\"{middle}\" y=\"{0}\" width=\"{1}\" height=\"3\" fill=\"#000\" fill-opacity=\".35\"/>\
             <rect x=\"{middle}\" y=\"{0}\" width=\"{full:.1}\" height=\"3\" fill=\"#fff\" fill-opacity=\".9\"/>",
            HEIGHT - 3,
            whole - middle
        ));
    }
    let line = if bar.is_some() { 13 } else { 14 };
    add(format_args!(
        "</g><rect class=\"e\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"{RADIUS}\" fill=\"none\" stroke=\"#000\" \
         stroke-opacity=\".25\"/><g fill=\"#fff\" font-family=\"Verdana,DejaVu Sans,Geneva,sans-serif\" font-size=\"11\">\
         <text x=\"{PAD}\" y=\"{line}\" textLength=\"{left}\" lengthAdjust=\"spacingAndGlyphs\">{name}</text>\
         <text x=\"{}\" y=\"{line}\" textLength=\"{right}\" lengthAdjust=\"spacingAndGlyphs\">{words}</text></g></svg>\n",
        whole - 1,
        HEIGHT - 1,
        middle + PAD
    ));
    svg
}

/// Such that it ends neither an element nor an attribute (XML 1.0, section 2.4).
fn escaped(text: &str) -> String {
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
        RunEnd { run: 1, code, signal: signal.map(str::to_owned), duration: Some(192.0), peak_memory: None, cause }
    }

    #[test]
    fn what_it_says_is_what_people_ask() {
        let table = [
            (ended(&end(Some(0), None, EndCause::Exited)), "passed in 3m 12s", GREEN),
            (ended(&end(Some(2), None, EndCause::Exited)), "failed (2) after 3m 12s", RED),
            (ended(&end(None, Some("SEGV"), EndCause::Signalled)), "killed (SEGV) after 3m 12s", RED),
            (ended(&end(None, Some("TERM"), EndCause::DaemonStopped)), "stopped after 3m 12s", GREY),
            (ended(&RunEnd { duration: None, ..end(None, None, EndCause::DaemonKilled) }), "lost", RED),
            (going(None, 7.0), "running · 7s", BLUE),
            (of_state(&SourceState::Waiting { reason: "x".into() }), "waiting", GREY),
        ];
        for (badge, words, color) in table {
            assert_eq!((badge.words.as_str(), badge.color), (words, color));
        }
        let half = Progress { percent: Some(45.7), state: ProgressState::Running, ..Progress::begun(Time(0)) };
        let badge = going(Some(&half), 7500.0);
        assert_eq!((badge.words.as_str(), badge.bar), ("45% · 2h 5m", Some(45.7)));
        let stale = Progress { stale: true, ..half };
        assert_eq!(going(Some(&stale), 90_000.0).words, "quiet at 45% · 1d 1h");
    }

    #[test]
    fn nothing_in_a_text_ends_an_element() {
        let badge = Badge { words: "a<b>\"c\" & 'd'\u{1}".into(), color: RED, bar: Some(12.5) };
        let svg = draw("x\"><script>", &badge);
        assert!(!svg.contains("<script") && !svg.contains('\u{1}'), "{svg}");
        assert!(svg.contains("a&lt;b&gt;&quot;c&quot; &amp; &#39;d&#39;\u{fffd}"), "{svg}");
    }
}
