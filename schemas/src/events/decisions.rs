//! `decisions`: the cuts, and every decision with its inputs.

use super::Policy;
use crate::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, Hash32, IdempotencyKey, Mode, Outcome,
    Placement, PositionBranch, Price, Reason, Shares, Side, TargetId, TargetRowId, TargetStatus, Tick,
    Timestamp, Usdc, UserId, record,
};

record! {
    /// What a cut takes from one input topic.
    Taken {
        /// The topic: `targets`, `orders` or `fills`.
        topic: String,
        /// The first offset of the range.
        from: i64,
        /// The offset after the range.
        until: i64,
        /// Offsets within the range that could not be read and were skipped.
        skipped: Vec<i64>,
        /// A hash over the contents taken, in order.
        content: Hash32,
    }
}

record! {
    /// The order that decide gives to its inputs: state is the fold of the cuts, in this order, and nothing else.
    /// A cut counts only if its number is the next and its previous hash matches.
    Cut {
        /// The partition, of `decisions` and of the inputs.
        partition: i32,
        /// Its number: the first is 0.
        number: i64,
        /// The hash of the cut before; of nothing for the first.
        previous: Hash32,
        /// What it takes, folded in this order.
        taken: Vec<Taken>,
        /// The clock, never below the cut before's.
        clock: Timestamp,
        /// The version of plan and folds that it was decided under.
        plan_version: i32,
        /// How many decisions follow it.
        decisions: i32,
        /// The Merkle root of those decisions.
        decisions_root: Hash32,
        /// How many intents it wrote.
        intents: i32,
        /// The Merkle root of those intents.
        intents_root: Hash32,
    }
}

record! {
    /// What was known of our own side when a decision was made.
    OwnView {
        /// Shares of the token held.
        held: Shares,
        /// Shares of BUYs on the token that are on their way, resting or unknown.
        pending: Shares,
        /// Whether the token was held before, and is not held any more.
        closed: bool,
        /// Open cost of the token, pending BUYs included.
        exposure: Usdc,
        /// Shares of the opposite token held.
        opposite_held: Shares,
        /// Open cost of the opposite token, pending BUYs included.
        opposite_exposure: Usdc,
        /// BUYs that rest or are on their way on the token.
        resting: i32,
        /// The key of the oldest of them.
        oldest: Option<IdempotencyKey>,
        /// The limit of the oldest of them.
        oldest_limit: Option<Price>,
        /// What the unfilled part of the oldest of them may still cost.
        oldest_unfilled: Option<Usdc>,
        /// Dollars kept from desires that were below the floor.
        kept: Usdc,
        /// What the shares held cost, without what is pending.
        held_cost: Option<Usdc>,
    }
}

record! {
    /// What was known of the leader's side when a decision was made.
    LeaderView {
        /// Whether the wallet's snapshot had been read.
        known: bool,
        /// Shares of the token before this fill.
        shares_before: Shares,
        /// Shares of the token with this fill.
        shares_after: Shares,
        /// Cost of the token, a BUY included, at the average.
        token_cost: Usdc,
        /// Cost of the opposite token.
        opposite_cost: Usdc,
        /// The average price of the token without this fill.
        average: Option<Price>,
        /// The cost on the condition before the first fill after activation.
        baseline: Option<Usdc>,
        /// The percentile of the gate, where the sizing asks for one.
        percentile: Option<Usdc>,
        /// The wallet's 99th percentile, where the sizing asks for one.
        percentile_99: Option<Usdc>,
        /// Tokens in the sample of the percentiles.
        sample: Option<i32>,
        /// What the wallet spent on the token within the sample, this fill included, where the sizing asks for it.
        spent: Option<Usdc>,
    }
}

record! {
    /// What a decision was made from, in full: the plan reads this, the condition and the clock, and nothing else.
    Inputs {
        /// Where the target stood.
        status: TargetStatus,
        /// The leader's side.
        side: Side,
        /// The leader's shares; of an amended SELL those that were added; zero for a close without the leader.
        shares: Shares,
        /// The leader's dollars for them.
        notional: Usdc,
        /// The leader's price; zero for a close without one.
        price: Price,
        /// When the leader traded.
        filled_at: Timestamp,
        /// The market's tick; absent where it came without facts.
        tick: Option<Tick>,
        /// The market's smallest resting order.
        min_shares: Option<Shares>,
        /// The taker fee rate in 10^-6.
        fee_rate: Option<i64>,
        /// The exponent of the fee formula.
        fee_exponent: Option<i32>,
        /// The market's category.
        category: Option<String>,
        /// The market's slug.
        slug: Option<String>,
        /// Whether the market takes orders.
        accepting_orders: Option<bool>,
        /// When the market ends.
        end_at: Option<Timestamp>,
        /// The best bid of the recorded book.
        best_bid: Option<Price>,
        /// The best ask of the recorded book.
        best_ask: Option<Price>,
        /// What a market order could have had within the limit.
        depth_in_limit: Option<Shares>,
        /// Our own side.
        own: OwnView,
        /// The leader's side.
        leader: LeaderView,
        /// The policy in force.
        policy: Policy,
    }
}

record! {
    /// What an order is to be, where one was decided.
    Order {
        /// The limit of a BUY; absent for a close, which the gate prices.
        limit: Option<Price>,
        /// The shares of a BUY.
        shares: Option<Shares>,
        /// A market BUY's dollars.
        amount: Option<Usdc>,
        /// A close sells `fraction_num / fraction_den` of what is held.
        fraction_num: Option<i64>,
        /// See `fraction_num`.
        fraction_den: Option<i64>,
        /// A close: whether the leader holds nothing of it any more.
        flat: Option<bool>,
        /// How a BUY is placed.
        placement: Option<Placement>,
        /// The resting order it replaces.
        replaces: Option<IdempotencyKey>,
        /// The copies whose open orders it cancels: of a voided fill, of a removed target.
        cancels: Vec<IdempotencyKey>,
        /// A migration: the id under which what is held goes on.
        becomes: Option<AssetId>,
    }
}

record! {
    /// A decision: one for every fill of a followed wallet and every subscribed tenant. The same inputs give the
    /// same bytes, for ever; its salt stands beside it, in the header `salt`.
    Decision {
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
        /// The fill, or the cause of a close.
        fill_id: FillId,
        /// The copy's frozen key.
        idempotency_key: IdempotencyKey,
        /// 0, or above for an amended SELL.
        revision: i32,
        /// What was traded.
        asset: AssetId,
        /// Its condition.
        condition_id: ConditionId,
        /// Whether real money moves.
        mode: Mode,
        /// What it came to.
        outcome: Outcome,
        /// Why it came to that.
        reason: Reason,
        /// What it does to our position.
        position_branch: PositionBranch,
        /// The order decided, where one was.
        order: Option<Order>,
        /// What it was made from.
        inputs: Inputs,
        /// The error, where the decision could not be made.
        error: Option<String>,
        /// The partition it was made in.
        partition: i32,
        /// The cut it was made in.
        cut: i64,
        /// The offset of the record that asked for it, in `fills`; of the request in `targets` for a manual close.
        source_offset: i64,
        /// The version of plan and folds.
        plan_version: i32,
        /// The revision of the policy.
        policy_revision: i64,
        /// The cut's clock.
        decided_at: Timestamp,
    }
}
