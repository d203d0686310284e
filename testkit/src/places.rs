//! Where things lie that tests read.

use std::env;
use std::path::{Path, PathBuf};

use crate::skips::skip;

/// The root of this checkout.
pub fn workspace_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// A directory of the material that comes beside the checkout, such as `data`; `None`, said loudly, where
/// it did not come along.
pub fn shared_dir(test: &str, name: &str) -> Option<PathBuf> {
    // Beside the checkout, resolved: `..` of a linked checkout may be elsewhere.
    let dir = workspace_root().parent()?.join("shared").join(name);
    found(test, dir, "it does not come with the repository")
}

/// The directory of test vectors: what `VECTORS_DIR` says, else `../shared/vectors`.
pub fn vectors_dir(test: &str) -> Option<PathBuf> {
    match env::var_os("VECTORS_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => {
            let dir = PathBuf::from(dir);
            // Tests run in their crate's directory, and whoever set it was elsewhere.
            let dir = if dir.is_absolute() { dir } else { workspace_root().join(dir) };
            // Named by hand: a wrong one is a mistake, not an absence.
            assert!(
                dir.is_dir(),
                "VECTORS_DIR is {}, which is no directory: correct or unset it",
                dir.display()
            );
            Some(dir)
        }
        None => shared_dir(test, "vectors"),
    }
}

/// The Python that holds the foreign readers (`confluent-kafka`, `fastavro`); `make setup` makes it.
pub fn python_or_skip(test: &str) -> Option<PathBuf> {
    let python = workspace_root().join(".deps/venv/bin/python");
    if python.is_file() {
        return Some(python);
    }
    skip(test, "there is no .deps/venv; `make setup` makes it");
    None
}

fn found(test: &str, dir: PathBuf, hint: &str) -> Option<PathBuf> {
    if dir.is_dir() {
        return Some(dir);
    }
    skip(test, &format!("{} is not there; {hint}", dir.display()));
    None
}
