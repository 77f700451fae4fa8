//! The proxies of rtlogd-security(7), with the configurations of `config/examples`, in front of a daemon with a `base_path`.

use std::fs;

use crate::harness::{Deadline, is_root_or_skip, sources};

use super::sandbox::{Running, Sandbox};
use super::{Page, has};

const SITE: &str = "https://ci.example.com/logs";

/// curl of another machine, which believes the sandbox's certificates.
const CURL: &str = "curl --silent --show-error --interface 203.0.113.9";

/// A sandbox in which rtlogd serves as the page says, and a proxy that `script` starts.
struct Site {
    sandbox: Sandbox,
    _running: Vec<Running>,
    token: String,
}

impl Site {
    fn new(program: &str, files: &[(&str, &str)], script: &str) -> Option<Self> {
        // nginx and HAProxy become another user.
        if !is_root_or_skip(&format!("start {program}")) {
            return None;
        }
        if !has(program) || !has("python3") {
            return None;
        }
        let sandbox = Sandbox::new()?;
        let page = Page::read("packaging/man/rtlogd-security.7.md");
        let behind = page.blocks().into_iter().find(|block| block.language == "yaml" && block.section == "## PROXIES");
        let behind = behind.expect("the page shows rtlogd's own configuration").text;
        let streams = "streams:\n  app: { file: /var/log/app/app.log, from: start, private: false }\n  job: { command: [sleep, '1000'] }\n";
        sandbox.configure("rtlogd/rtlogd.yaml", &format!("{behind}{streams}"));
        sandbox.run(
            "cp /etc/rtlogd/cert.pem /etc/ssl/certs/ci.pem
             mkdir -p /etc/ssl/private && cp /etc/rtlogd/key.pem /etc/ssl/private/ci.key
             cp /etc/rtlogd/both.pem /etc/ssl/private/ci.pem
             echo one >/var/log/app/app.log && chmod 644 /var/log/app/app.log
             rtlogd token --init",
        );
        let token = sandbox
            .run("rtlogd token --stream '*' --allow read,input,admin --expires 1h 2>/dev/null")
            .trim()
            .to_owned();
        let mut daemon = sandbox.start("exec rtlogd serve --log-level info");
        daemon.until("listening on unix:");
        for (file, target) in files {
            sandbox.configure(target, &fs::read_to_string(sources("config/examples").join(file)).unwrap());
        }
        let proxy = sandbox.start(script);
        let probe = format!("{CURL} --output /dev/null {SITE}/health/live && echo up || true");
        let is_up = Deadline::new().find(|| sandbox.run(&probe).contains("up").then_some(()));
        assert!(is_up.is_some(), "{program} does not answer: {}{}", sandbox.run(&probe), proxy.printed());
        let site = Self { sandbox, _running: vec![daemon, proxy], token };
        Some(site)
    }

    /// The status and the head of an answer.
    fn status(&self, arguments: &str) -> u16 {
        let printed = self.sandbox.run(&format!("{CURL} --output /dev/null --write-out '%{{http_code}}' {arguments}"));
        printed.parse().unwrap_or_else(|_| panic!("{arguments}: {printed}"))
    }

    fn bearer(&self) -> String {
        format!("--header 'Authorization: Bearer {}'", self.token)
    }
}

/// The promise of the page about each proxy.
fn keeps_its_promises(site: &Site) {
    let bearer = site.bearer();
    // Everybody needs a token, including those who claim to be this machine.
    assert_eq!(site.status(&format!("{SITE}/streams")), 401);
    for claim in ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1"] {
        assert_eq!(site.status(&format!("--header '{claim}' {SITE}/streams")), 401, "{claim}");
        assert_eq!(site.status(&format!("--header '{claim}' {bearer} {SITE}/streams")), 200, "{claim}");
    }
    // The path is kept, over both versions of HTTP.
    for version in ["--http1.1", "--http2"] {
        assert_eq!(site.status(&format!("{version} {bearer} {SITE}/streams/app/state")), 200, "{version}");
        assert_eq!(site.status(&format!("{version} {bearer} {SITE}/")), 200, "{version}");
    }
    assert_eq!(site.status(&format!("{bearer} --request POST {SITE}/streams/job/restart")), 200);
    // A browser logs in: rtlogd knows that it came by TLS, and from its own page.
    let login = site.sandbox.run(&format!(
        "{CURL} --include --header 'Origin: https://ci.example.com' --data 'token={}' {SITE}/login",
        site.token
    ));
    let cookie = login.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie:")).expect(&login);
    assert!(cookie.contains("Path=/logs/") && cookie.contains("; Secure"), "{login}");

    // Each line at once, in each format: the next one is written when the one before was seen.
    let mut last = "one".to_owned();
    for format in ["sse", "ndjson", "text"] {
        let url = format!("'{SITE}/streams/app?tail=1&format={format}'");
        let mut reader = site.sandbox.start(&format!("{CURL} --no-buffer {bearer} {url}"));
        reader.until(&last);
        for line in ["first", "second", "third"] {
            let line = format!("{line} of {format}");
            site.sandbox.run(&format!("echo '{line}' >>/var/log/app/app.log"));
            reader.until(&line);
            last = line;
        }
        assert_eq!(reader.code(), None, "the reader is still there: {}", reader.printed());
    }

    // The control channel.
    let script = sources("tests/manual/websocket.py");
    let said =
        site.sandbox.run(&format!("python3 '{}' ci.example.com /logs/control '{}'", script.display(), site.token));
    assert!(said.contains("\"result\"") && said.contains("\"app\""), "{said}");
}

#[test]
fn nginx_is_a_proxy_that_works() {
    let files = [("nginx.conf", "nginx/sites-enabled/rtlogd")];
    let script = "exec nginx -g 'daemon off;'";
    if let Some(site) = Site::new("nginx", &files, script) {
        keeps_its_promises(&site);
    }
}

#[test]
fn caddy_is_a_proxy_that_works() {
    let files = [("Caddyfile", "caddy/Caddyfile")];
    if let Some(site) = Site::new("caddy", &files, "exec caddy run --config /etc/caddy/Caddyfile 2>&1") {
        keeps_its_promises(&site);
    }
}

#[test]
fn haproxy_is_a_proxy_that_works() {
    let files = [("haproxy.cfg", "haproxy/rtlogd.cfg")];
    let script = "exec haproxy -db -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/rtlogd.cfg";
    if let Some(site) = Site::new("haproxy", &files, script) {
        keeps_its_promises(&site);
    }
}

/// Debian has no Traefik, so this is what can be looked at without one.
#[test]
fn the_configuration_of_traefik_leads_to_rtlogd() {
    let text = fs::read_to_string(sources("config/examples/traefik.yml")).unwrap();
    let yaml: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let router = &yaml["http"]["routers"]["rtlogd"];
    assert_eq!(router["rule"], "Host(`ci.example.com`) && PathPrefix(`/logs/`)");
    let service = &yaml["http"]["services"][router["service"].as_str().unwrap()]["loadBalancer"];
    assert_eq!(service["servers"][0]["url"], "http://127.0.0.1:7070");
    for middleware in router["middlewares"].as_sequence().unwrap() {
        assert!(yaml["http"]["middlewares"][middleware].is_mapping(), "{middleware:?}");
    }
}
