//! Walks over the venue's lists, as the core wants them: rows of one wallet, newest first, and its positions.

use std::collections::BTreeSet;

use runtime::{Board, Clock};
use schemas::{Address, AssetId, ChangeKind, ConditionId, Round, Timestamp, events::HeldPosition};
use venue::{
    VenueError,
    port::{ActivityQuery, MarketData, PositionsQuery, TradesQuery},
    wire::{ActivityKind, ActivityRow, PositionRow, Rows, TradeRow, page::UnreadableRow},
};

use crate::core::{
    changes::{ChangeRow, Changes},
    merge::{Merger, Row},
};

/// Rows a page.
const PAGE: u32 = 1_000;
/// Rows of the first page of a look for news: most looks find a handful.
const NEWS_PAGE: u32 = 200;

/// One walk over a wallet's trades.
#[derive(Debug, Default)]
pub struct Walk {
    /// Newest first.
    pub rows: Vec<Row>,
    /// Conditions whose market nobody can know: combos.
    pub unknowable: BTreeSet<ConditionId>,
    /// When the first page was read.
    pub observed_at: Timestamp,
}

/// Walks the trades from now back to `start`. With `news_of`, only until a page holds nothing new to it.
///
/// # Errors
/// A page that cannot be had: the whole walk counts for nothing.
pub async fn walk(
    venue: &dyn MarketData,
    clock: &dyn Clock,
    board: &Board,
    user: Address,
    start: Timestamp,
    news_of: Option<&Merger>,
) -> Result<Walk, VenueError> {
    let limit = if news_of.is_some() { NEWS_PAGE } else { PAGE };
    let mut query = TradesQuery { user, limit, cursor: None, start: Some(start), end: None };
    let mut walk = Walk::default();
    loop {
        let page = venue.trades(&query, clock.now()).await?;
        if query.cursor.is_none() {
            walk.observed_at = clock.now();
        }
        let first_new = walk.rows.len();
        walk.rows.extend(rows(board, user, &page));
        walk.unknowable.extend(page.rows.iter().filter(|r| r.is_combo()).filter_map(|r| r.condition().ok()));
        let next = page.pagination.next().map(str::to_owned);
        let nothing_new = news_of.is_some_and(|merger| merger.adds_nothing(&walk.rows[first_new..]));
        // A cursor that stands still would be walked for ever.
        if next.is_none() || next == query.cursor || nothing_new {
            return Ok(walk);
        }
        query.cursor = next;
    }
}

/// The rows of a page that can be read; the others are reported.
pub fn rows(board: &Board, user: Address, page: &Rows<TradeRow>) -> Vec<Row> {
    report(board, user, &page.unreadable);
    let read = page.rows.iter().filter_map(|row| {
        let read = to_row(row);
        if read.is_none() {
            board.trouble("venue_row_unreadable");
        }
        read
    });
    read.collect()
}

/// One walk over a wallet's changes without a trade.
#[derive(Debug, Default)]
pub struct ChangesWalk {
    /// Newest first.
    pub rows: Vec<ChangeRow>,
    /// Conditions whose market nobody can know: combos.
    pub unknowable: BTreeSet<ConditionId>,
    /// When the first page was read.
    pub observed_at: Timestamp,
}

/// What of the activity list moves a position without a trade. Trades come from their own list; rewards, rebates and
/// transfers of money change nothing.
const CHANGES: [(ActivityKind, ChangeKind); 5] = [
    (ActivityKind::Split, ChangeKind::Split),
    (ActivityKind::Merge, ChangeKind::Merge),
    (ActivityKind::Redeem, ChangeKind::Redeem),
    (ActivityKind::Conversion, ChangeKind::Conversion),
    (ActivityKind::Migration, ChangeKind::Migration),
];

/// Walks the changes from now back to `start`. With `news_of`, only until a page holds nothing new to it.
///
/// # Errors
/// A page that cannot be had: the whole walk counts for nothing.
pub async fn walk_changes(
    venue: &dyn MarketData,
    clock: &dyn Clock,
    board: &Board,
    user: Address,
    start: Timestamp,
    news_of: Option<&Changes>,
) -> Result<ChangesWalk, VenueError> {
    let limit = if news_of.is_some() { NEWS_PAGE } else { PAGE };
    let kinds = CHANGES.map(|(wire, _)| wire).to_vec();
    let mut query = ActivityQuery { user, kinds, limit, cursor: None, start: Some(start), end: None };
    let mut walk = ChangesWalk::default();
    loop {
        let page = venue.activity(&query, clock.now()).await?;
        if query.cursor.is_none() {
            walk.observed_at = clock.now();
        }
        report(board, user, &page.unreadable);
        let first_new = walk.rows.len();
        for row in &page.rows {
            // The venue may send kinds that nobody asked for.
            let Some(kind) = CHANGES.iter().find(|(wire, _)| *wire == row.kind).map(|(_, kind)| *kind) else {
                continue;
            };
            match to_change(row, kind) {
                Some(read) => {
                    if row.is_combo.unwrap_or(false) {
                        walk.unknowable.insert(read.condition_id);
                    }
                    walk.rows.push(read);
                }
                None => board.trouble("venue_row_unreadable"),
            }
        }
        let next = page.pagination.next().map(str::to_owned);
        let nothing_new = news_of.is_some_and(|known| known.adds_nothing(&walk.rows[first_new..]));
        if next.is_none() || next == query.cursor || nothing_new {
            return Ok(walk);
        }
        query.cursor = next;
    }
}

fn to_change(row: &ActivityRow, kind: ChangeKind) -> Option<ChangeRow> {
    Some(ChangeRow {
        kind,
        tx: row.transaction_hash,
        condition_id: row.condition().ok()?,
        asset: row.token_id.clone(),
        shares: row.size,
        changed_at: row.timestamp,
    })
}

fn report(board: &Board, wallet: Address, unreadable: &[UnreadableRow]) {
    for row in unreadable {
        board.trouble("venue_row_unreadable");
        tracing::warn!(%wallet, why = row.why, json = row.json, code = "venue_row_unreadable", "a row was skipped");
    }
}

fn to_row(row: &TradeRow) -> Option<Row> {
    let filled = |s: &String| (!s.is_empty()).then(|| s.clone());
    Some(Row {
        tx: row.transaction_hash,
        asset: row.token_id.clone(),
        condition_id: row.condition().ok()?,
        side: row.side,
        shares: row.size,
        price: row.price,
        filled_at: row.timestamp,
        outcome: filled(&row.outcome),
        title: filled(&row.title),
    })
}

/// Every open position of a wallet, dust included.
///
/// # Errors
/// A page that cannot be had.
pub async fn positions(
    venue: &dyn MarketData,
    clock: &dyn Clock,
    board: &Board,
    user: Address,
) -> Result<Vec<HeldPosition>, VenueError> {
    let mut query = PositionsQuery { user, status: None, condition: None, limit: PAGE, cursor: None };
    let mut out = Vec::new();
    loop {
        let page = venue.positions(&query, clock.now()).await?;
        report(board, user, &page.unreadable);
        out.extend(page.rows.iter().filter_map(to_position));
        let next = page.pagination.next().map(str::to_owned);
        if next.is_none() || next == query.cursor {
            return Ok(out);
        }
        query.cursor = next;
    }
}

fn to_position(row: &PositionRow) -> Option<HeldPosition> {
    let opposite: Option<AssetId> = row.opposite_token_id.clone();
    // What the remaining shares cost at the average: the entry cost may be that of shares sold since.
    let at_average = row.avg_price.and_then(|p| p.cost(row.current_size, Round::Nearest));
    Some(HeldPosition {
        asset: row.token_id.clone(),
        condition_id: row.condition().ok()?,
        opposite,
        shares: row.current_size,
        cost: at_average.or(row.entry_cost_usdc).unwrap_or_default(),
    })
}
