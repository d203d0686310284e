//! The program as it ships, built beside the tests that start it as processes; and, where a test asks for it, its
//! executor, which dies at the step that the test names.

fn main() -> std::process::ExitCode {
    if std::env::var_os(system_tests::crash::KILL_AT).is_some() {
        return system_tests::crash::execute_until();
    }
    polymirror::main()
}
