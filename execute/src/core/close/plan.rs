//! What a close does next: ends what has ended, and says whether to sell, to cancel, or to wait.

use std::time::Duration;

use schemas::{
    AssetId, Mode, OrderType, Price, Round, Shares, Timestamp, Usdc,
    events::{BookSnapshot, IntentHead, MarketFacts},
};

use super::{
    Close, Due, End, LEAST_SHARES, STEP, Short,
    due::{Buys, is_dust, resolve},
    ladder::{Ladder, next_step},
};
use crate::core::Attempt;

/// `min_close_usdc`, where the policy says nothing.
const MIN_CLOSE: Usdc = Usdc::from_units(1);
/// How long a close rests at its floor at a time: then it is asked again whether it may.
const REST: Duration = Duration::from_secs(3_600);
/// How long a close waits for market data that it lacks, at first and at most.
const DATA: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Two looks at a wallet that lacks shares lie at least so far apart.
const LOOKS_APART: Duration = Duration::from_secs(60);
/// A close that the venue refuses waits twice as long each time, this often.
const REFUSED_DOUBLINGS: i32 = 5;
/// A close that waits for a BUY looks for itself so often, should nobody have told it.
const LOOK_AT_BUYS: Duration = Duration::from_secs(15);
/// A close that rests at the venue is looked at so often: its market may have ended without a word from there.
const LOOK_AT_RESTING: Duration = Duration::from_secs(5 * 60);
/// Due shares that are too few yet to be worth the while are looked at after a quarter of their age, at first and at most:
/// nothing else would ever say that their market has ended.
const LOOK_AT_GATHERED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));

/// What was read of the best bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bid {
    /// Nothing was read.
    #[default]
    Unread,
    /// Nobody bids.
    Nobody,
    /// Somebody bids so much.
    Best(Price),
}

/// What was read at the venue for a close that lacks it, or doubts it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Market {
    /// The market's facts.
    pub facts: Option<MarketFacts>,
    /// The best bid.
    pub bid: Bid,
    /// The whole book, of a close on paper.
    pub book: Option<BookSnapshot>,
    /// Whether the market is resolved.
    pub ended: bool,
    /// What the wallet holds under the id that is to be sold.
    pub balance: Option<Shares>,
    /// What it holds under the position's other ids; known where `balance` is.
    pub elsewhere: Shares,
}

/// What of the position matters.
#[derive(Debug)]
pub struct View<'v> {
    /// The gate's clock.
    pub now: Timestamp,
    /// What is held.
    pub held: Shares,
    /// The part of it whose trades can still fail: the wallet need not show it yet.
    pub unconfirmed: Shares,
    /// The BUYs that are alive, or waited for.
    pub buys: &'v Buys,
    /// The SELLs that are alive.
    pub selling: &'v [&'v Attempt],
    /// When the last attempt was made that said that the price does not go lower.
    pub at_floor: Option<Timestamp>,
    /// What was read.
    pub market: &'v Market,
}

/// An attempt to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// Whose key it bears: the oldest due's.
    pub head: IntentHead,
    /// What is sold: the position under the id that its market trades.
    pub asset: AssetId,
    /// The market's facts.
    pub facts: MarketFacts,
    /// The lowest price.
    pub limit: Price,
    /// How much.
    pub shares: Shares,
    /// How it is placed.
    pub order_type: OrderType,
    /// When it lapses by itself, where it rests.
    pub expires_at: Option<Timestamp>,
    /// Whether the price does not go lower.
    pub at_floor: bool,
    /// On paper: the book that it is filled against.
    pub book: Option<BookSnapshot>,
    /// The close once it is made.
    pub made: Box<Close>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing now: the close says when to look again.
    Wait,
    /// What is alive is cancelled, because of this.
    Cancel(&'static str),
    /// This is sold.
    Sell(Box<Sale>),
}

/// The close's next state, the dues that ended by it, and what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The close; of a sale, as it stands if that is not made.
    pub close: Close,
    /// The dues that ended.
    pub ended: Vec<Due>,
    /// What is to be done.
    pub next: Next,
}

/// What a close has to be told of the venue before it can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four questions")]
pub struct Lacks {
    /// The market's facts.
    pub facts: bool,
    /// The best bid, and on paper the book.
    pub bid: bool,
    /// Whether the market is resolved.
    pub ended: bool,
    /// What the wallet holds.
    pub balance: bool,
}

/// What is to be read before a close is looked at.
pub fn lacks(close: &Close, now: Timestamp) -> Lacks {
    let Some(newest) = close.wanted().next_back() else { return Lacks::default() };
    let facts = facts_of(close).is_none();
    let price = newest.intent.sale_price.is_none() && close.found_price.is_none();
    // A market without facts, or without bids, may be one that has ended.
    let doubts = facts || price || close.doubts || close.short.is_some();
    // So may that of a close which did not get on at once: nothing but the outcome itself need ever say so.
    let lasts = close.open().any(|due| now.since(due.created_at) >= STEP);
    Lacks {
        facts: facts || close.doubts,
        bid: price || close.stepped_at.is_some() || lacks_book(close, newest, None),
        ended: doubts || lasts,
        balance: doubts || !close.also.is_empty(),
    }
}

/// The id of a position that its market trades; `None`: none of those that are known.
pub fn traded<'c>(close: &'c Close, facts: &MarketFacts) -> Option<&'c AssetId> {
    let mut ids = std::iter::once(&close.name.asset).chain(&close.also);
    ids.find(|id| facts.tokens.iter().any(|token| token.asset == **id))
}

/// On paper: the book that the next attempt is filled against. The first at new terms has the one that was recorded when
/// it was decided, later ones what is bid by then; and so has a position that has gone on under another id.
fn book_of<'b>(close: &Close, newest: &'b Due, read: Option<&'b BookSnapshot>) -> Option<&'b BookSnapshot> {
    let as_decided = close.stepped_at.is_none() && close.also.is_empty();
    let recorded = newest.intent.book.as_ref().filter(|_| as_decided);
    recorded.or(read).filter(|_| close.name.mode == Mode::Paper)
}

fn lacks_book(close: &Close, newest: &Due, read: Option<&BookSnapshot>) -> bool {
    close.name.mode == Mode::Paper && book_of(close, newest, read).is_none()
}

/// The newest facts that came with a due, unless others were read.
pub fn facts_of(close: &Close) -> Option<&MarketFacts> {
    close.facts.as_ref().or_else(|| close.wanted().rev().find_map(|d| d.intent.facts.as_ref()))
}

/// What a close does now.
pub fn plan(close: Close, view: &View<'_>) -> Plan {
    let mut close = close;
    let mut ended = Vec::new();
    take_in(&mut close, view);
    resolve(&mut close, view.held, view.buys);
    end_what_is_over(&mut close, view, &mut ended);
    let next = next(&mut close, view, &mut ended);
    if close.open().next().is_none() {
        close.rest();
    }
    Plan { close, ended, next }
}

impl Close {
    /// Nothing is due: the next due begins anew.
    pub(super) fn rest(&mut self) {
        self.terms = None;
        self.stepped_at = None;
        self.found_price = None;
        self.facts = None;
        self.not_before = None;
        self.denied = None;
        self.refused = 0;
        self.doubts = false;
        self.short = None;
        self.next_look_at = None;
    }

    fn end(&mut self, which: impl Fn(&Due) -> bool, how: End, ended: &mut Vec<Due>) {
        for due in self.dues.iter_mut().filter(|d| d.ended.is_none()) {
            if which(due) {
                due.ended = Some(how);
                due.awaits.clear();
                if how == End::Filled {
                    // What is too little to be sold is owed no more, whatever becomes of its trades.
                    due.shares = due.filled();
                }
                ended.push(due.clone());
            }
        }
    }
}

/// What was read counts from now on; a newer due sets newer terms.
fn take_in(close: &mut Close, view: &View<'_>) {
    let market = view.market;
    let newest = close.wanted().next_back().map(Due::key);
    if newest.is_some() && close.terms.is_some() && newest != close.terms {
        close.terms = None;
        close.stepped_at = None;
        close.found_price = None;
        close.not_before = None;
        close.facts = None;
    }
    if let Some(facts) = &market.facts {
        close.facts = Some(facts.clone());
        close.doubts = !facts.accepting_orders;
    }
    let Some(balance) = market.balance.map(|b| b.saturating_add(market.elsewhere)) else { return };
    let confirmed = view.held.minus_or_zero(view.unconfirmed);
    close.short = if is_dust(confirmed.minus_or_zero(balance)) {
        None
    } else {
        let since = close.short.map_or(view.now, |s| s.since);
        Some(Short { since, balance })
    };
}

fn end_what_is_over(close: &mut Close, view: &View<'_>, ended: &mut Vec<Due>) {
    let alive = !view.selling.is_empty();
    let offered = close.offered;
    // A remainder too small to be sold may still be in an attempt that is alive.
    let is_over =
        |d: &Due| d.awaits.is_empty() && (!d.remaining().is_positive() || (!alive && is_dust(d.remaining())));
    close.end(|d| is_over(d) && d.filled().is_positive(), End::Filled, ended);
    // What an attempt may be selling right now is not taken back before that has ended.
    close.end(|d| d.drop_cause.is_some() && (!alive || d.place >= offered), End::Dropped, ended);
    if !alive {
        if view.market.ended {
            close.end(|_| true, End::MarketEnded, ended);
        }
        lose_what_left(close, view, ended);
        // There is nothing any more that could be sold for it.
        let nothing = is_dust(view.held);
        close.end(|d| d.awaits.is_empty() && nothing, End::Dust, ended);
    }
    end_what_adds_nothing(close, ended);
}

/// A due of which nothing is due ends with the older ones, which have all that there was: until then it says that the leader
/// is flat, and at which price to sell.
fn end_what_adds_nothing(close: &mut Close, ended: &mut Vec<Due>) {
    let adds = |d: &Due| d.shares.is_positive() || !d.awaits.is_empty();
    let oldest = close.wanted().find(|d| adds(d)).map(|d| d.place);
    close.end(|d| !adds(d) && oldest.is_none_or(|oldest| d.place < oldest), End::Dust, ended);
}

/// Confirmed shares that were missing in two looks have left by another way: what is due beyond the rest is not to be
/// had, of the youngest dues first.
fn lose_what_left(close: &mut Close, view: &View<'_>, ended: &mut Vec<Due>) {
    let Some(short) = close.short else { return };
    // A market that goes on under ids which nobody has told: the wallet's shares may well lie there.
    if facts_of(close).is_some_and(|facts| traded(close, facts).is_none()) {
        return;
    }
    if view.market.balance.is_none() || view.now.since(short.since) < LOOKS_APART {
        return;
    }
    let there = short.balance.saturating_add(view.unconfirmed);
    let due: Shares = close.open().map(Due::remaining).sum();
    let mut lost = due.minus_or_zero(there);
    for due in close.dues.iter_mut().rev().filter(|d| d.ended.is_none()) {
        let gone = due.remaining().min(lost);
        lost = lost.minus_or_zero(gone);
        if !gone.is_positive() {
            continue;
        }
        if is_dust(due.remaining().minus_or_zero(gone)) && due.awaits.is_empty() {
            due.ended = Some(End::ExternalClose);
            ended.push(due.clone());
        } else {
            due.shares = due.shares.minus_or_zero(gone);
        }
    }
    close.short = None;
}

fn next(close: &mut Close, view: &View<'_>, ended: &mut Vec<Due>) -> Next {
    let now = view.now;
    close.next_look_at = None;
    if let Some(alive) = view.selling.first() {
        let newest = close.wanted().next_back().map(Due::key);
        let dropped = close.open().any(|d| d.drop_cause.is_some());
        let rests = alive.order_type == Some(OrderType::Gtd);
        // The next attempt exists only when this one is final: its end says so.
        return match () {
            () if alive.cancel_asked_at.is_some() => Next::Wait,
            () if dropped => Next::Cancel("dropped"),
            () if rests && view.market.ended => Next::Cancel(End::MarketEnded.as_str()),
            () if rests && newest.is_some() && newest != close.terms => Next::Cancel("repriced"),
            () => {
                close.next_look_at = rests.then(|| now.plus(LOOK_AT_RESTING));
                Next::Wait
            }
        };
    }
    let waits_for_buys = close.wanted().any(|d| !d.awaits.is_empty());
    let looks_for_buys = |close: &mut Close| {
        close.next_look_at = waits_for_buys.then(|| now.plus(LOOK_AT_BUYS));
        Next::Wait
    };
    let Some(newest) = close.wanted().next_back().cloned() else { return looks_for_buys(close) };
    let due: Shares = close.wanted().map(Due::remaining).sum();
    if !due.is_positive() {
        return looks_for_buys(close);
    }
    let (Some(facts), Some(sale)) = (facts_of(close).cloned(), sale_price(close, &newest, view)) else {
        return wait_for_data(close, now);
    };
    // As much as is worth the while, and no more than there is.
    let size = due.min(view.held);
    let least = newest.intent.min_close_usdc.unwrap_or(MIN_CLOSE);
    let is_flat = close.wanted().any(|d| d.intent.flat);
    if !is_flat && sale.cost(size, Round::Down).unwrap_or(Usdc::ZERO) < least {
        let (first, most) = LOOK_AT_GATHERED;
        let age = close.wanted().next().map_or(Duration::ZERO, |oldest| now.since(oldest.created_at));
        let gathered = now.plus((age / 4).clamp(first, most));
        looks_for_buys(close);
        close.next_look_at = Some(close.next_look_at.map_or(gathered, |at| at.min(gathered)));
        return Next::Wait;
    }
    if is_dust(size) {
        close.end(|d| d.drop_cause.is_none() && d.awaits.is_empty(), End::Dust, ended);
        return looks_for_buys(close);
    }
    if let Some(at) = close.not_before.filter(|at| *at > now) {
        close.next_look_at = Some(at);
        return Next::Wait;
    }
    if !facts.accepting_orders {
        // It may take orders again, or be resolved: both are looked for.
        close.doubts = true;
        close.next_look_at = Some(now.plus(STEP));
        return Next::Wait;
    }
    let Some(asset) = traded(close, &facts).cloned() else {
        // What it goes on as will be told, or that it has ended.
        close.doubts = true;
        close.next_look_at = Some(now.plus(STEP));
        return Next::Wait;
    };
    let size = match view.market.balance {
        _ if close.also.is_empty() => size,
        // What lies under which id is asked before each attempt.
        None => return wait_for_data(close, now),
        Some(there) => size.min(there),
    };
    let size = match close.short {
        Some(short) => size.min(short.balance.saturating_add(view.unconfirmed)),
        None => size,
    };
    let shares = size.to_multiple(LEAST_SHARES.micro(), Round::Down).unwrap_or(Shares::ZERO);
    if is_dust(shares) {
        let again = now.plus(STEP);
        close.next_look_at = Some(close.short.map_or(again, |s| s.since.plus(LOOKS_APART).max(again)));
        close.doubts |= !close.also.is_empty();
        return Next::Wait;
    }
    if lacks_book(close, &newest, view.market.book.as_ref()) {
        return wait_for_data(close, now);
    }
    sell(close, &newest, asset, facts, sale, shares, view)
}

/// The leader's price, else what somebody bids at the first attempt.
fn sale_price(close: &Close, newest: &Due, view: &View<'_>) -> Option<Price> {
    let read = match view.market.bid {
        Bid::Best(price) => Some(price),
        Bid::Nobody | Bid::Unread => None,
    };
    newest.intent.sale_price.or(close.found_price).or(read).filter(|p| p.is_positive())
}

/// Missing market data delays a SELL, and never skips it.
fn wait_for_data(close: &mut Close, now: Timestamp) -> Next {
    let (first, most) = DATA;
    let waited = close.open().next_back().map_or(Duration::ZERO, |d| now.since(d.created_at));
    // What nobody has looked for yet is looked for at once.
    let wait = if waited.is_zero() { waited } else { (waited / 4).clamp(first, most) };
    close.next_look_at = Some(now.plus(wait));
    Next::Wait
}

fn sell(
    close: &mut Close,
    newest: &Due,
    asset: AssetId,
    facts: MarketFacts,
    sale: Price,
    shares: Shares,
    view: &View<'_>,
) -> Next {
    let now = view.now;
    let from = close.stepped_at.unwrap_or(now);
    let intent = &newest.intent;
    let ladder = Ladder {
        sale,
        tick: facts.tick,
        slippage: intent.exit_slippage_fraction,
        floor: intent.exit_floor_fraction,
    };
    let rung = ladder.after(now.since(from));
    let rests = rung.is_lowest && shares >= facts.min_shares;
    // Where it ends and cannot rest it is tried again, but not while nobody bids that much: once, so that it is told.
    let nobody = match view.market.bid {
        Bid::Unread => false,
        Bid::Nobody => true,
        Bid::Best(best) => best < rung.limit,
    };
    let is_told = close.stepped_at.is_some() && view.at_floor >= close.stepped_at;
    if rung.is_lowest && !rests && nobody && is_told {
        close.next_look_at = Some(now.plus(STEP));
        return Next::Wait;
    }
    let Some(bearer) = close.wanted().find(|d| d.remaining().is_positive()) else { return Next::Wait };
    let doublings = u32::try_from(close.refused.clamp(0, REFUSED_DOUBLINGS)).unwrap_or(0);
    let not_before = match close.refused {
        0 => next_step(from, now),
        _ => now.plus(STEP.saturating_mul(1u32 << doublings)),
    };
    let made = Close {
        terms: Some(newest.key()),
        stepped_at: Some(from),
        found_price: Some(sale).filter(|_| intent.sale_price.is_none()),
        offered: close.counted,
        not_before: Some(not_before),
        denied: None,
        next_look_at: rests.then(|| now.plus(LOOK_AT_RESTING)),
        changed_at: now.max(close.changed_at),
        ..close.clone()
    };
    Next::Sell(Box::new(Sale {
        head: bearer.intent.head.clone(),
        asset,
        facts,
        limit: rung.limit,
        shares,
        order_type: if rests { OrderType::Gtd } else { OrderType::Fak },
        expires_at: rests.then(|| Timestamp::from_secs(now.plus(REST).secs().saturating_add(1))),
        at_floor: rung.is_lowest,
        book: book_of(close, newest, view.market.book.as_ref()).cloned(),
        made: Box::new(made),
    }))
}
