//! The Data API v2 (`venue.md` 1.2 to 1.4).

use std::{fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    extract::{OriginalUri, Query, State},
    http::{HeaderValue, StatusCode},
    response::Response,
};
use schemas::{AssetId, Price, Round, Side, Timestamp, Usdc};
use venue::wire::{ActivityKind, Page, Pagination, PositionRow, PositionStatus, ResolutionRow};

use super::{
    query::{BadParam, Cursor, Pairs, Params, User},
    reply, rows,
};
use crate::{
    history::{Entry, Place},
    holdings::Holding,
    market::{Market, TokenRef},
    print::Role,
    shared::{Shared, lock},
    world::World,
};

/// No row below this many shares is ever served.
const FLOOR: i64 = 10_000;
/// How far back a listing of a wallet goes when no start is named.
const THREE_YEARS: i64 = 3 * 365 * 86_400;

/// What of the rows is asked for.
struct Filter {
    user: Option<User>,
    taker_only: bool,
    cash: Option<i64>,
    shares: i64,
    start: i64,
    end: i64,
    conditions: Option<Vec<schemas::ConditionId>>,
    events: Vec<String>,
    side: Option<Side>,
}

impl Filter {
    fn read(params: &Params, now: i64, world: &Shared) -> Result<Self, BadParam> {
        let user = params.user()?;
        if let Some(User::One(address)) = user
            && [&world.table.normal, &world.table.neg_risk, &world.table.v3]
                .iter()
                .any(|e| e.contract == address)
        {
            return Err(BadParam::new("user", "user is a protocol contract"));
        }
        let amount = params.micro("filter_amount")?;
        let (cash, shares) = match params.get("filter_type") {
            None | Some("TOKENS") => (None, amount.unwrap_or(FLOOR).max(FLOOR)),
            Some("CASH") => (amount, FLOOR),
            Some(_) => return Err(BadParam::new("filter_type", "filter_type must be CASH or TOKENS")),
        };
        // Times count only with a wallet; no start, or zero, is three years back.
        let (start, end) = if user.is_some() {
            let start = params.read::<i64>("start")?.filter(|s| *s > 0).unwrap_or(now - THREE_YEARS);
            (start, params.read::<i64>("end")?.filter(|e| *e > 0).unwrap_or(i64::MAX))
        } else {
            (i64::MIN, i64::MAX)
        };
        Ok(Self {
            user,
            taker_only: params.read("taker_only")?.unwrap_or(true),
            cash,
            shares,
            start,
            end,
            conditions: params.conditions("condition", 20)?,
            events: params.list("event_id").into_iter().map(str::to_owned).collect(),
            side: params.read("side")?,
        })
    }

    fn wants_market(&self, market: Option<&Market>) -> bool {
        let is = |known: &dyn Fn(&Market) -> bool| market.is_some_and(known);
        self.conditions.as_ref().is_none_or(|list| is(&|m| list.contains(&m.condition)))
            && (self.events.is_empty() || is(&|m| self.events.contains(&m.id.to_string())))
    }
}

/// `GET /v2/trades`.
pub async fn trades(
    State(shared): State<Arc<Shared>>,
    OriginalUri(uri): OriginalUri,
    Query(pairs): Query<Pairs>,
) -> Response {
    shared.tally().trades_requests += 1;
    let switches = shared.switches();
    let now = shared.clock.now();
    if switches.trades_per_10s > 0 && over_limit(&shared, now, switches.trades_per_10s) {
        let mut answer =
            reply::data_error(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests", None);
        answer.headers_mut().insert("retry-after", HeaderValue::from_static("10"));
        return answer;
    }
    cached(&shared, uri.to_string(), now, switches.cache_seconds, || {
        trades_page(&shared, &Params::new(pairs), now)
    })
}

/// The answer that the cache in front of the venue keeps for an address, or a new one.
fn cached(
    shared: &Shared,
    address: String,
    now: Timestamp,
    seconds: u32,
    page: impl FnOnce() -> Result<String, BadParam>,
) -> Response {
    if seconds > 0
        && let Some((stale_at, bytes)) = lock(&shared.data).cached.get(&address)
        && *stale_at > now
    {
        return reply::json_bytes(StatusCode::OK, bytes.clone().into());
    }
    let body = match page() {
        Ok(body) => body,
        Err(bad) => return bad.into(),
    };
    let bytes = axum::body::Bytes::from(body);
    if seconds > 0 {
        let cached = &mut lock(&shared.data).cached;
        cached.retain(|_, (stale_at, _)| *stale_at > now);
        let stale_at = now.plus(Duration::from_secs(seconds.into()));
        cached.insert(address, (stale_at, bytes.clone()));
    }
    reply::json_bytes(StatusCode::OK, bytes.into())
}

fn over_limit(shared: &Shared, now: Timestamp, most: u32) -> bool {
    let recent = &mut lock(&shared.data).recent;
    let window = now.minus(Duration::from_secs(10));
    while recent.front().is_some_and(|at| *at <= window) {
        recent.pop_front();
    }
    if recent.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
        return true;
    }
    recent.push_back(now);
    false
}

fn trades_page(shared: &Shared, params: &Params, now: Timestamp) -> Result<String, BadParam> {
    params.refuse_offset()?;
    let cursor = params.cursor()?;
    let limit = cursor.map_or_else(|| params.number("limit", 100, 1_000), |c| Ok(c.l))?;
    let most = usize::try_from(shared.switches().trades_of_user_most).unwrap_or(usize::MAX);
    let limit = if most > 0 && params.get("user").is_some() { limit.min(most) } else { limit };
    let filter = Filter::read(params, now.secs(), shared)?;

    // One row more than asked for tells whether there is more.
    let mut found = Vec::with_capacity(limit.min(200) + 1);
    {
        let world = shared.world();
        let wallet = match filter.user {
            Some(User::Nobody) => return Ok(write_page("", limit, None)),
            Some(User::One(wallet)) => Some(wallet),
            None => None,
        };
        let rows = world.history.newest_first(wallet, cursor.map(Cursor::place));
        for (place, entry) in rows.skip_while(|(place, _)| place.second > filter.end) {
            if place.second < filter.start || found.len() > limit {
                break;
            }
            let Entry::Trade(print) = entry else { continue };
            let wanted = (!filter.taker_only || print.role == Role::Taker)
                && print.size.micro() >= filter.shares
                && filter.cash.is_none_or(|least| rows::cash(print) >= least)
                && filter.side.is_none_or(|side| side == print.side);
            if wanted
                && let Some(market) = world.registry.get(print.token.market)
                && filter.wants_market(Some(market))
            {
                found.push((place, print.clone(), market.clone()));
            }
        }
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(place, _, _)| Cursor::behind(limit, *place));
    let mut data = String::with_capacity(found.len() * 800);
    for (n, (_, print, market)) in found.iter().enumerate() {
        if n > 0 {
            data.push(',');
        }
        rows::trade(&mut data, print, market);
    }
    Ok(write_page(&data, limit, next))
}

/// A page around rows that are written already.
fn write_page(data: &str, limit: usize, next: Option<Cursor>) -> String {
    let mut out = String::with_capacity(data.len() + 128);
    out.push_str("{\"data\":[");
    out.push_str(data);
    // Writing to a String cannot fail.
    let _ = match next {
        Some(cursor) => write!(
            out,
            "],\"pagination\":{{\"limit\":{limit},\"offset\":0,\"has_more\":true,\"next_cursor\":\"{}\"}}}}",
            cursor.write()
        ),
        None => write!(
            out,
            "],\"pagination\":{{\"limit\":{limit},\"offset\":0,\"has_more\":false,\"next_cursor\":null}}}}"
        ),
    };
    out
}

/// `GET /v2/activity`.
pub async fn activity(
    State(shared): State<Arc<Shared>>,
    OriginalUri(uri): OriginalUri,
    Query(pairs): Query<Pairs>,
) -> Response {
    // The same switch as for trades, and never longer than the venue's own 15 seconds for this listing.
    let seconds = shared.switches().cache_seconds.min(15);
    let now = shared.clock.now();
    cached(&shared, uri.to_string(), now, seconds, || activity_page(&shared, &Params::new(pairs)))
}

fn activity_page(shared: &Shared, params: &Params) -> Result<String, BadParam> {
    params.refuse_offset()?;
    let cursor = params.cursor()?;
    let limit = cursor.map_or_else(|| params.number("limit", 100, 1_000), |c| Ok(c.l))?;
    let filter = Filter::read(params, shared.clock.now().secs(), shared)?;
    let user = filter.user.ok_or_else(|| BadParam::new("user", "user is required"))?;
    let User::One(wallet) = user else { return Ok(write_page("", limit, None)) };
    let kinds: Vec<_> = params.list("type").into_iter().map(ActivityKind::read).collect();
    if kinds.iter().any(|k| matches!(k, ActivityKind::Other(_))) {
        return Err(BadParam::new("type", "invalid type"));
    }
    let no_transfers = params.read("exclude_deposits_withdrawals")?.unwrap_or(true);
    match params.get("sort_by") {
        None | Some("TIMESTAMP") => {}
        Some(_) => return Err(BadParam::new("sort_by", "sort_by must be TIMESTAMP")),
    }
    if filter.conditions.is_some() && !filter.events.is_empty() {
        return Err(BadParam::new("condition", "condition and event_id exclude each other"));
    }
    let ascending = match params.get("sort_direction") {
        None | Some("DESC") => false,
        Some("ASC") => true,
        Some(_) => return Err(BadParam::new("sort_direction", "sort_direction must be ASC or DESC")),
    };

    let wanted = |entry: &Entry, market: Option<&Market>| {
        let (kind, side) = match entry {
            Entry::Trade(print) => (ActivityKind::Trade, Some(print.side)),
            Entry::Other(row) => (row.kind.clone(), None),
        };
        let transfer = matches!(kind, ActivityKind::Deposit | ActivityKind::Withdrawal);
        // Tips are told only to those who ask for them.
        let untold = kind == ActivityKind::Tip && kinds.is_empty();
        (filter.start..=filter.end).contains(&entry.second())
            && (kinds.is_empty() || kinds.contains(&kind))
            && !(no_transfers && transfer)
            && !untold
            && filter.side.is_none_or(|s| side == Some(s))
            && filter.wants_market(market)
    };
    let mut found: Vec<(Place, Entry, Option<Arc<Market>>)> = Vec::new();
    {
        let world = shared.world();
        let anchor = cursor.map(Cursor::place);
        let mut gather = |(place, entry): (Place, &Entry)| {
            let market = match entry {
                Entry::Trade(print) => world.registry.get(print.token.market),
                Entry::Other(row) => row.market.and_then(|m| world.registry.get(m)),
            };
            if wanted(entry, market.map(|m| &**m)) {
                found.push((place, entry.clone(), market.cloned()));
            }
            found.len() <= limit
        };
        // The tip of a listing is asked for all the time: nothing beyond the start is looked at.
        let within = |(place, _): &(Place, &Entry)| place.second >= filter.start;
        if ascending {
            world.history.oldest_first(Some(wallet), anchor).all(&mut gather);
        } else {
            world.history.newest_first(Some(wallet), anchor).take_while(within).all(&mut gather);
        }
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(place, _, _)| Cursor::behind(limit, *place));
    let mut data = String::with_capacity(found.len() * 800);
    for (n, (_, entry, market)) in found.iter().enumerate() {
        if n > 0 {
            data.push(',');
        }
        rows::activity(&mut data, entry, market.as_deref());
    }
    Ok(write_page(&data, limit, next))
}

/// `GET /v2/positions`.
pub async fn positions(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    match positions_page(&shared, &Params::new(pairs)) {
        Ok(page) => reply::ok(&page),
        Err(bad) => bad.into(),
    }
}

fn positions_page(shared: &Shared, params: &Params) -> Result<Page<PositionRow>, BadParam> {
    params.refuse_offset()?;
    let cursor = params.cursor()?;
    let limit = cursor.map_or_else(|| params.number("limit", 100, 1_000), |c| Ok(c.l))?;
    let user = params.user()?;
    let conditions = params.conditions("condition", 20)?;
    if user.is_none() && conditions.is_none() {
        return Err(BadParam::new("user", "user or condition is required"));
    }
    let status = match params.get("status").map(PositionStatus::read) {
        None => PositionStatus::Open,
        Some(PositionStatus::Other(_)) => return Err(BadParam::new("status", "invalid status")),
        Some(status) => status,
    };
    let least = params.micro("filter_amount")?.unwrap_or(100_000);

    let world = shared.world();
    let wallets: Vec<_> = match user {
        Some(User::One(wallet)) => vec![wallet],
        Some(User::Nobody) => Vec::new(),
        None => world.holdings.wallets().collect(),
    };
    let mut page: Vec<PositionRow> = Vec::new();
    let from = cursor.map_or(0, |c| c.s);
    let (mut seen, mut behind, mut more) = (0u64, from, false);
    for wallet in wallets {
        for (token, holding) in world.holdings.of(wallet) {
            let Some(market) = world.registry.get(token.market) else { continue };
            if conditions.as_ref().is_some_and(|list| !list.contains(&market.condition)) {
                continue;
            }
            let Some(row) = position(&world, wallet, token, market, holding) else { continue };
            let merging = status == PositionStatus::Mergeable && row.mergeable;
            let dust = row.current_size.micro() < least && row.status != PositionStatus::Closed;
            if (row.status != status && !merging) || dust {
                continue;
            }
            // Of one wallet the walk goes by token, so that nothing shifts while it trades.
            let key = if user.is_some() { key_of(token) } else { seen + 1 };
            seen += 1;
            if key <= from {
                continue;
            }
            if page.len() == limit {
                more = true;
                break;
            }
            page.push(row);
            behind = key;
        }
    }
    let next_cursor = more.then(|| Cursor::behind(limit, Place { second: 0, sequence: behind }).write());
    let pagination = Pagination {
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        offset: 0,
        has_more: more,
        next_cursor,
    };
    Ok(Page { data: page, pagination })
}

/// A token's place in the order of a wallet's positions, from 1.
fn key_of(token: TokenRef) -> u64 {
    u64::from(token.market.0) * 2 + u64::from(token.second) + 1
}

fn position(
    world: &World,
    wallet: schemas::Address,
    token: TokenRef,
    market: &Market,
    holding: &Holding,
) -> Option<PositionRow> {
    let price = world.price(token);
    let value = price.cost(holding.shares, Round::Nearest)?;
    let unrealized = value.checked_sub(holding.cost)?;
    let other = world.holdings.get(wallet, token.opposite());
    let paid = market.payouts.map(|p| p[token.index()]);
    let status = match paid {
        _ if !holding.shares.is_positive() => PositionStatus::Closed,
        Some(0) => PositionStatus::RedeemableLost,
        Some(_) => PositionStatus::Redeemable,
        None => PositionStatus::Open,
    };
    let id = |place: usize| -> AssetId { market.outcomes[place].token.clone() };
    Some(PositionRow {
        proxy_wallet: wallet,
        token_id: id(token.index()),
        opposite_token_id: Some(id(token.opposite().index())),
        condition_id: market.condition.to_string(),
        current_size: holding.shares,
        avg_price: Some(holding.average().unwrap_or(Price::ZERO)),
        entry_cost_usdc: Some(holding.cost),
        entry_fees_usdc: Some(Usdc::ZERO),
        current_price: Some(price),
        current_value: Some(value),
        realized_pnl: Some(holding.realized),
        unrealized_pnl: Some(unrealized),
        total_pnl: Some(holding.realized.saturating_add(unrealized)),
        mergeable: status == PositionStatus::Open && other.is_some_and(|o| o.shares.is_positive()),
        redeemable: matches!(status, PositionStatus::Redeemable | PositionStatus::RedeemableLost),
        status,
        negative_risk: market.neg_risk,
        outcome: market.outcomes[token.index()].name.to_string(),
        outcome_index: u32::from(token.second),
        event_id: market.id.to_string(),
        end_date: market.end.map(iso).unwrap_or_default(),
    })
}

/// A point in time as the venue writes it.
pub fn iso(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.secs()).map(|t| t.to_string()).unwrap_or_default()
}

/// `GET /v2/resolutions`.
pub async fn resolutions(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    let params = Params::new(pairs);
    let conditions = match params.conditions("condition", 1) {
        Ok(Some(conditions)) => conditions,
        Ok(None) => return BadParam::new("condition", "condition is required").into(),
        Err(bad) => return bad.into(),
    };
    let world = shared.world();
    let found = conditions.into_iter().filter_map(|c| world.registry.condition(c));
    let data: Vec<ResolutionRow> = found
        .map(|(_, market)| ResolutionRow {
            condition_id: market.condition.to_string(),
            status: if market.payouts.is_some() { "resolved" } else { "initialized" }.to_owned(),
            payouts: market.payouts.map(Vec::from).unwrap_or_default(),
            resolved_at: market.payouts.and(market.closed),
            was_disputed: false,
        })
        .collect();
    reply::ok(&Page { data, pagination: Pagination::default() })
}

/// `GET /v2/status`: the freshness watermark. Everything before it is served.
pub async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let (now, rows) = {
        let world = shared.world();
        (world.now(), world.history.total())
    };
    reply::ok(&serde_json::json!({
        "status": "ok",
        "watermark": now.secs(),
        "latest_block_timestamp": now.secs(),
        "rows": rows,
    }))
}
