//! What follows a match: the states of a trade, and what a market pays in the end.

use std::time::Duration;

use schemas::{Price, Shares, Side, Timestamp, TxHash, Usdc};
use venue::wire::ClobOrderStatus;

use super::{
    Due, Effect, Exchange,
    news::{News, Told},
};
use crate::{
    market::{MarketRef, Registry},
    print::Print,
};

impl Exchange {
    /// A trade reaches a state; the last one settles it, or gives everything back.
    pub(super) fn step(&mut self, place: usize, step: usize, at: Timestamp) -> Option<Effect> {
        self.tell_trade(place, step, at);
        let trade = self.trades.get(place).filter(|t| step + 1 == t.steps.len())?.clone();
        let order = self.orders.get(&trade.order)?;
        let (maker, token, side, route) = (order.maker, order.token, order.side, order.route);
        let when_confirmed = self.rules.credit_when_confirmed;
        let account = self.account_mut(maker);
        let (size, dollars) = (trade.size.micro(), trade.dollars.micro());
        match (side, trade.fails()) {
            (Side::Buy, false) if when_confirmed => *account.shares.entry(token).or_default() += size,
            (_, false) => {}
            (Side::Buy, true) => {
                account.spend(route, -(dollars + trade.fee.micro()));
                if !when_confirmed {
                    *account.shares.entry(token).or_default() -= size;
                }
            }
            (Side::Sell, true) => {
                account.usdc -= dollars - trade.fee.micro();
                *account.shares.entry(token).or_default() += size;
            }
        }
        if trade.fails() {
            return None;
        }
        let (second, tx) = trade.settlement();
        Some(Effect::Traded(Print {
            second,
            wallet: maker,
            token,
            side,
            role: trade.role,
            size: trade.size,
            price: trade.price,
            tx,
            literals: None,
        }))
    }

    /// A market ended: what rests in it is cancelled, and what was won is paid a little later.
    pub fn market_closed(&mut self, market: MarketRef, resolved: bool, at: Timestamp) {
        for token in crate::holdings::tokens(market) {
            let ids: Vec<_> = self.open.get(&token).into_iter().flatten().copied().collect();
            for id in ids {
                self.end(id, ClobOrderStatus::CanceledMarketResolved, at);
            }
        }
        if resolved {
            self.schedule(at.plus(Duration::from_secs(20)), Due::Redeem(market));
        }
    }

    pub(super) fn redeem(&mut self, registry: &Registry, market: MarketRef, at: Timestamp) -> Vec<Effect> {
        let Some(payouts) = registry.get(market).and_then(|m| m.payouts) else { return Vec::new() };
        let mut effects = Vec::new();
        for (wallet, account) in &mut self.accounts {
            let (mut shares, mut usdc) = (0, 0);
            for token in crate::holdings::tokens(market) {
                let held = account.shares.remove(&token).unwrap_or(0);
                let paid = Price::from_micro(payouts[token.index()])
                    .cost(Shares::from_micro(held), schemas::Round::Down)
                    .unwrap_or(Usdc::ZERO)
                    .micro();
                if paid > 0 {
                    (shares, usdc) = (shares + held, usdc + paid);
                }
            }
            if usdc > 0 {
                account.usdc += usdc;
                let tx = schemas::keccak256(&[
                    b"redeem",
                    wallet.as_bytes(),
                    &at.micros().to_be_bytes(),
                    &market.0.to_be_bytes(),
                ]);
                effects.push(Effect::Redeemed {
                    wallet: *wallet,
                    market,
                    shares: Shares::from_micro(shares),
                    usdc: Usdc::from_micro(usdc),
                    tx: TxHash::from_bytes(*tx.as_bytes()),
                });
            }
        }
        effects
    }

    /// Tells an order's owner about it.
    pub(super) fn tell(&mut self, id: schemas::OrderId, news: News, at: Timestamp) {
        if !self.news.is_wanted() {
            return;
        }
        let Some(order) = self.orders.get(&id) else { return };
        let trades = order.trades.iter().filter_map(|place| self.trades.get(*place));
        let told = Told { at, order: order.clone(), trade_ids: trades.map(|t| t.id.clone()).collect(), news };
        self.news.tell(told);
    }

    pub(super) fn tell_trade(&mut self, place: usize, step: usize, at: Timestamp) {
        let Some(trade) = self.trades.get(place).filter(|_| self.news.is_wanted()).cloned() else { return };
        self.tell(trade.order, News::Trade(Box::new(trade), step), at);
    }
}
