//! The program as it ships, built beside the tests that start it as processes.

fn main() -> std::process::ExitCode {
    polymirror::main()
}
