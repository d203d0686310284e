//! What `up` shows: fills, decisions by reason, orders by status, latency by step, lag by stage.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use crossterm::{
    cursor, queue,
    style::Print,
    terminal::{Clear, ClearType},
};
use runtime::{board::Figures, board::Step};

/// What does not change while the program runs.
#[derive(Debug, Clone)]
pub struct Header {
    /// What runs where: one line each.
    pub lines: Vec<String>,
}

/// Text of at most this many columns a line: a terminal's common width.
const WIDTH: usize = 100;

/// The whole screen as lines.
pub fn full(header: &Header, figures: &Figures, up_for: Duration) -> Vec<String> {
    let mut out = vec![format!("polymirror, up for {}   (Ctrl-C drains and stops)", clock(up_for))];
    out.extend(header.lines.iter().map(|l| format!("  {l}")));
    out.push(String::new());
    let per_second = rate(figures.fills, up_for);
    out.push(format!("fills      {:>9}   {per_second} a second", all_fills(figures)));
    out.push(format!("decisions  {:>9}   {}", total(figures.decisions.values()), list(&figures.decisions)));
    out.push(format!("orders     {:>9}   {}", total(figures.orders.values()), list(&figures.orders)));
    out.push(String::new());
    out.push("latency since ingest saw the fill         p50        p99".to_owned());
    for step in Step::ALL {
        if let Some((p50, p99)) = figures.latency.get(step.as_str()) {
            out.push(format!("  {:<32} {:>10} {:>10}", what(step), millis(*p50), millis(*p99)));
        }
    }
    out.push(String::new());
    let lag: Vec<String> = figures.lag.iter().map(|(stage, n)| format!("{stage} {n}")).collect();
    out.push(format!("lag        {}", if lag.is_empty() { "-".to_owned() } else { lag.join("   ") }));
    let troubles: Vec<String> = figures.troubles.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    out.push(format!(
        "troubles   {}",
        if troubles.is_empty() { "none".to_owned() } else { troubles.join("   ") }
    ));
    out.into_iter().flat_map(|line| wrap(&line)).collect()
}

/// The same in one line, for logs and pipes.
pub fn line(figures: &Figures, up_for: Duration) -> String {
    let mut out = format!(
        "{} fills {} | decisions {} ({}) | orders {} ({})",
        clock(up_for),
        all_fills(figures),
        total(figures.decisions.values()),
        list(&figures.decisions),
        total(figures.orders.values()),
        list(&figures.orders),
    );
    if let Some((p50, p99)) = figures.latency.get(Step::Sent.as_str()) {
        let _ = write!(out, " | fill to order p50 {} p99 {}", millis(*p50), millis(*p99));
    }
    let behind: u64 = figures.lag.values().sum();
    let _ = write!(out, " | lag {behind}");
    let troubles: u64 = figures.troubles.values().sum();
    if troubles > 0 {
        let _ = write!(out, " | troubles {troubles}");
    }
    out
}

/// Draws over what was drawn before.
///
/// # Errors
/// A terminal that is gone.
pub fn draw(lines: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    queue!(out, cursor::MoveTo(0, 0))?;
    for line in lines {
        queue!(out, Print(line), Clear(ClearType::UntilNewLine), Print("\r\n"))?;
    }
    queue!(out, Clear(ClearType::FromCursorDown))?;
    out.flush()
}

/// What earlier starts published counts too, as far back as ingest remembers.
const fn all_fills(figures: &Figures) -> u64 {
    figures.fills.saturating_add(figures.earlier_fills)
}

fn total<'a>(values: impl Iterator<Item = &'a u64>) -> u64 {
    values.sum()
}

fn list(counts: &std::collections::BTreeMap<&'static str, u64>) -> String {
    let mut items: Vec<(&&str, &u64)> = counts.iter().filter(|(_, n)| **n > 0).collect();
    items.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), **name));
    items.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
}

fn what(step: Step) -> &'static str {
    match step {
        Step::Published => "published to the log",
        Step::Decided => "decided",
        Step::Committed => "committed at the gate",
        Step::Sent => "handed to the venue",
        Step::Answered => "answered by the venue",
    }
}

fn clock(d: Duration) -> String {
    let s = d.as_secs();
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

fn millis(d: Duration) -> String {
    let micros = d.as_micros();
    format!("{}.{} ms", micros / 1000, micros / 100 % 10)
}

fn rate(count: u64, over: Duration) -> String {
    let tenths = u128::from(count) * 10_000 / over.as_millis().max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (index, word) in text.split(' ').enumerate() {
        let last = lines.len() - 1;
        if lines[last].chars().count() + 1 + word.chars().count() > WIDTH && !lines[last].is_empty() {
            lines.push(format!("{:<24}{word}", ""));
        } else {
            if index > 0 {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures { fills: 1_234, earlier_fills: 8_766, ..Figures::default() };
        figures.decisions.extend([("ok", 700), ("vwap_floor_breach", 530), ("stale_fill", 0)]);
        figures.orders.extend([("matched", 600), ("open", 100)]);
        figures.latency.insert("sent", (Duration::from_micros(4_200), Duration::from_micros(18_900)));
        figures.lag.extend([("decide", 0), ("execute", 3)]);
        figures
    }

    #[test]
    fn the_screen_tells_what_flows() {
        let header = Header { lines: vec!["log  SQLite".into()] };
        let text = full(&header, &figures(), Duration::from_secs(100)).join("\n");
        for part in [
            "10000   12.3 a second",
            "ok 700, vwap_floor_breach 530",
            "4.2 ms",
            "18.9 ms",
            "execute 3",
            "none",
        ] {
            assert!(text.contains(part), "{part} is missing from:\n{text}");
        }
        assert!(!text.contains("stale_fill"), "reasons that never came are left out");
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let mut figures = figures();
        for reason in schemas::Reason::ALL {
            figures.decisions.insert(reason.as_str(), 1_000_000);
        }
        let header = Header { lines: vec![] };
        assert!(full(&header, &figures, Duration::from_secs(1)).iter().all(|l| l.chars().count() <= WIDTH));
    }

    #[test]
    fn the_line_for_pipes_is_one_line() {
        let text = line(&figures(), Duration::from_secs(61));
        assert!(text.starts_with("00:01:01 fills 10000"), "{text}");
        assert!(!text.contains('\n'));
    }
}
