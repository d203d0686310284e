//! `scripts/summarise` turns cargo's output into the one line that people and machines read.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::process::Command;

/// What the script prints for this output of cargo, these skips, and this exit status of cargo.
fn summarise(log: &str, skips: &str, status: i32) -> String {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("log"), log).unwrap();
    fs::write(temp.path().join("skips"), skips).unwrap();
    let output = Command::new(testkit::workspace_root().join("scripts/summarise"))
        .args(["log", "skips", &status.to_string()])
        .current_dir(temp.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const GREEN: &str = "\
   Compiling schemas v0.1.0
     Running unittests src/lib.rs (target/debug/deps/schemas-0123456789abcdef)

running 3 tests
test money::adds ... ok
test money::slow ... ignored, takes an hour
test money::later ... ignored

test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/kafka.rs (target/debug/deps/kafka-0123456789abcdef)
SKIPPED: kafka::reads: no Java
SKIPPED: kafka::writes: no Java

running 5 tests
test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s

   Doc-tests schemas

running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

#[test]
fn what_skipped_itself_is_skipped_and_not_passed() {
    let skips = "\
SKIPPED: kafka::writes: no Java
SKIPPED: kafka::reads: no Java: see README
SKIPPED: kafka::writes: no Java
";
    assert_eq!(
        summarise(GREEN, skips, 0),
        "\
SKIPPED: money::slow: takes an hour
SKIPPED: money::later: marked #[ignore]
SKIPPED: kafka::reads: no Java: see README
SKIPPED: kafka::writes: no Java
polymirror: 4 passed, 0 failed, 4 skipped
"
    );
}

#[test]
fn failures_are_summed() {
    let log = format!(
        "{GREEN}
     Running tests/api.rs (target/debug/deps/api-0123456789abcdef)
test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
error: test failed, to rerun pass `-p api --test api`
"
    );
    let said = summarise(&log, "", 101);
    assert!(said.ends_with("\npolymirror: 8 passed, 3 failed, 2 skipped\n"), "{said}");
}

#[test]
fn a_binary_that_crashed_is_a_failure_wherever_it_stands() {
    let crash = "     Running tests/boom.rs (target/debug/deps/boom-0123456789abcdef)\n\nrunning 2 tests\n";
    for log in [format!("{crash}{GREEN}"), format!("{GREEN}{crash}error: process didn't exit successfully\n")]
    {
        let said = summarise(&log, "", 101);
        assert!(said.ends_with("\npolymirror: 6 passed, 1 failed, 2 skipped\n"), "{said}");
    }
}

#[test]
fn a_build_that_failed_is_no_success() {
    let said = summarise("error[E0308]: mismatched types\nerror: could not compile `schemas`\n", "", 101);
    assert!(said.starts_with("FAILED: "), "{said}");
    assert!(said.ends_with("\npolymirror: 0 passed, 1 failed, 0 skipped\n"), "{said}");
    // Not even when some had passed before.
    let said = summarise(GREEN, "", 101);
    assert!(said.ends_with("\npolymirror: 6 passed, 1 failed, 2 skipped\n"), "{said}");
}

#[test]
fn a_test_binary_without_libtest_is_no_crash_when_all_went_well() {
    let log = format!("{GREEN}     Running tests/own.rs (target/debug/deps/own-0123456789abcdef)\nfine\n");
    let said = summarise(&log, "", 0);
    assert!(said.ends_with("\npolymirror: 6 passed, 0 failed, 2 skipped\n"), "{said}");
}
