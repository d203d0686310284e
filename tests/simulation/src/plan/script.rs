//! What the venue's world shows of a story: markets open and end, and every trade is a print.

use std::collections::VecDeque;

use schemas::{Address, MarketVersion};
use simulator::{
    market::{Market, MarketRef, Outcome, TokenRef},
    print::{Happening, Opening, Print, Role, Source, What as Shown},
};

use super::{Plan, What, condition, token, tx, wallet};
use crate::time::START;

/// Whoever is not followed.
const SOMEBODY: Address = Address::from_bytes([0xdd; 20]);

/// A story as the venue's source.
#[derive(Debug)]
pub struct Script(VecDeque<Happening>);

impl Script {
    /// What a story shows.
    pub fn of(plan: &Plan) -> Self {
        let mut shown = VecDeque::new();
        for (n, m) in (0u8..).zip(&plan.markets) {
            let outcome = |second| Outcome {
                token: token(n, second),
                name: if second { "No".into() } else { "Yes".into() },
            };
            let name = format!("market-{n}");
            let market = Market {
                id: u64::from(n) + 1,
                condition: condition(n),
                version: MarketVersion::V1,
                title: name.as_str().into(),
                slug: name.as_str().into(),
                event_slug: name.as_str().into(),
                icon: "".into(),
                category: "Politics".into(),
                outcomes: [outcome(false), outcome(true)],
                tick: m.tick,
                min_size: m.min_shares,
                neg_risk: m.neg_risk,
                fee_rate: m.fee_rate,
                end: None,
                opening_price: m.price,
                opened: START,
                closed: None,
                payouts: None,
            };
            shown.push_back(Happening { at: START, what: Shown::Open(Box::new(market)) });
        }
        let mut later = Vec::new();
        for (nth, step) in (0u16..).zip(&plan.steps) {
            if let What::End { market, payouts, pays, .. } = &step.what {
                let close = |payouts| Shown::Close(MarketRef((*market).into()), payouts);
                let at = START.plus(step.at);
                later.push(Happening { at, what: close(None) });
                later.push(Happening { at: at.plus(*pays), what: close(Some(*payouts)) });
                continue;
            }
            let (who, trade, tx) = match &step.what {
                What::Fill { n, wallet: of, trade, .. } => (wallet(*of), trade, tx(*n)),
                What::Print(trade) => (SOMEBODY, trade, tx(0x8000 + nth)),
                _ => continue,
            };
            let at = START.plus(step.at);
            let print = Print {
                second: at.secs(),
                wallet: who,
                token: TokenRef { market: MarketRef(trade.market.into()), second: trade.second },
                side: trade.side,
                role: Role::Taker,
                size: trade.shares,
                price: trade.price,
                tx,
                literals: None,
            };
            later.push(Happening { at, what: Shown::Print(print) });
        }
        later.sort_by_key(|h| h.at);
        shown.extend(later);
        Self(shown)
    }
}

impl Source for Script {
    fn next_at(&mut self) -> Option<schemas::Timestamp> {
        self.0.front().map(|h| h.at)
    }

    fn take(&mut self) -> Option<Happening> {
        self.0.pop_front()
    }

    fn openings(&self) -> Vec<Opening> {
        Vec::new()
    }

    fn leaders(&self) -> Vec<Address> {
        Vec::new()
    }
}
