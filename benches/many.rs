//! Many of one kind: files, processes, streams with readers, filters, and connections without a request. What rtlogd uses
//! while nothing happens.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::Outcome;
use crate::readers::Readers;
use crate::server::Server;

const FILES: usize = 20_000;
const STREAMS: usize = 500;
const READERS_OF_STREAM: usize = 10;
const FILTERS: usize = 1000;
const PROCESSES: usize = 200;
const CONNECTIONS: usize = 10_000;

/// The time for which a server settles before it is measured, and the one for which it is measured.
const SETTLE: Duration = Duration::from_secs(3);
const MEASURE: Duration = Duration::from_secs(10);

/// What is set up, and what holds it.
type Setup = fn(&Path) -> Outcome<(Server, Vec<Readers>, Vec<TcpStream>)>;

const ROWS: [(&str, Setup); 5] = [
    ("20,000 files of one pattern", files),
    ("200 processes", processes),
    ("5,000 readers of 500 streams", readers),
    ("1,000 readers with a filter each", filters),
    ("10,000 connections without a request", connections),
];

/// Prints a row for each kind.
pub(crate) fn run(program: &Path) -> Outcome<()> {
    println!("\nmany: what is used while nothing happens, for {} s", MEASURE.as_secs());
    println!("{:38}{:>10}{:>10}{:>14}{:>14}", "", "CPU %", "MB", "descriptors", "switches/s");
    for (what, setup) in ROWS {
        let (server, mut readers, connections) = setup(program)?;
        let wait = |readers: &mut Vec<Readers>, time: Duration| -> Outcome<()> {
            let end = Instant::now() + time;
            while Instant::now() < end {
                std::thread::sleep(Duration::from_millis(100));
                for readers in &mut *readers {
                    readers.until(Instant::now() + Duration::from_millis(1), |_| false)?;
                }
            }
            Ok(())
        };
        wait(&mut readers, SETTLE)?;
        let (cpu, switches, start) = (server.fine_cpu()?, server.switches()?, Instant::now());
        wait(&mut readers, MEASURE)?;
        let seconds = start.elapsed().as_secs_f64();
        let percent = server.fine_cpu()?.saturating_sub(cpu).as_secs_f64() * 100.0 / seconds;
        let switches = server.switches()?.saturating_sub(switches) as f64 / seconds;
        let memory = server.memory()?.0 as f64 / 1e6;
        println!("{what:38}{percent:>10.2}{memory:>10.1}{:>14}{switches:>14.1}", server.descriptors()?);
        drop(connections);
    }
    Ok(())
}

fn start(streams: &Value, program: &Path, directory: TempDir) -> Outcome<Server> {
    Server::with_config(json!({ "streams": streams }), directory, program)
}

/// The same stream under many names.
fn streams(count: usize, stream: &Value) -> Value {
    (0..count).map(|number| (format!("s{number}"), stream.clone())).collect::<Map<_, _>>().into()
}

fn files(program: &Path) -> Outcome<(Server, Vec<Readers>, Vec<TcpStream>)> {
    let directory = TempDir::new()?;
    for number in 0..FILES {
        fs::write(directory.path().join(format!("{number}.log")), "one line\n")?;
    }
    let pattern = directory.path().join("*.log");
    Ok((start(&json!({ "files": { "file": pattern } }), program, directory)?, Vec::new(), Vec::new()))
}

fn processes(program: &Path) -> Outcome<(Server, Vec<Readers>, Vec<TcpStream>)> {
    let server = start(&streams(PROCESSES, &json!({ "command": ["sleep", "300"] })), program, TempDir::new()?)?;
    Ok((server, Vec::new(), Vec::new()))
}

fn readers(program: &Path) -> Outcome<(Server, Vec<Readers>, Vec<TcpStream>)> {
    let server = start(&streams(STREAMS, &json!({ "push": true })), program, TempDir::new()?)?;
    let connect = |number: usize| {
        let target = format!("/streams/s{number}");
        Readers::connect(server.address, &target, READERS_OF_STREAM, u64::MAX, false, false)
    };
    let readers = (0..STREAMS).map(connect).collect::<Outcome<Vec<_>>>()?;
    Ok((server, readers, Vec::new()))
}

fn filters(program: &Path) -> Outcome<(Server, Vec<Readers>, Vec<TcpStream>)> {
    let server = start(&streams(1, &json!({ "push": true })), program, TempDir::new()?)?;
    let connect = |number: usize| {
        let target = format!("/streams/s0?grep=error+{number}");
        Readers::connect(server.address, &target, 1, u64::MAX, false, false)
    };
    let readers = (0..FILTERS).map(connect).collect::<Outcome<Vec<_>>>()?;
    Ok((server, readers, Vec::new()))
}

fn connections(program: &Path) -> Outcome<(Server, Vec<Readers>, Vec<TcpStream>)> {
    let server = start(&streams(1, &json!({ "push": true })), program, TempDir::new()?)?;
    let connect = |_| -> Outcome<TcpStream> {
        let mut socket = TcpStream::connect(server.address)?;
        // After its first answer, a connection may wait for the next request.
        socket.write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        Ok(socket)
    };
    let connections = (0..CONNECTIONS).map(connect).collect::<Outcome<Vec<_>>>()?;
    Ok((server, Vec::new(), connections))
}
