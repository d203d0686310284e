//! Rows of a text: a JSON array, JSON lines, pages of the API, or CSV, each row with the line it starts
//! on. A row that cannot be read is reported and does not end the reading.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde_json::value::RawValue;

/// A row that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BrokenRow {
    /// The line on which it starts, from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// One row: its values by name, as text. Numbers keep their literal.
#[derive(Debug)]
pub struct Row<'a> {
    /// The line on which it starts, from 1.
    pub line: u64,
    values: Values<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    Json(BTreeMap<Cow<'a, str>, &'a RawValue>),
    Csv(&'a csv::StringRecord, &'a csv::StringRecord),
}

impl Row<'_> {
    /// The value under the first of these names that has one; strings without their quotes, objects and
    /// arrays as JSON. Empty and `null` count as absent.
    pub fn get(&self, names: &[&str]) -> Option<Cow<'_, str>> {
        names.iter().find_map(|name| match &self.values {
            Values::Json(map) => json_text(map.get(*name)?),
            Values::Csv(header, record) => {
                let column = header.iter().position(|h| h == *name)?;
                record.get(column).filter(|v| !v.is_empty()).map(Cow::Borrowed)
            }
        })
    }
}

fn json_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(text).ok().filter(|s| !s.is_empty()).map(Cow::Owned),
        b'n' => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

/// Reads every row of `text`, in order. `each` may refuse one with a reason.
pub fn read_rows<E: fmt::Display>(
    text: &str,
    broken: &mut Vec<BrokenRow>,
    mut each: impl FnMut(&Row<'_>) -> Result<(), E>,
) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { broken, each: &mut each };
    match text.trim_start().as_bytes().first() {
        None => {}
        Some(b'[') => reader.elements(text, 1, true),
        Some(b'{') if first_line_is_whole(text) => reader.lines(text),
        Some(b'{') => reader.elements(text, 1, false),
        Some(_) => reader.csv(text),
    }
}

fn first_line_is_whole(text: &str) -> bool {
    let line = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    // A broken first row must not turn lines into something else: a line that ends its own object counts.
    line.trim_end().ends_with('}')
}

struct Reader<'b, F> {
    broken: &'b mut Vec<BrokenRow>,
    each: F,
}

impl<E: fmt::Display, F: FnMut(&Row<'_>) -> Result<(), E>> Reader<'_, F> {
    fn report(&mut self, line: u64, reason: impl fmt::Display) {
        self.broken.push(BrokenRow { line, reason: reason.to_string() });
    }

    fn give(&mut self, row: &Row<'_>) {
        if let Err(reason) = (self.each)(row) {
            self.report(row.line, reason);
        }
    }

    /// One JSON object: a row, or a page of rows under `data`.
    fn object(&mut self, text: &str, line: u64) {
        match serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(text) {
            Err(error) => self.report(line, format!("not a JSON object: {error}")),
            Ok(map) => match map.get("data").or_else(|| map.get("markets")) {
                Some(page) if page.get().starts_with('[') => {
                    let before = text.find(page.get()).map_or(0, |at| newlines(&text[..at]));
                    self.elements(page.get(), line + before, true);
                }
                _ => self.give(&Row { line, values: Values::Json(map) }),
            },
        }
    }

    fn lines(&mut self, text: &str) {
        for (line, row) in (1..).zip(text.lines()) {
            match row.trim() {
                "" => {}
                page if page.starts_with('[') => self.elements(page, line, true),
                row => self.object(row, line),
            }
        }
    }

    /// The objects of an array, or objects one after another: split at their braces, so that what is
    /// broken inside one does not reach the next.
    fn elements(&mut self, text: &str, first_line: u64, array: bool) {
        let (mut depth, mut in_string, mut escaped) = (0u32, false, false);
        let (mut line, mut start) = (first_line, None);
        let mut closed = !array;
        for (at, byte) in text.bytes().enumerate() {
            line += u64::from(byte == b'\n');
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    // No string of JSON holds a raw line break: the quote was never closed.
                    b'"' | b'\n' => in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'{' => {
                    if depth == 0 {
                        start = Some((at, line));
                    }
                    depth += 1;
                }
                b'}' if depth > 0 => {
                    depth -= 1;
                    if let (0, Some((from, row_line))) = (depth, start) {
                        self.object(&text[from..=at], row_line);
                        start = None;
                    }
                }
                b']' if depth == 0 => closed = true,
                b',' | b'[' | b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
                _ if depth == 0 => {
                    // Something that is no object stands among the rows: reported once per run of it.
                    let runs_on = at > 0 && !b",[ \t\r\n}".contains(&text.as_bytes()[at - 1]);
                    if !runs_on {
                        self.report(line, "not a JSON object");
                    }
                }
                _ => {}
            }
        }
        if let Some((_, row_line)) = start {
            self.report(row_line, "the row is cut off");
        } else if !closed {
            self.report(line, "the array is cut off");
        }
    }

    fn csv(&mut self, text: &str) {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => return self.report(1, error),
        };
        let mut record = csv::StringRecord::new();
        loop {
            let before = reader.position().line();
            match reader.read_record(&mut record) {
                Ok(false) => break,
                Err(error) => self.report(before, error),
                Ok(true) => {
                    let line = record.position().map_or(before, csv::Position::line);
                    if record.len() == header.len() {
                        self.give(&Row { line, values: Values::Csv(&header, &record) });
                    } else {
                        self.report(line, format!("{} columns, not {}", record.len(), header.len()));
                    }
                }
            }
        }
    }
}

fn newlines(text: &str) -> u64 {
    text.bytes().map(|b| u64::from(b == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(u64, String)>, Vec<u64>) {
        let (mut rows, mut broken) = (Vec::new(), Vec::new());
        read_rows(text, &mut broken, |row| {
            let a = row.get(&["a", "A"]).ok_or("no a")?;
            rows.push((row.line, a.into_owned()));
            Ok::<_, &str>(())
        });
        (rows, broken.into_iter().map(|b| b.line).collect())
    }

    fn rows(of: &[(u64, &str)]) -> Vec<(u64, String)> {
        of.iter().map(|(line, a)| (*line, (*a).to_owned())).collect()
    }

    #[test]
    fn every_shape_gives_the_same_rows_with_their_lines() {
        let expected = |lines: [u64; 2]| rows(&[(lines[0], "0.10"), (lines[1], "x,y")]);
        assert_eq!(read("[{\"a\":0.10},{\"A\":\"x,y\"}]"), (expected([1, 1]), vec![]));
        assert_eq!(read("\u{feff}[\n{\"a\":0.10},\n\n{\"A\":\"x,y\"}\n]\n"), (expected([2, 4]), vec![]));
        assert_eq!(read("{\"a\":0.10}\n{\"a\":\"x,y\"}\n"), (expected([1, 2]), vec![]));
        assert_eq!(read("{\n\"a\":0.10}\n{\"a\":\"x,y\"}\n"), (expected([1, 3]), vec![]));
        assert_eq!(
            read("{\"data\":[{\"a\":0.10}]}\n{\"data\":[{\"a\":\"x,y\"}]}"),
            (expected([1, 2]), vec![])
        );
        assert_eq!(read("a,b\n0.10,1\n\"x,y\",2\n"), (expected([2, 3]), vec![]));
        assert_eq!(read(""), (vec![], vec![]));
    }

    #[test]
    fn a_broken_row_is_reported_with_its_line_and_the_others_are_read() {
        assert_eq!(
            read("[{\"a\":1},\n{\"a\":},\n7,\n{\"b\":1},\n{\"a\":2}\n]"),
            (rows(&[(1, "1"), (5, "2")]), vec![2, 3, 4])
        );
        assert_eq!(read("{\"a\":1}\n{\"a\":\n{\"a\":2}\n"), (rows(&[(1, "1"), (3, "2")]), vec![2]));
        assert_eq!(read("a,b\n1,1\n2\n3,1\n"), (rows(&[(2, "1"), (4, "3")]), vec![3]));
        assert_eq!(read("[{\"a\":1},{\"a\":2"), (rows(&[(1, "1")]), vec![1]));
        assert_eq!(read("[{\"a\":\"open\n},\n{\"a\":2}]"), (rows(&[(3, "2")]), vec![1]));
    }
}
