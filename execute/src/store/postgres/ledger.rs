//! What the gate reads of the ledger: windows of the caps, positions, what is alive, and the attempts that a batch names.

use std::time::Duration;

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

/// What a tenant's BUYs count that are alive, however old they are.
macro_rules! alive {
    () => {
        "select coalesce(sum(a.counted), 0) as alive from execution.orders a
         where a.billing_account_id = t.account and a.mode = t.mode and a.side = 'BUY' and not a.is_final"
    };
}

/// What those came to that ended long after they were written: the index `orders_late`.
macro_rules! late {
    () => {
        "select coalesce(sum(l.counted), 0) as late from execution.orders l
         where l.billing_account_id = t.account and l.mode = t.mode and l.side = 'BUY' and l.is_final
             and l.status not in ('denied', 'rejected') and l.changed_at - l.created_at > 300000000"
    };
}

/// One statement, so that all of it is one picture: what filled is either still alive or in the position. Sums are taken
/// tenant by tenant (`lateral`), so that no plan begins with everybody's orders. (What a BUY
/// can still cost stays far inside 64 bits: the constant caps hold limit times shares below 5 x 10^14.)
macro_rules! ledger {
    () => {
        concat!(
            "
    select jsonb_build_object('kind', 'window', 'billing_account_id', t.account, 'mode', t.mode,
        'day', (o.day + a.alive + l.late)::bigint, 'hour', o.hour) as entry
    from unnest($1::uuid[], $2::text[]) t(account, mode) cross join lateral (
        select coalesce(sum(w.counted), 0) as day, count(*) filter (where w.created_at > $10) as hour
        from execution.orders w
        where w.billing_account_id = t.account and w.mode = t.mode and w.created_at > $9
            and w.side = 'BUY' and w.status not in ('denied', 'rejected')) o
    cross join lateral (", alive!(), " and a.created_at <= $9) a
    cross join lateral (", late!(), " and l.changed_at > $9 and l.created_at <= $9) l
    union all
    select jsonb_build_object('kind', 'claimed', 'billing_account_id', t.account, 'mode', t.mode,
        'claimed', (o.claimed + a.alive + l.late)::bigint)
    from unnest($1::uuid[], $2::text[]) t(account, mode)
    join execution.budgets b on b.billing_account_id = t.account and b.mode = t.mode cross join lateral (
        select coalesce(sum(c.counted), 0) as claimed from execution.orders c
        where c.billing_account_id = b.billing_account_id and c.mode = b.mode and c.created_at > b.balance_at - 3600000000
            and c.side = 'BUY' and c.status not in ('denied', 'rejected')
            and (not c.is_final or c.changed_at > b.balance_at or c.confirmed_shares < c.filled_shares)) o
    cross join lateral (", alive!(), " and a.created_at <= b.balance_at - 3600000000) a
    cross join lateral (", late!(), " and l.changed_at > b.balance_at and l.created_at <= b.balance_at - 3600000000) l
    where b.balance is not null
    union all
    select to_jsonb(p) || '{\"kind\": \"position\"}' from execution.positions p
    join unnest($3::uuid[], $4::text[]) w(account, condition)
        on p.billing_account_id = w.account and p.condition_id = w.condition
    union all
    select jsonb_build_object('kind', 'standing', 'billing_account_id', o.billing_account_id, 'mode', o.mode,
        'target_id', o.target_id, 'asset', o.held_as, 'condition_id', o.condition_id,
        'buys', count(*) filter (where o.side = 'BUY'),
        'pending', coalesce(sum((o.limit_price * greatest(o.shares - o.filled_shares, 0) + 999999) / 1000000)
            filter (where o.side = 'BUY'), 0)::bigint,
        'counted', coalesce(sum(greatest(o.counted - o.filled_usdc, 0)) filter (where o.side = 'BUY'), 0)::bigint)
    from execution.orders o join unnest($3::uuid[], $4::text[]) w(account, condition)
        on o.billing_account_id = w.account and o.condition_id = w.condition
    where not o.is_final
    group by o.billing_account_id, o.mode, o.target_id, o.held_as, o.condition_id
    union all
    select jsonb_build_object('kind', 'named', 'order', to_jsonb(o)) from execution.orders o
    join unnest($5::uuid[], $6::text[]) w(account, key)
        on o.billing_account_id = w.account and o.idempotency_key = w.key
    union all
    select jsonb_build_object('kind', 'named', 'order', to_jsonb(o)) from execution.orders o
    join unnest($7::uuid[], $8::text[]) w(account, name)
        on o.billing_account_id = w.account and o.natural_key = w.name"
        )
    };
}
const LEDGER: &str = ledger!();
/// The same for a batch that is about closes too: what is held and alive of their positions, and what their wallets need not
/// show yet. By name: the condition that an intent names need not be its position's.
const LEDGER_OF_CLOSES: &str = concat!(
    ledger!(),
    "
    union all
    select to_jsonb(p) || '{\"kind\": \"position\"}' from execution.positions p
    join unnest($11::uuid[], $12::text[], $13::uuid[], $14::text[]) w(account, mode, target, asset)
        on p.billing_account_id = w.account and p.mode = w.mode and p.target_id = w.target and p.asset = w.asset
    union all
    select jsonb_build_object('kind', 'named', 'order', to_jsonb(o)) from execution.orders o
    join unnest($11::uuid[], $12::text[], $13::uuid[], $14::text[]) w(account, mode, target, asset)
        on o.billing_account_id = w.account and o.mode = w.mode and o.target_id = w.target and o.held_as = w.asset
    where not o.is_final
    union all
    select jsonb_build_object('kind', 'unconfirmed', 'billing_account_id', o.billing_account_id, 'mode', o.mode,
        'target_id', o.target_id, 'asset', o.held_as, 'shares', sum(o.filled_shares - o.confirmed_shares)::bigint)
    from execution.orders o join unnest($11::uuid[], $12::text[], $13::uuid[], $14::text[]) w(account, mode, target, asset)
        on o.billing_account_id = w.account and o.mode = w.mode and o.target_id = w.target and o.held_as = w.asset
    where o.side = 'BUY' and o.confirmed_shares < o.filled_shares
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
    let tenants = pairs(&wanted.tenants);
    let (conditions, keys) = (pairs(&wanted.conditions), pairs(&wanted.keys));
    let naturals = pairs(&wanted.naturals);
    let mut query = sqlx::query(if wanted.closes.is_empty() { LEDGER } else { LEDGER_OF_CLOSES })
        .bind(tenants.0)
        .bind(tenants.1)
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
