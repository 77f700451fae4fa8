//! The logs of a Kubernetes node, as the kubelet and the container runtime lay them out and rotate them, and the manifests of
//! `config/examples/kubernetes.yaml`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::http::{Address, Response};
use crate::harness::{Daemon, Deadline, TestDir, sources};

/// The containers of the node: namespace, pod, name, and the zone in which its runtime writes times.
const CONTAINERS: [(&str, &str, &str, &str); 3] = [
    ("shop", "web-7d4b9c6f5-x2x7k", "nginx", "Z"),
    ("shop", "web-7d4b9c6f5-x2x7k", "sidecar", "+02:00"),
    ("kube-system", "coredns-5d78c9869d-9qz4m", "coredns", "-07:00"),
];

/// The lines that each container writes to each of its two streams.
const LINES: u32 = 800;

/// The number of lines, of both streams, after which the kubelet finds that a file is too large.
const LINES_PER_FILE: u32 = 200;

/// A container that runs: the file to which the runtime writes, and what the kubelet does with it.
struct Container {
    /// The directory of the file, such as `pods/NAMESPACE_POD_UID/NAME`.
    directory: PathBuf,
    name: &'static str,
    zone: &'static str,
    /// The kubelet asks the runtime to open the file again.
    must_reopen: AtomicBool,
    /// The number of lines that were written, and the one at which the program waits for the kubelet.
    lines: AtomicU32,
    limit: AtomicU32,
    is_over: AtomicBool,
}

impl Container {
    /// Creates the first file of a container, and the symbolic link to it.
    fn new(dir: &TestDir, (namespace, pod, name, zone): (&str, &str, &'static str, &'static str)) -> Self {
        let directory = dir.path(&format!("pods/{namespace}_{pod}_0b1f-{name}/{name}"));
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all(dir.path("containers")).unwrap();
        let id = "3f2a".repeat(16);
        let link = dir.path(&format!("containers/{pod}_{namespace}_{name}-{id}.log"));
        symlink(directory.join("0.log"), link).unwrap();
        let (must_reopen, lines, is_over) = Default::default();
        let limit = AtomicU32::new(2 * LINES_PER_FILE);
        let container = Self { directory, name, zone, must_reopen, lines, limit, is_over };
        drop(container.open());
        container
    }

    fn path(&self) -> PathBuf {
        self.directory.join("0.log")
    }

    fn open(&self) -> File {
        let file = OpenOptions::new().append(true).create(true).open(self.path()).unwrap();
        file.set_permissions(Permissions::from_mode(0o640)).unwrap();
        file
    }

    /// The time of a line, as the runtime writes it, and as rtlogd shows it.
    fn time(&self, number: u32) -> (String, String) {
        let (minute, second) = (number / 60, number % 60);
        let hour = match self.zone {
            "+02:00" => 12,
            "-07:00" => 3,
            _ => 10,
        };
        let written = format!("2026-11-23T{hour:02}:{minute:02}:{second:02}.{:09}{}", number * 1000 + 7, self.zone);
        (written, format!("2026-11-23T10:{minute:02}:{second:02}.{number:06}Z"))
    }

    /// Writes the lines of both streams, some of them in pieces that are mixed with those of the other stream.
    fn run(&self, random: &mut fastrand::Rng) {
        let mut file = self.open();
        let mut streams = [("stdout", 0, 0), ("stderr", 0, 0)];
        while streams.iter().any(|(_, number, _)| *number < LINES) {
            if streams.iter().all(|(_, _, pieces)| *pieces == 0) {
                Deadline::new().until("the kubelet lets the program write on", || {
                    (self.must_reopen.load(Ordering::Acquire) || self.lines() < self.limit.load(Ordering::Acquire))
                        .then_some(())
                });
                if self.must_reopen.load(Ordering::Acquire) {
                    file = self.open();
                    self.must_reopen.store(false, Ordering::Release);
                }
            }
            let (stream, number, pieces) = &mut streams[random.usize(0..2)];
            if *number == LINES {
                continue;
            }
            let time = self.time(*number).0;
            if *pieces < 3 && random.u8(0..4) == 0 {
                *pieces += 1;
                writeln!(file, "{time} {stream} P piece {pieces}, ").unwrap();
            } else {
                writeln!(file, "{time} {stream} F {} {stream} {number} of {pieces} pieces", self.name).unwrap();
                (*number, *pieces) = (*number + 1, 0);
                self.lines.fetch_add(1, Ordering::AcqRel);
            }
        }
        self.is_over.store(true, Ordering::Release);
    }

    fn lines(&self) -> u32 {
        self.lines.load(Ordering::Acquire)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Returns whether the kubelet would rotate the file.
    fn is_too_large(&self) -> bool {
        self.lines() + LINES_PER_FILE >= self.limit.load(Ordering::Acquire)
    }

    /// Rotates the file as the kubelet does: renames it, has the runtime open a new one, and compresses those that were
    /// rotated before. The program writes meanwhile. `rotation` stands for the time, which is another one each time.
    fn rotate(&self, rotation: u32) {
        let older: Vec<PathBuf> = files(&self.directory).filter(|path| is_rotated(path)).collect();
        fs::rename(self.path(), self.directory.join(format!("0.log.20261123-0510{rotation:02}"))).unwrap();
        self.must_reopen.store(true, Ordering::Release);
        let reopened = || (!self.must_reopen.load(Ordering::Acquire) || self.is_over()).then_some(());
        Deadline::new().until("the runtime opens a new file", reopened);
        if !self.path().exists() {
            drop(self.open());
        }
        self.limit.fetch_add(LINES_PER_FILE, Ordering::AcqRel);
        for path in older {
            let temporary = PathBuf::from(format!("{}.tmp", path.display()));
            let packed =
                Command::new("gzip").arg("--stdout").arg(&path).stdout(File::create(&temporary).unwrap()).status();
            assert!(packed.unwrap().success());
            fs::rename(&temporary, format!("{}.gz", path.display())).unwrap();
            fs::remove_file(path).unwrap();
        }
    }
}

fn files(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path())
}

/// Returns whether a file was rotated and is not compressed yet.
fn is_rotated(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.starts_with("0.log.") && !name.contains(".gz") && !name.contains(".tmp")
}

/// The lines that arrived from each container and stream, in their order.
type Arrived = BTreeMap<(String, String), Vec<(String, Value)>>;

fn arrived(daemon: &Daemon) -> Arrived {
    let body = daemon.follow("pods").query("tail=all&follow=false&format=ndjson").body();
    let mut arrived = Arrived::new();
    for event in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_slice(event).unwrap();
        let kind = event["kind"].as_str().unwrap_or("line");
        assert_ne!(kind, "loss", "{event}");
        assert!(event.get("partial").is_none() && event.get("continued").is_none(), "{event}");
        if kind == "line" {
            let text = event["text"].as_str().unwrap().to_owned();
            let mut words = text.rsplit(", ").next().unwrap().split(' ');
            let (container, stream) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
            assert!(event["origin"].as_str().unwrap().ends_with(&stream), "{event}");
            arrived.entry((container, stream)).or_default().push((text, event["logged"].clone()));
        }
    }
    arrived
}

/// Waits until all lines that a container wrote before have arrived.
fn wait_for(daemon: &Daemon, container: &Container) {
    let written = usize::try_from(container.lines()).unwrap();
    let what = format!("{written} lines of {}", container.name);
    Deadline::new().until(&what, || {
        let lines = arrived(daemon);
        let came = lines.iter().filter(|((name, _), _)| name == container.name).map(|(_, lines)| lines.len());
        (came.sum::<usize>() >= written).then_some(())
    });
}

/// Each line of each container came once, whole, in order, and with its time.
fn assert_complete(arrived: &Arrived, containers: &[Container]) {
    for container in containers {
        for stream in ["stdout", "stderr"] {
            let lines = &arrived[&(container.name.to_owned(), stream.to_owned())];
            for (number, (text, logged)) in (0..).zip(lines) {
                let pieces = text.split(", ").filter(|piece| piece.starts_with("piece ")).count();
                let expected = format!("{} {stream} {number} of {pieces} pieces", container.name);
                assert_eq!(text.rsplit(", ").next(), Some(expected.as_str()), "{text}");
                assert_eq!(logged, &container.time(number).1, "{text}");
            }
            assert_eq!(lines.len(), usize::try_from(LINES).unwrap(), "{} {stream}", container.name);
        }
    }
}

const CONFIGURATION: &str = "history: { memory: 32MiB, disk: 64MiB }\nstate_directory: state\n\
    streams: { pods: { file: 'containers/*.log', format: cri, from: start, rotate_wait: 200ms, private: false } }";

#[test]
fn the_logs_of_a_node_lose_nothing_while_they_are_written_and_rotated() {
    let dir = TestDir::new();
    let containers = CONTAINERS.map(|container| Container::new(&dir, container));
    let daemon = thread::scope(|scope| {
        let mut daemon = dir.start(CONFIGURATION);
        for (seed, container) in (1..).zip(&containers) {
            scope.spawn(move || container.run(&mut fastrand::Rng::with_seed(seed)));
        }
        for rotation in 1.. {
            if containers.iter().all(Container::is_over) {
                break;
            }
            for container in &containers {
                let is_ready = || (container.is_too_large() || container.is_over()).then_some(());
                Deadline::new().until("a file that is too large", is_ready);
                // The kubelet compresses a file when the next one is rotated, 10 s later at the earliest.
                wait_for(&daemon, container);
            }
            // Once, the daemon is killed, and the files are rotated before it is started again.
            let killed = if rotation == 4 { Err(daemon.kill()) } else { Ok(daemon) };
            for container in &containers {
                container.rotate(rotation);
            }
            daemon = killed.unwrap_or_else(|dir| dir.launch(&["serve", "--config", "rtlogd.yaml"], Stdio::null()));
        }
        daemon
    });
    for container in &containers {
        wait_for(&daemon, container);
    }
    assert_complete(&arrived(&daemon), &containers);
    let packed =
        files(&containers[0].directory).filter(|path| path.extension().is_some_and(|extension| extension == "gz"));
    assert!(packed.count() >= 4, "the kubelet compressed the older files");
}

/// The documents of the example.
fn manifests() -> Vec<Value> {
    let text = fs::read_to_string(sources("config/examples/kubernetes.yaml")).unwrap();
    serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer}: {value}"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The configuration of rtlogd in the `ConfigMap` of this name.
fn configuration(manifests: &[Value], name: &str) -> String {
    let is_it = |value: &&Value| value["kind"] == "ConfigMap" && value["metadata"]["name"] == name;
    text(manifests.iter().find(is_it).unwrap(), "/data/rtlogd.yaml").to_owned()
}

#[test]
fn the_configurations_in_the_manifests_pass_the_check() {
    let manifests = manifests();
    let maps: Vec<_> = manifests.iter().filter(|value| value["kind"] == "ConfigMap").collect();
    assert_eq!(maps.len(), 2, "one of the sidecar, and one of the agent");
    for map in maps {
        let dir = TestDir::new();
        fs::write(dir.path("rtlogd.yaml"), text(map, "/data/rtlogd.yaml")).unwrap();
        let ended = dir.execute(&["check", "--config", "rtlogd.yaml"]);
        assert_eq!((ended.status.code(), ended.out.as_slice()), (Some(0), &b"ok\n"[..]), "{map}: {}", ended.err);
    }
}

#[test]
fn the_agent_shows_the_logs_to_those_who_may_enter_its_pod() {
    let dir = TestDir::new();
    let container = Container::new(&dir, CONTAINERS[0]);
    let path = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    let yaml = configuration(&manifests(), "rtlogd-agent")
        .replace("127.0.0.1:7070", "127.0.0.1:0")
        .replace("/run/rtlogd/rtlogd.sock", &path("socket"))
        .replace("/var/lib/rtlogd", &path("state"))
        .replace("/var/log/containers", &path("containers"));
    let daemon = dir.start(&yaml);
    for (number, text) in
        ["Exception in thread main", "  at a.B.c(B.java:7)", "password=hunter2hunter2"].iter().enumerate()
    {
        writeln!(container.open(), "2026-11-23T05:11:1{number}Z stderr F {text}").unwrap();
    }
    let read = |address: &Address, stream: &str| {
        let response = Response::get(address, &format!("/streams/{stream}?tail=all&follow=false&format=ndjson"), &[]);
        let body = String::from_utf8(response.body.all()).unwrap();
        (response.status == 200).then_some(body)
    };
    let lines = |stream: &str, count: usize| {
        Deadline::new().until(stream, || {
            let lines = read(daemon.unix(), stream)?.lines().map(str::to_owned).collect::<Vec<_>>();
            let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            let lines: Vec<_> = lines.into_iter().filter(|event| event.get("text").is_some()).collect();
            (lines.len() >= count).then_some(lines)
        })
    };
    assert_eq!(lines("containers", 3)[2]["logged"], "2026-11-23T05:11:12.000000Z");
    let shop = lines("shop", 2);
    assert_eq!(shop[0]["text"], "Exception in thread main\n  at a.B.c(B.java:7)");
    assert!(!shop[1]["text"].as_str().unwrap().contains("hunter2"), "{}", shop[1]);
    // Not everybody may read the files, so that others need more than a connection.
    assert_eq!(read(daemon.address(), "shop"), None);
}

#[test]
fn what_the_configurations_name_is_mounted_in_the_pods() {
    let manifests = manifests();
    let mut pods = 0;
    for workload in manifests.iter().filter(|value| value.pointer("/spec/template").is_some()) {
        let name = text(workload, "/metadata/name");
        let pod = &workload["spec"]["template"]["spec"];
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        assert_eq!(&workload["spec"]["selector"]["matchLabels"], labels, "{name}");
        let containers: Vec<_> = list(pod, "/initContainers").iter().chain(list(pod, "/containers")).collect();
        let volumes: BTreeMap<_, _> =
            list(pod, "/volumes").iter().map(|volume| (text(volume, "/name"), volume)).collect();
        for mount in containers.iter().flat_map(|container| list(container, "/volumeMounts")) {
            assert!(volumes.contains_key(text(mount, "/name")), "{name}: {mount}");
        }
        let container = containers.iter().find(|container| container["name"] == "rtlogd").unwrap();
        let mounts = list(container, "/volumeMounts");
        let mount_of = |path: &str| {
            let above = |mount: &&Value| Path::new(path).starts_with(text(mount, "/mountPath"));
            mounts.iter().find(above).unwrap_or_else(|| panic!("{name}: nothing is mounted for {path}"))
        };
        let map = text(volumes[text(mount_of("/etc/rtlogd/rtlogd.yaml"), "/name")], "/configMap/name");
        let yaml: Value = serde_yaml::from_str(&configuration(&manifests, map)).unwrap();
        let sockets = list(&yaml, "/listen").iter().filter_map(|address| address.as_str()?.strip_prefix("unix:"));
        for path in sockets.chain([text(&yaml, "/state_directory")]) {
            assert!(mount_of(path).get("readOnly").is_none(), "{name}: {path} must be writable");
        }
        for stream in yaml["streams"].as_object().unwrap().values() {
            let mount = mount_of(text(stream, "/file"));
            assert_eq!(mount["readOnly"], true, "{name}: {mount}");
            let node = volumes[text(mount, "/name")].pointer("/hostPath/path");
            assert!(node.is_none_or(|path| *path == mount["mountPath"]), "{name}: links would lead nowhere: {mount}");
            assert_eq!(node.is_some(), stream["format"] == "cri", "{name}: {stream}");
        }
        pods += 1;
    }
    assert_eq!(pods, 2, "the sidecar and the agent");
}
