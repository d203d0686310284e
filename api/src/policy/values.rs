//! The values of settings, from text and back. Nothing is rounded: what has more digits than we keep is
//! refused.

use std::str::FromStr;

use schemas::{Price, Usdc};

/// What takes a setting back to its default.
pub(super) const DEFAULT: &str = "default";

/// `None` for `default`, else what the reader makes of it.
pub(super) fn optional<T>(
    text: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text == DEFAULT { Ok(None) } else { read(text).map(Some) }
}

/// 10^-6 of a decimal, exactly.
fn micro(text: &str, what: &str) -> Result<i64, String> {
    use schemas::{Round, money::parse_micro};
    let down = parse_micro(text, Round::Down).map_err(|_| what.to_owned())?;
    let up = parse_micro(text, Round::Up).map_err(|_| what.to_owned())?;
    if down == up { Ok(down) } else { Err(format!("{what}, with at most six decimals")) }
}

pub(super) fn usdc(text: &str) -> Result<Usdc, String> {
    micro(text.strip_prefix('$').unwrap_or(text), "a decimal amount of dollars").map(Usdc::from_micro)
}

pub(super) fn price(text: &str) -> Result<Price, String> {
    micro(text.strip_prefix('$').unwrap_or(text), "a decimal price in dollars").map(Price::from_micro)
}

/// A part of a whole: `0.2` or `20%`, in 10^-6.
pub(super) fn fraction(text: &str) -> Result<i64, String> {
    const WHAT: &str = "a part, such as 0.2 or 20%";
    let Some(percent) = text.strip_suffix('%') else { return micro(text, WHAT) };
    let hundredfold = micro(percent, WHAT)?;
    if hundredfold % 100 == 0 {
        Ok(hundredfold / 100)
    } else {
        Err(format!("{WHAT}, with at most four decimals"))
    }
}

pub(super) fn show_fraction(value: i64) -> String {
    Usdc::from_micro(value).to_string()
}

/// Whole seconds: `600`, `600s`, `10m`, `2h`, `1d`.
pub(super) fn seconds(text: &str) -> Result<i32, String> {
    const WHAT: &str = "a time, such as 600, 600s, 10m, 2h or 1d";
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    whole(digits, WHAT)?.checked_mul(unit).ok_or_else(|| WHAT.to_owned())
}

pub(super) fn whole(text: &str, what: &str) -> Result<i32, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(what.to_owned());
    }
    text.parse().map_err(|_| what.to_owned())
}

pub(super) fn count(text: &str) -> Result<i32, String> {
    whole(text, "a whole number")
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" => Ok(true),
        "off" | "false" | "no" => Ok(false),
        _ => Err("on or off".to_owned()),
    }
}

pub(super) fn show_switch(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

/// One of a closed set of words.
pub(super) fn word<T: FromStr<Err = schemas::ids::IdError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: schemas::ids::IdError| e.what.to_owned())
}

/// Words between commas; of nothing: none.
pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> =
        text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let fits = |word: &String| word.len() <= 200 && !word.chars().any(|c| c.is_control() || c == '=');
    if words.len() <= 200 && words.iter().all(fits) {
        Ok(words)
    } else {
        Err("at most 200 words between commas, each of at most 200 characters".to_owned())
    }
}

/// Slippage: ticks, a part, or both: `1tick`, `2%`, `1tick,2%`. The greater of the two counts.
pub(super) fn slippage(text: &str) -> Result<(Option<i32>, Option<i64>), String> {
    const WHAT: &str = "ticks, a part, or both, such as 1tick, 2% or 1tick,2%";
    let (mut ticks, mut part) = (None, None);
    for piece in text.split(',').map(str::trim) {
        let number = piece.strip_suffix("ticks").or_else(|| piece.strip_suffix("tick"));
        let taken = match number {
            Some(number) => ticks.replace(whole(number.trim(), WHAT)?).is_some(),
            None => part.replace(fraction(piece).map_err(|_| WHAT.to_owned())?).is_some(),
        };
        if taken {
            return Err(WHAT.to_owned());
        }
    }
    Ok((ticks, part))
}

pub(super) fn show_slippage(ticks: Option<i32>, part: Option<i64>) -> Option<String> {
    match (ticks, part) {
        (None, None) => None,
        (Some(ticks), None) => Some(format!("{ticks}ticks")),
        (None, Some(part)) => Some(show_fraction(part)),
        (Some(ticks), Some(part)) => Some(format!("{ticks}ticks,{}", show_fraction(part))),
    }
}
