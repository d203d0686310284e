//! Where the position of a ledger row stands: by its orders, and by what its token pays once the market has ended.

use std::cmp::Ordering;

use schemas::{IdempotencyKey, Shares, Side, Timestamp, Usdc};

/// The least that can be sold: 0.01 share.
const LEAST_SHARES: Shares = Shares::from_micro(10_000);

/// The value of `position_lifecycle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Shares are held, and nobody sells them.
    Open,
    /// Shares are held, and a sale is on its way.
    Closing,
    /// What was bought is sold.
    Closed,
    /// What was bought is sold but for less than 0.01 share, which nobody can sell.
    Dust,
    /// Shares are held, and each pays a dollar.
    Winner,
    /// Shares are held, and pay nothing.
    Loser,
    /// Shares are held, and each pays a part of a dollar.
    Split,
}

impl Lifecycle {
    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Dust => "dust",
            Self::Winner => "winner",
            Self::Loser => "loser",
            Self::Split => "split",
        }
    }
}

/// How what is held stands when its market has ended.
fn ended(per_share: Usdc) -> Lifecycle {
    if !per_share.is_positive() {
        Lifecycle::Loser
    } else if per_share >= Usdc::from_units(1) {
        Lifecycle::Winner
    } else {
        Lifecycle::Split
    }
}

/// What of a ledger row matters to its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The row.
    pub key: IdempotencyKey,
    /// Which way.
    pub side: Side,
    /// What filled.
    pub filled: Shares,
    /// Whether its newest attempt is final.
    pub is_final: bool,
    /// When its first attempt was committed.
    pub created_at: Timestamp,
}

/// Where each row of one position stands, in the order given. Sales use up the oldest purchases first, so the
/// answer depends on the rows alone and not on the order in which they were learned of.
///
/// What is left of a position that was sold but for less than 0.01 share is `dust`.
///
/// A sale is `closing` until it is final, then `closed` if it sold anything; a row that filled nothing stands
/// nowhere. Once it is known what a share pays, what is not sold stands by that.
pub fn lifecycles(position: &[Part], per_share: Option<Usdc>) -> Vec<Option<Lifecycle>> {
    let is_sale = |part: &&Part| part.side == Side::Sell;
    let mut sold = position.iter().filter(is_sale).map(|part| part.filled).sum::<Shares>();
    let bought =
        position.iter().filter(|part| part.side == Side::Buy).map(|part| part.filled).sum::<Shares>();
    let is_dust = sold.is_positive() && bought.minus_or_zero(sold) < LEAST_SHARES;
    let selling = position.iter().filter(is_sale).any(|part| !part.is_final);
    let mut order: Vec<usize> = (0..position.len()).collect();
    order.sort_by(|a, b| age(&position[*a], &position[*b]));
    let mut found = vec![None; position.len()];
    for index in order {
        let part = &position[index];
        found[index] = match part.side {
            Side::Sell if !part.is_final => Some(Lifecycle::Closing),
            Side::Sell => part.filled.is_positive().then_some(Lifecycle::Closed),
            Side::Buy if !part.filled.is_positive() => None,
            Side::Buy => {
                let used_up = sold >= part.filled;
                sold = sold.minus_or_zero(part.filled);
                Some(match (used_up, per_share, selling) {
                    (true, ..) => Lifecycle::Closed,
                    (false, Some(each), _) => ended(each),
                    (false, None, true) => Lifecycle::Closing,
                    (false, None, false) if is_dust => Lifecycle::Dust,
                    (false, None, false) => Lifecycle::Open,
                })
            }
        };
    }
    found
}

fn age(a: &Part, b: &Part) -> Ordering {
    (a.created_at, a.key).cmp(&(b.created_at, b.key))
}
