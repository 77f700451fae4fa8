//! Names of signals, as in signal(7).

use rustix::process::Signal;

/// The number of the signal with this name; the inverse of [`signal_name`].
pub(crate) fn signal_number(signal: &str) -> Option<u8> {
    (1..=64).find(|number| signal_name(i32::from(*number)) == signal)
}

/// The name of a signal without `SIG` (signal(7)), or its number.
pub(crate) fn signal_name(number: i32) -> String {
    const SIGNAL_NAMES: [(Signal, &str); 29] = [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::ILL, "ILL"),
        (Signal::TRAP, "TRAP"),
        (Signal::ABORT, "ABRT"),
        (Signal::BUS, "BUS"),
        (Signal::FPE, "FPE"),
        (Signal::KILL, "KILL"),
        (Signal::USR1, "USR1"),
        (Signal::SEGV, "SEGV"),
        (Signal::USR2, "USR2"),
        (Signal::PIPE, "PIPE"),
        (Signal::ALARM, "ALRM"),
        (Signal::TERM, "TERM"),
        (Signal::CHILD, "CHLD"),
        (Signal::CONT, "CONT"),
        (Signal::STOP, "STOP"),
        (Signal::TSTP, "TSTP"),
        (Signal::TTIN, "TTIN"),
        (Signal::TTOU, "TTOU"),
        (Signal::URG, "URG"),
        (Signal::XCPU, "XCPU"),
        (Signal::XFSZ, "XFSZ"),
        (Signal::VTALARM, "VTALRM"),
        (Signal::PROF, "PROF"),
        (Signal::WINCH, "WINCH"),
        (Signal::IO, "IO"),
        (Signal::SYS, "SYS"),
    ];
    let named = SIGNAL_NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
    named.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}
