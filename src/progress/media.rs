//! ffmpeg reports the length of its input once, and the processed time repeatedly.

use crate::event::ProgressState;

use super::Recogniser;
use super::report::{ObservedLine, ProgressReport, words};

/// Holds the length of the longest input that was named since the last output.
#[derive(Debug, Default)]
pub(super) struct MediaRecogniser {
    /// The length in hundredths of a second.
    length: Option<u64>,
}

impl Recogniser for MediaRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        let text = seen.text.trim_start();
        if text.starts_with("Input #0") {
            self.length = None;
        }
        if let Some(rest) = text.strip_prefix("Duration: ").filter(|_| !seen.open) {
            let length = rest.split(',').next().and_then(hundredths);
            self.length = self.length.max(length);
            return None;
        }
        if !text.starts_with("frame=") && !text.starts_with("size=") || !text.contains("bitrate=") {
            return None;
        }
        let (_, time) = text.split_once("time=")?;
        let time = hundredths(time.split(' ').next()?)?;
        let message = text
            .split_once("speed=")
            .and_then(|(_, speed)| words(&format!("speed {}", speed.trim().split(' ').next()?)));
        match self.length.filter(|length| *length > 0) {
            Some(length) => {
                // The end may be slightly after the reported length.
                let percent = super::report::percent_of(time.min(length), length);
                Some(ProgressReport { percent: Some(percent), message, ..ProgressReport::default() })
            }
            None => {
                Some(ProgressReport { message, state: Some(ProgressState::Indeterminate), ..ProgressReport::default() })
            }
        }
    }
}

/// The hundredths of a second in `HH:MM:SS.CC`.
fn hundredths(text: &str) -> Option<u64> {
    let mut parts = text.trim().split([':', '.']);
    let mut next = || parts.next()?.parse::<u64>().ok();
    let (hours, minutes, seconds, rest) = (next()?, next()?, next()?, next()?);
    hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)?.checked_mul(100)?.checked_add(rest % 100)
}
