//! What a position won or lost: exact integers, each rounding named.

use schemas::{Price, Round, Shares, Side, Usdc, money::mul_div};

/// What one copy traded of a position, fees apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// Which way it went.
    pub side: Side,
    /// Shares that filled.
    pub shares: Shares,
    /// What they cost or brought.
    pub usdc: Usdc,
}

/// What was traded of one position, fees apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traded {
    /// Shares bought.
    pub bought: Shares,
    /// What they cost.
    pub bought_usdc: Usdc,
    /// Shares sold.
    pub sold: Shares,
    /// What they brought.
    pub sold_usdc: Usdc,
    /// What the shares that are held cost, at the average cost of what was held with them.
    pub cost: Usdc,
}

impl Traded {
    /// The trades of a position, in their order: what is bought later does not change what a sale before it won, as in the
    /// ledger of orders.
    pub fn of(trades: impl IntoIterator<Item = Trade>) -> Self {
        trades.into_iter().fold(Self::default(), Self::and)
    }

    /// Sold shares leave at average cost, rounded down: the fraction of a cent stays with what is held. Those that were sold
    /// before they were bought, as it is told, leave at the price at which they are bought.
    fn and(self, trade: Trade) -> Self {
        let Self { bought, bought_usdc, sold, sold_usdc, cost } = self;
        let Trade { side, shares, usdc } = trade;
        let part = |of: Usdc, left: Shares, all: Shares| match all {
            _ if left >= all => of,
            all => Usdc::from_micro(
                mul_div(of.micro(), left.micro(), all.micro(), Round::Down).unwrap_or(of.micro()),
            ),
        };
        match side {
            Side::Buy => {
                let gone = part(usdc, sold.minus_or_zero(bought).min(shares), shares);
                let stays = usdc.minus_or_zero(gone);
                Self {
                    bought: bought.saturating_add(shares),
                    bought_usdc: bought_usdc.saturating_add(usdc),
                    cost: cost.saturating_add(stays),
                    ..self
                }
            }
            Side::Sell => Self {
                sold: sold.saturating_add(shares),
                sold_usdc: sold_usdc.saturating_add(usdc),
                cost: cost.minus_or_zero(part(cost, shares, bought.minus_or_zero(sold))),
                ..self
            },
        }
    }
}

/// What is known of its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Worth {
    /// What a share pays, once its market has ended.
    pub per_share: Option<Usdc>,
    /// Whether anybody has looked what others pay for it.
    pub marked: bool,
    /// The most that somebody pays; `None` where nobody bids.
    pub best_bid: Option<Price>,
}

/// What it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pnl {
    /// Shares held.
    pub held: Shares,
    /// What these cost, at average cost.
    pub cost: Usdc,
    /// What sales and the end of the market brought beyond the cost of what they were for. Without fees.
    pub realised: Usdc,
    /// What the held shares would bring now beyond their cost, at the best bid. `None` where nobody has looked; zero once
    /// the market has ended.
    pub unrealised: Option<Usdc>,
    /// What the held shares pay at the venue, once the market has ended.
    pub redeemable: Usdc,
}

/// Shares at a value each, rounded down.
fn value(shares: Shares, each: i64) -> i64 {
    mul_div(shares.micro(), each, 1_000_000, Round::Down).unwrap_or(i64::MAX)
}

impl Pnl {
    /// Of a position: what was paid and is not the cost of what is held is the cost of what was sold.
    pub fn of(traded: Traded, worth: Worth) -> Self {
        let Traded { bought, bought_usdc, sold, sold_usdc, cost } = traded;
        let held = bought.minus_or_zero(sold);
        let cost = cost.micro();
        let by_sales = sold_usdc.micro().saturating_sub(bought_usdc.micro().saturating_sub(cost));
        let (realised, unrealised, redeemable) = if let Some(each) = worth.per_share {
            let pays = value(held, each.micro());
            (by_sales.saturating_add(pays.saturating_sub(cost)), Some(0), pays)
        } else {
            let bid = worth.best_bid.map_or(0, Price::micro);
            let would = value(held, bid).saturating_sub(cost);
            let known = worth.marked || !held.is_positive();
            (by_sales, known.then_some(would), 0)
        };
        Self {
            held,
            cost: if worth.per_share.is_some() { Usdc::ZERO } else { Usdc::from_micro(cost) },
            realised: Usdc::from_micro(realised),
            unrealised: unrealised.map(Usdc::from_micro),
            redeemable: Usdc::from_micro(redeemable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(side: Side, shares: i64, usdc: i64) -> Trade {
        Trade { side, shares: Shares::from_micro(shares), usdc: Usdc::from_micro(usdc) }
    }

    fn traded(bought: i64, cost: i64, sold: i64, brought: i64) -> Traded {
        let trades = [trade(Side::Buy, bought, cost), trade(Side::Sell, sold, brought)];
        Traded::of(trades.into_iter().filter(|t| t.shares.is_positive()))
    }

    fn bid(micro: i64) -> Worth {
        Worth { marked: true, best_bid: Some(Price::from_micro(micro)), per_share: None }
    }

    fn pays(micro: i64) -> Worth {
        Worth { per_share: Some(Usdc::from_micro(micro)), ..Worth::default() }
    }

    #[test]
    fn what_is_sold_leaves_at_average_cost_and_the_rest_is_worth_the_best_bid() {
        // 10 shares for $4, 4 of them sold for $2: $1.60 of cost went, $0.40 was won. 6 left cost $2.40, at 0.50 worth $3.
        let pnl = Pnl::of(traded(10_000_000, 4_000_000, 4_000_000, 2_000_000), bid(500_000));
        assert_eq!(
            (pnl.held, pnl.cost, pnl.realised, pnl.unrealised, pnl.redeemable),
            (
                Shares::from_units(6),
                Usdc::from_micro(2_400_000),
                Usdc::from_micro(400_000),
                Some(Usdc::from_micro(600_000)),
                Usdc::ZERO
            )
        );
        // Nobody has looked; nobody bids.
        let unknown = Pnl::of(traded(10_000_000, 4_000_000, 0, 0), Worth::default());
        assert_eq!((unknown.realised, unknown.unrealised), (Usdc::ZERO, None));
        let worthless =
            Pnl::of(traded(10_000_000, 4_000_000, 0, 0), Worth { marked: true, ..Worth::default() });
        assert_eq!(worthless.unrealised, Some(Usdc::from_micro(-4_000_000)));
    }

    #[test]
    fn the_end_of_a_market_settles_what_is_held() {
        let of = |each| Pnl::of(traded(10_000_000, 4_000_000, 4_000_000, 2_000_000), pays(each));
        // 6 shares that cost $2.40 pay $6, nothing, $3.
        for (each, realised, redeemable) in
            [(1_000_000, 4_000_000, 6_000_000), (0, -2_000_000, 0), (500_000, 1_000_000, 3_000_000)]
        {
            let pnl = of(each);
            assert_eq!((pnl.realised.micro(), pnl.redeemable.micro()), (realised, redeemable));
            assert_eq!((pnl.unrealised, pnl.cost), (Some(Usdc::ZERO), Usdc::ZERO));
        }
        // What was sold before stays as it was.
        let sold = Pnl::of(traded(10_000_000, 4_000_000, 10_000_000, 5_000_000), pays(1_000_000));
        assert_eq!((sold.realised, sold.redeemable), (Usdc::from_units(1), Usdc::ZERO));
    }

    #[test]
    fn what_is_bought_later_leaves_what_was_won_as_it_was() {
        let (ten, units) = (10_000_000, 1_000_000);
        let trades = [
            trade(Side::Buy, ten, 4 * units),
            trade(Side::Sell, ten, 5 * units),
            trade(Side::Buy, ten, 8 * units),
            trade(Side::Sell, ten / 2, 4 * units + units / 2),
        ];
        let after = |n: usize| Pnl::of(Traded::of(trades[..n].iter().copied()), bid(800_000));
        assert_eq!((after(2).realised, after(2).cost), (Usdc::from_units(1), Usdc::ZERO));
        assert_eq!((after(3).realised, after(3).cost), (Usdc::from_units(1), Usdc::from_units(8)));
        // 5 of the new 10 for $4.50 that cost $4.
        assert_eq!((after(4).realised, after(4).cost), (Usdc::from_micro(1_500_000), Usdc::from_units(4)));
        // Told the other way round, they are sold at the price at which they are bought.
        let early = Traded::of([trade(Side::Sell, ten, 5 * units), trade(Side::Buy, 2 * ten, 8 * units)]);
        let early = Pnl::of(early, bid(800_000));
        assert_eq!((early.realised, early.cost), (Usdc::from_units(1), Usdc::from_units(4)));
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_order_money_is_neither_made_nor_lost(
            trades in proptest::collection::vec(
                (proptest::bool::ANY, 1i64..1_000_000_000, 0i64..1_000_000_000), 0..20),
            (shares, usdc) in (1i64..1_000_000_000, 0i64..1_000_000_000),
        ) {
            let trades: Vec<Trade> = trades
                .into_iter()
                .map(|(buy, shares, usdc)| trade(if buy { Side::Buy } else { Side::Sell }, shares, usdc))
                .collect();
            let traded = Traded::of(trades.iter().copied());
            let pnl = Pnl::of(traded, Worth::default());
            let money = traded.sold_usdc.micro() - traded.bought_usdc.micro();
            proptest::prop_assert_eq!(pnl.realised.micro() - pnl.cost.micro(), money);
            proptest::prop_assert!(pnl.cost.micro() >= 0 && (pnl.held.is_positive() || pnl.cost == Usdc::ZERO));
            // Nothing was sold that was not there: one more entry has won nothing yet.
            let more = Traded::of(trades.into_iter().chain([trade(Side::Buy, shares, usdc)]));
            let later = Pnl::of(more, Worth::default());
            proptest::prop_assert!(traded.sold > traded.bought || later.realised == pnl.realised);
        }

        #[test]
        fn no_millionth_is_lost_between_sales_and_the_end(
            bought in 1i64..1_000_000_000, cost in 0i64..1_000_000_000, part in 0i64..1_000_001, brought in 0i64..1_000_000_000,
            each in 0i64..1_000_001,
        ) {
            let sold = mul_div(bought, part, 1_000_000, Round::Down).unwrap();
            let open = Pnl::of(traded(bought, cost, sold, brought), bid(each.max(1)));
            proptest::prop_assert_eq!(open.realised.micro(), brought - (cost - open.cost.micro()));
            let ended = Pnl::of(traded(bought, cost, sold, brought), pays(each));
            // Money in less money out, exactly.
            proptest::prop_assert_eq!(ended.realised.micro(), brought + ended.redeemable.micro() - cost);
        }
    }
}
