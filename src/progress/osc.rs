//! OSC 9;4, by which programs tell a terminal their progress (`ESC ] 9 ; 4 ; STATE ; PERCENT BEL`, from `ConEmu`).

use memchr::memmem;

use crate::event::ProgressState;

use super::Recogniser;
use super::report::{Report, Seen};

const BEGIN: &[u8] = b"\x1b]9;4;";

/// Whether there is one in the line.
pub(super) fn is_in(raw: &[u8]) -> bool {
    memmem::find(raw, BEGIN).is_some()
}

/// Takes the last one in the line.
#[derive(Debug)]
pub(super) struct Osc;

impl Recogniser for Osc {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Report> {
        let at = memmem::rfind(seen.raw, BEGIN)?;
        let rest = seen.raw.get(at + BEGIN.len()..)?;
        let end = rest.iter().position(|c| matches!(c, 0x07 | 0x1b))?;
        let text = std::str::from_utf8(rest.get(..end)?).ok()?;
        let (state, percent) = text.split_once(';').unwrap_or((text, ""));
        let percent = percent.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
        let state = match state {
            "0" => return Some(Report { verdict: true, ..Report::of_state(ProgressState::Done) }),
            "1" => ProgressState::Running,
            "2" => ProgressState::Error,
            "3" => return Some(Report::of_state(ProgressState::Indeterminate)),
            "4" => ProgressState::Paused,
            _ => return None,
        };
        Some(Report { percent, ..Report::of_state(state) })
    }
}
