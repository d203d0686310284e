//! Credentials, balances, cancels.

use std::collections::BTreeMap;

use schemas::{ids::OrderId, money::Usdc};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{num::Literal, text::or_default};

/// The answer of `POST /auth/api-key` and `GET /auth/derive-api-key`, and how a WebSocket's client says who it is. Holds
/// secrets, which are wiped with it: turn it into `ApiCreds` at once.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyRow {
    /// The key's id.
    pub api_key: String,
    /// The HMAC secret, base64.
    pub secret: String,
    /// The passphrase.
    pub passphrase: String,
}

impl std::fmt::Debug for ApiKeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeyRow").field("api_key", &self.api_key).finish_non_exhaustive()
    }
}

impl Drop for ApiKeyRow {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.passphrase.zeroize();
    }
}

/// The body of `DELETE /order`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// The order to cancel.
    #[serde(rename = "orderID")]
    pub order_id: OrderId,
}

/// The answer of every cancel: HTTP 200 even when nothing was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CancelAnswer {
    /// What was cancelled.
    #[serde(default, deserialize_with = "or_default")]
    pub canceled: Vec<OrderId>,
    /// What was not, and why: "already matched" is a fill, not a cancel.
    #[serde(default, deserialize_with = "or_default")]
    pub not_canceled: BTreeMap<String, String>,
}

/// The answer of `GET /balance-allowance`, in base units; either `allowances` by contract or one `allowance`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BalanceAllowance {
    /// What the wallet holds, in 10^-6.
    #[serde(default)]
    pub balance: Literal,
    /// What each contract may take.
    #[serde(default, deserialize_with = "or_default")]
    pub allowances: BTreeMap<String, Literal>,
    /// What the exchange may take, in older answers.
    #[serde(default, skip_serializing_if = "Literal::is_empty")]
    pub allowance: Literal,
}

/// Base units held at the end of the range: an unlimited allowance is 2^256 - 1.
fn base_units(literal: &Literal) -> Option<i64> {
    let text = literal.as_str();
    let digits = text.split_once('.').map_or(text, |(whole, _)| whole);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(i64::MAX))
}

impl BalanceAllowance {
    /// What the wallet holds; `None` where the answer does not say.
    pub fn balance(&self) -> Option<Usdc> {
        base_units(&self.balance).map(Usdc::from_micro)
    }

    /// The least that any contract may take; `None` where the answer does not say.
    pub fn least_allowance(&self) -> Option<Usdc> {
        let single = Some(&self.allowance).filter(|a| !a.is_empty());
        self.allowances.values().chain(single).map(base_units).min()?.map(Usdc::from_micro)
    }
}
