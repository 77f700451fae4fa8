//! The scripts and elements of the manual, as Debian's Chromium runs them on another site's page.

use std::fs;

use super::sandbox::Sandbox;
use super::{Page, has};

/// A daemon that the examples reach without TLS on this machine and, as `ci.example.com`, with it.
const CONFIGURATION: &str = r#"
listen: ["0.0.0.0:7070"]
hosts: [ci.example.com]
origins: ["http://127.0.0.1:8000"]
tls: { certificate: /etc/rtlogd/cert.pem, key: /etc/rtlogd/key.pem }
access: { insecure: true }
streams:
  build: { command: [sh, -c, 'echo "error: the first"; echo "[100%] Built target demo"'], restart: { when: never } }
"#;

/// Puts on the console what a reader sees of the element.
const LOOK: &str = "<script>setInterval(() => {
  const root = document.querySelector('rtlogd-stream').shadowRoot;
  if (root && root.textContent.includes('Built target demo')) console.log('the element shows the line');
}, 100);</script>";

#[test]
fn scripts_and_elements_work_in_a_browser() {
    if !has("chromium") || !has("python3") {
        return;
    }
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.configure("rtlogd/rtlogd.yaml", CONFIGURATION);
    let mut daemon = sandbox.start("exec rtlogd serve --log-level info");
    daemon.until("process ended");
    let pages = sandbox.work("pages");
    fs::create_dir(&pages).unwrap();
    let mut site =
        sandbox.start(&format!("exec python3 -um http.server 8000 --bind 127.0.0.1 --directory '{}'", pages.display()));
    site.until("Serving HTTP");
    let mut shown = 0;
    for (number, block) in Page::read("packaging/man/rtlogd-http.7.md").blocks().iter().enumerate() {
        let (body, expected) = match block.language.as_str() {
            "js" if block.text.contains("EventSource") => (format!("<script>{}</script>", block.text), "exit code 0"),
            // The reply is an object, so the console has to be asked for its text.
            "js" => {
                let text = block.text.replace("console.log(JSON.parse(data))", "console.log(data)");
                (format!("<script>{text}</script>"), "error: the first")
            }
            "html" => (format!("{}{LOOK}", block.text), "the element shows the line"),
            _ => continue,
        };
        fs::write(pages.join(format!("{number}.html")), format!("<!doctype html><title>example</title>{body}"))
            .unwrap();
        let mut browser = sandbox.start(&format!(
            "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --ignore-certificate-errors \
             --user-data-dir=\"$HOME/chromium-{number}\" --enable-logging=stderr --remote-debugging-port=0 \
             http://127.0.0.1:8000/{number}.html"
        ));
        browser.until(expected);
        shown += 1;
    }
    assert_eq!(shown, 3);
}
