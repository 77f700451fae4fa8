//! The logger: to standard error, its level from `RTLOGD_LOG`. One log line for a decision, none for data.

use std::io::Write;

use env_logger::{Builder, Env};
use log::kv::{self, Key, Value, VisitSource};

/// What is logged if nothing else is said: our decisions, and of libraries only what went wrong.
const LEVELS: &str = "warn,rtlogd=info";

/// Starts logging: [`LEVELS`], or what `RTLOGD_LOG` says (syntax of `env_logger`).
pub(crate) fn start() {
    let mut logger = Builder::from_env(Env::new().filter_or("RTLOGD_LOG", LEVELS));
    logger.format(|out, record| {
        let mut fields = Fields(String::new());
        // A field that cannot be shown is left out; the line stays.
        let shown = record.key_values().visit(&mut fields);
        let fields = if shown.is_ok() { fields.0.as_str() } else { "" };
        writeln!(out, "rtlogd: {}: {}{fields}", record.level().as_str().to_lowercase(), record.args())
    });
    logger.init();
}

struct Fields(String);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        use std::fmt::Write as _;
        let text = value.to_string();
        let plain = !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
        if plain { write!(self.0, " {key}={text}") } else { write!(self.0, " {key}={text:?}") }.map_err(kv::Error::from)
    }
}
