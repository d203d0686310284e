//! Two records, field by field.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDiff {
    /// Where: `inputs.own.held`.
    pub path: String,
    /// What the log says.
    pub recorded: String,
    /// What was decided now.
    pub replayed: String,
}

impl fmt::Display for FieldDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: recorded {}, replayed {}", self.path, self.recorded, self.replayed)
    }
}

/// The fields in which two records differ, in the order of their names.
pub fn fields<T: Serialize>(recorded: &T, replayed: &T) -> Vec<FieldDiff> {
    let value = |record| serde_json::to_value(record).unwrap_or(Value::Null);
    let mut found = Vec::new();
    walk("", &value(recorded), &value(replayed), &mut found);
    found
}

fn walk(path: &str, a: &Value, b: &Value, found: &mut Vec<FieldDiff>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            for (name, left) in x {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&path, left, y.get(name).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (n, (left, right)) in x.iter().zip(y).enumerate() {
                walk(&format!("{path}[{n}]"), left, right, found);
            }
        }
        _ if a == b => {}
        _ => found.push(FieldDiff { path: path.into(), recorded: a.to_string(), replayed: b.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_named() {
        let a = serde_json::json!({ "a": 1, "b": { "c": [1, 2], "d": null } });
        let b = serde_json::json!({ "a": 1, "b": { "c": [1, 3], "d": 4 } });
        let found: Vec<String> = fields(&a, &b).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["b.c[1]: recorded 2, replayed 3", "b.d: recorded null, replayed 4"]);
        assert!(fields(&a, &a).is_empty());
    }
}
