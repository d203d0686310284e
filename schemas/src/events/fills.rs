//! `fills`: what followed wallets did. Keyed by wallet.

use super::{BookSnapshot, MarketFacts, Payout};
use crate::{
    Address, AssetId, ChangeKind, ConditionId, FillId, FillKind, NaturalKey, Price, Shares, Side, Timestamp,
    TxHash, Usdc, record,
};

record! {
    /// A fill of a followed wallet: all rows of its natural key (wallet, tx, asset, side) summed. An amendment
    /// carries the same fill id, the next revision and the new totals.
    Fill {
        /// What the record says about the fill: new, amendment, history, late.
        kind: FillKind,
        /// Whose fill.
        wallet: Address,
        /// The fill's frozen name, given by the first source that saw it.
        fill_id: FillId,
        /// 0 for the first record of a fill; grows by one with each amendment.
        revision: i32,
        /// The transaction that settled it.
        tx: TxHash,
        /// What was traded.
        asset: AssetId,
        /// The market's condition, padded to 32 bytes.
        condition_id: ConditionId,
        /// Which way it goes.
        side: Side,
        /// The sum of its rows.
        shares: Shares,
        /// What its rows cost together, each at its own price.
        notional: Usdc,
        /// `notional / shares`, to the nearest: an average, never on the tick by right.
        price: Price,
        /// How many rows it was made of.
        rows: i32,
        /// When it settled, by the venue: whole seconds.
        filled_at: Timestamp,
        /// When ingest saw the row that made this record.
        observed_at: Timestamp,
        /// The order among the fills of one second, as the page gave it; none where the order is unknown.
        page_order: Option<i32>,
        /// The outcome's name, from the row.
        outcome: Option<String>,
        /// The market's title, from the row.
        title: Option<String>,
        /// The market's facts; none where they could not be had within `market_wait`.
        facts: Option<MarketFacts>,
        /// The token's book when the fill was published.
        book: Option<BookSnapshot>,
    }
}

impl Fill {
    /// What makes two records the same fill.
    pub fn natural_key(&self) -> NaturalKey {
        NaturalKey { wallet: self.wallet, tx: self.tx, asset: self.asset.clone(), side: self.side }
    }
}

record! {
    /// A fill that only a fast path saw, and a complete walk of the Data API does not hold: it never happened.
    FillVoided {
        /// Whose fill.
        wallet: Address,
        /// The fill taken back.
        fill_id: FillId,
        /// The revision that is taken back, the highest known.
        revision: i32,
        /// Its transaction.
        tx: TxHash,
        /// Its asset.
        asset: AssetId,
        /// Its condition.
        condition_id: ConditionId,
        /// Its side.
        side: Side,
        /// Its shares.
        shares: Shares,
        /// When it was said to have settled.
        filled_at: Timestamp,
        /// When ingest found it missing.
        observed_at: Timestamp,
    }
}

record! {
    /// A fill near a snapshot's moment, by its natural key without the wallet.
    NearFill {
        /// Its transaction.
        tx: TxHash,
        /// Its asset.
        asset: AssetId,
        /// Its side.
        side: Side,
        /// The shares of it that the snapshot contains.
        shares: Shares,
    }
}

record! {
    /// What a wallet holds of one token.
    HeldPosition {
        /// The token.
        asset: AssetId,
        /// Its condition.
        condition_id: ConditionId,
        /// The other outcome's token, where there are two.
        opposite: Option<AssetId>,
        /// How much of it.
        shares: Shares,
        /// What these shares cost, at the average.
        cost: Usdc,
    }
}

record! {
    /// What a wallet holds, read when it is followed: the ground on which its fills are folded. Published only
    /// when the trades drained before and after the read agree. Large wallets come in several parts; the last one
    /// completes it.
    PositionSnapshot {
        /// Whose positions.
        wallet: Address,
        /// Fills up to this moment are contained and move nothing, whatever their place in the log.
        covers_until: Timestamp,
        /// The fills of the last minutes before that moment: contained, though they may be published after.
        near: Vec<NearFill>,
        /// The positions of this part.
        positions: Vec<HeldPosition>,
        /// This part's number, from 0.
        part: i32,
        /// How many parts there are.
        parts: i32,
        /// When ingest read it.
        observed_at: Timestamp,
    }
}

record! {
    /// How one token moved in a position change.
    TokenDelta {
        /// The token.
        asset: AssetId,
        /// Shares that came (above zero) or went (below zero).
        shares: Shares,
        /// Cost that came with shares that came; zero for shares that went.
        cost: Usdc,
        /// For a migration: the id under which the holding goes on.
        becomes: Option<AssetId>,
    }
}

record! {
    /// A change of a wallet's position without a trade.
    PositionChanged {
        /// Whose position.
        wallet: Address,
        /// What happened.
        kind: ChangeKind,
        /// The transaction.
        tx: TxHash,
        /// The condition.
        condition_id: ConditionId,
        /// The tokens it moved.
        deltas: Vec<TokenDelta>,
        /// When it settled, by the venue.
        changed_at: Timestamp,
        /// When ingest saw it.
        observed_at: Timestamp,
        /// The market's facts.
        facts: Option<MarketFacts>,
        /// The books of the tokens: a merge is a sale priced from them.
        books: Vec<BookSnapshot>,
    }
}

record! {
    /// How far a wallet's trades are known without a gap. Republished hourly, so that a restart need not read
    /// further back than the log's last days.
    Watermark {
        /// Whose trades.
        wallet: Address,
        /// Every trade up to this moment has been published.
        complete_until: Timestamp,
        /// When ingest found that.
        observed_at: Timestamp,
    }
}

record! {
    /// A sample of the price of a token that followers of this wallet hold.
    TokenMarked {
        /// The wallet whose followers hold it.
        wallet: Address,
        /// The token.
        asset: AssetId,
        /// Its condition.
        condition_id: ConditionId,
        /// What others pay.
        best_bid: Option<Price>,
        /// What others ask.
        best_ask: Option<Price>,
        /// When the venue made the book.
        as_of: Timestamp,
    }
}

record! {
    /// The outcome of a condition whose tokens followers of this wallet hold.
    TokenResolved {
        /// The wallet whose followers hold them.
        wallet: Address,
        /// The condition.
        condition_id: ConditionId,
        /// What each outcome pays.
        payouts: Vec<Payout>,
        /// When the venue resolved it.
        resolved_at: Timestamp,
    }
}
