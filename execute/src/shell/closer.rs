//! Closes get their turn: when an attempt of theirs has ended, when a BUY that they wait for has, and when their clock
//! says so. What a close lacks of market data is read here, for the gate touches nothing but the database; what cannot
//! be had stays absent, and the close says itself how long it waits.

use futures_util::future::join_all;
use runtime::Stop;
use schemas::{
    AssetId, ConditionId, MarketVersion, Mode, Shares, Timestamp,
    events::{BookSnapshot, MarketFacts},
};
use venue::{
    facts::{book_snapshot, market_facts},
    port::BalanceOf,
    wire::Rows,
};

use super::{
    Stage,
    desk::{Desk, Way},
    gating,
    provision::{self, About},
};
use crate::{
    core::close::{
        Close, CloseName,
        plan::{Bid, Market, facts_of, lacks, traded},
    },
    store::{StoreError, Turns},
};

/// Closes that get their turn at once.
const AT_ONCE: usize = 32;

/// Gives turns until asked to stop, or until the partition has another owner.
pub async fn run(desk: Desk, stop: Stop) {
    while !stop.is_requested() && !desk.lease.is_lost() {
        match give_turns(&desk).await {
            // More may be due already.
            Ok(AT_ONCE) => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "closes could not be looked at yet");
                desk.stage.board.trouble(error.code());
            }
        }
        tokio::select! {
            biased;
            () = stop.requested() => return,
            () = desk.to_close.notified() => {}
            () = desk.stage.clock.sleep(desk.stage.settings.relay) => {}
        }
    }
}

async fn give_turns(desk: &Desk) -> Result<usize, StoreError> {
    let stage = &desk.stage;
    let due = stage.store.closes_due(desk.lease.partition, stage.clock.now(), AT_ONCE).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let closes: Vec<(CloseName, ConditionId, Market)> = join_all(
        due.iter().map(|close| async { (close.name.clone(), close.condition_id, read(stage, close).await) }),
    )
    .await;
    match turn(desk, &closes).await {
        // One that cannot be written now does not keep the others.
        Err(error) if closes.len() > 1 && !matches!(error, StoreError::NotOwner { .. }) => {
            for close in &closes {
                if let Err(error) = turn(desk, std::slice::from_ref(close)).await {
                    tracing::warn!(asset = %close.0.asset, %error, "a close could not be looked at yet");
                    desk.stage.board.trouble(error.code());
                }
            }
        }
        done => done?,
    }
    Ok(due.len())
}

async fn turn(desk: &Desk, closes: &[(CloseName, ConditionId, Market)]) -> Result<(), StoreError> {
    let stage = &desk.stage;
    let turns = || Turns {
        partition: desk.lease.partition,
        epoch: desk.lease.epoch,
        closes,
        now: stage.clock.now(),
        served: stage.venues.modes(),
    };
    let gated = match stage.store.turn(turns(), &stage.keyring).await {
        Err(StoreError::NotLoaded) => {
            let of: Vec<About> = closes
                .iter()
                .map(|(name, _, market)| About {
                    position: name.clone(),
                    version: market.facts.as_ref().map_or(MarketVersion::V1, |facts| facts.version),
                })
                .collect();
            provision::prepare(stage, &of).await?;
            stage.store.turn(turns(), &stage.keyring).await?
        }
        gated => gated?,
    };
    gating::hand_over(desk, gated, |_| Way::Waited);
    Ok(())
}

/// Reads what a close lacks.
async fn read(stage: &Stage, close: &Close) -> Market {
    let lacks = lacks(close, stage.clock.now());
    let mut market = Market::default();
    if lacks.facts {
        market.facts = facts(stage, close.condition_id).await;
    }
    let facts = market.facts.as_ref().or_else(|| facts_of(close)).cloned();
    let sold = facts.as_ref().and_then(|facts| traded(close, facts)).unwrap_or(&close.name.asset);
    if lacks.bid
        && let Some(book) = book(stage, sold).await
    {
        market.bid = book.bids.first().map_or(Bid::Nobody, |level| Bid::Best(level.price));
        market.book = Some(book).filter(|_| close.name.mode == Mode::Paper);
    }
    if lacks.ended {
        market.ended = is_resolved(stage, close.condition_id, stage.clock.now()).await;
    }
    if lacks.balance {
        let version = facts.as_ref().map_or(MarketVersion::V1, |f| f.version);
        market.balance = balance(stage, &close.name, sold, version).await;
        // The same shares in the market's other version; what cannot be read there leaves all of it unread.
        let other = match version {
            MarketVersion::V1 => MarketVersion::V2,
            MarketVersion::V2 => MarketVersion::V1,
        };
        let ids = std::iter::once(&close.name.asset).chain(&close.also);
        for id in ids.filter(|id| *id != sold) {
            match balance(stage, &close.name, id, other).await {
                Some(there) => market.elsewhere = market.elsewhere.saturating_add(there),
                None => market.balance = None,
            }
        }
    }
    market
}

async fn facts(stage: &Stage, condition: ConditionId) -> Option<MarketFacts> {
    let market = stage.venues.market();
    let found = async {
        let Rows { rows, .. } = market.markets(&[condition]).await.ok()?;
        let clob = market.clob_market(condition).await.ok()?;
        let row = rows.iter().find(|row| row.condition().is_ok_and(|c| c == condition))?;
        market_facts(row, clob.as_ref()).ok()
    };
    let facts = found.await;
    if facts.is_none() {
        tracing::warn!(%condition, "a close waits for its market's facts");
    }
    facts
}

/// What others bid: without a sale of the leader a close begins there (`behaviour.md` 4). `None` where it cannot be read;
/// where there is no book, nobody bids.
async fn book(stage: &Stage, asset: &AssetId) -> Option<BookSnapshot> {
    match stage.venues.market().book(asset).await {
        Ok(Some(book)) => Some(book_snapshot(&book)),
        Ok(None) => {
            let (as_of, nobody) = (stage.clock.now(), Vec::new());
            Some(BookSnapshot { asset: asset.clone(), as_of, bids: nobody.clone(), asks: nobody })
        }
        Err(error) => {
            tracing::debug!(%asset, %error, "the book of a close could not be read");
            None
        }
    }
}

async fn is_resolved(stage: &Stage, condition: ConditionId, now: Timestamp) -> bool {
    match stage.venues.market().resolution(condition, now).await {
        Ok(row) => row.is_some_and(|row| !row.payouts.is_empty()),
        Err(error) => {
            tracing::debug!(%condition, %error, "whether a market is resolved could not be read");
            false
        }
    }
}

/// What the tenant's wallet holds of a token.
async fn balance(stage: &Stage, name: &CloseName, asset: &AssetId, version: MarketVersion) -> Option<Shares> {
    let exchange = stage.venues.exchange(name.mode)?;
    let active = stage.store.active_connections(&[name.billing_account_id]).await.ok()?;
    let connection = &active.first()?.connection;
    let keys = stage.keyring.keys(connection.id)?;
    let of = BalanceOf::Token { asset: asset.clone(), version };
    let now = stage.clock.now();
    match exchange.balance_allowance(&of, connection.signature_type, keys.creds(), now).await {
        // Shares have six decimals as dollars have.
        Ok(answer) => answer.balance().map(|b| Shares::from_micro(b.micro())),
        Err(error) => {
            tracing::warn!(account = %name.billing_account_id, %error, "a token's balance could not be read");
            None
        }
    }
}
