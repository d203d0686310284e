//! A process stops when it is asked to, whoever listens to what it says.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::BINARY;

#[test]
fn a_process_whose_output_nobody_reads_any_more_still_stops_when_it_is_asked_to() {
    let mut child = Command::new(BINARY)
        .args(["simulate", "--port", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("simulator listening"));
    // As `| head -1` leaves it.
    drop((lines, child.stderr.take()));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    testkit::wait_for_blocking("it to stop", Duration::from_secs(20), || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
}
