//! Bundles every released schema and the list of their ids into the program.

use std::{env, fmt::Write as _, fs, path::Path};

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let released = Path::new(&root).join("released");
    println!("cargo::rerun-if-changed={}", released.display());
    println!("cargo::rerun-if-changed={root}/registry.json");
    let mut names: Vec<String> = fs::read_dir(&released)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|e| e == "avsc"))
        .collect();
    names.sort();
    let mut code = format!("pub const REGISTRY: &str = include_str!(r\"{root}/registry.json\");\n");
    code.push_str("pub const FILES: &[(&str, &str)] = &[\n");
    for name in names {
        let path = released.join(&name);
        // Writing into a string cannot fail.
        let _ = writeln!(code, "    ({name:?}, include_str!(r\"{}\")),", path.display());
    }
    code.push_str("];\n");
    let out = Path::new(&env::var("OUT_DIR").unwrap_or_default()).join("released.rs");
    if let Err(error) = fs::write(&out, code) {
        println!("cargo::error=cannot write {}: {error}", out.display());
    }
}
