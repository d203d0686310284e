//! Closes and dues as rows. Whoever changes one holds the close's row to the end of the transaction.

use std::collections::BTreeSet;

use schemas::Timestamp;
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::{count, failed, rows};
use crate::{
    core::{
        Attempt,
        close::{
            Close, CloseName, Due, DueKey,
            carried::{Carried, Migration, carry as carried},
        },
        gate::{Snapshots, Wanted},
    },
    store::StoreError,
};

/// The names of positions, as four arrays.
pub type Names = (Vec<Uuid>, Vec<String>, Vec<Uuid>, Vec<String>);

pub fn arrays<'n>(names: impl IntoIterator<Item = &'n CloseName>) -> Names {
    let mut arrays = Names::default();
    for name in names {
        arrays.0.push(name.billing_account_id.as_uuid());
        arrays.1.push(name.mode.as_str().to_owned());
        arrays.2.push(name.target_id.as_uuid());
        arrays.3.push(name.asset.as_str().to_owned());
    }
    arrays
}

fn close(row: &PgRow) -> Result<Close, StoreError> {
    Ok(row.try_get::<Json<Close>, _>(0).map_err(failed)?.0)
}

/// Gives each close its dues.
fn hand_out(closes: &mut [Close], found: &[PgRow]) -> Result<(), StoreError> {
    for row in found {
        let due = row.try_get::<Json<Due>, _>(0).map_err(failed)?.0;
        let of = |c: &&mut Close| {
            let name = &c.name;
            name.billing_account_id == due.billing_account_id
                && name.mode == due.mode
                && name.target_id == due.target_id
                && name.asset == due.asset
        };
        if let Some(close) = closes.iter_mut().find(of) {
            close.dues.push(due);
        }
    }
    Ok(())
}

async fn read_open(db: &mut PgConnection, closes: &mut [Close]) -> Result<(), StoreError> {
    if closes.is_empty() {
        return Ok(());
    }
    let (accounts, modes, targets, assets) = arrays(closes.iter().map(|c| &c.name));
    let found = sqlx::query(
        "select to_jsonb(d) from execution.dues d
         join unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) w(account, mode, target, asset)
             on d.billing_account_id = w.account and d.mode = w.mode and d.target_id = w.target and d.asset = w.asset
         where d.ended is null order by d.place",
    )
    .bind(accounts)
    .bind(modes)
    .bind(targets)
    .bind(assets)
    .fetch_all(db)
    .await
    .map_err(failed)?;
    hand_out(closes, &found)
}

/// Locks the closes of a batch, in one order for everybody, and reads what is due of them. What they name besides is
/// wanted from then on.
pub async fn lock(db: &mut PgConnection, wanted: &mut Wanted) -> Result<Vec<Close>, StoreError> {
    if wanted.closes.is_empty() {
        return Ok(Vec::new());
    }
    let (accounts, modes, targets, assets) = arrays(&wanted.closes);
    let found = sqlx::query(
        "select to_jsonb(c) from execution.closes c
         where (billing_account_id, mode, target_id, asset) in
             (select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]))
         order by billing_account_id, mode, target_id, asset for update",
    )
    .bind(accounts)
    .bind(modes)
    .bind(targets)
    .bind(assets)
    .fetch_all(&mut *db)
    .await
    .map_err(failed)?;
    let mut closes = found.iter().map(close).collect::<Result<Vec<_>, _>>()?;
    // A statement of its own: it sees what those who held the rows before have written.
    read_open(db, &mut closes).await?;
    for close in &closes {
        wanted.and_of(close);
    }
    Ok(closes)
}

/// The dues that there are by the names of a batch, ended ones too.
pub async fn known(
    db: &mut PgConnection,
    wanted: &Wanted,
    snapshots: &mut Snapshots,
) -> Result<(), StoreError> {
    if wanted.closes.is_empty() || wanted.naturals.is_empty() {
        return Ok(());
    }
    let (key_accounts, keys): (Vec<Uuid>, Vec<String>) =
        wanted.keys.iter().map(|(a, k)| (a.as_uuid(), k.to_string())).unzip();
    let (natural_accounts, naturals): (Vec<Uuid>, Vec<String>) =
        wanted.naturals.iter().map(|(a, n)| (a.as_uuid(), n.clone())).unzip();
    let found = sqlx::query(
        "select billing_account_id, idempotency_key, revision, natural_key from execution.dues
         where (billing_account_id, idempotency_key) in (select * from unnest($1::uuid[], $2::text[]))
         union select billing_account_id, idempotency_key, revision, natural_key from execution.dues
         where (billing_account_id, natural_key) in (select * from unnest($3::uuid[], $4::text[]))",
    )
    .bind(key_accounts)
    .bind(keys)
    .bind(natural_accounts)
    .bind(naturals)
    .fetch_all(db)
    .await
    .map_err(failed)?;
    for row in &found {
        let account: Uuid = row.try_get("billing_account_id").map_err(failed)?;
        let key = DueKey {
            key: super::parsed(row, "idempotency_key")?,
            revision: row.try_get("revision").map_err(failed)?,
        };
        let natural: String = row.try_get("natural_key").map_err(failed)?;
        for snapshot in snapshots.values_mut().filter(|s| s.billing_account_id.as_uuid() == account) {
            snapshot.known_dues.push((key, natural.clone()));
        }
    }
    Ok(())
}

/// Puts the closes that were read into the snapshots of their tenants.
pub fn place(closes: &[Close], snapshots: &mut Snapshots) {
    for close in closes {
        if let Some(snapshot) = snapshots.get_mut(&(close.name.billing_account_id, close.name.mode)) {
            let position = (close.name.target_id, close.name.asset.clone());
            snapshot.closes.insert(position, close.clone());
        }
    }
}

/// Locks the close of an attempt's position, with what is due and what this attempt sold; `None` where there is none.
pub async fn lock_of(db: &mut PgConnection, attempt: &Attempt) -> Result<Option<Close>, StoreError> {
    let name = |query: sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>| {
        query
            .bind(attempt.billing_account_id.as_uuid())
            .bind(attempt.mode.as_str().to_owned())
            .bind(attempt.target_id.as_uuid())
            .bind(attempt.held_as.as_str().to_owned())
    };
    let found = name(sqlx::query(
        "select to_jsonb(c) from execution.closes c
         where billing_account_id = $1 and mode = $2 and target_id = $3 and asset = $4 for update",
    ))
    .fetch_optional(&mut *db)
    .await
    .map_err(failed)?;
    let Some(mut closes) = found.as_ref().map(close).transpose()?.map(|close| [close]) else {
        return Ok(None);
    };
    let found = name(sqlx::query(
        "select to_jsonb(d) from execution.dues d
         where billing_account_id = $1 and mode = $2 and target_id = $3 and asset = $4
             and (ended is null or sold @> jsonb_build_array(jsonb_build_object('key', $5::text, 'attempt', $6::int)))
         order by place",
    ))
    .bind(attempt.idempotency_key.to_string())
    .bind(attempt.attempt)
    .fetch_all(db)
    .await
    .map_err(failed)?;
    hand_out(&mut closes, &found)?;
    let [close] = closes;
    Ok(Some(close))
}

/// Writes what changed of closes and their dues. A due that somebody else has makes it fail as a whole: insert decides.
pub async fn write<'c>(
    db: &mut PgConnection,
    before: &[Close],
    after: impl IntoIterator<Item = &'c Close>,
) -> Result<(), StoreError> {
    let was = |close: &Close| before.iter().find(|b| b.name == close.name);
    let changed: Vec<&Close> = after.into_iter().filter(|close| was(close) != Some(close)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    put(&mut *db, &changed).await?;
    let (mut new, mut moved): (Vec<&Due>, Vec<&Due>) = (Vec::new(), Vec::new());
    for close in changed {
        let known = was(close).map_or(&[][..], |c| &c.dues);
        for due in &close.dues {
            match known.iter().find(|d| d.key() == due.key()) {
                None => new.push(due),
                Some(known) if known != due => moved.push(due),
                Some(_) => {}
            }
        }
    }
    if !new.is_empty() {
        insert(&mut *db, &new).await?;
    }
    if !moved.is_empty() {
        sqlx::query(
            "update execution.dues d set shares = n.shares, sold = n.sold, awaits = n.awaits,
                 drop_cause = n.drop_cause, ended = n.ended
             from jsonb_populate_recordset(null::execution.dues, $1) n
             where d.billing_account_id = n.billing_account_id and d.idempotency_key = n.idempotency_key
                 and d.revision = n.revision",
        )
        .bind(Json(&moved))
        .execute(db)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

/// Writes the closes' own rows.
async fn put(db: &mut PgConnection, closes: &[&Close]) -> Result<(), StoreError> {
    sqlx::query(
        "insert into execution.closes select * from jsonb_populate_recordset(null::execution.closes, $1)
         on conflict (billing_account_id, mode, target_id, asset) do update set
             condition_id = excluded.condition_id,
             counted = excluded.counted, offered = excluded.offered, terms = excluded.terms,
             stepped_at = excluded.stepped_at, found_price = excluded.found_price, facts = excluded.facts,
             not_before = excluded.not_before, denied = excluded.denied, refused = excluded.refused,
             doubts = excluded.doubts, short = excluded.short, took_buys_at = excluded.took_buys_at,
             next_look_at = excluded.next_look_at,
             changed_at = excluded.changed_at, partition = excluded.partition,
             becomes = excluded.becomes, also = excluded.also",
    )
    .bind(Json(closes))
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(())
}

/// A position's rows by its name: the first four values of a statement.
type Statement = sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Everything of a position goes on under another id. In the order in which a step of an attempt takes its rows: the close,
/// the position, the order. A step that is on its way meanwhile finds that its order stands elsewhere, and is made again.
pub async fn carry(
    db: &mut PgConnection,
    snapshots: &mut Snapshots,
    migration: Migration,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(snapshot) = snapshots.get_mut(&(migration.billing_account_id, migration.mode)) else {
        return Err(StoreError::NotLoaded);
    };
    let target = migration.target_id;
    let (from, to) = (snapshot.current(target, &migration.from), snapshot.current(target, &migration.to));
    if from == to {
        return Ok(());
    }
    let migration = Migration { from, to, ..migration };
    let Migration { ref from, ref to, .. } = migration;
    let named = |statement: &'static str| -> Statement {
        sqlx::query(statement)
            .bind(migration.billing_account_id.as_uuid())
            .bind(migration.mode.as_str())
            .bind(target.as_uuid())
            .bind(from.as_str().to_owned())
            .bind(to.as_str().to_owned())
    };
    let found = named(
        "select to_jsonb(c) from execution.closes c
         where billing_account_id = $1 and mode = $2 and target_id = $3 and asset in ($4, $5)
         order by asset for update",
    )
    .fetch_all(&mut *db)
    .await
    .map_err(failed)?;
    let mut closes = found.iter().map(close).collect::<Result<Vec<_>, _>>()?;
    let mut take = |name: &CloseName| {
        let at = closes.iter().position(|c| c.name == *name)?;
        Some(closes.swap_remove(at))
    };
    let (old, new) = (take(&migration.before()), take(&migration.after()));
    let Carried { old, new, places } = carried(old, new, &migration, now);
    put(&mut *db, &[&old, &new]).await?;
    let moved_on = named(
        "update execution.dues set asset = $5, place = place + $6
         where billing_account_id = $1 and mode = $2 and target_id = $3 and asset = $4",
    );
    moved_on.bind(places).execute(&mut *db).await.map_err(failed)?;
    let led = named(
        "update execution.closes set becomes = $5
         where billing_account_id = $1 and mode = $2 and target_id = $3 and becomes = $4",
    );
    led.execute(&mut *db).await.map_err(failed)?;
    // A first fill that is being written is a row that nobody sees yet: one of the same key waits for it.
    let place = named(
        "insert into execution.positions as p
             (billing_account_id, mode, target_id, asset, condition_id, held, cost, changed_at)
         select $1, $2, $3, asset, $6, 0, 0, $7 from unnest(array[$4, $5]) t (asset) order by asset
         on conflict (billing_account_id, target_id, asset, mode) do update set changed_at = p.changed_at",
    );
    place
        .bind(migration.condition_id.to_string())
        .bind(now.micros())
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    let moved = named(
        "with old as (select held, cost from execution.positions
             where billing_account_id = $1 and mode = $2 and target_id = $3 and asset = $4)
         update execution.positions p set held = case p.asset when $5 then p.held + old.held else 0 end,
             cost = case p.asset when $5 then p.cost + old.cost else 0 end, changed_at = $6
         from old where p.billing_account_id = $1 and p.mode = $2 and p.target_id = $3 and p.asset in ($4, $5)",
    );
    moved.bind(now.micros()).execute(&mut *db).await.map_err(failed)?;
    let held_as = named(
        "update execution.orders set held_as = $5
         where billing_account_id = $1 and mode = $2 and target_id = $3 and held_as = $4",
    );
    held_as.execute(db).await.map_err(failed)?;
    for becomes in snapshot.links.iter_mut().filter(|((t, _), _)| *t == target).map(|(_, becomes)| becomes) {
        if becomes == from {
            becomes.clone_from(to);
        }
    }
    snapshot.links.insert((target, from.clone()), to.clone());
    Ok(())
}

async fn insert(db: &mut PgConnection, new: &[&Due]) -> Result<(), StoreError> {
    let inserted = sqlx::query(
        "insert into execution.dues select * from jsonb_populate_recordset(null::execution.dues, $1)
         on conflict do nothing returning billing_account_id, idempotency_key, revision, 0 as attempt",
    )
    .bind(Json(new))
    .fetch_all(db)
    .await
    .map_err(failed)?;
    let written = inserted.iter().map(rows::key).collect::<Result<BTreeSet<_>, _>>()?;
    if inserted.len() == new.len() {
        return Ok(());
    }
    let missed = new.iter().map(|d| d.attempt_key()).find(|key| !written.contains(key));
    Err(missed
        .or_else(|| new.first().map(|d| d.attempt_key()))
        .map_or(StoreError::NotLoaded, StoreError::Changed))
}

/// Closes that are to be looked at, with what is due and not ended.
pub async fn due(
    pool: &PgPool,
    partition: i32,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Close>, StoreError> {
    let mut db = pool.acquire().await.map_err(failed)?;
    let found = sqlx::query(
        "select to_jsonb(c) from execution.closes c where partition = $1 and next_look_at <= $2
         order by next_look_at, billing_account_id, mode, target_id, asset limit $3",
    )
    .bind(partition)
    .bind(now.micros())
    .bind(count(limit))
    .fetch_all(&mut *db)
    .await
    .map_err(failed)?;
    let mut closes = found.iter().map(close).collect::<Result<Vec<_>, _>>()?;
    read_open(&mut db, &mut closes).await?;
    Ok(closes)
}

/// The close of a position, with everything that was ever due of it.
pub async fn whole(pool: &PgPool, of: &CloseName) -> Result<Option<Close>, StoreError> {
    let mut db = pool.acquire().await.map_err(failed)?;
    let (accounts, modes, targets, assets) = arrays([of]);
    let mut closes = Vec::new();
    for (statement, is_close) in [
        (
            "select to_jsonb(c) from execution.closes c where billing_account_id = any($1) and mode = any($2)
                 and target_id = any($3) and asset = any($4)",
            true,
        ),
        (
            "select to_jsonb(d) from execution.dues d where billing_account_id = any($1) and mode = any($2)
                 and target_id = any($3) and asset = any($4) order by place",
            false,
        ),
    ] {
        let found = sqlx::query(statement)
            .bind(&accounts)
            .bind(&modes)
            .bind(&targets)
            .bind(&assets)
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?;
        if is_close {
            closes = found.iter().map(close).collect::<Result<Vec<_>, _>>()?;
        } else {
            hand_out(&mut closes, &found)?;
        }
    }
    Ok(closes.pop())
}
