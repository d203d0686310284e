//! Made-up markets: questions that a person can read in a demo, none of them real.

use crate::dice::Dice;

const TOWNS: [&str; 16] = [
    "Ardenmoor",
    "Brightwater",
    "Calder",
    "Dunmere",
    "Eastholm",
    "Fairhaven",
    "Glenrock",
    "Highmoor",
    "Ivybridge",
    "Kingsport",
    "Larkfield",
    "Millbrook",
    "Northgate",
    "Oakridge",
    "Pinehurst",
    "Ravenhill",
];
const BEASTS: [&str; 12] = [
    "Badgers", "Comets", "Dolphins", "Falcons", "Herons", "Lynxes", "Otters", "Ravens", "Stags", "Terns",
    "Vipers", "Wolves",
];
const COINS: [&str; 5] = ["Fjordcoin", "Lumen Token", "Basalt", "Quartz", "Tidechain"];

/// What a market is about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The question.
    pub title: String,
    /// Its name in addresses, without what makes it unique.
    pub slug: String,
    /// `sports`, `crypto`, …
    pub category: &'static str,
    /// Its outcomes.
    pub outcomes: [&'static str; 2],
    /// The taker fee's rate in 10^-6 (`venue.md` 5.6).
    pub fee_rate: i64,
}

/// The subject of a market; `number` tells it from others about the same.
pub fn subject(dice: &mut Dice, number: u64) -> Subject {
    let mut pick = |from: &[&'static str]| from.get(dice.index(from.len())).copied().unwrap_or_default();
    let (town, other, beast, coin) = (pick(&TOWNS), pick(&TOWNS), pick(&BEASTS), pick(&COINS));
    let (title, category, outcomes, fee_rate) = match dice.below(10) {
        0..=3 => (format!("Will the {town} {beast} win match {number}?"), "sports", ["Yes", "No"], 50_000),
        4..=5 => (format!("{coin} up or down, round {number}"), "crypto", ["Up", "Down"], 70_000),
        6..=7 => (
            format!("Will {town} elect its incumbent in ballot {number}?"),
            "politics",
            ["Yes", "No"],
            40_000,
        ),
        8 => (format!("Will it rain in {town} on day {number}?"), "weather", ["Yes", "No"], 50_000),
        _ => (format!("Will {town} and {other} sign treaty {number}?"), "geopolitics", ["Yes", "No"], 0),
    };
    let slug = title
        .to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    Subject { title, slug, category, outcomes, fee_rate }
}
