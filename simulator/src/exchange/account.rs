//! What wallets have, what the exchanges may take of it, and who may trade at all.

use std::collections::BTreeMap;

use schemas::{Address, AssetId, Usdc};
use serde::{Deserialize, Serialize};
use venue::{signing::Route, wire::ClobOrderStatus};

use super::{Exchange, Order};
use crate::market::TokenRef;

/// What one exchange contract may take of a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// Dollars, in 10^-6; `None` for any amount.
    pub usdc: Option<i64>,
    /// Whether it may take shares.
    pub shares: bool,
}

impl Approval {
    /// Everything.
    pub const ALL: Self = Self { usdc: None, shares: true };
}

/// Whether a wallet may trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It may.
    #[default]
    Good,
    /// It may only sell.
    ClosedOnly,
    /// It may not.
    Banned,
}

/// What a wallet has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// Collateral, in 10^-6 dollars.
    pub usdc: i64,
    /// Shares it can sell, in 10^-6.
    pub shares: BTreeMap<TokenRef, i64>,
    /// Where an exchange may not take everything.
    approvals: BTreeMap<Route, Approval>,
    /// Whether it may trade.
    pub standing: Standing,
}

impl Account {
    /// A wallet with so many dollars (10^-6), which allowed everything.
    pub fn with(usdc: i64) -> Self {
        Self { usdc, ..Self::default() }
    }

    /// What the exchange of a route may take.
    pub fn approval(&self, route: Route) -> Approval {
        self.approvals.get(&route).copied().unwrap_or(Approval::ALL)
    }

    /// An allowance that is not unlimited goes down with what is taken, and up with what is given back.
    pub(super) fn spend(&mut self, route: Route, usdc: i64) {
        self.usdc -= usdc;
        if let Some(Approval { usdc: Some(left), .. }) = self.approvals.get_mut(&route) {
            *left -= usdc;
        }
    }
}

/// A change of a wallet from outside of the exchange: a deposit, a withdrawal, an approval on chain, a decision of the
/// venue's. What is left out stays. `POST /sim/wallets` takes it, amounts as integers of 10^-6.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletChange {
    /// Whose.
    pub wallet: Address,
    /// The address of the key that trades for it, where that is another.
    #[serde(default)]
    pub signer: Option<Address>,
    /// Dollars that it has from now on.
    #[serde(default)]
    pub usdc: Option<i64>,
    /// Shares of tokens that it has from now on.
    #[serde(default)]
    pub shares: BTreeMap<AssetId, i64>,
    /// Dollars that every exchange may take from now on; negative for any amount.
    #[serde(default)]
    pub usdc_allowance: Option<i64>,
    /// Whether every exchange may take shares.
    #[serde(default)]
    pub shares_allowed: Option<bool>,
    /// Whether it may trade.
    #[serde(default)]
    pub standing: Option<Standing>,
}

impl WalletChange {
    /// No change yet.
    pub const fn of(wallet: Address) -> Self {
        Self {
            wallet,
            signer: None,
            usdc: None,
            shares: BTreeMap::new(),
            usdc_allowance: None,
            shares_allowed: None,
            standing: None,
        }
    }
}

impl Exchange {
    /// What a wallet has; the opening balance where it never traded.
    pub fn account(&self, wallet: Address) -> Account {
        self.accounts.get(&wallet).cloned().unwrap_or_else(|| self.opening())
    }

    fn opening(&self) -> Account {
        Account::with(self.rules.opening_balance.micro())
    }

    pub(super) fn account_mut(&mut self, wallet: Address) -> &mut Account {
        let opening = self.opening();
        self.accounts.entry(wallet).or_insert(opening)
    }

    /// Changes a wallet. Tokens come with the change's own ids; unknown ones are passed over. Orders that it can no
    /// longer pay for are cancelled, the newest first.
    pub fn change_wallet(
        &mut self,
        change: &WalletChange,
        token: impl Fn(&AssetId) -> Option<TokenRef>,
        at: schemas::Timestamp,
    ) {
        if let Some(signer) = change.signer {
            self.funders.insert(signer, change.wallet);
        }
        let account = self.account_mut(change.wallet);
        if let Some(usdc) = change.usdc {
            account.usdc = usdc;
        }
        for (id, shares) in &change.shares {
            if let Some(token) = token(id) {
                account.shares.insert(token, *shares);
            }
        }
        for route in [Route::Normal, Route::NegRisk, Route::V3] {
            let approval = account.approvals.entry(route).or_insert(Approval::ALL);
            if let Some(usdc) = change.usdc_allowance {
                approval.usdc = (usdc >= 0).then_some(usdc);
            }
            if let Some(allowed) = change.shares_allowed {
                approval.shares = allowed;
            }
        }
        account.standing = change.standing.unwrap_or(account.standing);
        self.drop_unpaid(change.wallet, at);
    }

    /// Cancels what a wallet can no longer pay for, the newest first.
    fn drop_unpaid(&mut self, wallet: Address, at: schemas::Timestamp) {
        let open = self.open_of.get(&wallet).into_iter().flatten().filter_map(|id| self.orders.get(id));
        let mut open: Vec<_> = open.map(|o| (o.accepted, o.id, o.side, o.token, o.route)).collect();
        open.sort_unstable();
        for (_, id, side, token, route) in open.into_iter().rev() {
            let account = self.account(wallet);
            let approval = account.approval(route);
            let unpaid = match side {
                schemas::Side::Buy => {
                    let reserved = self.reserved(wallet, |o| o.side == side);
                    reserved > account.usdc || approval.usdc.is_some_and(|most| reserved > most)
                }
                schemas::Side::Sell => !approval.shares || self.free_shares(wallet, token) < 0,
            };
            if unpaid {
                self.end(id, ClobOrderStatus::CanceledNotEnoughBalance, at);
            }
        }
    }

    /// What a maker could spend now: dollars, less what its open BUYs may still cost.
    pub fn free_usdc(&self, wallet: Address) -> i64 {
        self.account(wallet).usdc - self.reserved(wallet, |o| o.side == schemas::Side::Buy)
    }

    /// What a maker could sell now of a token.
    pub fn free_shares(&self, wallet: Address, token: TokenRef) -> i64 {
        let held = self.account(wallet).shares.get(&token).copied().unwrap_or(0);
        held - self.reserved(wallet, |o| o.side == schemas::Side::Sell && o.token == token)
    }

    /// Whether a wallet can give so many dollars on a route, and so many shares of a token.
    pub(super) fn can_spend(&self, wallet: Address, route: Route, usdc: Usdc) -> bool {
        let allowed = self.account(wallet).approval(route).usdc;
        let reserved = self.reserved(wallet, |o| o.side == schemas::Side::Buy && o.route == route);
        self.free_usdc(wallet) >= usdc.micro() && allowed.is_none_or(|most| most - reserved >= usdc.micro())
    }

    pub(super) fn can_sell(&self, wallet: Address, route: Route, token: TokenRef, shares: i64) -> bool {
        self.account(wallet).approval(route).shares && self.free_shares(wallet, token) >= shares
    }

    fn reserved(&self, wallet: Address, which: impl Fn(&Order) -> bool) -> i64 {
        let open = self.open_of.get(&wallet).into_iter().flatten().filter_map(|id| self.orders.get(id));
        open.filter(|o| which(o)).map(Order::reserved).sum()
    }
}
