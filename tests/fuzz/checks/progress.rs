//! Progress: whatever a program draws, what is said of it makes sense and has bounds.

use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use rtlogd::event::{Progress, ProgressState, Time};
use rtlogd::line::{CarriageReturnMode, LineSplitter, PIPE_COLUMNS, PIPE_ROWS, Screen};
use rtlogd::progress::{STALE_AFTER, Tracker};

use super::{choices, reads};

/// Longest phase: the titles of all open groups, each as long as a title may be.
const PHASE: usize = 16 * 164;

/// Configurations that a user may have written.
static PATTERNS: LazyLock<[Regex; 2]> = LazyLock::new(|| {
    [r"^(?P<phase>\w+) (?P<current>\d+) of (?P<total>\d+)", r"at (?P<percent>[\d.,]+): (?P<message>.*)"]
        .map(|pattern| Regex::new(pattern).expect("it is one"))
});

/// The choices: whether full is done and the user has patterns, where reads end, and how fast time goes (two bytes; it may
/// go back).
pub fn progress(data: &[u8]) {
    let ([how, seed, pace @ ..], text) = choices::<4>(data);
    let step = i64::from(i16::from_be_bytes(pace)) * 1000;
    let tracker = || {
        let patterns = if how & 1 == 1 { PATTERNS.to_vec() } else { Vec::new() };
        Tracker::new(patterns, how & 2 == 2)
    };
    let screen = || match how & 4 {
        0 => Screen::terminal(10_000, PIPE_COLUMNS, PIPE_ROWS),
        _ => Screen::undrawn(LineSplitter::new(10_000, CarriageReturnMode::Fold)),
    };

    // A source does the same: it reports each line, and after each read the beginning of the next.
    let (mut screen_now, mut live) = (screen(), tracker());
    let mut now = Time(1_763_874_672_000_000);
    let mut told: Option<(Time, Progress)> = None;
    for read in reads(text, seed) {
        now = Time(now.0.saturating_add(step));
        screen_now.push(read, |line| live.line(0, line.text, now));
        if let Some(reported) = screen_now.take_reported_progress() {
            live.reported(&reported, now);
        }
        live.open(0, &screen_now.live_rows(), now);
        live.progress().inspect(|progress| makes_sense(progress));
        if let Some(news) = live.take_update(now) {
            if let Some((at, before)) = &told {
                assert_ne!(before, &news, "no news");
                let ends = news.state.is_finished() && !before.state.is_finished();
                let soon = (*at..at.plus(Duration::from_millis(100))).contains(&now);
                assert!(ends || !soon, "twice within a tenth of a second: {news:?}");
            }
            told = Some((now, news));
        }
        assert_eq!(live.take_update(now), None, "twice at a time");
    }
    screen_now.finish(|line| live.line(0, line.text, now));
    live.progress().inspect(|progress| makes_sense(&(*progress).clone().into_ended(now, how & 8 == 8)));
    if let (Some(last), Some(due)) = (live.progress().cloned(), live.due()) {
        let later = due.max(last.updated).plus(STALE_AFTER).plus(Duration::from_secs(1));
        // Where the clock was set back, that may be just when something was told.
        let news = live.take_update(later).or_else(|| live.take_update(live.due()?)).expect("it is due");
        let waits = news.state.is_finished() || news.state == ProgressState::Paused;
        assert!(news.stale || waits || news != last, "{news:?}");
    }

    // Of finished lines alone the same is known wherever reads end.
    let finished = |seed: u8| {
        let (mut screen, mut tracker) = (screen(), tracker());
        let mut lines = Vec::new();
        for read in reads(text, seed) {
            screen.push(read, |line| lines.push(line.text.to_vec()));
        }
        screen.finish(|line| lines.push(line.text.to_vec()));
        for line in &lines {
            tracker.line(0, line, now);
        }
        (lines, tracker.progress().cloned())
    };
    assert_eq!(finished(seed), finished(0), "where reads end shows");
}

fn makes_sense(progress: &Progress) {
    assert!(progress.percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)), "{progress:?}");
    if let (Some(current), Some(total)) = (progress.current, progress.total) {
        assert!(current <= total, "{progress:?}");
    }
    let letters = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
    assert!(letters(&progress.message) <= 161 && letters(&progress.phase) <= PHASE, "{progress:?}");
    let texts = progress.message.iter().chain(&progress.phase).chain(progress.groups.iter().map(|group| &group.name));
    assert!(texts.flat_map(|text| text.chars()).all(|c| !c.is_control()), "{progress:?}");
    assert!(progress.eta.is_none_or(|_| !progress.state.is_finished()), "{progress:?}");
    assert!(progress.groups.len() <= 64 && progress.groups.iter().all(|group| group.depth < 16), "{progress:?}");
    let seconds = progress.groups.iter().filter_map(|group| group.duration);
    assert!(seconds.into_iter().all(|seconds| seconds.is_finite() && seconds >= 0.0), "{progress:?}");
    assert!(serde_json::to_string(progress).is_ok_and(|json| json.len() < 128 << 10), "{progress:?}");
}
