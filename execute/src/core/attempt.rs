//! One attempt: the row that makes an order happen once, and everything known of it.

use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, IdempotencyKey, Mode, OrderId, OrderStatus,
    OrderType, Price, Shares, Side, TargetId, TargetRowId, Timestamp, Usdc, UserId,
    events::{BookSnapshot, IntentHead, OrderState, Origin},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::close::Note;

/// What names an attempt: unique by itself, and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The tenant.
    pub billing_account_id: BillingAccountId,
    /// The copy.
    pub idempotency_key: IdempotencyKey,
    /// 0 for a BUY; the attempts of a close count up.
    pub attempt: i32,
}

/// The exact bytes of an order's body. In a row of JSON they are `\x` and hex digits, as Postgres writes `bytea`.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format!("\\x{}", const_hex::encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.strip_prefix("\\x")
            .and_then(|digits| const_hex::decode(digits).ok())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("bytes are written as `\\x` and hex digits"))
    }
}

/// An attempt at one revision. The fields are the columns of `execution.orders`, under their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The tenant.
    pub billing_account_id: BillingAccountId,
    /// The copy's frozen key.
    pub idempotency_key: IdempotencyKey,
    /// 0 for a BUY; the attempts of a close count up.
    pub attempt: i32,
    /// See [`natural_key`].
    pub natural_key: String,
    /// Grows by one with each step.
    pub revision: i64,
    /// Where it stands.
    pub status: OrderStatus,
    /// Who created the target.
    pub created_by_user_id: UserId,
    /// The target's row.
    pub target_row_id: TargetRowId,
    /// The target's id in keys.
    pub target_id: TargetId,
    /// The followed wallet.
    pub wallet: Address,
    /// The fill, or the cause of a close.
    pub fill_id: FillId,
    /// Whether real money moves.
    pub mode: Mode,
    /// Which way it goes.
    pub side: Side,
    /// What is traded.
    pub asset: AssetId,
    /// The token under whose id its position stands: another than `asset` once that has gone on under it.
    pub held_as: AssetId,
    /// Its condition.
    pub condition_id: ConditionId,
    /// The limit; zero where it was denied before one was set.
    pub limit_price: Price,
    /// The shares asked for.
    pub shares: Shares,
    /// How long it lives at the venue.
    pub order_type: Option<OrderType>,
    /// When it lapses by itself: one minute before the expiration that the venue is told.
    pub expires_at: Option<Timestamp>,
    /// The venue's id of it.
    pub order_id: Option<OrderId>,
    /// What is sent, and nothing else ever.
    pub body: Option<Body>,
    /// Whose key signed it.
    pub connection_id: Option<Uuid>,
    /// Its cost at the limit with the worst fee, as authorised; zero for SELLs.
    pub reserved: Usdc,
    /// The market's taker fee rate, in 10^-6.
    pub fee_rate: i64,
    /// The exponent of the market's fee formula.
    pub fee_exponent: i32,
    /// What filled.
    pub filled_shares: Shares,
    /// What these cost or brought, without fees.
    pub filled_usdc: Usdc,
    /// Fees paid.
    pub fees_usdc: Usdc,
    /// The part of what filled that can no longer fail.
    pub confirmed_shares: Shares,
    /// Why it ended, or the venue's words.
    pub reason: Option<String>,
    /// The decision it comes from.
    pub origin: Origin,
    /// The partition of `intents` it came by.
    pub partition: i32,
    /// When the leader traded.
    pub filled_at: Timestamp,
    /// The last moment at which a BUY may be sent; [`NEVER_TOO_OLD`] for SELLs.
    pub send_until: Timestamp,
    /// When it was committed.
    pub created_at: Timestamp,
    /// When it was first handed to the venue.
    pub sent_at: Option<Timestamp>,
    /// The last moment at which its bytes may have left.
    pub last_send_at: Option<Timestamp>,
    /// When the venue's answer was read.
    pub answered_at: Option<Timestamp>,
    /// When the venue last confirmed its state.
    pub synced_at: Option<Timestamp>,
    /// When this revision was made.
    pub changed_at: Timestamp,
    /// When it was asked that it be cancelled.
    pub cancel_asked_at: Option<Timestamp>,
    /// Why.
    pub cancel_cause: Option<String>,
    /// How often the venue was asked without news.
    pub asked: i32,
    /// When to ask again; `None`: never.
    pub next_look_at: Option<Timestamp>,
    /// Whether its status is final.
    pub is_final: bool,
    /// A close's: what is told of it besides.
    pub note: Option<Note>,
    /// On paper: the book that it is filled against, as it was recorded when this was decided.
    pub book: Option<BookSnapshot>,
}

/// The `send_until` of SELLs: a SELL is never too old (`behaviour.md` 4).
pub const NEVER_TOO_OLD: Timestamp = Timestamp::from_micros(i64::MAX);

/// What makes two intents one, whatever named their fill: the fill's natural key, or the target with the cause of a close;
/// with the revision of the decision (an amended SELL is a close of its own under the same key). A cause need not name whose
/// it is: two leaders may be in one transaction, and each of their fills may be voided.
pub fn natural_key(head: &IntentHead) -> String {
    match head.tx {
        Some(tx) => format!("{}:{tx}:{}:{}#{}", head.wallet, head.asset, head.side, head.revision),
        None => format!("{}:{}#{}", head.target_id, head.fill_id, head.revision),
    }
}

/// The name of a cause in rows that were written before it held the target.
fn former_natural_key(head: &IntentHead) -> Option<String> {
    head.tx.is_none().then(|| format!("{}#{}", head.fill_id, head.revision))
}

impl Attempt {
    /// Its name.
    pub const fn key(&self) -> AttemptKey {
        AttemptKey {
            billing_account_id: self.billing_account_id,
            idempotency_key: self.idempotency_key,
            attempt: self.attempt,
        }
    }

    /// Whether it was written for this fill or cause, under whichever of its names.
    pub fn is_of(&self, head: &IntentHead) -> bool {
        self.natural_key == natural_key(head)
            || (self.idempotency_key == head.idempotency_key
                && former_natural_key(head).is_some_and(|former| self.natural_key == former))
    }

    /// What it counts against the caps: all of it until its end is known, then what it came to
    /// (`behaviour.md` 5). The database's column `counted` is the same formula.
    pub fn counted(&self) -> Usdc {
        let paid = self.filled_usdc.saturating_add(self.fees_usdc);
        match (self.side, self.status) {
            (Side::Sell, _) | (_, OrderStatus::Denied | OrderStatus::Rejected) => Usdc::ZERO,
            _ if self.is_final => paid,
            _ => self.reserved.max(paid),
        }
    }

    /// Whether it is one of the hour's orders: denied and rejected ones and SELLs are not.
    pub const fn counts_as_order(&self) -> bool {
        matches!(self.side, Side::Buy) && !matches!(self.status, OrderStatus::Denied | OrderStatus::Rejected)
    }

    /// What of it can still fill.
    pub fn unfilled(&self) -> Shares {
        if self.is_final { Shares::ZERO } else { self.shares.minus_or_zero(self.filled_shares) }
    }

    /// Whether all that it filled is there for good.
    pub fn is_settled(&self) -> bool {
        self.confirmed_shares >= self.filled_shares
    }

    /// Whether nobody can say if it is at the venue (`behaviour.md` 6.5).
    pub const fn is_unresolved(&self) -> bool {
        matches!(self.status, OrderStatus::Reserved | OrderStatus::Submitted | OrderStatus::Unknown)
    }

    /// The attempt as the log carries it.
    pub fn to_event(&self) -> OrderState {
        OrderState {
            billing_account_id: self.billing_account_id,
            created_by_user_id: self.created_by_user_id,
            target_row_id: self.target_row_id,
            target_id: self.target_id,
            wallet: self.wallet,
            idempotency_key: self.idempotency_key,
            fill_id: self.fill_id.clone(),
            attempt: self.attempt,
            revision: self.revision,
            status: self.status,
            reason: self.reason.clone(),
            mode: self.mode,
            side: self.side,
            asset: self.asset.clone(),
            condition_id: self.condition_id,
            limit: self.limit_price,
            shares: self.shares,
            order_type: self.order_type,
            expires_at: self.expires_at,
            order_id: self.order_id,
            reserved: self.reserved,
            filled_shares: self.filled_shares,
            filled_usdc: self.filled_usdc,
            fees_usdc: self.fees_usdc,
            origin: self.origin.clone(),
            filled_at: self.filled_at,
            created_at: self.created_at,
            sent_at: self.sent_at,
            answered_at: self.answered_at,
            synced_at: self.synced_at,
            changed_at: self.changed_at,
            note: self.note.map(|n| n.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_postgres_writes_them() {
        let body = Body(vec![0, 0xff, 0x7b, 0x22]);
        let json = serde_json::to_string(&body).unwrap();
        assert_eq!(json, r#""\\x00ff7b22""#);
        assert_eq!(serde_json::from_str::<Body>(&json).unwrap(), body);
        for bad in [r#""00""#, r#""\\x0""#, r#""\\xzz""#, r#""\\x€€""#] {
            assert!(serde_json::from_str::<Body>(bad).is_err(), "{bad}");
        }
    }
}
