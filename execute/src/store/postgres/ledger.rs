//! What the gate reads of the ledger: windows of the caps, positions, what is alive, and the attempts that a batch names.

use std::{collections::BTreeSet, time::Duration};

use schemas::{AssetId, BillingAccountId, ConditionId, Mode, Shares, TargetId, Timestamp, Usdc};
use serde::Deserialize;
use sqlx::{PgConnection, Row, types::Json};
use uuid::Uuid;

use super::{closes, failed, gate::of_account};
use crate::{
    core::{
        Attempt,
        gate::{Snapshots, Wanted},
        position::Position,
        snapshot::Standing,
    },
    store::StoreError,
};

/// The rolling windows of the caps.
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

/// A row of the ledger.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Entry {
    Window {
        billing_account_id: BillingAccountId,
        mode: Mode,
        day: Usdc,
        hour: i64,
    },
    Claimed {
        billing_account_id: BillingAccountId,
        mode: Mode,
        claimed: Usdc,
    },
    Position {
        billing_account_id: BillingAccountId,
        mode: Mode,
        target_id: TargetId,
        asset: AssetId,
        condition_id: ConditionId,
        held: Shares,
        cost: Usdc,
    },
    Standing {
        billing_account_id: BillingAccountId,
        mode: Mode,
        target_id: TargetId,
        asset: AssetId,
        #[serde(flatten)]
        standing: Standing,
    },
    Named {
        order: Box<Attempt>,
    },
    Unconfirmed {
        billing_account_id: BillingAccountId,
        mode: Mode,
        target_id: TargetId,
        asset: AssetId,
        shares: Shares,
    },
}

/// One statement, so that all of it is one picture: what filled is either still alive or in the position. (What a BUY
/// can still cost stays far inside 64 bits: the constant caps hold limit times shares below 5 x 10^14.)
macro_rules! ledger {
    () => {
        "
    select jsonb_build_object('kind', 'window', 'billing_account_id', billing_account_id, 'mode', mode,
        'day', sum(counted)::bigint, 'hour', count(*) filter (where created_at > $9)) as entry
    from execution.orders
    where billing_account_id = any($1) and side = 'BUY' and status not in ('denied', 'rejected') and created_at > $8
    group by billing_account_id, mode
    union all
    select jsonb_build_object('kind', 'claimed', 'billing_account_id', b.billing_account_id, 'mode', b.mode,
        'claimed', sum(o.counted)::bigint)
    from execution.budgets b join execution.orders o using (billing_account_id, mode)
    where b.billing_account_id = any($1) and b.balance is not null and o.side = 'BUY'
        and o.status not in ('denied', 'rejected') and o.created_at > b.balance_at - 3600000000
        and (not o.is_final or o.changed_at > b.balance_at or o.confirmed_shares < o.filled_shares)
    group by b.billing_account_id, b.mode
    union all
    select to_jsonb(p) || '{\"kind\": \"position\"}' from execution.positions p
    join unnest($2::uuid[], $3::text[]) w(account, condition)
        on p.billing_account_id = w.account and p.condition_id = w.condition
    union all
    select jsonb_build_object('kind', 'standing', 'billing_account_id', o.billing_account_id, 'mode', o.mode,
        'target_id', o.target_id, 'asset', o.held_as, 'condition_id', o.condition_id,
        'buys', count(*) filter (where o.side = 'BUY'),
        'pending', coalesce(sum((o.limit_price * greatest(o.shares - o.filled_shares, 0) + 999999) / 1000000)
            filter (where o.side = 'BUY'), 0)::bigint,
        'counted', coalesce(sum(greatest(o.counted - o.filled_usdc, 0)) filter (where o.side = 'BUY'), 0)::bigint)
    from execution.orders o join unnest($2::uuid[], $3::text[]) w(account, condition)
        on o.billing_account_id = w.account and o.condition_id = w.condition
    where not o.is_final
    group by o.billing_account_id, o.mode, o.target_id, o.held_as, o.condition_id
    union all
    select jsonb_build_object('kind', 'named', 'order', to_jsonb(o)) from execution.orders o
    join unnest($4::uuid[], $5::text[]) w(account, key)
        on o.billing_account_id = w.account and o.idempotency_key = w.key
    union all
    select jsonb_build_object('kind', 'named', 'order', to_jsonb(o)) from execution.orders o
    join unnest($6::uuid[], $7::text[]) w(account, name)
        on o.billing_account_id = w.account and o.natural_key = w.name"
    };
}
const LEDGER: &str = ledger!();
/// The same for a batch that is about closes too: what is alive of their positions, and what their wallets need not show
/// yet.
const LEDGER_OF_CLOSES: &str = concat!(
    ledger!(),
    "
    union all
    select jsonb_build_object('kind', 'named', 'order', to_jsonb(o)) from execution.orders o
    join unnest($2::uuid[], $3::text[]) w(account, condition)
        on o.billing_account_id = w.account and o.condition_id = w.condition
    where not o.is_final and (o.billing_account_id, o.mode, o.target_id, o.held_as) in
        (select * from unnest($10::uuid[], $11::text[], $12::uuid[], $13::text[]))
    union all
    select jsonb_build_object('kind', 'unconfirmed', 'billing_account_id', o.billing_account_id, 'mode', o.mode,
        'target_id', o.target_id, 'asset', o.held_as, 'shares', sum(o.filled_shares - o.confirmed_shares)::bigint)
    from execution.orders o join unnest($2::uuid[], $3::text[]) w(account, condition)
        on o.billing_account_id = w.account and o.condition_id = w.condition
    where o.side = 'BUY' and o.confirmed_shares < o.filled_shares and (o.billing_account_id, o.mode, o.target_id, o.held_as)
        in (select * from unnest($10::uuid[], $11::text[], $12::uuid[], $13::text[]))
    group by o.billing_account_id, o.mode, o.target_id, o.held_as"
);

/// Pairs of an account and something of it, as two arrays.
fn pairs<'p, T: std::fmt::Display + 'p>(
    pairs: impl IntoIterator<Item = &'p (BillingAccountId, T)>,
) -> (Vec<Uuid>, Vec<String>) {
    pairs.into_iter().map(|(account, of)| (account.as_uuid(), of.to_string())).unzip()
}

/// Reads it into the snapshots.
pub async fn read(
    db: &mut PgConnection,
    wanted: &Wanted,
    snapshots: &mut Snapshots,
    now: Timestamp,
) -> Result<(), StoreError> {
    let accounts: BTreeSet<Uuid> = wanted.tenants.iter().map(|(a, _)| a.as_uuid()).collect();
    let (conditions, keys) = (pairs(&wanted.conditions), pairs(&wanted.keys));
    let naturals = pairs(&wanted.naturals);
    let mut query = sqlx::query(if wanted.closes.is_empty() { LEDGER } else { LEDGER_OF_CLOSES })
        .bind(accounts.into_iter().collect::<Vec<_>>())
        .bind(conditions.0)
        .bind(conditions.1)
        .bind(keys.0)
        .bind(keys.1)
        .bind(naturals.0)
        .bind(naturals.1)
        .bind(now.minus(DAY).micros())
        .bind(now.minus(HOUR).micros());
    if !wanted.closes.is_empty() {
        let (accounts, modes, targets, assets) = closes::arrays(&wanted.closes);
        query = query.bind(accounts).bind(modes).bind(targets).bind(assets);
    }
    let found = query.fetch_all(db).await.map_err(failed)?;
    for row in &found {
        match row.try_get::<Json<Entry>, _>(0).map_err(failed)?.0 {
            Entry::Window { billing_account_id, mode, day, hour } => {
                if let Some(snapshot) = snapshots.get_mut(&(billing_account_id, mode)) {
                    (snapshot.day, snapshot.hour) = (day, hour);
                }
            }
            Entry::Claimed { billing_account_id, mode, claimed } => {
                if let Some(snapshot) = snapshots.get_mut(&(billing_account_id, mode)) {
                    snapshot.claimed = claimed;
                }
            }
            Entry::Position { billing_account_id, mode, target_id, asset, condition_id, held, cost } => {
                if let Some(snapshot) = snapshots.get_mut(&(billing_account_id, mode)) {
                    snapshot.positions.insert((target_id, asset), Position { condition_id, held, cost });
                }
            }
            Entry::Standing { billing_account_id, mode, target_id, asset, standing } => {
                if let Some(snapshot) = snapshots.get_mut(&(billing_account_id, mode)) {
                    snapshot.standing.insert((target_id, asset), standing);
                }
            }
            // A copy is taken in whichever mode it was.
            Entry::Named { order } => {
                for snapshot in of_account(snapshots, Some(order.billing_account_id)) {
                    snapshot.named.insert(order.key(), (*order).clone());
                }
            }
            Entry::Unconfirmed { billing_account_id, mode, target_id, asset, shares } => {
                if let Some(snapshot) = snapshots.get_mut(&(billing_account_id, mode)) {
                    snapshot.unconfirmed.insert((target_id, asset), shares);
                }
            }
        }
    }
    Ok(())
}
