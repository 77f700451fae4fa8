//! The real program from outside: one file for each capability.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that says where is the report")]
#![expect(clippy::print_stderr, reason = "a failed test shows what the program said")]
#![expect(clippy::disallowed_methods, reason = "tests meet real deadlines")]

mod harness;
mod layers;

mod tail;
mod files;
mod symlinks;
mod journal;
mod privacy;
mod process;
mod continuity;
mod stored_sockets;
mod push;
mod reload;
mod detach;
mod inherit;
mod doctor;
mod package;
mod manual;
mod resume;
mod history;
mod runs;
mod wire_formats;
mod envelopes;
mod kubernetes;
mod formats;
mod openapi;
mod poll;
mod progress;
mod proxies;
mod behind_proxies;
mod control;
mod control_hostile;
mod control_process;
mod rights;
mod public;
mod redact;
mod tokens;
mod upgrade;
mod tls;
mod config;
mod lifecycle;
mod metrics;
mod hostile;
mod limits;
mod flood;
mod wakeups;
mod slow;
mod bombs;
mod fuzz;
mod budgets;
mod cli;
mod client;
mod terminal;
mod live_rows;
mod clients;
mod compression;
mod foreign;
mod page;
