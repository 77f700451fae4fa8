//! A terminal for a program: its other end, and an emulator that shows what the program has written.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::{Deadline, PATIENCE};

/// A program whose controlling terminal, input and outputs are a terminal that the test sees.
pub(crate) struct OnTerminal {
    child: Child,
    master: File,
    written: Receiver<Vec<u8>>,
    /// Everything that was written so far.
    pub(crate) bytes: Vec<u8>,
    /// The number of bytes that the emulator has drawn.
    drawn: usize,
    screen: avt::Terminal,
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

impl OnTerminal {
    /// Starts the command on a terminal of this size.
    pub(crate) fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        tcsetwinsize(&master, size(columns, rows)).unwrap();
        // The terminal then sends signals for Ctrl+C and for a new size, as a real one does.
        let mut started = Command::new("setsid");
        started.arg("--ctty").arg(command.get_program()).args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            started.current_dir(directory);
        }
        started.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        let (input, out, err) = (slave.try_clone().unwrap(), slave.try_clone().unwrap(), slave);
        let child = started.stdin(input).stdout(out).stderr(err).spawn().unwrap();
        // The command's own ends of the terminal would keep it open.
        drop(started);
        let master = File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (send, written) = sync_channel(1000);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // At the end of all that write to it, a terminal says EIO.
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                if send.send(chunk[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let screen = avt::Terminal::with_scrollback(columns.into(), rows.into(), None).unwrap();
        Self { child, master, written, bytes: Vec::new(), drawn: 0, screen }
    }

    /// Everything that a person sees on the screen and above it, without blank lines at the end.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        self.read();
        let lines = self.screen.primary_screen().all_lines().map(|line| line.text().trim_end().to_owned());
        let mut lines: Vec<_> = lines.collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// The colour of the first character of this line.
    pub(crate) fn colour(&self, line: usize) -> Option<avt::Color> {
        self.screen.primary_screen().all_lines().nth(line).unwrap().cells()[0].pen().foreground()
    }

    /// Draws what was written since the last call. A character that is split between two reads waits for its end.
    fn read(&mut self) {
        self.bytes.extend(self.written.try_iter().flatten());
        let new = &self.bytes[self.drawn..];
        let complete = match std::str::from_utf8(new) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => new.len(),
        };
        self.screen.feed(String::from_utf8_lossy(&new[..complete]).as_ref());
        self.drawn += complete;
    }

    /// Waits until exactly these lines are on the terminal.
    pub(crate) fn until(&mut self, what: &str, expected: &[&str]) {
        let found = Deadline::new().find(|| (self.lines() == expected).then_some(()));
        assert!(found.is_some(), "waited in vain for {what}: {:#?} instead of {expected:#?}", self.lines());
    }

    /// Whether the terminal shows what is typed.
    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Lets the terminal show what is typed, as a shell does that has it back.
    pub(crate) fn show_typed(&self) {
        let mut modes = tcgetattr(&self.master).unwrap();
        modes.local_modes |= LocalModes::ECHO;
        tcsetattr(&self.master, OptionalActions::Now, &modes).unwrap();
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether the program is stopped, until it is continued.
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    /// Changes the size of the terminal.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.read();
        self.screen.resize(columns.into(), rows.into());
        tcsetwinsize(&self.master, size(columns, rows)).unwrap();
    }

    /// Types on the keyboard.
    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Waits for the end of the program.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = Deadline::new().until("the end of the program", || self.child.try_wait().unwrap());
        // The terminal ends after the last program that has it open; what was written is read until then.
        loop {
            match self.written.recv_timeout(PATIENCE) {
                Ok(chunk) => self.bytes.extend(chunk),
                Err(error) => {
                    assert_eq!(error, RecvTimeoutError::Disconnected, "another program still has the terminal open");
                    break;
                }
            }
        }
        self.read();
        status
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}
