//! Hands the arguments to [`rtlogd::cli`] and returns its exit code.

fn main() -> std::process::ExitCode {
    rtlogd::cli::main()
}
