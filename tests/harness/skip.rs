//! Reports a test that cannot run on this machine, so that it is not counted as passed.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::thread;

/// Reports that the running test, or a part of it, is skipped, and why. The caller then returns.
///
/// `tests/check` collects the reports in the file named by `RTLOGD_SKIPPED`, prints and counts them, and fails if there
/// is one on a machine that can run every test. Each report also goes to standard error directly, which the test runner
/// does not capture.
pub(crate) fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let report = format!("{test}: {reason}\n");
    let mut stderr = std::io::stderr();
    stderr.write_all(format!("skipped {report}").as_bytes()).expect("standard error can be written to");
    if let Some(path) = env::var_os("RTLOGD_SKIPPED").map(PathBuf::from) {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(report.as_bytes()))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Returns whether the running test has the rights of root. Without them it is reported as skipped, with the reason why
/// it needs them.
pub(crate) fn is_root_or_skip(need: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip(&format!("only root can {need}"));
    }
    is_root
}
