//! Rows of `/v2/trades` and `/v2/activity`, written digit by digit: a page of a thousand is one buffer.
//!
//! Their shape is `venue::wire`'s, which a test reads them back with; they are not written through it,
//! because its amounts cannot hold the float noise of the venue's literals.

use std::fmt::Write as _;

use schemas::{AssetId, Price, Round};

use crate::{
    history::Entry,
    market::Market,
    print::{Activity, Print},
};

/// Writes a JSON string.
fn quote(out: &mut String, text: &str) {
    // Text always becomes JSON; what serde would say is not lost but cannot be.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}

/// Writing to a String cannot fail.
macro_rules! put {
    ($out:expr, $($part:tt)*) => { let _ = write!($out, $($part)*); };
}

fn market_fields(out: &mut String, market: Option<&Market>, outcome: Option<usize>) {
    let text = |from: fn(&Market) -> &str| market.map_or("", from);
    out.push_str("\"condition_id\":\"");
    if let Some(market) = market {
        put!(out, "{}", market.condition);
    }
    out.push_str("\",\"title\":");
    quote(out, text(|m| &m.title));
    out.push_str(",\"slug\":");
    quote(out, text(|m| &m.slug));
    out.push_str(",\"icon\":");
    quote(out, text(|m| &m.icon));
    out.push_str(",\"event_slug\":");
    quote(out, text(|m| &m.event_slug));
    let named = market.zip(outcome).map(|(m, n)| (&*m.outcomes[n].name, n));
    out.push_str(",\"outcome\":");
    quote(out, named.map_or("", |(name, _)| name));
    put!(out, ",\"outcome_index\":{}", named.map_or(999, |(_, n)| n));
}

const PERSON: &str =
    ",\"name\":\"\",\"pseudonym\":\"\",\"bio\":\"\",\"profile_image\":\"\",\"profile_image_optimized\":\"\"";

fn token<'a>(print: &Print, market: &'a Market) -> &'a AssetId {
    &market.outcomes[print.token.index()].token
}

/// Size and price as the row writes them.
fn amounts(out: &mut String, print: &Print) {
    match &print.literals {
        Some(literals) => {
            put!(out, ",\"size\":{},\"price\":{},", literals.size, literals.price);
        }
        None => {
            put!(out, ",\"size\":{},\"price\":{},", print.size, print.price);
        }
    }
}

/// A trade without its braces.
fn trade_fields(out: &mut String, print: &Print, market: &Market) {
    put!(
        out,
        "\"proxy_wallet\":\"{}\",\"side\":\"{}\",\"token_id\":\"{}\"",
        print.wallet,
        print.side,
        token(print, market)
    );
    amounts(out, print);
    market_fields(out, Some(market), Some(print.token.index()));
    put!(out, ",\"timestamp\":{}", print.second);
    out.push_str(PERSON);
    put!(out, ",\"transaction_hash\":\"{}\"", print.tx);
}

/// A row of `/v2/trades`.
pub fn trade(out: &mut String, print: &Print, market: &Market) {
    out.push('{');
    trade_fields(out, print, market);
    out.push('}');
}

fn other_fields(out: &mut String, row: &Activity, market: Option<&Market>) {
    put!(
        out,
        "\"proxy_wallet\":\"{}\",\"side\":\"\",\"token_id\":\"\",\"size\":{},\"price\":0,",
        row.wallet,
        row.size
    );
    market_fields(out, market, None);
    put!(out, ",\"timestamp\":{}", row.second);
    out.push_str(PERSON);
    put!(out, ",\"transaction_hash\":\"{}\",\"type\":\"{}\",\"usdc_size\":{}", row.tx, row.kind, row.usdc);
}

/// A row of `/v2/activity`.
pub fn activity(out: &mut String, entry: &Entry, market: Option<&Market>) {
    out.push('{');
    match (entry, market) {
        (Entry::Trade(print), Some(market)) => {
            trade_fields(out, print, market);
            let usdc = print.price.cost(print.size, Round::Nearest).unwrap_or_default();
            put!(out, ",\"type\":\"TRADE\",\"usdc_size\":{usdc}");
        }
        (Entry::Trade(_), None) => {}
        (Entry::Other(row), market) => other_fields(out, row, market),
    }
    out.push('}');
}

/// A row of the retired `/trades`.
pub fn legacy_trade(out: &mut String, print: &Print, market: &Market) {
    put!(
        out,
        "{{\"proxyWallet\":\"{}\",\"side\":\"{}\",\"asset\":\"{}\",\"conditionId\":\"{}\"",
        print.wallet,
        print.side,
        token(print, market),
        market.condition
    );
    amounts(out, print);
    put!(out, "\"timestamp\":{},\"title\":", print.second);
    quote(out, &market.title);
    out.push_str(",\"slug\":");
    quote(out, &market.slug);
    out.push_str(",\"icon\":");
    quote(out, &market.icon);
    out.push_str(",\"eventSlug\":");
    quote(out, &market.event_slug);
    out.push_str(",\"outcome\":");
    quote(out, &market.outcomes[print.token.index()].name);
    put!(
        out,
        ",\"outcomeIndex\":{},\"name\":\"\",\"pseudonym\":\"\",\"bio\":\"\",\"profileImage\":\"\",\
         \"profileImageOptimized\":\"\",\"transactionHash\":\"{}\"}}",
        print.token.index(),
        print.tx
    );
}

/// Dollars of a row, for filters by cash.
pub fn cash(print: &Print) -> i64 {
    Price::cost(print.price, print.size, Round::Nearest).map_or(0, schemas::Usdc::micro)
}
