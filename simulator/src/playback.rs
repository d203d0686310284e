//! A tape, served as if it happened now: its first row at the start, its gaps divided by the speed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use schemas::{
    Address, AssetId, ConditionId, MarketVersion, Price, Shares, Timestamp, Usdc,
    money::{ONE, Round, mul_div},
};

use crate::{
    facts::{Facts, infer_tick},
    market::{Market, MarketRef, Outcome, TokenRef, decimal_id, unknown_sibling},
    print::{Activity, Happening, Literals, Opening, Print, Role, Source, What},
    tape::{BrokenRow, RowKind, Tape, TapeRow},
};

/// How fast a tape runs: a factor above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed(i64);

impl Speed {
    /// As it was recorded.
    pub const REAL: Self = Self(ONE);

    /// So many times as fast.
    pub const fn times(n: u32) -> Self {
        // Widening: no u32 is lost.
        Self(if n == 0 { ONE } else { n as i64 * ONE })
    }

    /// A span of the recording, as long as it takes now (microseconds).
    fn scale(self, micros: i64) -> i64 {
        mul_div(micros, ONE, self.0, Round::Down).unwrap_or(i64::MAX)
    }

    /// The factor in 10^-6.
    pub const fn micro(self) -> i64 {
        self.0
    }
}

impl Default for Speed {
    fn default() -> Self {
        Self::REAL
    }
}

impl std::str::FromStr for Speed {
    type Err = String;

    /// A decimal factor such as `1`, `0.5` or `200`.
    fn from_str(s: &str) -> Result<Self, String> {
        match schemas::money::parse_micro(s, Round::Nearest) {
            Ok(factor) if factor > 0 => Ok(Self(factor)),
            _ => Err(format!("`{s}` is no speed: give a factor above zero, such as 1, 0.5 or 200")),
        }
    }
}

/// A tape as a source of happenings.
#[derive(Debug)]
pub struct Playback {
    ahead: VecDeque<Happening>,
    openings: Vec<Opening>,
    leaders: Vec<Address>,
}

/// How the tape's time becomes now.
#[derive(Debug, Clone, Copy)]
struct Shift {
    first: i64,
    start: Timestamp,
    speed: Speed,
}

impl Shift {
    fn of(&self, recorded: Timestamp) -> Timestamp {
        let into = recorded.micros().saturating_sub(Timestamp::from_secs(self.first).micros());
        Timestamp::from_micros(self.start.micros().saturating_add(self.speed.scale(into)))
    }

    fn second(&self, second: i64) -> Timestamp {
        self.of(Timestamp::from_secs(second))
    }
}

/// What the tape itself tells of a condition.
#[derive(Debug, Default)]
struct Seen<'a> {
    tokens: [Option<&'a AssetId>; 2],
    sample: Option<&'a TapeRow>,
    prices: Vec<(Price, &'a str)>,
    names: [Option<Arc<str>>; 2],
    first_price: Option<(usize, Price)>,
}

impl Playback {
    /// Lays a tape out from `start`. Markets take orders until `grace` after the last row. Rows whose token
    /// fits no market are reported and left out.
    pub fn new(
        tape: &Tape,
        facts: &BTreeMap<ConditionId, Facts>,
        start: Timestamp,
        speed: Speed,
        grace: Duration,
        broken: &mut Vec<BrokenRow>,
    ) -> Self {
        let first = tape.rows.first().map_or(0, |row| row.second);
        let shift = Shift { first, start, speed };
        let end = tape.rows.last().map_or(start, |row| shift.second(row.second)).plus(grace);

        let mut seen: BTreeMap<ConditionId, Seen<'_>> = BTreeMap::new();
        let mut order = Vec::new();
        for row in &tape.rows {
            let Some(condition) = row.condition else { continue };
            let entry = seen.entry(condition).or_insert_with(|| {
                order.push(condition);
                Seen::default()
            });
            entry.note(row, facts.get(&condition));
        }

        let mut tokens: BTreeMap<&AssetId, TokenRef> = BTreeMap::new();
        let mut markets: BTreeMap<ConditionId, MarketRef> = BTreeMap::new();
        let mut ahead = Vec::new();
        let mut closing = Vec::new();
        for condition in order {
            let Some(entry) = seen.get(&condition) else { continue };
            let at = MarketRef(u32::try_from(markets.len()).unwrap_or(u32::MAX));
            for (token, second) in entry.tokens.iter().zip([false, true]) {
                if let Some(token) = token {
                    tokens.insert(token, TokenRef { market: at, second });
                }
            }
            markets.insert(condition, at);
            let known = facts.get(&condition);
            let market = entry.market(condition, at, known, shift, end);
            ahead.push(Happening { at: start, what: What::Open(Box::new(market)) });
            closing.push(Happening { at: end, what: What::Close(at, known.and_then(|f| f.payouts)) });
        }

        for row in &tape.rows {
            let at = shift.second(row.second);
            let what = match &row.kind {
                RowKind::Trade { asset, side, price } => {
                    let Some(token) = tokens.get(asset) else {
                        let reason = format!("token {asset} of {} is a third one of its market", row.tx);
                        broken.push(BrokenRow { line: 0, reason });
                        continue;
                    };
                    What::Print(Print {
                        second: at.secs(),
                        wallet: row.wallet,
                        token: *token,
                        side: *side,
                        role: Role::Taker,
                        size: row.size,
                        price: *price,
                        tx: row.tx,
                        literals: literals(row, *price),
                    })
                }
                RowKind::Activity(kind) => What::Activity(Activity {
                    second: at.secs(),
                    wallet: row.wallet,
                    kind: kind.clone(),
                    market: row.condition.and_then(|c| markets.get(&c).copied()),
                    size: row.size,
                    usdc: row.usdc.unwrap_or(Usdc::ZERO),
                    tx: row.tx,
                }),
            };
            ahead.push(Happening { at, what });
        }
        ahead.extend(closing);

        let openings = tape.openings(|condition| {
            let tokens = seen.get(&condition).map(|s| s.tokens).unwrap_or_default();
            tokens.into_iter().flatten().cloned().collect()
        });
        let mut first_prices: BTreeMap<TokenRef, Price> = BTreeMap::new();
        for happening in &ahead {
            if let What::Print(print) = &happening.what {
                first_prices.entry(print.token).or_insert(print.price);
            }
        }
        let openings = openings
            .into_iter()
            .filter_map(|o| {
                let token = *tokens.get(&o.asset)?;
                let price = *first_prices.get(&token)?;
                Some(Opening { wallet: o.wallet, token, shares: o.shares, price })
            })
            .collect();
        Self { ahead: ahead.into(), openings, leaders: tape.wallets() }
    }
}

impl<'a> Seen<'a> {
    fn note(&mut self, row: &'a TapeRow, facts: Option<&'a Facts>) {
        self.sample.get_or_insert(row);
        let RowKind::Trade { asset, price, .. } = &row.kind else { return };
        let known =
            facts.filter(|f| f.tokens.len() == 2).and_then(|f| f.tokens.iter().position(|t| t == asset));
        let labelled = usize::from(row.outcome_index);
        let place = self
            .tokens
            .iter()
            .position(|t| *t == Some(asset))
            .or(known)
            .or(Some(labelled).filter(|i| self.tokens.get(*i).is_some_and(Option::is_none)))
            .or_else(|| self.tokens.iter().position(Option::is_none));
        let Some(place) = place else { return };
        self.tokens[place] = Some(asset);
        self.prices.push((*price, &row.literals.1));
        self.first_price.get_or_insert((place, *price));
        if !row.outcome.is_empty() {
            self.names[place].get_or_insert_with(|| row.outcome.clone());
        }
    }

    fn market(
        &self,
        condition: ConditionId,
        at: MarketRef,
        facts: Option<&Facts>,
        shift: Shift,
        end: Timestamp,
    ) -> Market {
        let text = |from: fn(&TapeRow) -> &Arc<str>| {
            self.sample.map(|row| from(row).clone()).filter(|t| !t.is_empty())
        };
        let named = facts.map(|f| f.tokens.as_slice()).filter(|t| t.len() == 2);
        let token = |place: usize| -> AssetId {
            if let Some(token) = self.tokens[place].or_else(|| named?.get(place)) {
                return token.clone();
            }
            match self.tokens[1 - place] {
                Some(sibling) => unknown_sibling(sibling),
                None => decimal_id(&[condition.as_bytes(), &[u8::from(place == 1)]]),
            }
        };
        let name = |place: usize| -> Arc<str> {
            let from_facts = || facts?.outcomes.get(place).map(|n| n.as_str().into());
            let default = if place == 0 { "Yes" } else { "No" };
            self.names[place].clone().or_else(from_facts).unwrap_or_else(|| default.into())
        };
        let opening_price = match self.first_price {
            Some((0, price)) => price,
            Some((_, price)) => price.complement(),
            None => Price::from_micro(ONE / 2),
        };
        let slug = facts.and_then(|f| f.slug.clone()).or_else(|| text(|r| &r.slug));
        let slug = slug.unwrap_or_else(|| condition.to_string().into());
        Market {
            id: facts.and_then(|f| f.id).unwrap_or_else(|| u64::from(at.0) + 1),
            condition,
            version: facts.map_or(MarketVersion::V1, |f| f.version),
            title: facts
                .and_then(|f| f.title.clone())
                .or_else(|| text(|r| &r.title))
                .unwrap_or_else(|| slug.clone()),
            event_slug: facts
                .and_then(|f| f.event_slug.clone())
                .or_else(|| text(|r| &r.event_slug))
                .unwrap_or_else(|| slug.clone()),
            slug,
            icon: text(|r| &r.icon).unwrap_or_default(),
            category: facts.and_then(|f| f.category.clone()).unwrap_or_default(),
            outcomes: [0, 1].map(|place| Outcome { token: token(place), name: name(place) }),
            tick: facts.and_then(|f| f.tick).unwrap_or_else(|| infer_tick(self.prices.iter().copied())),
            min_size: facts.and_then(|f| f.min_size).unwrap_or(Shares::from_units(5)),
            neg_risk: facts.is_some_and(|f| f.neg_risk),
            fee_rate: facts.map_or(0, |f| f.fee_rate),
            end: facts.and_then(|f| f.end).map(|end| shift.of(end)),
            opening_price,
            opened: shift.start,
            closed: Some(end),
            payouts: None,
        }
    }
}

/// The row's own literals, where they say more than 10^-6 can.
fn literals(row: &TapeRow, price: Price) -> Option<Box<Literals>> {
    let (size, paid) = &row.literals;
    if **size == row.size.to_string() && **paid == price.to_string() {
        return None;
    }
    // Only what is a number of JSON may stand for one.
    let numbers = [size, paid].iter().all(|l| serde_json::from_str::<serde_json::Number>(l).is_ok());
    numbers.then(|| Box::new(Literals { size: size.clone(), price: paid.clone() }))
}

impl Source for Playback {
    fn next_at(&mut self) -> Option<Timestamp> {
        self.ahead.front().map(|h| h.at)
    }

    fn take(&mut self) -> Option<Happening> {
        self.ahead.pop_front()
    }

    fn openings(&self) -> Vec<Opening> {
        self.openings.clone()
    }

    fn leaders(&self) -> Vec<Address> {
        self.leaders.clone()
    }
}
