//! What every ledger promises of a token that goes on under another id, over both (behaviour.md 1, MIGRATION): the one in
//! memory and the real one. What is bought is sold, under whichever id.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::{
    Tenant, asset, facts, keyring,
    ledger::{Held, Ledger, on_both, one, sells, then},
    shares,
};
use execute::{
    Keyring, StoreError,
    core::{
        Attempt,
        close::{
            Close, CloseName, End,
            plan::{Market, lacks},
        },
        gate::{close_of, denial},
    },
    store::Gated,
};
use schemas::{
    AssetId, Denial, FillId, MarketVersion, OrderStatus, Shares, Side,
    events::{CloseIntent, MarketFacts, MigrateIntent},
};

on_both! {
    what_was_bought_under_the_former_id_is_sold_under_the_new_one,
    a_migration_counts_once_and_leads_nowhere_back,
    a_step_of_a_former_id_finds_its_position,
    what_was_due_stays_due_and_goes_on_under_the_traded_id,
    a_trade_that_fails_later_is_due_again_under_the_new_id,
    two_closes_become_one,
    an_intent_of_a_former_id_is_about_the_new_one,
    whatever_the_order_it_comes_to_the_same,
    steps_and_migrations_at_once_lose_no_share,
}

/// What market 1's first token is called from the migration on, and after another.
fn new() -> AssetId {
    asset(7, 1)
}

fn newest() -> AssetId {
    asset(8, 1)
}

/// The facts of market 1 once it trades this id.
fn trades(id: &AssetId) -> MarketFacts {
    let mut facts = facts(1);
    facts.version = if *id == asset(1, 1) { MarketVersion::V1 } else { MarketVersion::V2 };
    facts.tokens[0].asset = id.clone();
    facts
}

fn migrates(tenant: &Tenant, from: &AssetId, to: &AssetId) -> MigrateIntent {
    let mut head = tenant.head(1, 1, 1, Side::Sell, 700);
    let fill: FillId = format!("data-api:{}:{from}:MIGRATION:1790000000", head.tx.unwrap()).parse().unwrap();
    head.idempotency_key = schemas::IdempotencyKey::of(head.target_id, &fill);
    (head.fill_id, head.tx, head.asset) = (fill, None, from.clone());
    MigrateIntent { head, becomes: to.clone() }
}

fn sale_of(tenant: &Tenant, fill: u32, id: &AssetId, num: i64, den: i64) -> CloseIntent {
    let mut close = tenant.close(fill, num, den, "0.50");
    close.head.asset = id.clone();
    close.facts = Some(trades(id));
    close
}

/// What was read at the venue: what is traded, and what the wallet holds of that and under the other ids.
fn there(id: &AssetId, balance: &str, elsewhere: &str) -> Market {
    Market {
        facts: Some(trades(id)),
        balance: Some(shares(balance)),
        elsewhere: shares(elsewhere),
        ..Market::default()
    }
}

/// A step of an order, by one who read it a while ago: where it stands elsewhere by now it is read again.
async fn becomes(held: &Held, attempt: &Attempt, status: OrderStatus, filled: &str) -> Attempt {
    let mut before = attempt.clone();
    loop {
        let next = then(&before, status, filled, held);
        match held.store.record(&before, &next).await {
            Ok(()) => return next,
            Err(StoreError::Changed(key)) => before = held.store.attempt(key).await.unwrap().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn bought(held: &mut Held, tenant: &Tenant, keyring: &Keyring, fill: u32, size: &str) -> Attempt {
    let buy = held.place(tenant.buy(fill, size, "0.40"), keyring).await;
    becomes(held, &buy, OrderStatus::Filled, size).await
}

fn name(tenant: &Tenant, id: &AssetId) -> CloseName {
    CloseName { asset: id.clone(), ..close_of(&tenant.head(1, 1, 1, Side::Sell, 1)) }
}

async fn close_of_id(held: &Held, tenant: &Tenant, id: &AssetId) -> Close {
    held.store.close(&name(tenant, id)).await.unwrap().unwrap()
}

async fn gate(
    held: &mut Held,
    keyring: &Keyring,
    intent: impl Into<schemas::events::IntentsEvent>,
) -> Vec<Gated> {
    held.gate(vec![intent.into()], keyring).await.unwrap()
}

/// A tenant who bought 20 under the former id.
async fn holding(ledger: &Ledger) -> (Tenant, Keyring, Held) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(ledger, 0, "a").await;
    bought(&mut held, &tenant, &keyring, 1, "20").await;
    (tenant, keyring, held)
}

/// Sells all that is due as the venue is found to be, and answers how much of which id was offered.
async fn offered(held: &Held, keyring: &Keyring, market: &Market) -> Vec<(AssetId, Shares)> {
    let gated = held.turns_with(market, keyring).await.unwrap();
    sells(&gated).into_iter().filter(|a| !a.is_final).map(|a| (a.asset, a.shares)).collect()
}

async fn what_was_bought_under_the_former_id_is_sold_under_the_new_one(ledger: Ledger) {
    let (tenant, keyring, mut held) = holding(&ledger).await;
    let gated = gate(&mut held, &keyring, migrates(&tenant, &asset(1, 1), &new())).await;
    assert!(matches!(gated.as_slice(), [Gated::Nothing(_)]), "{gated:?}");
    let sale = sale_of(&tenant, 9, &new(), 1, 2);
    let gated = gate(&mut held, &keyring, sale.clone()).await;
    assert_eq!(gated, [Gated::Owed(shares("10"))], "first it is read what lies under which id");
    let close = close_of_id(&held, &tenant, &new()).await;
    assert_eq!(close.also, [asset(1, 1)]);
    assert!(lacks(&close, held.now).balance && close.next_look_at.is_some_and(|at| at <= held.now));
    let gated = held.turns_with(&there(&new(), "20", "0"), &keyring).await.unwrap();
    let [sell] = sells(&gated).try_into().unwrap();
    assert_eq!((&sell.asset, &sell.held_as, sell.shares), (&new(), &new(), shares("10")));
    assert_eq!(ledger.attempt(&sell).await, sell);
    becomes(&held, &sell, OrderStatus::Filled, "10").await;
    // Ten are left, for what they cost, and can be sold.
    let all = sale_of(&tenant, 10, &new(), 1, 1);
    assert_eq!(gate(&mut held, &keyring, all).await[0], Gated::Owed(shares("10")));
}

async fn a_migration_counts_once_and_leads_nowhere_back(ledger: Ledger) {
    let (tenant, keyring, mut held) = holding(&ledger).await;
    let steps = [
        (asset(1, 1), new()),
        (asset(1, 1), new()),
        (new(), newest()),
        (asset(1, 1), new()),
        (newest(), asset(1, 1)),
        (newest(), newest()),
    ];
    for (from, to) in &steps {
        gate(&mut held, &keyring, migrates(&tenant, from, to)).await;
    }
    let close = close_of_id(&held, &tenant, &newest()).await;
    assert_eq!((close.also, close.becomes), (vec![new(), asset(1, 1)], None));
    for former in [asset(1, 1), new()] {
        assert_eq!(close_of_id(&held, &tenant, &former).await.becomes, Some(newest()));
    }
    // All of it once, under whichever id it is asked for.
    let sale = sale_of(&tenant, 9, &asset(1, 1), 1, 1);
    assert_eq!(gate(&mut held, &keyring, sale).await, [Gated::Owed(shares("20"))]);
}

async fn a_step_of_a_former_id_finds_its_position(ledger: Ledger) {
    let (tenant, keyring, mut held) = holding(&ledger).await;
    let buy = held.place(tenant.buy(2, "10", "0.30"), &keyring).await;
    gate(&mut held, &keyring, migrates(&tenant, &asset(1, 1), &new())).await;
    // Whoever read it before is told that it changed, and its step is of the position under the new id.
    let stale = then(&buy, OrderStatus::PartiallyFilled, "4", &held);
    let refused = held.store.record(&buy, &stale).await;
    assert!(matches!(refused, Err(StoreError::Changed(key)) if key == buy.key()), "{refused:?}");
    becomes(&held, &buy, OrderStatus::PartiallyFilled, "4").await;
    let now = ledger.attempt(&buy).await;
    assert_eq!((&now.asset, &now.held_as), (&asset(1, 1), &new()));
    // 24 are held; the BUY, still alive under its former id, is taken along.
    let gated = gate(&mut held, &keyring, sale_of(&tenant, 9, &new(), 1, 1)).await;
    let [Gated::Owed(due), Gated::Cancelling(cancelled)] = gated.as_slice() else { panic!("{gated:?}") };
    assert_eq!((*due, cancelled.key()), (shares("24"), buy.key()));
    becomes(&held, cancelled, OrderStatus::Cancelled, "7").await;
    assert_eq!(offered(&held, &keyring, &there(&new(), "27", "0")).await, [(new(), shares("27"))]);
}

async fn what_was_due_stays_due_and_goes_on_under_the_traded_id(ledger: Ledger) {
    let (tenant, keyring, mut held) = holding(&ledger).await;
    let sale = sale_of(&tenant, 9, &asset(1, 1), 1, 2);
    let [sell] = sells(&gate(&mut held, &keyring, sale.clone()).await).try_into().unwrap();
    // The order is on its way when its token goes on under another id.
    gate(&mut held, &keyring, migrates(&tenant, &asset(1, 1), &new())).await;
    let close = close_of_id(&held, &tenant, &new()).await;
    let [due] = close.dues.as_slice() else { panic!("{close:?}") };
    assert_eq!((&due.asset, due.shares, due.intent.clone()), (&new(), shares("10"), sale.clone()));
    assert_eq!(offered(&held, &keyring, &there(&new(), "20", "0")).await, [], "one at a time");
    becomes(&held, &sell, OrderStatus::Cancelled, "3").await;
    let close = close_of_id(&held, &tenant, &new()).await;
    assert_eq!(close.dues[0].filled(), shares("3"));
    // Our own shares have not moved yet: nothing is offered, nothing is missed, however long it takes.
    for _ in 0..5 {
        held.now = held.now.plus(Duration::from_secs(45));
        assert_eq!(offered(&held, &keyring, &there(&new(), "0", "17")).await, []);
        // Nor while nothing can be read.
        assert_eq!(
            offered(&held, &keyring, &Market { facts: Some(trades(&new())), ..Market::default() }).await,
            []
        );
    }
    let close = close_of_id(&held, &tenant, &new()).await;
    assert_eq!((close.dues[0].ended, close.short), (None, None));
    // Some of them moved, then all: no more than lies there is offered.
    held.now = held.now.plus(Duration::from_secs(45));
    let gated = held.turns_with(&there(&new(), "2", "15"), &keyring).await.unwrap();
    let [part] = sells(&gated).try_into().unwrap();
    assert_eq!((&part.asset, part.shares, part.attempt), (&new(), shares("2"), 1));
    assert_eq!(part.idempotency_key, sell.idempotency_key);
    becomes(&held, &part, OrderStatus::Filled, "2").await;
    held.now = held.now.plus(Duration::from_secs(45));
    let gated = held.turns_with(&there(&new(), "15", "0"), &keyring).await.unwrap();
    let [rest] = sells(&gated).try_into().unwrap();
    assert_eq!((rest.shares, rest.attempt), (shares("5"), 2));
    becomes(&held, &rest, OrderStatus::Filled, "5").await;
    held.turns(&keyring).await;
    let close = close_of_id(&held, &tenant, &new()).await;
    assert_eq!(close.dues[0].ended, Some(End::Filled));
    // What has really left by another way is missed under all ids, in two looks.
    gate(&mut held, &keyring, sale_of(&tenant, 10, &new(), 1, 1)).await;
    for _ in 0..2 {
        assert_eq!(offered(&held, &keyring, &there(&new(), "0", "0")).await, []);
        held.now = held.now.plus(Duration::from_secs(31));
    }
    held.turns_with(&there(&new(), "0", "0"), &keyring).await.unwrap();
    let close = close_of_id(&held, &tenant, &new()).await;
    assert_eq!(close.dues[1].ended, Some(End::ExternalClose));
}

async fn a_trade_that_fails_later_is_due_again_under_the_new_id(ledger: Ledger) {
    let (tenant, keyring, mut held) = holding(&ledger).await;
    let sale = sale_of(&tenant, 9, &asset(1, 1), 1, 2);
    let [sell] = sells(&gate(&mut held, &keyring, sale).await).try_into().unwrap();
    becomes(&held, &sell, OrderStatus::Filled, "10").await;
    held.turns(&keyring).await;
    assert_eq!(close_of_id(&held, &tenant, &asset(1, 1)).await.dues[0].ended, Some(End::Filled));
    gate(&mut held, &keyring, migrates(&tenant, &asset(1, 1), &new())).await;
    becomes(&held, &sell, OrderStatus::Cancelled, "6").await;
    let close = close_of_id(&held, &tenant, &new()).await;
    assert_eq!((close.dues[0].ended, close.dues[0].remaining()), (None, shares("4")));
    assert_eq!(offered(&held, &keyring, &there(&new(), "14", "0")).await, [(new(), shares("4"))]);
}

async fn two_closes_become_one(ledger: Ledger) {
    let (tenant, keyring, mut held) = holding(&ledger).await;
    // Both ids were traded for a while: 20 under the one, 6 under the other, and of both something is due.
    let mut buy = tenant.buy(2, "6", "0.40");
    (buy.head.asset, buy.facts) = (new(), trades(&new()));
    let buy = held.place(buy, &keyring).await;
    becomes(&held, &buy, OrderStatus::Filled, "6").await;
    let [first] =
        sells(&gate(&mut held, &keyring, sale_of(&tenant, 8, &asset(1, 1), 1, 2)).await).try_into().unwrap();
    let [second] =
        sells(&gate(&mut held, &keyring, sale_of(&tenant, 9, &new(), 1, 2)).await).try_into().unwrap();
    gate(&mut held, &keyring, migrates(&tenant, &asset(1, 1), &new())).await;
    let close = close_of_id(&held, &tenant, &new()).await;
    let due = |close: &Close| close.dues.iter().map(|d| (d.place, d.shares, d.filled())).collect::<Vec<_>>();
    let nothing = Shares::ZERO;
    assert_eq!(due(&close), [(0, shares("3"), nothing), (1, shares("10"), nothing)]);
    // What either sells is of the oldest due, and nothing is lost between the two.
    becomes(&held, &first, OrderStatus::Cancelled, "4").await;
    assert_eq!(offered(&held, &keyring, &there(&new(), "22", "0")).await, [], "the other one is alive");
    becomes(&held, &second, OrderStatus::Cancelled, "1").await;
    // 22 - 1 are held, 13 - 5 are due; no two dues have one place from here on.
    assert_eq!(offered(&held, &keyring, &there(&new(), "21", "0")).await, [(new(), shares("8"))]);
    let gated = gate(&mut held, &keyring, sale_of(&tenant, 10, &new(), 1, 1)).await;
    assert_eq!(gated[0], Gated::Owed(shares("13")));
}

async fn an_intent_of_a_former_id_is_about_the_new_one(ledger: Ledger) {
    let (tenant, keyring, mut held) = holding(&ledger).await;
    gate(&mut held, &keyring, migrates(&tenant, &asset(1, 1), &new())).await;
    // A BUY under the former id is counted with what is held, and held with it once it fills.
    let capped =
        schemas::events::PlaceIntent { max_usdc_per_token: common::usdc("9"), ..tenant.buy(2, "5", "0.40") };
    let denied = held.place(capped, &keyring).await;
    assert_eq!(denial(&denied), Some(Denial::CapExceededPosition));
    let buy = bought(&mut held, &tenant, &keyring, 3, "5").await;
    assert_eq!((&buy.asset, &buy.held_as), (&asset(1, 1), &new()));
    // A close under the former id is due of all, and is taken back by its key.
    let sale = sale_of(&tenant, 9, &asset(1, 1), 1, 1);
    assert_eq!(gate(&mut held, &keyring, sale.clone()).await, [Gated::Owed(shares("25"))]);
    let cancel = schemas::events::CancelIntent { cause: "removed".into(), ..tenant.cancel(998, &sale.head) };
    gate(&mut held, &keyring, cancel).await;
    assert_eq!(close_of_id(&held, &tenant, &new()).await.dues[0].ended, Some(End::Dropped));
    // The market trades the former id still: that is what is sold, as far as it lies there.
    gate(&mut held, &keyring, sale_of(&tenant, 10, &new(), 1, 1)).await;
    let market = there(&asset(1, 1), "24", "1");
    assert_eq!(offered(&held, &keyring, &market).await, [(asset(1, 1), shares("24"))]);
}

async fn whatever_the_order_it_comes_to_the_same(ledger: Ledger) {
    // The migration before, between and after the steps, and in one batch with the intents.
    let mut seen = Vec::new();
    for n in 0..4u32 {
        let tenant = Tenant::new(u128::from(n) + 1);
        let keyring = keyring(&[(u128::from(n) + 1, &tenant)]);
        ledger.add(u128::from(n) + 1, &tenant).await;
        let mut held = Held::claim(&ledger, 0, "a").await;
        let migration = migrates(&tenant, &asset(1, 1), &new());
        let sale = sale_of(&tenant, 9, &asset(1, 1), 1, 4);
        if n == 0 {
            gate(&mut held, &keyring, migration.clone()).await;
        }
        let buy = held.place(tenant.buy(1, "20", "0.40"), &keyring).await;
        let part = becomes(&held, &buy, OrderStatus::PartiallyFilled, "8").await;
        if n == 1 {
            gate(&mut held, &keyring, migration.clone()).await;
        }
        becomes(&held, &part, OrderStatus::Filled, "20").await;
        if n == 3 {
            held.gate(vec![sale.into(), migration.into()], &keyring).await.unwrap();
        } else {
            if n == 2 {
                gate(&mut held, &keyring, migration).await;
            }
            gate(&mut held, &keyring, sale).await;
        }
        let offer = offered(&held, &keyring, &there(&new(), "20", "0")).await;
        let close = close_of_id(&held, &tenant, &new()).await;
        let dues: Vec<_> = close.dues.iter().map(|d| (d.asset.clone(), d.place, d.shares)).collect();
        seen.push((offer, dues, close.also, close.counted));
    }
    assert_eq!(seen[0].0, [(new(), shares("5"))]);
    assert!(seen.windows(2).all(|w| w[0] == w[1]), "{seen:#?}");
}

async fn steps_and_migrations_at_once_lose_no_share(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim_for(&ledger, 0, "a", Duration::from_secs(600)).await;
    let mut from = asset(1, 1);
    for round in 0..8u32 {
        let buy = held.place(tenant.buy(1 + round, "10", "0.40"), &keyring).await;
        let to = asset(20 + round, 1);
        let recording = async {
            let part = becomes(&held, &buy, OrderStatus::PartiallyFilled, "4").await;
            becomes(&held, &part, OrderStatus::Filled, "10").await
        };
        let mut gating = Held { store: ledger.store(), stored: held.stored.clone(), ..held };
        let migration = migrates(&tenant, &from, &to);
        let (_, gating) = tokio::join!(recording, async {
            gating.gate(vec![migration.into()], &keyring).await.unwrap();
            gating
        });
        (held.stored, held.next) = (gating.stored, gating.next);
        from = to;
    }
    let gated = gate(&mut held, &keyring, sale_of(&tenant, 900, &from, 1, 1)).await;
    assert_eq!(gated, [Gated::Owed(shares("80"))]);
}
