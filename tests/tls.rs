//! TLS from outside: who must speak it, what it offers, certificates that change, and other people's clients over it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::harness::{Daemon, Deadline, PATIENCE, Program, TestDir, skip};
use crate::tokens::{keys, token};

/// An authority, and certificates of it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(dir: &TestDir, file: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, file);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path(file), issuer.pem()).unwrap();
        Self(issuer)
    }

    /// Writes `NAME.pem` and `NAME.key`, in the way of those who change certificates: put in place whole.
    fn certify(&self, dir: &TestDir, name: &str) {
        let parameters = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        for (extension, text) in [("pem", certificate.pem()), ("key", key.serialize_pem())] {
            let path = dir.path(&format!("{name}.{extension}"));
            let new = path.with_extension("new");
            std::fs::write(&new, text).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::rename(new, path).unwrap();
        }
    }
}

/// A daemon that speaks TLS, and its authority.
fn daemon(more: &str) -> (Daemon, Authority) {
    let dir = TestDir::new();
    keys(&dir, "keys");
    let authority = Authority::new(&dir, "ca.pem");
    authority.certify(&dir, "tls");
    dir.write("app.log", "one\n");
    let yaml = format!(
        "tls: {{ certificate: tls.pem, key: tls.key{more} }}\naccess: {{ keys: keys }}\nlisten: [\"0.0.0.0:0\"]\n\
         streams: {{ app: {{ file: app.log, from: start }} }}"
    );
    (dir.start(&yaml), authority)
}

fn port(daemon: &Daemon) -> u16 {
    daemon.address().tcp().port()
}

/// The output of curl.
fn curl(daemon: &Daemon, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments).current_dir(daemon.path(""));
    let ended = Program::start(command.stdin(Stdio::null())).ended();
    (ended.status.success(), String::from_utf8_lossy(&ended.out).into_owned() + &ended.err)
}

#[test]
fn streams_are_served_over_tls_with_both_versions_of_http() {
    let (daemon, _authority) = daemon("");
    let url = format!("https://localhost:{}/streams/app?follow=false&format=text", port(&daemon));
    for (arguments, version) in [
        (&["--http2"][..], "2"),
        (&["--http1.1"], "1.1"),
        (&["--tlsv1.2", "--tls-max", "1.2"], "2"),
        (&["--tlsv1.3"], "2"),
    ] {
        let arguments = [&["--cacert", "ca.pem", "-w", "%{http_version}", &url], arguments].concat();
        assert_eq!(curl(&daemon, &arguments), (true, format!("one\n{version}")), "{arguments:?}");
    }
    let (done, said) = curl(&daemon, &[&url]);
    assert!(!done && said.contains("certificate"), "{said}");
}

#[test]
fn versions_before_tls_1_2_are_refused() {
    let (daemon, _authority) = daemon("");
    // A ClientHello of TLS 1.1 (RFC 4346, section 7.4.1.2) with one suite, TLS_RSA_WITH_AES_128_CBC_SHA.
    let body = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    let hello = [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    let mut socket = TcpStream::connect(daemon.address().tcp()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&hello).unwrap();
    let mut answer = [0; 7];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!((answer[0], answer[5]), (0x15, 2), "a fatal alert: {answer:?}");
}

#[test]
fn a_slow_handshake_is_dropped() {
    let (daemon, _authority) = daemon(" }\nlimits: { head: 1s");
    // A record that says it has 512 bytes of a ClientHello.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 32]].concat();
    for sent in [1, 5, hello.len()] {
        let mut socket = TcpStream::connect(daemon.address().tcp()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&hello[..sent]).unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0, "after {sent} bytes");
    }
    let mut trickling = TcpStream::connect(daemon.address().tcp()).unwrap();
    trickling.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    trickling.write_all(&hello).unwrap();
    Deadline::new().until("the end of the one that trickles", || {
        match (trickling.write(&[7]), trickling.read(&mut [0])) {
            (Ok(_), Err(error)) => (error.kind() != std::io::ErrorKind::WouldBlock).then_some(()),
            (Err(_), _) | (_, Ok(_)) => Some(()),
        }
    });
    assert_eq!(daemon.get("/health/live", &[]).0, 200);
}

/// An address of this machine that is not loopback, if it has one.
fn outer() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // No packet is sent: `connect` only finds the route.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip()).filter(|address| !address.is_loopback())
}

#[test]
fn other_machines_need_tls_to_connect_and_a_token_to_read() {
    let (daemon, _authority) = daemon("");
    assert_eq!(daemon.get("/streams", &[]).0, 200, "this machine may");
    let Some(outer) = outer() else { return skip("this machine has no address other than loopback") };
    let address = SocketAddr::new(outer, port(&daemon));
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(format!("GET /streams HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("https://\n"), "{answer}");
    let url = format!("https://{address}/streams");
    let (_, said) = curl(&daemon, &["--insecure", "-w", "%{http_code}", &url]);
    assert!(said.ends_with("401"), "{said}");
    let bearer = format!("Authorization: Bearer {}", token(&daemon, "keys", &["--stream", "*"]));
    let (_, said) = curl(&daemon, &["--insecure", "-w", "%{http_code}", "-H", &bearer, &url]);
    assert!(said.ends_with("200") && said.contains("\"app\""), "{said}");
    let body = format!("token={}", token(&daemon, "keys", &["--stream", "*"]));
    let url = format!("https://{address}/login");
    let (_, said) =
        curl(&daemon, &["--insecure", "-i", "-H", &format!("Origin: https://{address}"), "-d", &body, &url]);
    let port = address.port();
    assert!(
        said.to_lowercase().contains(&format!("set-cookie: rtlogd-{port}=")) && said.contains("; Secure"),
        "{said}"
    );
}

#[test]
fn a_new_certificate_is_used_and_a_wrong_one_is_not() {
    let (daemon, authority) = daemon("");
    let url = format!("https://localhost:{}/health/live", port(&daemon));
    let serial = || curl(&daemon, &["--cacert", "ca.pem", "-w", "%{certs}", "-o", "none", &url]).1;
    let first = serial();
    assert!(first.contains("BEGIN CERTIFICATE"), "{first}");
    std::fs::write(daemon.path("tls.pem"), "nonsense").unwrap();
    Deadline::new().until("a warning", || daemon.logged().contains("cannot be used").then_some(()));
    assert_eq!(serial(), first);
    authority.certify(&daemon, "tls");
    Deadline::new().until("the new certificate", || (serial() != first).then_some(()));
    assert!(serial().contains("BEGIN CERTIFICATE"));
}

#[test]
fn clients_present_a_certificate_where_it_is_required() {
    let (daemon, authority) = daemon(", client_ca: ca.pem");
    authority.certify(&daemon, "client");
    let other = Authority::new(&daemon, "other.pem");
    other.certify(&daemon, "stranger");
    let url = format!("https://localhost:{}/health/live", port(&daemon));
    let shown = |name: Option<&str>| {
        let files = name.map(|name| [format!("{name}.pem"), format!("{name}.key")]);
        let more = files.as_ref().map_or_else(Vec::new, |[pem, key]| vec!["--cert", pem, "--key", key]);
        curl(&daemon, &[&["--cacert", "ca.pem", &url], &more[..]].concat()).0
    };
    assert_eq!([shown(Some("client")), shown(Some("stranger")), shown(None)], [true, false, false]);
}

#[test]
fn the_commands_connect_over_tls() {
    let (daemon, _authority) = daemon("");
    let list = |roots: &str| {
        let mut command = daemon.command(&["ls", "--url", &format!("https://localhost:{}", port(&daemon))]);
        command.env("SSL_CERT_FILE", daemon.path(roots)).env_remove("SSL_CERT_DIR").stdin(Stdio::null());
        Program::start(&mut command).ended()
    };
    let ended = list("ca.pem");
    assert!(ended.status.success() && String::from_utf8_lossy(&ended.out).contains("app"), "{}", ended.err);
    Authority::new(&daemon, "other.pem");
    let ended = list("other.pem");
    assert!(
        !ended.status.success() && ended.err.contains("is not trusted: this system does not know who signed it"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("--ca FILE"), "{}", ended.err);
}

#[test]
fn the_commands_trust_a_certificate_that_the_user_names() {
    let (daemon, _authority) = daemon("");
    let list = |arguments: &[&str]| {
        let url = format!("https://localhost:{}", port(&daemon));
        let mut command = daemon.command(&[&["ls", "--url", &url], arguments].concat());
        Program::start(command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR").stdin(Stdio::null())).ended()
    };
    assert!(list(&["--ca", "ca.pem"]).status.success());
    assert!(list(&["--ca", "tls.pem"]).status.success());
    assert!(list(&[]).err.contains("--ca FILE"));
    daemon.write("broken.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    for (file, why) in [
        ("missing.pem", "cannot read the certificates of --ca \"missing.pem\""),
        (".", "cannot read the certificates of --ca \".\""),
        ("app.log", "begins with `-----BEGIN CERTIFICATE-----`"),
        ("broken.pem", "has no certificates"),
        ("tls.key", "it is a private key"),
    ] {
        let ended = list(&["--ca", file]);
        assert!(ended.err.starts_with("rtlogd: ") && ended.err.contains(why), "{file}: {}", ended.err);
        assert!(!ended.err.contains("is it running"), "{file}: {}", ended.err);
    }

    // A certificate that signed itself, and may sign others, as `openssl req -x509` makes it.
    let own = |names: &[&str], file: &str| {
        let mut parameters =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(daemon.path(&format!("{file}.pem")), parameters.self_signed(&key).unwrap().pem()).unwrap();
        let path = daemon.path(&format!("{file}.key"));
        std::fs::write(&path, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    for (names, trusted, why) in [
        (&["localhost"][..], "own.pem", ""),
        (&["localhost"], "ca.pem", "is not trusted: it is self-signed (if it is the right one, copy its file"),
        (&["ci.example.com"], "own.pem", "is not trusted: it is for another host name"),
    ] {
        own(names, "own");
        for extension in ["pem", "key"] {
            std::fs::rename(daemon.path(&format!("own.{extension}")), daemon.path(&format!("tls.{extension}")))
                .unwrap();
        }
        std::fs::copy(daemon.path("tls.pem"), daemon.path("own.pem")).unwrap();
        // The daemon reads the new certificate soon.
        Deadline::new().until(&format!("{names:?} with {trusted}: {why}"), || {
            let ended = list(&["--ca", trusted]);
            (ended.status.success() == why.is_empty() && ended.err.contains(why)).then_some(())
        });
    }
}

#[test]
fn the_commands_say_which_protocol_the_server_does_not_speak() {
    // An alert, as servers of TLS send it to those who do not speak it (RFC 8446, section 6). rtlogd itself answers clients
    // of this machine without TLS.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let secure = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            client.read(&mut [0; 1024]).unwrap_or_default();
            client.write_all(&[21, 3, 3, 0, 2, 2, 70]).unwrap_or_default();
        }
    });
    let plain = Daemon::start("streams: {}");
    for (port, scheme, why) in [
        (secure, "http", "if it uses TLS, begin its address with https://"),
        (port(&plain), "https", "does not use TLS; begin its address with http://"),
    ] {
        let ended = plain.execute(&["ls", "--url", &format!("{scheme}://localhost:{port}")]);
        assert!(ended.err.contains(&format!("localhost:{port}")) && ended.err.contains(why), "{scheme}: {}", ended.err);
        assert_eq!(ended.status.code(), Some(1));
    }
}

#[test]
fn an_address_that_others_can_reach_needs_tls_and_tokens() {
    let dir = TestDir::new();
    let (tls, keys) = ("tls: { certificate: a.pem, key: a.key }", "access: { keys: keys }");
    for (yaml, fits) in [
        (String::new(), false),
        (tls.to_owned(), false),
        (keys.to_owned(), false),
        (format!("{tls}\n{keys}"), true),
        ("access: { insecure: true }".to_owned(), true),
    ] {
        dir.configure(&format!("listen: [\"0.0.0.0:0\"]\n{yaml}"));
        let ended = dir.execute(&["check", "--config", "rtlogd.yaml"]);
        assert_eq!(ended.status.success(), fits, "{yaml}: {}", ended.err);
    }
}

#[test]
fn a_world_readable_tls_key_is_refused() {
    let dir = TestDir::new();
    Authority::new(&dir, "ca.pem").certify(&dir, "tls");
    std::fs::set_permissions(dir.path("tls.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    dir.configure("tls: { certificate: tls.pem, key: tls.key }");
    let ended = dir.execute(&["serve", "--config", "rtlogd.yaml"]);
    assert!(!ended.status.success() && ended.err.contains("chmod o-r"), "{}", ended.err);
}
