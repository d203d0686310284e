//! Seeded leaders: wallets that trade for ever, the same way for the same seed and epoch.
//!
//! Everything is drawn in one order from one stream, when it is needed, and nothing depends on when it is
//! asked for: whoever makes the source again after a restart gets the same past and the same future.

mod changes;
mod names;
mod shapes;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use schemas::{
    Address, MarketVersion, Price, Shares, Side, Tick, Timestamp, TxHash, Usdc, keccak256,
    money::{ONE, Round},
};
use venue::wire::ActivityKind;

use crate::{
    dice::{Dice, draw_of},
    market::{Market, MarketRef, Outcome, TokenRef, condition_of, decimal_id, position_id},
    print::{Activity, Happening, Literals, Opening, Print, Role, Source, What},
};

/// Gaps are scaled to the rate this many at a time, so that the rate holds over every block of them.
const BLOCK: usize = 256;
/// No trade is smaller: such rows are never served (`venue.md` 1.2).
const SMALLEST: i64 = 10_000;
/// A late row of a transaction becomes visible this much after the others.
const LATE: Duration = Duration::from_secs(4);
/// Winners are paid out this much after their market ended.
const REDEEM_AFTER: Duration = Duration::from_secs(20);

/// What leaders there are and how they trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeding {
    /// Everything follows from it.
    pub seed: u64,
    /// How many wallets.
    pub leaders: usize,
    /// Markets open at a time.
    pub markets: usize,
    /// The mean time between two fills of all leaders together. A burst is never slower than this.
    pub mean_gap: Duration,
    /// How long a market lives before another takes its place.
    pub market_life: Duration,
    /// The busiest leader's part of all fills, in thousandths; 0: all trade alike.
    pub top_share_permille: u32,
    /// Fills of more than one row, in thousandths.
    pub multi_row_permille: u32,
    /// Of those, the ones with equal rows, in thousandths.
    pub equal_rows_permille: u32,
    /// Of those, the ones whose last row becomes visible late, in thousandths: an amendment.
    pub late_row_permille: u32,
    /// Trades after which the wallet splits collateral into both outcomes of a market, or merges both again, in
    /// thousandths; 0: never. Winners are always paid out.
    pub change_permille: u32,
    /// Markets of the later protocol, in thousandths. Whether it is live is an open question (`venue.md` 10).
    pub v2_permille: u32,
}

impl Default for Seeding {
    /// Twelve leaders on forty markets, a fill every two seconds, proportions as measured.
    fn default() -> Self {
        Self {
            seed: 1,
            leaders: 12,
            markets: 40,
            mean_gap: Duration::from_secs(2),
            market_life: Duration::from_secs(6 * 3_600),
            top_share_permille: 720,
            multi_row_permille: 135,
            equal_rows_permille: 400,
            late_row_permille: 0,
            change_permille: 20,
            v2_permille: 0,
        }
    }
}

/// A place in which one market follows another.
#[derive(Debug)]
struct Slot {
    market: MarketRef,
    ends: Timestamp,
    generation: u64,
    tick: i64,
    /// The first outcome's price in ticks.
    price: i64,
    tokens: [TokenRef; 2],
}

/// One trade that is still to be drawn: how long after the one before, and whether the same wallet goes on.
#[derive(Debug, Clone, Copy)]
struct Beat {
    gap_micros: i64,
    same_wallet: bool,
}

/// The source of seeded leaders.
#[derive(Debug)]
pub struct Leaders {
    plan: Seeding,
    dice: Dice,
    wallets: Vec<Address>,
    wallet_weights: Vec<u32>,
    market_weights: Vec<u32>,
    slots: Vec<Slot>,
    holdings: Vec<BTreeMap<TokenRef, i64>>,
    beats: VecDeque<Beat>,
    last_wallet: usize,
    /// The time up to which everything is drawn.
    drawn: Timestamp,
    opened: u32,
    ahead: BTreeMap<(Timestamp, u64), Happening>,
    serial: u64,
    /// Shares of late rows, which may be sold only once the row was visible: by their place in `ahead`.
    late_shares: BTreeMap<u64, (usize, TokenRef, i64)>,
}

impl Leaders {
    /// Leaders that begin to trade at `epoch`.
    pub fn new(plan: Seeding, epoch: Timestamp) -> Self {
        let seed = keccak256(&[b"leaders", &plan.seed.to_be_bytes()]);
        let wallets = (0..plan.leaders as u64)
            .map(|n| {
                let hash = keccak256(&[seed.as_bytes(), b"wallet", &n.to_be_bytes()]);
                let mut address = [0; 20];
                address.copy_from_slice(&hash.as_bytes()[12..]);
                Address::from_bytes(address)
            })
            .collect();
        let mut leaders = Self {
            dice: Dice::seeded(*seed.as_bytes()),
            wallets,
            wallet_weights: shapes::leader_weights(plan.leaders, plan.top_share_permille),
            market_weights: shapes::market_weights(plan.markets),
            slots: Vec::new(),
            holdings: vec![BTreeMap::new(); plan.leaders],
            beats: VecDeque::new(),
            last_wallet: 0,
            drawn: epoch,
            opened: 0,
            ahead: BTreeMap::new(),
            serial: 0,
            late_shares: BTreeMap::new(),
            plan,
        };
        for place in 0..leaders.plan.markets {
            // Lives are spread, so that markets do not all end together.
            let life = leaders.life_micros();
            let first = life / 4 + life * 3 / 4 * count(place) / count(leaders.plan.markets).max(1);
            let ends = Timestamp::from_micros(epoch.micros().saturating_add(first));
            let slot = leaders.open_market(place, 0, epoch, ends);
            leaders.slots.push(slot);
        }
        leaders
    }

    fn life_micros(&self) -> i64 {
        micros(self.plan.market_life).max(1_000_000)
    }

    fn push(&mut self, at: Timestamp, what: What) -> u64 {
        self.serial += 1;
        self.ahead.insert((at, self.serial), Happening { at, what });
        self.serial
    }

    fn open_market(&mut self, place: usize, generation: u64, at: Timestamp, ends: Timestamp) -> Slot {
        let mut id = self.plan.seed.to_be_bytes().to_vec();
        id.extend(count(place).to_be_bytes());
        id.extend(generation.to_be_bytes());
        let number = u64::from(self.opened) + 1;
        let subject = names::subject(&mut self.dice, number);
        let tick = if self.dice.chance(300) { 1_000 } else { 10_000 };
        let price = (shapes::opening_price(&mut self.dice) / tick).clamp(3, ONE / tick - 3);
        let neg_risk = self.dice.chance(300);
        let market = MarketRef(self.opened);
        self.opened += 1;
        // Not of the dice: other markets stay what they are.
        let later = draw_of(&[b"version", &id], 1_000) < self.plan.v2_permille;
        let version = if later { MarketVersion::V2 } else { MarketVersion::V1 };
        let token_id = if later { position_id } else { decimal_id };
        let outcome = |n: usize| Outcome {
            token: token_id(&[b"token", &id, &[u8::from(n == 1)]]),
            name: subject.outcomes.get(n).copied().unwrap_or_default().into(),
        };
        let market_facts = Market {
            id: 900_000 + number,
            condition: condition_of(&[b"condition", &id], version),
            version,
            title: subject.title.as_str().into(),
            slug: subject.slug.as_str().into(),
            event_slug: subject.slug.as_str().into(),
            icon: "".into(),
            category: subject.category.into(),
            outcomes: [outcome(0), outcome(1)],
            tick: Tick::from_micro(tick).unwrap_or(Tick::CENT),
            min_size: Shares::from_units(5),
            neg_risk,
            fee_rate: subject.fee_rate,
            end: Some(ends),
            opening_price: Price::from_micro(price * tick),
            opened: at,
            closed: None,
            payouts: None,
        };
        self.push(at, What::Open(Box::new(market_facts)));
        let tokens = [false, true].map(|second| TokenRef { market, second });
        Slot { market, ends, generation, tick, price, tokens }
    }

    /// Ends the market of a place, pays its winners, and opens the next.
    fn roll(&mut self, place: usize) {
        let Some(slot) = self.slots.get(place) else { return };
        let (market, ends, generation, tokens) = (slot.market, slot.ends, slot.generation, slot.tokens);
        // The likelier outcome is the likelier winner.
        let second = self.dice.below(ONE.unsigned_abs()) >= (slot.price * slot.tick).unsigned_abs();
        self.push(ends, What::Close(market, Some(Market::won_by(second))));
        for wallet in 0..self.wallets.len() {
            let held = tokens.map(|t| self.holdings[wallet].remove(&t).unwrap_or(0));
            let won = held[usize::from(second)];
            if won > 0 {
                let at = ends.plus(REDEEM_AFTER);
                let paid = Activity {
                    second: at.secs(),
                    wallet: self.wallets[wallet],
                    kind: ActivityKind::Redeem,
                    market: Some(market),
                    size: Shares::from_micro(won),
                    usdc: Usdc::from_micro(won),
                    tx: TxHash::from_bytes(self.dice.bytes32()),
                };
                self.push(at, What::Activity(paid));
            }
        }
        let next_ends = Timestamp::from_micros(ends.micros().saturating_add(self.life_micros()));
        let next = self.open_market(place, generation + 1, ends, next_ends);
        self.slots[place] = next;
    }

    /// Draws a block of gaps whose mean is the one asked for, with their shape kept.
    fn draw_beats(&mut self) {
        let mean = micros(self.plan.mean_gap).max(1);
        // Within a burst trades follow each other at most this slowly: all of it within a second.
        let within = (1_000_000 / (shapes::LONGEST_BURST + 1)).min(mean / 2).max(0);
        let mut beats: Vec<(i64, bool)> = Vec::with_capacity(BLOCK + 32);
        while beats.len() < BLOCK {
            beats.push((shapes::gap_millis(&mut self.dice), false));
            if self.dice.chance(40) {
                let length = if self.dice.chance(100) {
                    shapes::LONGEST_BURST
                } else {
                    self.dice.between(2, shapes::LONGEST_BURST - 1)
                };
                beats.extend((1..length).map(|_| (0, true)));
            }
        }
        let in_bursts = count(beats.iter().filter(|b| b.1).count());
        let drawn: i64 = beats.iter().map(|b| b.0).sum::<i64>().max(1);
        let free = mean * count(beats.len()) - within * in_bursts;
        self.beats.extend(beats.into_iter().map(|(millis, same_wallet)| {
            let scaled = i128::from(millis) * i128::from(free) / i128::from(drawn);
            let gap_micros = if same_wallet { within } else { i64::try_from(scaled).unwrap_or(i64::MAX) };
            Beat { gap_micros, same_wallet }
        }));
    }

    /// Draws the next trade, and what happens before it.
    fn draw(&mut self) {
        if self.wallets.is_empty() || self.slots.is_empty() {
            return;
        }
        if self.beats.is_empty() {
            self.draw_beats();
        }
        let Some(beat) = self.beats.pop_front() else { return };
        let at = Timestamp::from_micros(self.drawn.micros().saturating_add(beat.gap_micros));
        while let Some(place) =
            (0..self.slots.len()).filter(|p| self.slots[*p].ends <= at).min_by_key(|p| self.slots[*p].ends)
        {
            self.roll(place);
        }
        self.drawn = at;
        if !beat.same_wallet {
            self.last_wallet = self.dice.weighted(&self.wallet_weights);
        }
        self.trade(self.last_wallet, at);
        self.maybe_change(self.last_wallet, at);
    }

    fn trade(&mut self, wallet: usize, at: Timestamp) {
        let selling = !self.dice.chance(700);
        let held: Vec<TokenRef> = if selling { self.sellable(wallet) } else { Vec::new() };
        let (side, token) = if held.is_empty() {
            // Every leader has favourites of its own, and mostly stays on one side of a market.
            let rank = self.dice.weighted(&self.market_weights);
            let place = (rank + wallet * 7) % self.slots.len();
            let likes = (self.slots[place].market.0 as usize + wallet) % 2 == 1;
            let second = likes != self.dice.chance(150);
            (Side::Buy, self.slots[place].tokens[usize::from(second)])
        } else {
            (Side::Sell, held[self.dice.index(held.len())])
        };
        let Some(slot) = self.slots.iter_mut().find(|s| s.market == token.market) else { return };

        // The market wanders by whole ticks; it takes what the wallet pays.
        let last = ONE / slot.tick - 2;
        slot.price = (slot.price + self.dice.between(-2, 2)).clamp(2, last);
        let mine = if token.second { ONE / slot.tick - slot.price } else { slot.price };
        let (tick, price) = (slot.tick, mine * slot.tick);

        let shares = match side {
            Side::Buy => {
                let (dollars, round) = shapes::dollars(&mut self.dice);
                let shares = dollars.saturating_mul(ONE) / price;
                // A round amount was spent to the cent; a limit order has a size of two decimals.
                if round { shares } else { shares / SMALLEST * SMALLEST }
            }
            Side::Sell => {
                let all = self.holdings[wallet].get(&token).copied().unwrap_or(0);
                let part = all / 1_000 * shapes::sold_permille(&mut self.dice) / SMALLEST * SMALLEST;
                // What would be left too small to sell goes with it.
                if part == 0 || all - part < SMALLEST { all } else { part }
            }
        };
        let shares = shares.max(SMALLEST);
        self.settle(wallet, token, side, shares, price, tick, at);
    }

    fn sellable(&self, wallet: usize) -> Vec<TokenRef> {
        self.holdings[wallet].iter().filter(|(_, n)| **n >= SMALLEST).map(|(t, _)| *t).collect()
    }

    /// Writes the rows of one fill.
    #[expect(clippy::too_many_arguments, reason = "one trade, all of it")]
    fn settle(
        &mut self,
        wallet: usize,
        token: TokenRef,
        side: Side,
        shares: i64,
        price: i64,
        tick: i64,
        at: Timestamp,
    ) {
        let tx = TxHash::from_bytes(self.dice.bytes32());
        let parts = self.parts(shares);
        let late = parts.len() > 1 && self.dice.chance(self.plan.late_row_permille);
        let role = if parts.len() > 1 || self.dice.chance(400) { Role::Maker } else { Role::Taker };
        // A taker who swept two prices has an average, which no double can hold.
        let swept = role == Role::Taker && side == Side::Buy && self.dice.chance(250);
        let rows = parts.len();
        for (n, part) in parts.into_iter().enumerate() {
            let (price, literals) = if swept { swept_price(part, price, tick) } else { (price, None) };
            let print = Print {
                second: at.secs(),
                wallet: self.wallets[wallet],
                token,
                side,
                role,
                size: Shares::from_micro(part),
                price: Price::from_micro(price),
                tx,
                literals,
            };
            let last = late && n + 1 == rows;
            let serial = self.push(if last { at.plus(LATE) } else { at }, What::Print(print));
            match side {
                Side::Buy if last => {
                    self.late_shares.insert(serial, (wallet, token, part));
                }
                Side::Buy => *self.holdings[wallet].entry(token).or_default() += part,
                Side::Sell => {
                    let left = self.holdings[wallet].entry(token).or_default();
                    *left -= part;
                    if *left <= 0 {
                        self.holdings[wallet].remove(&token);
                    }
                }
            }
        }
    }

    /// The rows into which a fill falls: mostly one; else the resting orders of one wallet that one
    /// transaction filled, sometimes equal to the last digit.
    fn parts(&mut self, shares: i64) -> Vec<i64> {
        let n = self.dice.between(2, 4);
        if !self.dice.chance(self.plan.multi_row_permille) || shares < SMALLEST * n * 2 {
            return vec![shares];
        }
        let each = shares / n;
        if self.dice.chance(self.plan.equal_rows_permille) {
            let mut parts = vec![each; usize::try_from(n - 1).unwrap_or(1)];
            // The last is equal too where the shares divide.
            parts.push(shares - each * (n - 1));
            return parts;
        }
        let mut left = shares;
        let mut parts = Vec::new();
        for _ in 1..n {
            let part = self.dice.between(each / 2, each).max(SMALLEST);
            parts.push(part);
            left -= part;
        }
        parts.push(left);
        parts
    }

    fn fill_ahead(&mut self) {
        // Whatever is drawn later happens no earlier than what is drawn already.
        while self.ahead.first_key_value().is_none_or(|((at, _), _)| *at > self.drawn) {
            let before = (self.drawn, self.beats.len());
            self.draw();
            if (self.drawn, self.beats.len()) == before {
                return;
            }
        }
    }
}

/// The average of a sweep over two prices, with the digits of a double, and nearest at 10^-6.
fn swept_price(shares: i64, price: i64, tick: i64) -> (i64, Option<Box<Literals>>) {
    const DIGITS: i128 = 10_000_000_000_000_000;
    // A third of the shares came one tick cheaper, were there a tick below.
    if price <= tick * 2 {
        return (price, None);
    }
    let third = i128::from(shares / 3);
    let spent = i128::from(shares) * i128::from(price) - third * i128::from(tick);
    let average = spent * (DIGITS / i128::from(ONE)) / i128::from(shares.max(1));
    let literal = format!("0.{average:016}");
    match schemas::money::parse_micro(&literal, Round::Nearest) {
        Ok(nearest) => {
            let size = Shares::from_micro(shares).to_string();
            (nearest, Some(Box::new(Literals { size: size.into(), price: literal.into() })))
        }
        Err(_) => (price, None),
    }
}

fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Source for Leaders {
    fn next_at(&mut self) -> Option<Timestamp> {
        self.fill_ahead();
        self.ahead.first_key_value().map(|((at, _), _)| *at)
    }

    fn take(&mut self) -> Option<Happening> {
        self.fill_ahead();
        let ((_, serial), happening) = self.ahead.pop_first()?;
        if let Some((wallet, token, shares)) = self.late_shares.remove(&serial)
            && self.slots.iter().any(|s| s.market == token.market)
        {
            *self.holdings[wallet].entry(token).or_default() += shares;
        }
        Some(happening)
    }

    fn openings(&self) -> Vec<Opening> {
        Vec::new()
    }

    fn leaders(&self) -> Vec<Address> {
        self.wallets.clone()
    }
}

#[cfg(test)]
mod tests;
