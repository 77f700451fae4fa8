//! Hands the arguments to [`rtlogd::cli`] and returns its exit code.

/// Memory that nobody uses any more goes back to the system within seconds, by a thread of the allocator's own.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    rtlogd::cli::main()
}
