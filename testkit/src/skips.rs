//! Tests that cannot run here say so, once, loudly.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;

/// How every such line begins; `scripts/summarise` looks for it.
const PREFIX: &str = "SKIPPED";

/// Whether this is the run that must not skip anything: `CI=true`.
pub fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// Says that `test` does not run here, and why. Under `CI=true` it fails the test instead.
pub fn skip(test: &str, why: &str) {
    assert!(!in_ci(), "{test} cannot run here, and CI=true allows no skips: {why}");
    let line = line(&binary(), test, why);
    // Not `eprintln!`: libtest would keep that to itself while the test passes.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(file) = env::var_os("POLYMIRROR_SKIPS").filter(|file| !file.is_empty()) {
        // One write of a short line to an append-only file: lines of several binaries do not mix.
        let written = OpenOptions::new().create(true).append(true).open(&file);
        let written = written.and_then(|mut file| file.write_all(line.as_bytes()));
        // A skip that nobody counts would pass for a success.
        written
            .unwrap_or_else(|error| panic!("cannot write to POLYMIRROR_SKIPS={}: {error}", file.display()));
    }
}

/// The line itself: one line, whatever `why` holds.
fn line(binary: &str, test: &str, why: &str) -> String {
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{PREFIX}: {binary}::{test}: {why}\n")
}

/// This test binary, without the hash that cargo adds to its name.
fn binary() -> String {
    let name =
        env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    let name = name.unwrap_or_default();
    match name.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_one_line_under_the_name_of_its_binary() {
        assert_eq!(binary(), "testkit");
        assert_eq!(line("a", "b c", "first\nsecond  third\n"), "SKIPPED: a::b c: first second third\n");
    }
}
