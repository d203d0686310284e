//! Every error that a user can meet has a code, a message that begins with it, and a page in `docs/errors/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Where codes are found, by code.
type Codes = BTreeMap<String, BTreeSet<PathBuf>>;

fn root() -> &'static Path {
    testkit::workspace_root()
}

/// The sources of every crate that is part of the program, without their tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|dir| {
            dir.join("Cargo.toml").is_file() && !dir.ends_with("testkit") && !dir.ends_with("tests")
        })
        .map(|dir| dir.join("src"))
        .collect();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let program = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), program));
            }
        }
    }
    assert!(found.len() > 50, "the sources are not where they are looked for");
    found.sort();
    found
}

/// Whether a text is a code: words of a-z and digits, at least two, joined by underscores.
fn is_code(text: &str) -> bool {
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.contains('_') && text.split('_').all(word)
}

/// The string literal with which a text begins, blanks before it aside.
fn literal(text: &str) -> Option<&str> {
    let inner = text.trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some(&inner[..end])
}

/// The code with which a message begins.
fn code_of(message: &str) -> Option<&str> {
    message.split_once(": ").map(|(code, _)| code).filter(|code| is_code(code))
}

/// The literals that stand directly behind each `opening`.
fn literals_behind<'t>(text: &'t str, opening: &'t str) -> impl Iterator<Item = &'t str> {
    text.match_indices(opening).filter_map(|(at, _)| literal(&text[at + opening.len()..]))
}

/// The bodies of the functions that give errors their codes.
fn code_functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("fn code(&self) -> &'static str {").skip(1).map(|body| body.split("\n    }").next().unwrap())
}

fn codes() -> Codes {
    let mut codes = Codes::new();
    for (path, text) in sources() {
        let mut add = |code: &str| {
            codes.entry(code.to_owned()).or_default().insert(path.clone());
        };
        // What is shown: messages that begin with their code.
        for opening in ["#[error(", "format!(", "println!(", "print!("] {
            literals_behind(&text, opening).filter_map(code_of).for_each(&mut add);
        }
        // What is counted and kept: codes by themselves.
        for body in code_functions(&text) {
            body.split('"').skip(1).step_by(2).filter(|word| is_code(word)).for_each(&mut add);
        }
        literals_behind(&text, " code: ").filter(|word| is_code(word)).for_each(&mut add);
    }
    codes
}

fn pages() -> BTreeSet<String> {
    let names = fs::read_dir(root().join("docs/errors")).unwrap().map(|e| e.unwrap().path());
    let pages: BTreeSet<String> =
        names.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    pages
        .iter()
        .filter_map(|name| name.strip_suffix(".md"))
        .filter(|n| *n != "README")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_error_has_a_page_and_every_page_an_error() {
    let (codes, pages) = (codes(), pages());
    assert!(codes.len() > 100 && codes.contains_key("log_unreachable"), "codes are not found any more");
    let missing: Vec<String> = codes
        .iter()
        .filter(|(code, _)| !pages.contains(*code))
        .map(|(code, paths)| format!("{code} ({})", paths.first().unwrap().display()))
        .collect();
    let idle: Vec<&String> = pages.iter().filter(|page| !codes.contains_key(*page)).collect();
    assert!(
        missing.is_empty() && idle.is_empty(),
        "codes without a page in docs/errors: {missing:#?}\npages without a code in the sources: {idle:#?}"
    );
}

#[test]
fn every_page_says_what_it_means_why_and_what_to_do_and_is_in_the_index() {
    let index = fs::read_to_string(root().join("docs/errors/README.md")).unwrap();
    for code in pages() {
        let text = fs::read_to_string(root().join(format!("docs/errors/{code}.md"))).unwrap();
        let parts: Vec<&str> = text.split("\n\n").map(str::trim).collect();
        let [title, means, "## Why it happens", why, "## What to do", remedy] = parts.as_slice() else {
            panic!("{code}: the page has not the parts of the others");
        };
        assert_eq!(*title, format!("# {code}"));
        for part in [means, why, remedy] {
            assert!(part.ends_with('.'), "{code}: {part}");
        }
        let entry = format!("| [{code}]({code}.md) | ");
        assert_eq!(index.matches(&entry).count(), 1, "{code} is not once in the index");
    }
    let entries = index.matches(".md) | ").count();
    assert_eq!(entries, pages().len(), "the index names pages that are not there");
}

/// A type of errors with codes shows them: whoever has the message can find the page.
#[test]
fn messages_begin_with_their_code() {
    let mut without = Vec::new();
    for (path, text) in sources().into_iter().filter(|(_, text)| code_functions(text).count() > 0) {
        for message in literals_behind(&text, "#[error(") {
            // Such as "{0}": another error's own words.
            let passes_on = message.starts_with('{') && message.ends_with('}') && !message.contains(' ');
            if code_of(message).is_none() && !passes_on {
                without.push(format!("{}: {message}", path.display()));
            }
        }
    }
    assert!(without.is_empty(), "messages that do not begin with a code: {without:#?}");
}

#[test]
fn codes_are_found_where_they_stand() {
    assert!(is_code("log_unreachable") && is_code("a_b2_c"));
    assert!(!is_code("log") && !is_code("Log_x") && !is_code("log_") && !is_code("a b_c"));
    assert_eq!(literal(r#"  "a \"b\" c" rest"#), Some(r#"a \"b\" c"#));
    assert_eq!(code_of("log_refused: {0}"), Some("log_refused"));
    assert_eq!(code_of("see also: log_refused: x"), None);
    let text = "fn code(&self) -> &'static str {\n        match self { A => \"a_b\" }\n    }\n\"not_this\"";
    assert_eq!(code_functions(text).count(), 1);
    assert!(!code_functions(text).next().unwrap().contains("not_this"));
}
