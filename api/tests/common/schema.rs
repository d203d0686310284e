//! Answers held against the OpenAPI document: as much of JSON Schema as the document uses. A word of it that this
//! does not know fails the test.

use std::collections::BTreeSet;

use serde_json::Value;

use super::server::Answer;

/// An OpenAPI document.
pub struct Document(Value);

/// Words that say nothing about what is valid.
const SILENT: [&str; 6] = ["description", "title", "default", "examples", "example", "format"];

impl Document {
    pub const fn new(document: Value) -> Self {
        Self(document)
    }

    /// Method and path of every operation.
    pub fn operations(&self) -> BTreeSet<(String, String)> {
        let mut all = BTreeSet::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, _) in item.as_object().unwrap().iter().filter(|(_, op)| op["responses"].is_object())
            {
                all.insert((method.to_uppercase(), path.clone()));
            }
        }
        all
    }

    /// Names that the document refers to and does not hold.
    pub fn unresolved(&self) -> BTreeSet<String> {
        let mut missing = BTreeSet::new();
        let mut open = vec![&self.0];
        while let Some(value) = open.pop() {
            open.extend(value.as_array().into_iter().flatten());
            open.extend(value.as_object().into_iter().flat_map(|object| object.values()));
            let reference = value.get("$ref").and_then(Value::as_str);
            missing.extend(
                reference.filter(|reference| self.0.pointer(&reference[1..]).is_none()).map(str::to_owned),
            );
        }
        missing
    }

    /// The operation whose path fits.
    pub fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap();
        let fits = |template: &str| {
            let (a, b) = (template.split('/'), path.split('/'));
            a.clone().count() == b.clone().count()
                && a.zip(b).all(|(a, b)| a == b || (a.starts_with('{') && !b.is_empty()))
        };
        // The one that names most of the path, as the router picks it.
        let of = |path: &str| path.matches('{').count();
        let items = self.0["paths"].as_object().unwrap();
        let (_, item) =
            items.iter().filter(|(template, _)| fits(template)).min_by_key(|(template, _)| of(template))?;
        item.get(method.to_lowercase())
    }

    /// Fails where the answer is not one that the document lists.
    pub fn check(&self, method: &str, path: &str, answer: &Answer) {
        let at = format!("{method} {path}: {} {}", answer.status, answer.text);
        let Some(operation) = self.operation(method, path) else {
            assert!([404, 405].contains(&answer.status), "not in the document: {at}");
            answer.problem();
            return;
        };
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "a status that the document does not list: {at}");
        for header in response["headers"].as_object().into_iter().flatten() {
            assert!(answer.header(header.0).is_some(), "without {}: {at}", header.0);
        }
        let kind = answer.header("content-type").unwrap().split(';').next().unwrap();
        let schema = &response["content"][kind]["schema"];
        assert!(schema.is_object(), "a content type that the document does not list: {kind}: {at}");
        if kind.ends_with("json") {
            let wrong = self.errors(schema, &answer.json(), "$");
            assert!(wrong.is_empty(), "{wrong:#?} in {at}");
        }
    }

    /// The schema of that name.
    fn named(&self, reference: &str) -> &Value {
        let pointer = reference.strip_prefix('#').unwrap();
        self.0.pointer(pointer).unwrap_or_else(|| panic!("no {reference}"))
    }

    /// What of the value is not as the schema says.
    pub fn errors(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for (word, says) in schema.as_object().unwrap_or_else(|| panic!("{at}: {schema}")) {
            match word.as_str() {
                "$ref" => wrong.extend(self.errors(self.named(says.as_str().unwrap()), value, at)),
                "oneOf" => {
                    let fits = |one: &&Value| self.errors(one, value, at).is_empty();
                    let fit = says.as_array().unwrap().iter().filter(fits).count();
                    if fit != 1 {
                        wrong.push(format!("{at}: {fit} of {says} fit {value}"));
                    }
                }
                "type" => {
                    let types = says.as_array().cloned().unwrap_or_else(|| vec![says.clone()]);
                    if !types.iter().any(|name| is_a(value, name.as_str().unwrap())) {
                        wrong.push(format!("{at}: {value} is not {says}"));
                    }
                }
                "enum" => {
                    if !says.as_array().unwrap().contains(value) {
                        wrong.push(format!("{at}: {value} is none of {says}"));
                    }
                }
                "minimum" => {
                    if value.as_i64().is_some_and(|v| v < says.as_i64().unwrap()) {
                        wrong.push(format!("{at}: {value} is below {says}"));
                    }
                }
                "pattern" => {
                    if value.as_str().is_some_and(|text| !fits_pattern(text, says.as_str().unwrap())) {
                        wrong.push(format!("{at}: {value} is not of the form {says}"));
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        wrong.extend(self.errors(says, item, &format!("{at}[{index}]")));
                    }
                }
                "required" => {
                    let has = |name: &&Value| value.get(name.as_str().unwrap()).is_some();
                    wrong.extend(
                        says.as_array()
                            .unwrap()
                            .iter()
                            .filter(|n| !has(n))
                            .map(|n| format!("{at}: without {n}")),
                    );
                }
                "properties" | "additionalProperties" | "propertyNames" => {}
                word if SILENT.contains(&word) => {}
                other => panic!("{at}: the schema's `{other}` is not known here"),
            }
        }
        if let Some(object) = value.as_object().filter(|_| schema["type"].as_str() == Some("object")) {
            let properties = schema["properties"].as_object();
            for (name, value) in object {
                let at = format!("{at}.{name}");
                match (properties.and_then(|p| p.get(name)), &schema["additionalProperties"]) {
                    (Some(schema), _) => wrong.extend(self.errors(schema, value, &at)),
                    (None, more) if more.is_object() => wrong.extend(self.errors(more, value, &at)),
                    // An answer says nothing that the document does not.
                    (None, _) if properties.is_some() => wrong.push(format!("{at}: not in the document")),
                    (None, _) => {}
                }
            }
        }
        wrong
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        // Nothing of ours is a floating-point number.
        other => panic!("`{other}` is no type of ours"),
    }
}

/// The patterns of the document, each as a function: there is no need for an engine.
fn fits_pattern(text: &str, pattern: &str) -> bool {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let whole = |t: &str| digits(t) && (t == "0" || !t.starts_with('0'));
    let hex = |t: &str, n: usize, upper: bool| {
        let digit =
            |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || (upper && (b'A'..=b'F').contains(&b));
        t.strip_prefix("0x").is_some_and(|t| t.len() == n && t.bytes().all(digit))
    };
    match pattern {
        "^0x[0-9a-fA-F]{40}$" => hex(text, 40, true),
        "^0x[0-9a-f]{64}$" => hex(text, 64, false),
        "^(0|[1-9][0-9]{0,77})$" => whole(text) && text.len() <= 78,
        "^[A-Za-z0-9._-]{1,64}$" => {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        }
        r"^-?(0|[1-9][0-9]*)(\.[0-9]{1,6})?$" => {
            let text = text.strip_prefix('-').unwrap_or(text);
            let (w, places) = text.split_once('.').unwrap_or((text, "0"));
            whole(w) && digits(places) && places.len() <= 6
        }
        other => panic!("the pattern {other} is not known here"),
    }
}
