//! Ends a server and removes its directory when the test process is gone, however it went.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Waits for the end of standard input; ends the process if it still works in the directory (its id alone
/// could belong to somebody else by then); waits until it is gone; removes the directory, again while
/// something still writes there.
const SCRIPT: &str = r#"
read -r _
here() { [ "/proc/$1/cwd" -ef "$2" ]; }
here "$1" "$2" && kill "-$3" "$1"
tries=300
while here "$1" "$2" && [ "$tries" -gt 0 ]; do tries=$((tries - 1)); sleep 0.1; done
here "$1" "$2" && kill -KILL "$1"
tries=50
until rm -rf -- "$4" 2>/dev/null || [ "$tries" -eq 0 ]; do tries=$((tries - 1)); sleep 0.1; done
"#;

/// A shell whose standard input is a pipe that ends with this process, or with this value.
#[derive(Debug)]
pub(crate) struct Janitor {
    shell: Child,
}

impl Janitor {
    /// Over the process `pid` that works in `workdir`: `signal` ends it, and `remove` goes.
    pub(crate) fn over(pid: u32, workdir: &Path, signal: &str, remove: &Path) -> std::io::Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "testkit-janitor"])
            .arg(pid.to_string())
            .arg(workdir)
            .arg(signal)
            .arg(remove)
            .current_dir("/")
            .stdin(Stdio::piped())
            // Held open, they would keep whoever reads the tests' output waiting.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What is sent to the tests' process group must leave it standing.
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        // Its work begins at the end of its input, and is done when it ends.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
