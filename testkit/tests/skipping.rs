//! What cannot run is said, counted, and forbidden under `CI=true`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::process::{Command, Output};

use testkit::{kafka_or_skip, shared_dir, vectors_dir};

const CHILD: &str = "TESTKIT_TEST_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs one test of this binary again, as its child.
fn child(test: &str, ci: &str, environment: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(CHILD, "1")
        .env("CI", ci)
        .env_remove("POLYMIRROR_SKIPS")
        .env_remove("KAFKA_BROKERS")
        .env_remove("VECTORS_DIR")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn an_absent_directory_is_skipped_loudly_and_counted() {
    if is_child() {
        assert_eq!(shared_dir("first test", "no-such-directory"), None);
        assert_eq!(shared_dir("second test", "no-such-directory"), None);
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("skips");
    let test = "an_absent_directory_is_skipped_loudly_and_counted";
    let output = child(test, "", &[("POLYMIRROR_SKIPS", file.to_str().unwrap())]);
    assert!(output.status.success(), "{}", said(&output));
    let counted = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = counted.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("SKIPPED: skipping::first test: "), "{counted}");
    // Past libtest's capture, although the test passed.
    assert!(String::from_utf8_lossy(&output.stderr).contains(lines[1]));
}

#[test]
fn under_ci_a_skip_is_a_failure() {
    if is_child() {
        shared_dir("a test", "no-such-directory");
        return;
    }
    let output = child("under_ci_a_skip_is_a_failure", "true", &[]);
    assert!(!output.status.success());
    assert!(said(&output).contains("CI=true allows no skips"), "{}", said(&output));
}

#[test]
fn a_missing_java_skips_and_under_ci_fails() {
    if is_child() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        assert_eq!(runtime.block_on(kafka_or_skip("a Kafka test")), None);
        return;
    }
    let test = "a_missing_java_skips_and_under_ci_fails";
    let output = child(test, "", &[("JAVA_HOME", "/no/such/java")]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("SKIPPED: skipping::a Kafka test: "), "{}", said(&output));
    let output = child(test, "true", &[("JAVA_HOME", "/no/such/java")]);
    assert!(!output.status.success());
}

#[test]
fn a_wrong_vectors_dir_is_a_mistake_and_no_skip() {
    if is_child() {
        vectors_dir("a test");
        return;
    }
    let test = "a_wrong_vectors_dir_is_a_mistake_and_no_skip";
    let output = child(test, "", &[("VECTORS_DIR", "/no/such/vectors")]);
    assert!(!output.status.success());
    assert!(said(&output).contains("VECTORS_DIR is /no/such/vectors"), "{}", said(&output));

    let temp = tempfile::tempdir().unwrap();
    let output = child(test, "true", &[("VECTORS_DIR", temp.path().to_str().unwrap())]);
    assert!(output.status.success(), "{}", said(&output));
}
