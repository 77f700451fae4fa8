//! Signals by name. Nothing here sends a signal.

use std::fmt;
use std::str::FromStr;

use rustix::process::Signal;

/// The signals that can be named: those that people send to programs.
const NAMED_SIGNALS: [(&str, Signal); 12] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("WINCH", Signal::WINCH),
];

/// A signal by its name without `SIG` (signal(7)), such as `TERM`. A name with the prefix `SIG` is accepted, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignalName {
    name: &'static str,
    number: i32,
}

/// A text that is not a [`SignalName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a signal that can be sent: {0:?} (use HUP, INT, QUIT, KILL, USR1, USR2, ALRM, TERM, CONT, STOP, TSTP or WINCH)"
)]
pub struct BadSignalName(pub String);

impl SignalName {
    /// The signal that asks a program to end.
    pub const SIGTERM: Self = Self { name: "TERM", number: Signal::TERM.as_raw() };

    /// The name without `SIG`.
    pub fn as_str(self) -> &'static str {
        self.name
    }

    /// The number on this machine.
    pub fn number(self) -> i32 {
        self.number
    }
}

impl FromStr for SignalName {
    type Err = BadSignalName;
    fn from_str(text: &str) -> Result<Self, BadSignalName> {
        let short = text.strip_prefix("SIG").unwrap_or(text);
        let found = NAMED_SIGNALS.iter().find(|(name, _)| *name == short);
        let (name, signal) = found.ok_or_else(|| BadSignalName(text.chars().take(100).collect()))?;
        Ok(Self { name, number: signal.as_raw() })
    }
}

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_one_name_and_the_systems_number() {
        for (text, name, number) in
            [("TERM", "TERM", 15), ("SIGTERM", "TERM", 15), ("KILL", "KILL", 9), ("ALRM", "ALRM", 14)]
        {
            let signal = text.parse::<SignalName>().unwrap();
            assert_eq!((signal.as_str(), signal.number()), (name, number));
        }
        for bad in ["", "SIG", "term", "15", "TREM", "SIGSIGTERM"] {
            assert_eq!(bad.parse::<SignalName>(), Err(BadSignalName(bad.into())));
        }
    }

    #[test]
    fn the_message_names_every_signal() {
        let message = BadSignalName(String::new()).to_string();
        for (name, _) in NAMED_SIGNALS {
            assert!(message.contains(name), "{name}");
        }
    }
}
