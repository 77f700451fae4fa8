//! OSC 9;4, by which programs report progress to a terminal (`ESC ] 9 ; 4 ; STATE ; PERCENT BEL`, from `ConEmu`).

use memchr::memmem;

use crate::event::ProgressState;

use super::Recogniser;
use super::report::{ObservedLine, ProgressReport};

const OSC_PROGRESS_PREFIX: &[u8] = b"\x1b]9;4;";

/// Returns whether the line contains such a sequence.
pub(super) fn is_in(raw: &[u8]) -> bool {
    memmem::find(raw, OSC_PROGRESS_PREFIX).is_some()
}

/// Recognises the last sequence in a line.
#[derive(Debug)]
pub(super) struct OscRecogniser;

impl Recogniser for OscRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        let at = memmem::rfind(seen.raw, OSC_PROGRESS_PREFIX)?;
        let rest = seen.raw.get(at + OSC_PROGRESS_PREFIX.len()..)?;
        let end = rest.iter().position(|c| matches!(c, 0x07 | 0x1b))?;
        let text = std::str::from_utf8(rest.get(..end)?).ok()?;
        let (state, percent) = text.split_once(';').unwrap_or((text, ""));
        let percent = percent.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
        let state = match state {
            "0" => {
                return Some(ProgressReport {
                    needs_prior_progress: true,
                    ..ProgressReport::of_state(ProgressState::Done)
                });
            }
            "1" => ProgressState::Running,
            "2" => ProgressState::Error,
            "3" => return Some(ProgressReport::of_state(ProgressState::Indeterminate)),
            "4" => ProgressState::Paused,
            _ => return None,
        };
        Some(ProgressReport { percent, ..ProgressReport::of_state(state) })
    }
}
