//! Why an order was refused, from the venue's words and from what the wallet holds and has approved (`behaviour.md` 6.8).

use std::fmt;

use schemas::{OrderStatus, Side};
use venue::outcome::RejectCause;

use super::Attempt;

/// So many rejections in a row for want of money or approval pause the tenant's BUYs.
pub const IN_A_ROW: usize = 5;

/// What ails a wallet whose order was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ailment {
    /// It does not hold what the order gives.
    Balance,
    /// The exchange may not take it.
    Allowance,
    /// Neither: the order itself, the market, or the venue.
    Other,
}

impl Ailment {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Allowance => "allowance",
            Self::Other => "other",
        }
    }

    /// The ailment of that word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Balance, Self::Allowance, Self::Other].into_iter().find(|ailment| ailment.as_str() == word)
    }

    /// Whether more orders would be refused for it too.
    pub const fn is_the_wallet_s(self) -> bool {
        matches!(self, Self::Balance | Self::Allowance)
    }
}

/// What a wallet has of something, and what the exchange may take of it, in 10^-6; `None` where the venue does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holding {
    /// What it has.
    pub balance: Option<i64>,
    /// What may be taken.
    pub allowance: Option<i64>,
}

/// What the wallet has: of dollars, and of the order's token. BUYs give the first, SELLs the second; both have to be
/// approved before a market is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wallet {
    /// Dollars.
    pub usdc: Holding,
    /// Shares of the order's token.
    pub shares: Holding,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What ails the wallet.
    pub ailment: Ailment,
    /// What was read, in a sentence.
    pub detail: String,
}

/// An amount of 10^-6, or that it is not known, or without end.
struct Amount(Option<i64>);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("an unknown amount"),
            Some(i64::MAX) => f.write_str("any amount"),
            Some(micro) => schemas::Usdc::from_micro(micro).fmt(f),
        }
    }
}

/// Whether an attempt ended with a refusal of the venue's, and not because it never landed.
pub fn was_refused(attempt: &Attempt) -> bool {
    attempt.status == OrderStatus::Rejected
        && attempt.order_id.is_some()
        && attempt.answered_at.is_some()
        && attempt.reason.as_deref() != Some(super::transition::DID_NOT_LAND)
}

/// What ails the wallet of a refused order.
pub fn diagnose(attempt: &Attempt, wallet: Wallet) -> Diagnosis {
    let (given, needed, unit) = match attempt.side {
        Side::Buy => (wallet.usdc, attempt.reserved.micro(), "USDC"),
        Side::Sell => (wallet.shares, attempt.shares.micro(), "shares"),
    };
    let short = |has: Option<i64>| has.is_some_and(|has| has < needed);
    let blamed = attempt.reason.as_deref().map(RejectCause::of) == Some(RejectCause::BalanceOrAllowance);
    let ailment = if short(given.balance) {
        Ailment::Balance
    } else if short(given.allowance) {
        Ailment::Allowance
    } else if blamed {
        // The venue says so, and counts what other open orders hold.
        Ailment::Balance
    } else {
        Ailment::Other
    };
    let detail = format!(
        "the order needs {} {unit}; the wallet holds {} USDC of which {} may be taken, and {} shares of which {} may be \
         taken",
        Amount(Some(needed)),
        Amount(wallet.usdc.balance),
        Amount(wallet.usdc.allowance),
        Amount(wallet.shares.balance),
        Amount(wallet.shares.allowance),
    );
    Diagnosis { ailment, detail }
}

/// The reason of a pause that comes of so many rejections in a row, the last of which was diagnosed so.
pub fn pause_reason(last: &Diagnosis) -> String {
    let what = match last.ailment {
        Ailment::Balance => "not enough balance",
        Ailment::Allowance => "not enough allowance",
        Ailment::Other => "refused by the venue",
    };
    let reason = format!("{IN_A_ROW} orders in a row were rejected: {what}; {}", last.detail);
    reason.chars().filter(|c| !c.is_control()).take(500).collect()
}
