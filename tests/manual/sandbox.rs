//! A machine with rtlogd installed, as the manual's examples expect one, in namespaces of its own.
//!
//! Port 7070, `/etc/rtlogd`, `/run`, `/var/log` and `/var/lib` are the sandbox's own, so an example runs exactly as printed, and
//! several sandboxes at once do not meet. Everything in one ends with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Deadline, skip, sources};

use super::has;

/// A running sandbox.
#[derive(Debug)]
pub(super) struct Sandbox {
    holder: Child,
    /// The id of its first process, as seen from outside.
    first: u32,
    work: TempDir,
}

/// A command that runs in a sandbox.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    out: PathBuf,
}

impl Sandbox {
    /// `None` where a tool is missing or the system does not permit namespaces.
    pub(super) fn new() -> Option<Self> {
        if !["unshare", "nsenter", "ip", "curl"].into_iter().all(has) {
            return None;
        }
        let work = TempDir::with_prefix("rtlogd-manual-").unwrap();
        certificates(&work.path().join("tls"));
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]);
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.arg(sources("tests/manual/setup")).arg(work.path()).arg(env!("CARGO_BIN_EXE_rtlogd")).arg(sources("."));
        let log = fs::File::create(work.path().join("setup.log")).unwrap();
        let holder = unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut sandbox = Self { holder, first: 0, work };
        let is_up = Deadline::new().until("the sandbox", || {
            if sandbox.work("ready").exists() { Some(true) } else { sandbox.holder.try_wait().unwrap().map(|_| false) }
        });
        if !is_up {
            let said = fs::read_to_string(sandbox.work("setup.log")).unwrap();
            assert!(said.starts_with("unshare:"), "the sandbox could not be set up: {said}");
            skip(&format!("there are no namespaces: {said}"));
            return None;
        }
        let children = format!("/proc/{0}/task/{0}/children", sandbox.holder.id());
        sandbox.first = fs::read_to_string(children).unwrap().trim().parse().expect("one child");
        Some(sandbox)
    }

    /// A file of the sandbox that is also seen from outside.
    pub(super) fn work(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Writes a file below the sandbox's `/etc`.
    pub(super) fn configure(&self, path: &str, text: &str) {
        let path = self.work.path().join("etc").join(path);
        // A link may be absolute, and would lead out of the sandbox.
        assert!(!path.is_symlink(), "{} is a link", path.display());
        fs::write(path, text).unwrap();
    }

    /// Starts a script of bash, in a directory with the files of the repository.
    pub(super) fn start(&self, script: &str) -> Running {
        let out = tempfile::Builder::new().prefix("out-").tempfile_in(self.work.path()).unwrap().keep().unwrap().1;
        let written = fs::File::create(&out).unwrap();
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.work("bin").display());
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--target={}", self.first)).args(["--net", "--mount", "--pid"]);
        if !rustix::process::geteuid().is_root() {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        let script = format!("cd '{}' || exit\n{script}", self.work("directory").display());
        nsenter.args(["--", "setpriv", "--pdeathsig", "KILL", "bash", "-c", &script]);
        nsenter.env_clear().env("PATH", path).env("HOME", self.work.path()).env("LC_ALL", "C.UTF-8");
        // Whoever made the certificates is believed here.
        nsenter.env("SSL_CERT_FILE", "/etc/rtlogd/ca.pem").env("CURL_CA_BUNDLE", "/etc/rtlogd/ca.pem");
        nsenter.stdin(Stdio::null());
        nsenter.stdout(written.try_clone().unwrap()).stderr(written);
        Running { child: nsenter.spawn().unwrap(), out }
    }

    /// Runs a script to its end, and gives back what it printed.
    pub(super) fn run(&self, script: &str) -> String {
        let mut running = self.start(script);
        let status = Deadline::new().until(&format!("the end of {script}"), || running.child.try_wait().unwrap());
        assert!(status.success(), "{script}: {status}: {}", running.printed());
        running.printed()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The first process dies with its parent, and all others with it.
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

impl Running {
    /// The output so far.
    pub(super) fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).unwrap()).into_owned()
    }

    /// The exit code, if the process has ended.
    pub(super) fn code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// Waits until it has printed `what`.
    pub(super) fn until(&mut self, what: &str) {
        let found = Deadline::new().find(|| {
            let ended = self.code();
            if self.printed().contains(what) { Some(true) } else { ended.map(|_| false) }
        });
        assert_eq!(found, Some(true), "no {what:?}; ended: {:?}; printed: {}", self.code(), self.printed());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A certificate for ci.example.com, and whoever signed it.
fn certificates(folder: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    fs::create_dir(folder).unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.distinguished_name.push(DnType::CommonName, "authority of the sandbox");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let root_certificate = root.self_signed(&root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(root, root_key);
    let certificate =
        CertificateParams::new(vec!["ci.example.com".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("ca.pem"), root_certificate.pem()).unwrap();
    fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}
