//! `intents`: what decide wants done. Keyed by billing account.

use super::{BookSnapshot, MarketFacts};
use crate::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, Hash32, IdempotencyKey, Mode, Placement, Price,
    Shares, Side, TargetId, TargetRowId, Timestamp, TxHash, Usdc, UserId, record,
};

record! {
    /// Which decision an intent or order comes from: an order outside the accepted chain of cuts is an alarm.
    Origin {
        /// The partition of `decisions`.
        partition: i32,
        /// The cut's number in that partition.
        cut: i64,
        /// The decision's leaf in the cut's Merkle tree.
        decision_hash: Hash32,
        /// The revision of the policy it was made under.
        policy_revision: i64,
        /// When ingest saw the fill: for latency, never for a rule.
        observed_at: Timestamp,
    }
}

record! {
    /// Whose order, for which fill: the head of every intent.
    IntentHead {
        /// The tenant.
        billing_account_id: BillingAccountId,
        /// Who created the target.
        created_by_user_id: UserId,
        /// The target's row.
        target_row_id: TargetRowId,
        /// The target's id in keys.
        target_id: TargetId,
        /// The followed wallet.
        wallet: Address,
        /// The copy's frozen key.
        idempotency_key: IdempotencyKey,
        /// The fill, or the cause of a close without one.
        fill_id: FillId,
        /// The revision of the decision: above zero for an amended SELL.
        revision: i32,
        /// The transaction of the fill's natural key; absent for a cause.
        tx: Option<TxHash>,
        /// What to trade.
        asset: AssetId,
        /// Its condition.
        condition_id: ConditionId,
        /// The leader's side: part of the natural key.
        side: Side,
        /// When the leader traded, by the venue.
        filled_at: Timestamp,
        /// Whether real money moves.
        mode: Mode,
        /// Where it was decided.
        origin: Origin,
    }
}

record! {
    /// Place a BUY.
    PlaceIntent {
        /// Whose, and for which fill.
        head: IntentHead,
        /// The highest price to pay.
        limit: Price,
        /// How many shares; a market order buys for `amount` instead and this is what that comes to at the limit.
        shares: Shares,
        /// A market order's dollars, in whole cents.
        amount: Option<Usdc>,
        /// How it is placed.
        placement: Placement,
        /// How long a limit order rests, in seconds.
        order_ttl_s: i32,
        /// The last moment at which it may be sent: fill time plus `max_fill_age`.
        send_until: Timestamp,
        /// The market's facts at the decision.
        facts: MarketFacts,
        /// The policy's cap on the token, asked again at the gate.
        max_usdc_per_token: Usdc,
        /// Whether the opposite may be held by another target of the tenant.
        allow_both_sides: bool,
        /// The resting order it replaces, which is cancelled first.
        replaces: Option<IdempotencyKey>,
        /// The book at the decision: what a paper order fills against. Absent elsewhere.
        book: Option<BookSnapshot>,
    }
}

record! {
    /// Sell part of what a target's copies hold of a token.
    CloseIntent {
        /// Whose, and for which fill or cause.
        head: IntentHead,
        /// The part to sell is `fraction_num / fraction_den`, between zero and one: the leader's shares sold.
        fraction_num: i64,
        /// The leader's shares before the sale.
        fraction_den: i64,
        /// Whether the leader holds nothing of it any more.
        flat: bool,
        /// The leader's sale price; absent for a close without one.
        sale_price: Option<Price>,
        /// How far below it the first exit goes, as a part of it, in 10^-6; absent: the default.
        exit_slippage_fraction: Option<i64>,
        /// How far it widens at most, as a part of the sale price, in 10^-6; absent: the default.
        exit_floor_fraction: Option<i64>,
        /// Due shares gather until they are worth this; absent: the default.
        min_close_usdc: Option<Usdc>,
        /// The market's facts; absent where they could not be had: the close waits for them.
        facts: Option<MarketFacts>,
        /// The book at the decision: what a paper order fills against. Absent elsewhere.
        book: Option<BookSnapshot>,
    }
}

record! {
    /// Cancel what is open of a copy.
    CancelIntent {
        /// Whose, and for which fill.
        head: IntentHead,
        /// The key of the order to cancel.
        cancels: IdempotencyKey,
        /// Why: `void`, `removed`, `replaced`.
        cause: String,
    }
}

record! {
    /// A token goes on under another id: what of it was bought after a target is held under the new one from now on, and
    /// what was due of it is due of that.
    MigrateIntent {
        /// Whose, and by which change of the leader's position: `asset` is the id that it had.
        head: IntentHead,
        /// The id under which it goes on.
        becomes: AssetId,
    }
}
