//! What wallets hold, what it cost, and what they gained: `/v2/positions`.

use std::collections::BTreeMap;

use schemas::{
    Address, Price, Shares, Side, Usdc,
    money::{ONE, Round},
};
use venue::wire::ActivityKind;

use crate::{
    market::{MarketRef, TokenRef},
    print::{Activity, Opening, Print},
};

/// One position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holding {
    /// Held now.
    pub shares: Shares,
    /// What the shares held now cost.
    pub cost: Usdc,
    /// Gains taken.
    pub realized: Usdc,
    /// How much more than it held the wallet has sold: only a tape that hides rows leads there.
    pub oversold: Shares,
}

impl Holding {
    /// What a share cost on average.
    pub fn average(&self) -> Option<Price> {
        Price::of(self.cost, self.shares, Round::Nearest)
    }

    fn buy(&mut self, shares: Shares, price: Price) {
        let cost = price.cost(shares, Round::Nearest).unwrap_or(Usdc::ZERO);
        self.shares = self.shares.saturating_add(shares);
        self.cost = self.cost.saturating_add(cost);
    }

    fn sell(&mut self, shares: Shares, price: Price) {
        let sold = shares.min(self.shares);
        self.oversold = self.oversold.saturating_add(shares.minus_or_zero(sold));
        let part = self.cost.scale(sold.micro(), self.shares.micro(), Round::Nearest).unwrap_or(Usdc::ZERO);
        let got = price.cost(sold, Round::Nearest).unwrap_or(Usdc::ZERO);
        self.shares = self.shares.minus_or_zero(sold);
        self.cost = if self.shares.is_positive() { self.cost.minus_or_zero(part) } else { Usdc::ZERO };
        let gain = got.checked_sub(part).unwrap_or(Usdc::ZERO);
        self.realized = self.realized.saturating_add(gain);
    }
}

/// The positions of all wallets.
#[derive(Debug, Default)]
pub struct Holdings(BTreeMap<Address, BTreeMap<TokenRef, Holding>>);

impl Holdings {
    /// What a wallet holds and held, by token.
    pub fn of(&self, wallet: Address) -> impl Iterator<Item = (TokenRef, &Holding)> {
        self.0.get(&wallet).into_iter().flatten().map(|(token, holding)| (*token, holding))
    }

    /// One position.
    pub fn get(&self, wallet: Address, token: TokenRef) -> Option<&Holding> {
        self.0.get(&wallet)?.get(&token)
    }

    /// Who holds something of a market.
    pub fn wallets(&self) -> impl Iterator<Item = Address> {
        self.0.keys().copied()
    }

    fn entry(&mut self, wallet: Address, token: TokenRef) -> &mut Holding {
        self.0.entry(wallet).or_default().entry(token).or_default()
    }

    /// A position from before the first print.
    pub fn open(&mut self, opening: &Opening) {
        self.entry(opening.wallet, opening.token).buy(opening.shares, opening.price);
    }

    /// A trade.
    pub fn print(&mut self, print: &Print) {
        self.trade(print.wallet, print.token, print.side, print.size, print.price);
    }

    /// A trade, of anybody.
    pub fn trade(&mut self, wallet: Address, token: TokenRef, side: Side, shares: Shares, price: Price) {
        let holding = self.entry(wallet, token);
        match side {
            Side::Buy => holding.buy(shares, price),
            Side::Sell => holding.sell(shares, price),
        }
    }

    /// A change without a trade: a split costs half of each share, a merge gives half for each, and a
    /// redemption pays what the market paid and leaves nothing.
    pub fn activity(&mut self, activity: &Activity, payouts: Option<[i64; 2]>) {
        let Some(market) = activity.market else { return };
        let half = Price::from_micro(ONE / 2);
        for token in tokens(market) {
            match activity.kind {
                ActivityKind::Split => self.entry(activity.wallet, token).buy(activity.size, half),
                ActivityKind::Merge => self.entry(activity.wallet, token).sell(activity.size, half),
                ActivityKind::Redeem => {
                    if let Some(holding) = self.0.get_mut(&activity.wallet).and_then(|h| h.get_mut(&token)) {
                        let paid = payouts.map_or(0, |p| p[token.index()]);
                        holding.sell(holding.shares, Price::from_micro(paid));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Both sides of a market.
pub const fn tokens(market: MarketRef) -> [TokenRef; 2] {
    [TokenRef { market, second: false }, TokenRef { market, second: true }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_keeps_its_average_cost_through_sales() {
        let mut held = Holding::default();
        let price = |micro| Price::from_micro(micro);
        held.buy(Shares::from_units(10), price(400_000));
        held.buy(Shares::from_units(10), price(600_000));
        assert_eq!(held.average(), Some(price(500_000)));
        held.sell(Shares::from_units(5), price(700_000));
        assert_eq!((held.shares, held.cost), (Shares::from_units(15), "7.5".parse().unwrap()));
        assert_eq!(held.realized, Usdc::from_units(1));
        held.sell(Shares::from_units(20), price(500_000));
        assert_eq!(
            (held.shares, held.cost, held.oversold),
            (Shares::ZERO, Usdc::ZERO, Shares::from_units(5))
        );
    }
}
