//! The oracles: the tape says what had to be decided, the venue says what was ordered, the tables say what they say, and
//! all of it has to agree.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{Address, AssetId, OrderStatus, Side, TxHash, codec::Codec, events::OrdersEvent};
use simulator::OrderView;
use sqlx::{PgPool, Row};

use crate::tape::FillKey;

/// A decision as the table holds it.
#[derive(Debug, Clone)]
pub struct Decided {
    pub account: String,
    pub wallet: Address,
    /// Absent for a close without a fill.
    pub fill: Option<FillKey>,
    pub key: String,
    pub revision: i32,
    pub outcome: String,
    pub reason: String,
    /// Whether an order is wanted: some decisions only cancel.
    pub wants_order: bool,
}

/// Every decision in the table.
pub async fn decisions(admin: &PgPool) -> Vec<Decided> {
    let rows = sqlx::query(
        "select billing_account_id::text, target_wallet, fill_id, idempotency_key, revision, outcome, reason,
             nullif(intent->'limit', 'null') is not null or nullif(intent->'fraction_num', 'null') is not null
         from poly_copy_trade_decisions",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    rows.iter()
        .map(|row| Decided {
            account: row.get(0),
            wallet: row.get::<String, _>(1).parse().unwrap(),
            fill: fill_of(row.get(2)),
            key: row.get(3),
            revision: row.get(4),
            outcome: row.get(5),
            reason: row.get(6),
            wants_order: row.get::<Option<bool>, _>(7) == Some(true),
        })
        .collect()
}

/// `data-api:<tx>:<asset>:<side>:<ts>`, taken apart; the ids of causes are no fills.
fn fill_of(fill_id: &str) -> Option<FillKey> {
    let parts: Vec<&str> = fill_id.split(':').collect();
    let ["data-api", tx, asset, side, _] = parts[..] else { return None };
    side.parse::<Side>()
        .ok()
        .map(|side| (tx.parse::<TxHash>().unwrap(), asset.parse::<AssetId>().unwrap(), side))
}

/// How far an attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It was never sent.
    Unsent,
    /// It was sent, and the venue said each time that it should come back later.
    PutOff,
    /// Nobody knew at some time whether the venue has it.
    Doubted,
    /// The venue said that it has it, or was seen to have it.
    Answered,
}

/// An attempt as execute's ledger holds it.
#[derive(Debug, Clone)]
pub struct Attempted {
    pub account: String,
    pub key: String,
    pub attempt: i32,
    pub status: String,
    /// Filled from the recorded book: nothing of it is ever sent.
    pub on_paper: bool,
    pub order_id: Option<String>,
    pub reach: Reach,
    pub cancel_asked: bool,
    pub note: Option<String>,
}

/// Every attempt of the ledger.
pub async fn attempts(admin: &PgPool) -> Vec<Attempted> {
    let rows = sqlx::query(
        "select billing_account_id::text, idempotency_key, attempt, status, order_id, sent_at is not null as sent,
             cancel_asked_at is not null as cancel_asked, note, mode = 'paper' as on_paper,
             answered_at is not null as answered
         from execution.orders",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    let doubted = doubted(admin).await;
    rows.iter()
        .map(|row| {
            let name: (String, String, i32) = (row.get(0), row.get(1), row.get(2));
            let reach = match (row.get("answered"), doubted.contains(&name), row.get("sent")) {
                (true, ..) => Reach::Answered,
                (_, true, _) => Reach::Doubted,
                (.., true) => Reach::PutOff,
                _ => Reach::Unsent,
            };
            Attempted {
                account: name.0,
                key: name.1,
                attempt: name.2,
                status: row.get(3),
                order_id: row.get(4),
                reach,
                cancel_asked: row.get("cancel_asked"),
                note: row.get("note"),
                on_paper: row.get("on_paper"),
            }
        })
        .collect()
}

/// The attempts of which nobody knew at some time whether they landed, by every step that was told: account, key, number.
async fn doubted(admin: &PgPool) -> BTreeSet<(String, String, i32)> {
    let codec = Codec::bundled().unwrap();
    let told: Vec<Vec<u8>> =
        sqlx::query_scalar("select value from execution.outbox").fetch_all(admin).await.unwrap();
    told.iter()
        .filter_map(|value| match codec.decode::<OrdersEvent>(value) {
            Ok(OrdersEvent::OrderState(state)) => Some(state),
            _ => None,
        })
        .filter(|state| state.status == OrderStatus::Unknown)
        .map(|s| (s.billing_account_id.to_string(), s.idempotency_key.to_string(), s.attempt))
        .collect()
}

/// Intents that wait at the gate for an order of which nobody knows yet what became of it, and closes that are due and
/// of which nothing was told yet: account and key.
pub async fn waiting(admin: &PgPool) -> BTreeSet<(String, String)> {
    let rows = sqlx::query(
        "select billing_account_id::text, idempotency_key from execution.deferred
         union select billing_account_id::text, idempotency_key from execution.dues d where ended is null
             and not exists (select 1 from execution.orders o where
                 o.billing_account_id = d.billing_account_id and o.idempotency_key = d.idempotency_key)",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// What is still on its way: orders without an outcome, events not published, rows the tables lack. An order that is
/// unknown and not at the venue is none of these: it may be waited for until its time is over.
pub async fn unsettled(admin: &PgPool, venue: &[OrderView]) -> Vec<String> {
    let venue: Vec<String> = venue.iter().map(|o| o.id.to_string()).collect();
    sqlx::query_scalar(
            "select 'order ' || o.status || ' ' || o.side || ' ' || o.idempotency_key from execution.orders o
             where o.status in ('reserved', 'submitted') or (o.status = 'unknown' and o.order_id = any($1))
             union all select 'unpublished ' || x.idempotency_key from execution.outbox x where not x.published
             union all select 'waiting ' || w.idempotency_key || ' for ' || w.waits_for from execution.deferred w
             where not exists (select 1 from execution.orders o where
                 o.billing_account_id = w.billing_account_id and o.status = 'unknown')
             union all select 'placed and not attempted ' || d.idempotency_key from poly_copy_trade_decisions d
             where d.outcome = 'placed' and (nullif(d.intent->'limit', 'null') is not null
                     or nullif(d.intent->'fraction_num', 'null') is not null)
                 and not exists (select 1 from execution.orders o where
                 o.billing_account_id = d.billing_account_id and o.idempotency_key = d.idempotency_key)
                 and not exists (select 1 from execution.deferred w where
                 w.billing_account_id = d.billing_account_id and w.idempotency_key = d.idempotency_key)
                 and not exists (select 1 from execution.dues w where w.ended is null and
                 w.billing_account_id = d.billing_account_id and w.idempotency_key = d.idempotency_key)
             union all select 'not in the table ' || o.idempotency_key || ' ' || o.status from execution.orders o
             where not exists (select 1 from poly_copy_trade_attempts a where
                 a.billing_account_id = o.billing_account_id and a.idempotency_key = o.idempotency_key
                 and a.attempt = o.attempt and a.revision = o.revision)",
        )
        .bind(venue)
        .fetch_all(admin)
        .await
        .unwrap()
}

/// Invariant 2: every fill of a followed wallet has exactly one decision per tenant.
pub fn every_fill_is_decided_once(
    decisions: &[Decided],
    accounts: &BTreeSet<String>,
    expected: &BTreeMap<Address, BTreeSet<FillKey>>,
) {
    for account in accounts {
        for (wallet, fills) in expected {
            let mine = decisions.iter().filter(|d| d.account == *account && d.wallet == *wallet);
            let mut seen: BTreeSet<(FillKey, i32)> = BTreeSet::new();
            for (d, fill) in mine.filter_map(|d| Some((d, d.fill.clone()?))) {
                assert!(fills.contains(&fill), "a decision for a fill that is not on the tape: {d:?}");
                assert!(seen.insert((fill, d.revision)), "decided twice: {d:?}");
            }
            let decided: BTreeSet<&FillKey> = seen.iter().map(|(fill, _)| fill).collect();
            let missing: Vec<&FillKey> = fills.iter().filter(|f| !decided.contains(f)).collect();
            assert!(
                missing.is_empty(),
                "{} fills of {wallet} are not decided for {account}: {missing:?}",
                missing.len()
            );
        }
    }
}

/// Invariants 1 and 3: a placed decision has its attempts in the ledger and nothing else has; what was sent is at the
/// venue once, and the venue has nothing the ledger does not know.
pub fn every_order_is_placed_once(
    decisions: &[Decided],
    attempts: &[Attempted],
    waiting: &BTreeSet<(String, String)>,
    venue: &[OrderView],
) {
    let placed: BTreeSet<(&str, &str)> = decisions
        .iter()
        .filter(|d| {
            d.outcome == "placed" && d.wants_order && !waiting.contains(&(d.account.clone(), d.key.clone()))
        })
        .map(|d| (&*d.account, &*d.key))
        .collect();
    let attempted: BTreeSet<(&str, &str)> = attempts.iter().map(|a| (&*a.account, &*a.key)).collect();
    assert_eq!(placed, attempted, "placed decisions and attempts differ");
    let mut ids = BTreeSet::new();
    for attempt in attempts.iter().filter(|a| a.order_id.is_some()) {
        assert!(ids.insert(attempt.order_id.clone().unwrap()), "one order id twice: {attempt:?}");
    }
    let at_venue: BTreeMap<String, &OrderView> = venue.iter().map(|o| (o.id.to_string(), o)).collect();
    assert_eq!(at_venue.len(), venue.len(), "the venue holds an order twice");
    for id in at_venue.keys() {
        assert!(ids.contains(id), "the venue has an order that the ledger does not know: {id}");
    }
    for attempt in attempts {
        let there = attempt.order_id.as_ref().is_some_and(|id| at_venue.contains_key(id));
        // A cancel that comes while an order waits for its turn ends it before it was ever taken: it was not sent, or the
        // venue said each time that it should come back later.
        let never_taken = matches!(attempt.reach, Reach::Unsent | Reach::PutOff);
        let withdrawn = attempt.status == "cancelled" && attempt.cancel_asked && never_taken;
        // A due that another close sold is told by a row that was never an order.
        let sold_by_another = attempt.note.as_deref().is_some_and(|note| note.starts_with("sold_by:"));
        let only_told = sold_by_another && attempt.order_id.is_none() && attempt.reach == Reach::Unsent;
        let landed = !withdrawn
            && !only_told
            && ["open", "partially_filled", "matched", "filled", "cancelled"]
                .contains(&attempt.status.as_str());
        assert!(
            there || !landed || attempt.on_paper,
            "the ledger believes in an order that the venue does not have: {attempt:?}"
        );
        assert!(!there || attempt.status != "denied", "a denied order is at the venue: {attempt:?}");
        assert!(!there || !attempt.on_paper, "an order on paper was sent: {attempt:?}");
        // One that is nowhere to be found stays unknown until it can no longer land: its time is not over yet.
        let unresolved = match attempt.status.as_str() {
            "reserved" | "submitted" => true,
            "unknown" => there,
            _ => false,
        };
        assert!(!unresolved, "left unresolved: {attempt:?}");
    }
}

/// Invariant 4: what each order counts is what it came to at the venue, or all of it while nobody knows. Gives the sums.
pub async fn the_budget_is_what_the_venue_says(admin: &PgPool, venue: &[OrderView]) -> String {
    let rows = sqlx::query(
        "select order_id, status, side, is_final, filled_shares, filled_usdc, fees_usdc, reserved, counted
         from execution.orders where order_id is not null",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    let at_venue: BTreeMap<String, &OrderView> = venue.iter().map(|o| (o.id.to_string(), o)).collect();
    let (mut counted, mut spent, mut held) = (0, 0, 0);
    for row in &rows {
        let (id, status): (String, String) = (row.get("order_id"), row.get("status"));
        let micro = |column: &str| row.get::<i64, _>(column);
        let buys = row.get::<String, _>("side") == "BUY";
        let (shares, dollars, fees) = (micro("filled_shares"), micro("filled_usdc"), micro("fees_usdc"));
        let came_to =
            at_venue.get(&id).map_or((0, 0, 0), |o| (o.matched.micro(), o.dollars.micro(), o.fees.micro()));
        // What still rests may have filled since execute stopped looking; what it saw is never more than there is.
        let ended = row.get::<bool, _>("is_final");
        assert!(shares <= came_to.0, "{id} ({status}) filled less at the venue: {} < {shares}", came_to.0);
        if shares == came_to.0 || ended {
            assert_eq!(shares, came_to.0, "{id} ({status}) has other fills at the venue");
            // The venue lists a trade by its average price, which is rounded: less than a cent an order.
            let near = |ours: i64, theirs: i64| (ours - theirs).abs() < 10_000;
            assert!(near(dollars, came_to.1), "{id} ({status}) cost {} there, not {dollars}", came_to.1);
            assert!(near(fees, came_to.2), "{id} ({status}) paid {} of fees there, not {fees}", came_to.2);
        }
        let expected = match (buys, ended) {
            (false, _) => 0,
            (true, true) if status == "rejected" => 0,
            (true, true) => dollars + fees,
            (true, false) => micro("reserved").max(dollars + fees),
        };
        assert_eq!(micro("counted"), expected, "{id} ({status}) counts what it did not come to");
        counted += expected;
        if buys {
            spent += came_to.1 + came_to.2;
            held += expected - came_to.1 - came_to.2;
        }
    }
    format!(
        "budget {counted} = spent at the venue {spent} + still reserved {held}, in 10^-6 dollars, within a cent an order"
    )
}

/// How an order ended, by the ledger and by the venue alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub order_id: Option<String>,
    /// By the ledger.
    pub status: String,
    pub shares: i64,
    pub filled: i64,
    /// How the venue calls it; absent where it never came there.
    pub at_venue: Option<String>,
    /// In how many parts it filled.
    pub parts: usize,
}

/// Every order has ended, as the venue holds it: in the same state, with as much filled, as much left, and every trade
/// settled; and what the venue never had came to nothing.
pub async fn every_order_ends_as_the_venue_holds_it(admin: &PgPool, venue: &[OrderView]) -> Vec<Ended> {
    let rows = sqlx::query(
        "select order_id, status, is_final, shares, filled_shares, confirmed_shares, idempotency_key
         from execution.orders order by idempotency_key, attempt",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    let at_venue: BTreeMap<String, &OrderView> = venue.iter().map(|o| (o.id.to_string(), o)).collect();
    let ended = |row: &sqlx::postgres::PgRow| {
        let (key, status): (String, String) = (row.get("idempotency_key"), row.get("status"));
        let micro = |column: &str| row.get::<i64, _>(column);
        let (shares, filled) = (micro("shares"), micro("filled_shares"));
        assert!(row.get::<bool, _>("is_final"), "{key} ({status}) has not ended");
        assert_eq!(micro("confirmed_shares"), filled, "{key} ({status}) is not settled");
        let order_id = row.get::<Option<String>, _>("order_id");
        let held = order_id.as_ref().and_then(|id| at_venue.get(id).copied());
        let Some(order) = held else {
            // A cancel that comes before an order was sent ends it, and so does its age.
            assert!(
                ["rejected", "denied", "expired", "cancelled"].contains(&status.as_str()) && filled == 0,
                "{key} is {status} with {filled} filled, and the venue does not have it"
            );
            return Ended { order_id, status, shares, filled, at_venue: None, parts: 0 };
        };
        let expected = match order.status.as_str() {
            "MATCHED" => "filled",
            "CANCELED_EXPIRED_ORDER" => "expired",
            word if word.starts_with("CANCELED") => "cancelled",
            other => panic!("{key} ({status}) is still {other} at the venue"),
        };
        assert_eq!(status, expected, "{key} is {} at the venue", order.status);
        assert_eq!(filled, order.matched.micro(), "{key} ({status}) has other fills at the venue");
        let asked = if order.side == Side::Buy { order.taker_amount } else { order.maker_amount };
        assert_eq!(shares - filled, asked - order.matched.micro(), "{key} ({status}) has another rest there");
        let parts = order.trades.len();
        Ended { order_id, status, shares, filled, at_venue: Some(order.status.clone()), parts }
    };
    rows.iter().map(ended).collect()
}

/// No order was given up that was, or came, to the venue after all: that is an alarm (`behaviour.md` 6.4), and at a venue
/// where nothing lands late it is a bug.
pub async fn nothing_was_given_up_too_early(admin: &PgPool) {
    let late: Vec<String> = sqlx::query_scalar(
        "select idempotency_key from execution.orders where cancel_cause = 'late_landing'",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    assert!(late.is_empty(), "given up, and at the venue all the same: {late:?}");
}

/// The tables built from the log say the same as the ledger.
pub async fn the_tables_say_the_same(admin: &PgPool, attempts: &[Attempted]) {
    let rows =
        sqlx::query("select billing_account_id::text, idempotency_key, status from poly_copy_trade_fills")
            .fetch_all(admin)
            .await
            .unwrap();
    let shown: BTreeMap<(String, String), String> =
        rows.iter().map(|r| ((r.get(0), r.get(1)), r.get(2))).collect();
    let mut newest: BTreeMap<(String, String), &Attempted> = BTreeMap::new();
    for attempt in attempts {
        let entry = newest.entry((attempt.account.clone(), attempt.key.clone())).or_insert(attempt);
        if attempt.attempt > entry.attempt {
            *entry = attempt;
        }
    }
    let held: BTreeMap<(String, String), String> =
        newest.into_iter().map(|(key, attempt)| (key, attempt.status.clone())).collect();
    assert_eq!(shown, held, "the ledger's table and the ledger differ");
}

/// Invariant 7, by SQL as `app_user`: each tenant sees its own rows and nobody else's.
pub async fn tenants_see_their_own_rows_only(app_user: &PgPool, admin: &PgPool) {
    let owners = sqlx::query("select id::text, owner_user_id::text from billing_accounts")
        .fetch_all(admin)
        .await
        .unwrap();
    assert!(owners.len() > 1, "one tenant proves nothing");
    for table in [
        "poly_copy_trade_decisions",
        "poly_copy_trade_fills",
        "poly_copy_trade_attempts",
        "poly_copy_trade_targets",
    ] {
        for owner in &owners {
            let (account, user): (String, String) = (owner.get(0), owner.get(1));
            let mut transaction = pgpool::begin(app_user).await.unwrap();
            sqlx::query("select set_config('app.current_user_id', $1, true)")
                .bind(&user)
                .execute(&mut *transaction)
                .await
                .unwrap();
            let count = format!(
                "select count(*) filter (where billing_account_id = $1::uuid), count(*) from {table}"
            );
            let row = sqlx::query(sqlx::AssertSqlSafe(count))
                .bind(&account)
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
            let (own, all): (i64, i64) = (row.get(0), row.get(1));
            assert_eq!(own, all, "{user} sees rows of others in {table}");
            let there: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "select count(*) from {table} where billing_account_id = $1::uuid"
            )))
            .bind(&account)
            .fetch_one(admin)
            .await
            .unwrap();
            assert_eq!(own, there, "{user} does not see all of its own rows in {table}");
        }
        let nobody: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
            .fetch_one(app_user)
            .await
            .unwrap();
        assert_eq!(nobody, 0, "without a user {table} shows rows");
    }
}

/// The fidelity ledger (invariant 2): for each tenant, what became of the fills that it followed. Placed copies are told
/// by their end, skipped fills by the reason.
pub async fn fidelity(admin: &PgPool) -> BTreeMap<String, BTreeMap<String, usize>> {
    let rows = sqlx::query(
        "select u.handle, case
             when d.outcome <> 'placed' then d.outcome || ': ' || d.reason
             when f.status is null then 'placed: waits'
             when f.status = 'denied' then 'placed: denied, ' || coalesce(f.reason, '')
             when f.is_final and f.status <> 'filled' and f.filled_shares > 0 then 'placed: part'
             else 'placed: ' || f.status end as came_to, count(*)
         from poly_copy_trade_decisions d
         join billing_accounts a on a.id = d.billing_account_id join users u on u.id = a.owner_user_id
         left join poly_copy_trade_fills f
             on f.billing_account_id = d.billing_account_id and f.idempotency_key = d.idempotency_key
         where d.revision = 0 and d.fill_id like 'data-api:%' group by 1, 2",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    let mut out: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for row in &rows {
        let count = usize::try_from(row.get::<i64, _>(2)).unwrap();
        out.entry(row.get(0)).or_default().insert(row.get(1), count);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An order that the venue does not have, cancelled on request: judged beside the decision that asked for it.
    fn judged(change: impl Fn(&mut Attempted)) -> std::thread::Result<()> {
        let (account, key) = ("a".to_owned(), "k".to_owned());
        let decided = Decided {
            account: account.clone(),
            wallet: Address::from_bytes([1; 20]),
            fill: None,
            key: key.clone(),
            revision: 1,
            outcome: "placed".to_owned(),
            reason: "ok".to_owned(),
            wants_order: true,
        };
        let mut attempt = Attempted {
            account,
            key,
            attempt: 0,
            status: "cancelled".to_owned(),
            on_paper: false,
            order_id: Some("0x01".to_owned()),
            reach: Reach::PutOff,
            cancel_asked: true,
            note: None,
        };
        change(&mut attempt);
        std::panic::catch_unwind(|| every_order_is_placed_once(&[decided], &[attempt], &BTreeSet::new(), &[]))
    }

    #[test]
    fn only_what_was_never_taken_for_certain_may_be_missing_at_the_venue() {
        assert!(judged(|_| {}).is_ok(), "sent, and told each time to come back later");
        assert!(judged(|a| a.reach = Reach::Unsent).is_ok());
        assert!(judged(|a| a.reach = Reach::Doubted).is_err(), "it may have landed");
        assert!(judged(|a| a.reach = Reach::Answered).is_err(), "it was there");
        assert!(judged(|a| a.cancel_asked = false).is_err(), "nobody asked for it");
        assert!(judged(|a| a.status = "open".to_owned()).is_err());
    }
}
