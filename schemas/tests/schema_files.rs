//! The schema files say what the types say, and what was released stays readable.
//!
//! `POLYMIRROR_UPDATE_SCHEMAS=1 cargo test -p schemas --test schema_files` writes `avro/*.avsc` anew, and releases
//! the next version of each schema that changed. A released file is never changed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{fs, path::PathBuf};

use apache_avro::{Schema, schema_compatibility::SchemaCompatibility};
use schemas::{
    codec::{BundledId, Codec, FIRST_BUNDLED_ID, released},
    events::all_records,
};
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(schema: &Value) -> String {
    serde_json::to_string_pretty(schema).unwrap() + "\n"
}

fn updating() -> bool {
    std::env::var_os("POLYMIRROR_UPDATE_SCHEMAS").is_some()
}

#[test]
fn the_schema_files_say_what_the_types_say() {
    for record in all_records() {
        let path = root().join("avro").join(format!("{}.avsc", record.name));
        let want = text(&record.schema);
        if updating() {
            fs::write(&path, &want).unwrap();
        }
        let got = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(got, want, "{} is out of date: see the head of this test", path.display());
    }
}

#[test]
fn the_newest_release_of_each_record_is_what_the_types_say() {
    let mut ids: Vec<BundledId> =
        serde_json::from_str(&fs::read_to_string(root().join("registry.json")).unwrap()).unwrap();
    for record in all_records() {
        let newest = ids.iter().filter(|i| i.name == record.name).max_by_key(|i| i.version).cloned();
        let file = |v: u32| root().join("released").join(format!("{}.v{v}.avsc", record.name));
        let current = newest.as_ref().map(|n| fs::read_to_string(file(n.version)).unwrap());
        let want = text(&record.schema);
        if current.as_deref() == Some(&want) {
            continue;
        }
        assert!(updating(), "{} changed and is not released: see the head of this test", record.name);
        let version = newest.map_or(1, |n| n.version + 1);
        let id = ids.iter().map(|i| i.id).max().map_or(FIRST_BUNDLED_ID, |m| m + 1);
        fs::write(file(version), &want).unwrap();
        ids.push(BundledId { id, name: record.name.into(), version });
    }
    if updating() {
        let lines: Vec<String> =
            ids.iter().map(|i| format!("  {}", serde_json::to_string(i).unwrap())).collect();
        fs::write(root().join("registry.json"), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
}

#[test]
fn every_schema_is_full_transitive_compatible_with_every_release_of_itself() {
    let released = released().unwrap();
    for record in all_records() {
        let now = Schema::parse(&record.schema).unwrap();
        for old in released.iter().filter(|r| r.name == record.name) {
            let then = Schema::parse_str(old.json).unwrap();
            let what = format!("{} against its version {}", record.name, old.version);
            SchemaCompatibility::can_read(&then, &now).unwrap_or_else(|e| panic!("{what}, backward: {e}"));
            SchemaCompatibility::can_read(&now, &then).unwrap_or_else(|e| panic!("{what}, forward: {e}"));
        }
    }
}

#[test]
fn ids_are_given_once_and_the_bundle_is_whole() {
    let released = released().unwrap();
    let mut ids: Vec<_> = released.iter().map(|r| r.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), released.len(), "an id stands for two schemas");
    // A registry hands out small numbers: none of them may mean something else here.
    assert!(ids.iter().all(|id| id.0 >= FIRST_BUNDLED_ID), "a bundled id among those of registries");
    Codec::bundled().unwrap();
}

#[test]
fn every_field_of_every_record_is_documented() {
    fn walk(value: &Value, at: &str) {
        match value {
            Value::Object(o) => {
                if o.get("type").and_then(Value::as_str) == Some("record") {
                    assert!(o["doc"].as_str().is_some_and(|d| d.len() > 10), "{at}: record without doc");
                    for field in o["fields"].as_array().unwrap() {
                        let at = format!("{at}.{}", field["name"].as_str().unwrap());
                        assert!(
                            field["doc"].as_str().is_some_and(|d| d.len() > 5),
                            "{at}: field without doc"
                        );
                        walk(&field["type"], &at);
                    }
                } else {
                    o.values().for_each(|v| walk(v, at));
                }
            }
            Value::Array(a) => a.iter().for_each(|v| walk(v, at)),
            _ => {}
        }
    }
    for record in all_records() {
        walk(&record.schema, record.name);
    }
}
