//! How orders fill: against the book when they come, against later prints while they rest.

use schemas::{OrderId, OrderType, Price, Round, Shares, Side, Timestamp, Usdc};
use venue::{
    fees::{FeeTerms, taker_fee, worst_fee, worst_fee_of_market_buy},
    signing::Route,
    wire::ClobOrderStatus,
};

use super::{Admission, Due, Exchange, News, Order, Refusal, Target, Trade, check::kills_rest, fee::fee_of};
use crate::{
    market::{Market, Registry, TokenRef},
    print::{Print, Role},
};

/// What an order would take from the book.
#[derive(Debug, Default)]
struct Sweep {
    levels: Vec<(Price, Shares)>,
    shares: Shares,
    dollars: Usdc,
    fee: Usdc,
}

fn fee_terms(market: &Market) -> FeeTerms {
    FeeTerms { rate: market.fee_rate, exponent: 1 }
}

impl Exchange {
    /// Whether an order would take anything.
    pub fn crosses(&self, market: &Market, token: TokenRef, side: Side, limit: Price) -> bool {
        let book = self.book(market, token);
        match side {
            Side::Buy => book.asks.first().is_some_and(|(price, _)| *price <= limit),
            Side::Sell => book.bids.first().is_some_and(|(price, _)| *price >= limit),
        }
    }

    /// The checks that need the book and the maker's balance: post-only, a dollar for a BUY that takes,
    /// and that the maker can pay, the taker fee included (`venue.md` 5.6).
    ///
    /// # Errors
    /// What the venue would answer.
    pub fn admits(&self, market: &Market, admission: &Admission) -> Result<(), Refusal> {
        let (order, terms) = (&admission.post.order, admission.terms);
        let takes = self.crosses(market, admission.token, order.side, terms.limit);
        if takes && admission.post.post_only {
            return Err(Refusal::PostOnly);
        }
        let dollars = Usdc::from_micro(order.maker_amount);
        let marketable = takes || kills_rest(admission.post.order_type);
        if order.side == Side::Buy && marketable && dollars < Usdc::from_units(1) {
            return Err(Refusal::BelowOneDollar(dollars));
        }
        let route = Route::of(market.version, market.neg_risk);
        let pays = match (order.side, terms.target) {
            (Side::Sell, _) => {
                return if self.can_sell(order.maker.0, route, admission.token, order.maker_amount) {
                    Ok(())
                } else {
                    Err(Refusal::Balance)
                };
            }
            (Side::Buy, _) if !takes => Some(Usdc::ZERO),
            (Side::Buy, Target::Shares(size)) => worst_fee(fee_terms(market), Side::Buy, terms.limit, size),
            (Side::Buy, Target::Dollars(budget)) => {
                // At the best price that is really there, not at the worst that could ever be.
                let best = self.book(market, admission.token).asks.first().map(|(price, _)| *price);
                best.and_then(|price| {
                    taker_fee(fee_terms(market), price.shares_for(budget, Round::Up)?, price)
                })
                .or_else(|| worst_fee_of_market_buy(fee_terms(market), budget, market.tick))
            }
        };
        let needed = dollars.micro().saturating_add(pays.map_or(i64::MAX / 2, Usdc::micro));
        if self.can_spend(order.maker.0, route, Usdc::from_micro(needed)) {
            Ok(())
        } else {
            Err(Refusal::Balance)
        }
    }

    /// Takes an order in. It was checked: what fills fills, the rest rests or is killed. Returns why it was
    /// killed without a fill, where it was.
    pub fn place(&mut self, registry: &Registry, admission: Admission, at: Timestamp) -> Option<Refusal> {
        let Admission { id, post, token, terms, received, hold, fate } = admission;
        let market = registry.get(token.market).cloned();
        let order = Order {
            id,
            owner: post.owner,
            maker: post.order.maker.0,
            token,
            route: market.as_ref().map_or(Route::Normal, |m| Route::of(m.version, m.neg_risk)),
            side: post.order.side,
            order_type: post.order_type,
            limit: terms.limit,
            maker_amount: post.order.maker_amount,
            taker_amount: post.order.taker_amount,
            target: terms.target,
            matched: Shares::ZERO,
            dollars: Usdc::ZERO,
            fees: Usdc::ZERO,
            state: ClobOrderStatus::Live,
            received,
            accepted: at,
            expiration: post.order.expiration,
            lapses: terms.lapses,
            trades: Vec::new(),
            posts: 1,
            fate,
        };
        if let Some(lapses) = terms.lapses {
            self.schedule(lapses, Due::Lapse(id));
        }
        self.open.entry(token).or_default().insert(id);
        self.wallets.insert(order.owner.clone(), order.maker);
        self.open_of.entry(order.maker).or_default().insert(id);
        self.orders.insert(id, order);
        // Only what would take is held back.
        let hold = hold.filter(|_| {
            let (side, limit) = (post.order.side, terms.limit);
            market.as_ref().is_some_and(|m| self.crosses(m, token, side, limit))
        });
        let Some(hold) = hold else { return self.take(registry, id, at, true) };
        if let Some(order) = self.orders.get_mut(&id) {
            order.state = ClobOrderStatus::Delayed;
        }
        self.tell(id, News::Placed, at);
        self.schedule(at.plus(hold), Due::Release(id));
        None
    }

    /// A delayed order's time has come.
    pub(super) fn release(&mut self, registry: &Registry, id: OrderId, at: Timestamp) {
        let Some(order) = self.orders.get_mut(&id).filter(|o| o.state == ClobOrderStatus::Delayed) else {
            return;
        };
        order.state = ClobOrderStatus::Unmatched;
        self.take(registry, id, at, false);
        // Of a fill it has been told already.
        let rests = self
            .orders
            .get(&id)
            .is_some_and(|o| o.state == ClobOrderStatus::Unmatched && !o.matched.is_positive());
        if rests {
            self.tell(id, News::Filled, at);
        }
    }

    /// Matches an order against the book; kills the rest where its type says so. `new`: its owner has not been told of
    /// it yet. An order that is killed without a fill is refused, and nothing else is said about it.
    fn take(&mut self, registry: &Registry, id: OrderId, at: Timestamp, new: bool) -> Option<Refusal> {
        let order = self.orders.get(&id)?.clone();
        let market = registry.get(order.token.market)?.clone();
        let sweep = self.sweep(&market, &order);
        let all = order.order_type != OrderType::Fok || fills_whole(&order, &sweep);
        let takes = all && sweep.shares.is_positive();
        if new && (takes || !kills_rest(order.order_type)) {
            self.tell(id, News::Placed, at);
        }
        if takes {
            let side = opposite(order.side);
            let quotes = self.quotes.entry(order.token.market).or_default();
            for (price, size) in &sweep.levels {
                quotes.take(order.token.second, side, *price, *size);
            }
            self.fill(id, Role::Taker, sweep, at);
        }
        if !kills_rest(order.order_type) {
            return None;
        }
        let filled = self.orders.get(&id).is_some_and(|o| o.matched.is_positive());
        if new && !filled {
            self.end_unsaid(id, ClobOrderStatus::Canceled);
        } else {
            self.end(id, ClobOrderStatus::Canceled, at);
        }
        (!filled).then_some(Refusal::NoMatch(order.order_type))
    }

    fn sweep(&self, market: &Market, order: &Order) -> Sweep {
        let book = self.book(market, order.token);
        let levels = match order.side {
            Side::Buy => book.asks,
            Side::Sell => book.bids,
        };
        let mut sweep = Sweep::default();
        let mut so_far = order.clone();
        for (price, depth) in levels {
            let within = match order.side {
                Side::Buy => price <= order.limit,
                Side::Sell => price >= order.limit,
            };
            let size = so_far.room(price).min(depth);
            if !within || !size.is_positive() {
                break;
            }
            let round = if order.side == Side::Buy { Round::Up } else { Round::Down };
            let Some(dollars) = price.cost(size, round) else { break };
            let fee = fee_of(self.rules.fee_rounding, fee_terms(market), size, price);
            let fee = fee.unwrap_or(Usdc::ZERO);
            so_far.matched = so_far.matched.saturating_add(size);
            so_far.dollars = so_far.dollars.saturating_add(dollars);
            sweep.shares = sweep.shares.saturating_add(size);
            sweep.dollars = sweep.dollars.saturating_add(dollars);
            sweep.fee = sweep.fee.saturating_add(fee);
            sweep.levels.push((price, size));
        }
        sweep
    }

    /// Books a fill: the order, the trade, the maker's account.
    fn fill(&mut self, id: OrderId, role: Role, what: Sweep, at: Timestamp) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        let Sweep { levels, shares: size, dollars, fee } = what;
        let place = self.trades.len();
        let trade = Trade {
            id: Trade::id_of(id, order.trades.len()),
            order: id,
            role,
            size,
            price: Price::of(dollars, size, Round::Nearest).unwrap_or(order.limit),
            dollars,
            fee,
            levels,
            steps: order.fate.steps(at, self.rules.confirm_after),
        };
        order.matched = order.matched.saturating_add(size);
        order.dollars = order.dollars.saturating_add(dollars);
        order.fees = order.fees.saturating_add(fee);
        order.trades.push(place);
        let (maker, token, side, route) = (order.maker, order.token, order.side, order.route);
        let whole = is_whole(order);
        if whole {
            order.state = ClobOrderStatus::Matched;
            self.close(token, maker, id);
        }
        let credit_now = !self.rules.credit_when_confirmed;
        let account = self.account_mut(maker);
        match side {
            Side::Buy => {
                account.spend(route, dollars.micro() + fee.micro());
                if credit_now {
                    *account.shares.entry(token).or_default() += size.micro();
                }
            }
            Side::Sell => {
                account.usdc += dollars.micro() - fee.micro();
                *account.shares.entry(token).or_default() -= size.micro();
            }
        }
        for (n, step) in trade.steps.iter().enumerate().skip(1) {
            self.schedule(step.at, Due::Step(place, n));
        }
        self.trade_places.insert(trade.id.clone(), place);
        self.trades.push(trade);
        self.tell(id, News::Filled, at);
        self.tell_trade(place, 0, at);
    }

    /// A print went through resting orders: those with a better price than it fill at their own limit, the
    /// best first, until its size is used up. At the same price others stood in line before them.
    pub(super) fn fill_resting(&mut self, print: &Print, at: Timestamp) {
        let mut left = print.size;
        for (token, price) in [(print.token, print.price), (print.token.opposite(), print.price.complement())]
        {
            let Some(open) = self.open.get(&token) else { continue };
            let mut through: Vec<(i64, Timestamp, OrderId)> = open
                .iter()
                .filter_map(|id| self.orders.get(id))
                .filter(|o| o.state != ClobOrderStatus::Delayed)
                .filter_map(|o| {
                    let better = match o.side {
                        Side::Buy => o.limit.micro() - price.micro(),
                        Side::Sell => price.micro() - o.limit.micro(),
                    };
                    (better > 0).then_some((-better, o.accepted, o.id))
                })
                .collect();
            through.sort_unstable();
            for (_, _, id) in through {
                let Some(order) = self.orders.get(&id) else { continue };
                let size = order.room(order.limit).min(left);
                if !size.is_positive() {
                    continue;
                }
                let round = if order.side == Side::Buy { Round::Up } else { Round::Down };
                let Some(dollars) = order.limit.cost(size, round) else { continue };
                left = left.minus_or_zero(size);
                let levels = vec![(order.limit, size)];
                self.fill(id, Role::Maker, Sweep { levels, shares: size, dollars, fee: Usdc::ZERO }, at);
            }
        }
    }
}

const fn opposite(side: Side) -> Side {
    match side {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    }
}

/// Whether nothing is left to fill. Of dollars, less than a cent's worth is nothing.
fn is_whole(order: &Order) -> bool {
    match order.target {
        Target::Shares(size) => order.matched >= size,
        Target::Dollars(budget) => budget.minus_or_zero(order.dollars) < Usdc::from_micro(10_000),
    }
}

fn fills_whole(order: &Order, sweep: &Sweep) -> bool {
    let mut done = order.clone();
    done.matched = done.matched.saturating_add(sweep.shares);
    done.dollars = done.dollars.saturating_add(sweep.dollars);
    is_whole(&done)
}
