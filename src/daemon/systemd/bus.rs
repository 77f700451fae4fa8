//! Asks systemd over D-Bus whether the stop of this service is part of a restart.
//!
//! Signals do not tell the two apart, but the type of the job that systemd runs for the unit does, and reading it needs no
//! privilege. This is all that rtlogd needs of D-Bus, so that this file writes three calls and reads three answers as the
//! D-Bus specification describes them ("Message Protocol", "Authentication Protocol"), and no further.

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use log::{debug, info};

/// The longest time to wait for each answer: the daemon is being stopped, and systemd has a timeout for that.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(2);

/// The largest answer that is read, in bytes. Those to be expected have some hundred.
const MAX_ANSWER_SIZE: u32 = 64 << 10;

/// The name of systemd on the bus.
const SYSTEMD: &str = "org.freedesktop.systemd1";

/// Returns whether systemd stops this service in order to start it again. `false` if that cannot be found out. Blocks.
pub(crate) fn is_restarting() -> bool {
    current_job().is_some_and(|job| job == "restart" || job == "try-restart")
}

/// The job that systemd runs for this service, such as `stop` or `restart`; `None` if it runs none, or if that cannot be
/// found out. Blocks.
pub(crate) fn current_job() -> Option<String> {
    match job_type(&bus_socket()?) {
        Ok(job) => {
            debug!(job = job.as_deref().unwrap_or("none"); "the job of systemd for this service");
            job
        }
        Err(error) => {
            info!(errno = error.raw_os_error(), error:% = error; "cannot ask systemd whether the service is restarted or stopped");
            None
        }
    }
}

/// The socket of the bus on which the systemd that started this service can be reached; `None` if none started it.
fn bus_socket() -> Option<PathBuf> {
    let notified = env::var_os("NOTIFY_SOCKET").map(PathBuf::from);
    if notified.is_none() && env::var_os("INVOCATION_ID").is_none() {
        return None;
    }
    // Each user has a systemd of their own, whose services are on their own bus.
    if let (Some(runtime), Some(notified)) = (env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), notified)
        && notified.starts_with(&runtime)
    {
        return Some(runtime.join("bus"));
    }
    let address = env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
    let path = address.split([';', ',']).find_map(|part| part.strip_prefix("unix:path="));
    Some(path.unwrap_or("/run/dbus/system_bus_socket").into())
}

/// The type of the job that systemd runs for the unit of this process; `None` if it runs none.
fn job_type(socket: &Path) -> io::Result<Option<String>> {
    let mut bus = Bus::connect(socket)?;
    let own = process::id();
    let unit = bus
        .call("/org/freedesktop/systemd1", &format!("{SYSTEMD}.Manager"), "GetUnitByPID", &[Argument::Number(own)])?
        .text()?;
    debug!(unit = unit.as_str(); "the unit of this process");
    let mut job = bus.property(&unit, &format!("{SYSTEMD}.Unit"), "Job")?;
    job.align(8)?;
    let (number, path) = (job.number()?, job.text()?);
    if number == 0 {
        return Ok(None);
    }
    bus.property(&path, &format!("{SYSTEMD}.Job"), "JobType")?.text().map(Some)
}

/// A connection to a bus.
struct Bus {
    stream: UnixStream,
    serial: u32,
}

/// An argument of a call.
enum Argument<'a> {
    Number(u32),
    Text(&'a str),
}

impl Bus {
    /// Connects as the user of this process.
    fn connect(socket: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(MAX_ANSWER_TIME))?;
        stream.set_write_timeout(Some(MAX_ANSWER_TIME))?;
        let user = rustix::process::geteuid().as_raw().to_string();
        stream.write_all(b"\0AUTH EXTERNAL ")?;
        for digit in user.bytes() {
            write!(stream, "{digit:02x}")?;
        }
        stream.write_all(b"\r\n")?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") && answer.len() < 1000 {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        if !answer.starts_with(b"OK ") {
            return Err(invalid("the bus refuses this user"));
        }
        stream.write_all(b"BEGIN\r\n")?;
        let mut bus = Self { stream, serial: 0 };
        bus.call_at("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", &[])?;
        Ok(bus)
    }

    /// The value of a property of systemd.
    fn property(&mut self, path: &str, interface: &str, name: &str) -> io::Result<Values> {
        let arguments = [Argument::Text(interface), Argument::Text(name)];
        let mut values = self.call(path, "org.freedesktop.DBus.Properties", "Get", &arguments)?;
        // The signature of the value. The type of each property is part of the interface of systemd.
        values.signature()?;
        Ok(values)
    }

    fn call(&mut self, path: &str, interface: &str, method: &str, arguments: &[Argument<'_>]) -> io::Result<Values> {
        self.call_at(SYSTEMD, path, interface, method, arguments)
    }

    /// Calls a method, and returns the values of its answer.
    fn call_at(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        method: &str,
        arguments: &[Argument<'_>],
    ) -> io::Result<Values> {
        self.serial += 1;
        let mut signature = String::new();
        let mut body = Message::default();
        for argument in arguments {
            match argument {
                Argument::Number(number) => body.number(*number),
                Argument::Text(text) => body.text(text),
            }
            signature.push(if matches!(argument, Argument::Number(_)) { 'u' } else { 's' });
        }
        let mut fields = Message::default();
        for (code, kind, text) in
            [(1, "o", path), (2, "s", interface), (3, "s", method), (6, "s", destination), (8, "g", &signature)]
        {
            if text.is_empty() {
                continue;
            }
            fields.align(8);
            fields.0.push(code);
            fields.signature(kind);
            if kind == "g" { fields.signature(text) } else { fields.text(text) }
        }
        // Little-endian, a method call, no flags, version 1.
        let mut message = Message(vec![b'l', 1, 0, 1]);
        message.number(size(&body.0)?);
        message.number(self.serial);
        message.number(size(&fields.0)?);
        message.0.extend(fields.0);
        message.align(8);
        message.0.extend(body.0);
        self.stream.write_all(&message.0)?;
        self.answer()
    }

    /// Reads messages until the answer to the last call, and returns its values.
    fn answer(&mut self) -> io::Result<Values> {
        loop {
            let mut head = [0; 16];
            self.stream.read_exact(&mut head)?;
            let mut fixed = Values { bytes: head.to_vec(), at: 4, little_endian: head[0] == b'l' };
            let (body_size, _, fields_size) = (fixed.number()?, fixed.number()?, fixed.number()?);
            if body_size.max(fields_size) > MAX_ANSWER_SIZE {
                return Err(invalid("the answer is too long"));
            }
            let mut fields = fixed.following(&mut self.stream, fields_size.next_multiple_of(8))?;
            let mut body = fixed.following(&mut self.stream, body_size)?;
            match head[1] {
                2 | 3 if fields.reply_serial(fields_size)? != Some(self.serial) => {}
                2 => return Ok(body),
                3 => return Err(io::Error::other(body.text().unwrap_or_default())),
                _ => {}
            }
        }
    }
}

/// A message that is being written, or a part of one that begins at a multiple of eight bytes.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        // All texts here are names of some dozen bytes.
        self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }
}

/// The values of a message, of which those before `at` were read.
struct Values {
    bytes: Vec<u8>,
    at: usize,
    little_endian: bool,
}

impl Values {
    /// Reads the next part of the same message.
    fn following(&self, stream: &mut impl Read, count: u32) -> io::Result<Self> {
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
        stream.read_exact(&mut bytes)?;
        Ok(Self { bytes, at: 0, little_endian: self.little_endian })
    }

    fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.saturating_add(count));
        self.at += count;
        taken.ok_or_else(|| invalid("the answer is too short"))
    }

    fn align(&mut self, to: usize) -> io::Result<()> {
        let gap = self.at.next_multiple_of(to) - self.at;
        self.take(gap).map(drop)
    }

    fn number(&mut self) -> io::Result<u32> {
        self.align(4)?;
        let little_endian = self.little_endian;
        let bytes = self.take(4)?.try_into().map_err(|_| invalid("the answer is too short"))?;
        Ok(if little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.number()?.min(MAX_ANSWER_SIZE);
        let text = self.take(usize::try_from(length).unwrap_or(usize::MAX))?.to_vec();
        self.take(1)?;
        String::from_utf8(text).map_err(|_| invalid("the answer is not text"))
    }

    fn signature(&mut self) -> io::Result<String> {
        let length = usize::from(self.take(1)?[0]);
        let text = self.take(length)?.to_vec();
        self.take(1)?;
        String::from_utf8(text).map_err(|_| invalid("the answer is not text"))
    }

    /// The serial of the call that is answered, among the header fields, which have `size` bytes.
    fn reply_serial(&mut self, size: u32) -> io::Result<Option<u32>> {
        /// The code of the header field.
        const REPLY_SERIAL: u8 = 5;
        while self.at < usize::try_from(size).unwrap_or(usize::MAX) {
            self.align(8)?;
            let code = self.take(1)?[0];
            match (code, self.signature()?.as_str()) {
                (REPLY_SERIAL, "u") => return self.number().map(Some),
                (_, "u") => drop(self.number()?),
                (_, "s" | "o") => drop(self.text()?),
                (_, "g") => drop(self.signature()?),
                _ => return Err(invalid("a header field of an unknown type")),
            }
        }
        Ok(None)
    }
}

fn size(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| invalid("the call is too long"))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;
    use tempfile::TempDir;

    /// What a bus answers to a call: `Ok` with the signature and the values, or `Err` with the text of an error.
    type Answer = Result<(&'static str, Vec<u8>), &'static str>;

    fn values(write: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::default();
        write(&mut message);
        message.0
    }

    /// Accepts one client, and gives these answers to its calls. Returns the calls as they came.
    fn serve(listener: &UnixListener, answers: Vec<Answer>) -> Vec<Vec<u8>> {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        assert!(line.starts_with(b"\0AUTH EXTERNAL "), "{line:?}");
        stream.write_all(b"OK 0123456789abcdef\r\n").unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
        let mut calls = Vec::new();
        for answer in answers {
            let mut head = [0; 16];
            stream.read_exact(&mut head).unwrap();
            let mut fixed = Values { bytes: head.to_vec(), at: 4, little_endian: true };
            let (body, serial, fields) = (fixed.number().unwrap(), fixed.number().unwrap(), fixed.number().unwrap());
            let rest = fixed.following(&mut stream, fields.next_multiple_of(8) + body).unwrap();
            calls.push(rest.bytes);
            // A signal that nobody asked for comes before each answer.
            let other = (4, serial + 100, Ok(("", Vec::new())));
            for (kind, serial, answer) in [other, (if answer.is_ok() { 2 } else { 3 }, serial, answer)] {
                let (signature, body) = match answer {
                    Ok((signature, body)) => (signature, body),
                    Err(text) => ("s", values(|body| body.text(text))),
                };
                let fields = values(|fields| {
                    for (code, name) in [(6, ":1.7"), (7, "org.freedesktop.systemd1")] {
                        fields.align(8);
                        fields.0.push(code);
                        fields.signature("s");
                        fields.text(name);
                    }
                    fields.align(8);
                    fields.0.push(8);
                    fields.signature("g");
                    fields.signature(signature);
                    fields.align(8);
                    fields.0.push(5);
                    fields.signature("u");
                    fields.number(serial);
                });
                let mut message = Message(vec![b'l', kind, 1, 1]);
                message.number(size(&body).unwrap());
                message.number(1);
                message.number(size(&fields).unwrap());
                message.0.extend(fields);
                message.align(8);
                message.0.extend(body);
                stream.write_all(&message.0).unwrap();
            }
        }
        calls
    }

    #[test]
    fn the_job_of_the_unit_is_asked_for() {
        let hello = || Ok(("s", values(|body| body.text(":1.7"))));
        let unit = || Ok(("o", values(|body| body.text("/org/freedesktop/systemd1/unit/rtlogd_2eservice"))));
        let job = |number: u32| {
            let body = values(|body| {
                body.signature("(uo)");
                body.align(8);
                body.number(number);
                body.text("/org/freedesktop/systemd1/job/12");
            });
            Ok(("v", body))
        };
        let kind = |kind: &str| {
            let body = values(|body| {
                body.signature("s");
                body.text(kind);
            });
            Ok(("v", body))
        };
        let refusal = "PID 7 does not belong to any loaded unit.";
        let table: [(Vec<Answer>, &str); 4] = [
            (vec![hello(), unit(), job(12), kind("restart")], "restart"),
            (vec![hello(), unit(), job(12), kind("stop")], "stop"),
            (vec![hello(), unit(), job(0)], "no job"),
            (vec![hello(), Err(refusal)], refusal),
        ];
        for (answers, expected) in table {
            let directory = TempDir::new().unwrap();
            let socket = directory.path().join("bus");
            let listener = UnixListener::bind(&socket).unwrap();
            let server = thread::spawn(move || serve(&listener, answers));
            let found = job_type(&socket);
            let calls = server.join().unwrap();
            let has = |call: &[u8], text: &str| call.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(has(&calls[0], "Hello"));
            let found = match found {
                Ok(job) => job.unwrap_or_else(|| "no job".to_owned()),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected);
            if let Some(call) = calls.get(1) {
                assert!(has(call, "GetUnitByPID") && call.ends_with(&process::id().to_le_bytes()), "{call:?}");
            }
            assert!(calls.get(2).is_none_or(|call| has(call, "rtlogd_2eservice") && has(call, "Job")));
            assert!(calls.get(3).is_none_or(|call| has(call, "/job/12") && has(call, "JobType")));
        }
    }
}
