//! Pseudoterminals (pty(7)): the daemon holds the master, and the program has the other end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, SpecialCodeIndex, Winsize, tcgetattr, tcsetwinsize};

use crate::config::TerminalSize;

/// Opens a terminal of this size. Returns the master, which is nonblocking, and the program's end.
pub(crate) fn open(size: TerminalSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    resize(&master, size)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((master, slave))
}

/// Changes the size of a terminal; the system notifies the program with `SIGWINCH`.
pub(super) fn resize(terminal: impl AsFd, size: TerminalSize) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

/// Returns whether a program reads whole lines from the terminal, which the system assembles.
pub(super) fn is_canonical(terminal: impl AsFd) -> bool {
    tcgetattr(terminal).is_ok_and(|attributes| attributes.local_modes.contains(LocalModes::ICANON))
}

/// Returns whether this byte completes or discards a line in canonical mode, unless the program chose other bytes: a line
/// end, or Ctrl-C, Ctrl-D, Ctrl-U, Ctrl-Z or Ctrl-\.
pub(super) fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | 0x03 | 0x04 | 0x15 | 0x1a | 0x1c)
}

/// The byte that a user types to end the input: Ctrl-D, unless the program chose another one.
pub(super) fn end_of_input(terminal: impl AsFd) -> u8 {
    /// The byte of Ctrl-D.
    const CONTROL_D: u8 = 4;
    tcgetattr(terminal).map_or(CONTROL_D, |attributes| attributes.special_codes[SpecialCodeIndex::VEOF])
}
