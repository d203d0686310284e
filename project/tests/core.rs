//! The core, without a database: sums, lifecycles, the chain, and folds that commute.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::{cut, later, order, record, sale, tenant};
use eventlog::{Append, Offset, Stored};
use project::core::{
    chain::{Head, take_cut, take_decision},
    fold::{self, Batch, Progress},
    ledger::Attempts,
    lifecycle::{Lifecycle, Part, lifecycles},
    token::Tokens,
};
use project::store::{MemoryStore, Store};
use proptest::prelude::*;
use schemas::{
    Hash32, LogId, OrderStatus, Shares, Side, Usdc, codec::Codec, events::OrderState, topics::Topic,
};
use uuid::Uuid;

fn attempts(states: impl IntoIterator<Item = OrderState>) -> Attempts {
    let mut attempts = Attempts::default();
    for state in states {
        attempts.take(state);
    }
    attempts
}

#[test]
fn the_first_event_of_a_key_makes_its_row() {
    let row = attempts([order(tenant(1), 1, 5)]).row().unwrap();
    assert_eq!(row.shares, Shares::from_units(5));
    assert_eq!(row.size, Usdc::from_units(2));
    assert_eq!((row.filled_shares, row.fees), (Shares::ZERO, Usdc::ZERO));
    assert_eq!(row.status, OrderStatus::Reserved);
    assert_eq!(row.attempts, 1);
    assert!(Attempts::default().row().is_none());
}

/// A close of 10 shares: the first attempt sold 4 and was killed, the second asks for the 6 that are left and
/// has sold 5 of them.
#[test]
fn attempts_of_a_close_are_summed_and_the_newest_says_the_status() {
    let first = sale(tenant(1), 9, 0, 10);
    let second = sale(tenant(1), 9, 1, 6);
    let row = attempts([
        later(&first, OrderStatus::Cancelled, 4),
        first,
        second.clone(),
        later(&second, OrderStatus::PartiallyFilled, 5),
    ])
    .row()
    .unwrap();
    assert_eq!(row.shares, Shares::from_units(10));
    assert_eq!(row.filled_shares, Shares::from_units(9));
    assert_eq!(row.filled_usdc, Usdc::from_micro(3_600_000));
    assert_eq!(row.fees, Usdc::from_micro(20));
    assert_eq!(row.size, Usdc::from_micro(4_000_000));
    assert_eq!(row.status, OrderStatus::PartiallyFilled);
    assert_eq!(row.order_id, second.order_id);
    assert_eq!(row.attempts, 2);
}

/// A close that sold 4 of 10 before its market ended: the row that says so was never sent, and hides no order.
#[test]
fn what_tells_the_end_of_a_close_hides_no_order_of_it() {
    let first = sale(tenant(1), 9, 0, 10);
    let end = OrderState {
        status: OrderStatus::Cancelled,
        reason: Some("market_ended".into()),
        limit: schemas::Price::ZERO,
        order_id: None,
        order_type: None,
        ..sale(tenant(1), 9, 1, 6)
    };
    let sold = later(&first, OrderStatus::Cancelled, 4);
    let row = attempts([first.clone(), sold.clone(), end]).row().unwrap();
    assert_eq!((row.order_id, row.price, row.synced_at), (first.order_id, first.limit, sold.synced_at));
    assert_eq!((row.status, row.reason.as_deref()), (OrderStatus::Cancelled, Some("market_ended")));
    assert_eq!((row.shares, row.filled_shares), (Shares::from_units(10), Shares::from_units(4)));
}

#[test]
fn a_close_that_waits_at_its_floor_says_so() {
    let rests = OrderState {
        note: Some("exit_floor".into()),
        ..later(&sale(tenant(1), 9, 0, 10), OrderStatus::Open, 0)
    };
    assert_eq!(attempts([rests.clone()]).row().unwrap().reason.as_deref(), Some("exit_floor"));
    let ended = OrderState { reason: Some("repriced".into()), ..later(&rests, OrderStatus::Cancelled, 0) };
    assert_eq!(attempts([rests, ended]).row().unwrap().reason.as_deref(), Some("repriced"));
}

#[test]
fn what_is_left_under_a_hundredth_of_a_share_is_dust() {
    use Lifecycle::{Closed, Dust, Open};
    let mut sold = part(4, Side::Sell, 0, true);
    let mut with = |micro: i64| {
        sold.filled = Shares::from_micro(micro);
        lifecycles(&[part(1, Side::Buy, 5, true), part(2, Side::Buy, 5, true), sold.clone()], None)
    };
    assert_eq!(with(9_990_001), [Some(Closed), Some(Dust), Some(Closed)]);
    assert_eq!(with(9_990_000), [Some(Closed), Some(Open), Some(Closed)]);
    // The first purchase is sold but for as little; the position is not.
    assert_eq!(with(4_999_999), [Some(Open), Some(Open), Some(Closed)]);
    // What was never sold is small, and no dust: it was bought so.
    let mut small = part(1, Side::Buy, 0, true);
    small.filled = Shares::from_micro(9_999);
    assert_eq!(lifecycles(&[small], None), [Some(Open)]);
}

#[test]
fn an_older_revision_changes_nothing() {
    let first = order(tenant(1), 1, 5);
    let filled = later(&first, OrderStatus::Filled, 5);
    let mut attempts = attempts([filled.clone()]);
    assert!(!attempts.take(first));
    assert!(!attempts.take(filled));
    assert_eq!(attempts.row().unwrap().status, OrderStatus::Filled);
}

fn part(number: u8, side: Side, filled: i64, is_final: bool) -> Part {
    Part {
        key: schemas::IdempotencyKey::from_bytes([number; 32]),
        side,
        filled: Shares::from_units(filled),
        is_final,
        created_at: common::at(i64::from(number)),
    }
}

#[test]
fn sales_use_up_the_oldest_purchases_first() {
    use Lifecycle::{Closed, Closing, Open};
    let buys = [part(1, Side::Buy, 5, true), part(2, Side::Buy, 0, true), part(3, Side::Buy, 5, false)];
    assert_eq!(lifecycles(&buys, None), [Some(Open), None, Some(Open)]);
    let with = |sale| {
        let mut all = buys.to_vec();
        all.push(sale);
        lifecycles(&all, None)
    };
    assert_eq!(with(part(4, Side::Sell, 0, false)), [Some(Closing), None, Some(Closing), Some(Closing)]);
    assert_eq!(with(part(4, Side::Sell, 5, true)), [Some(Closed), None, Some(Open), Some(Closed)]);
    assert_eq!(with(part(4, Side::Sell, 7, false)), [Some(Closed), None, Some(Closing), Some(Closing)]);
    assert_eq!(with(part(4, Side::Sell, 10, true)), [Some(Closed), None, Some(Closed), Some(Closed)]);
    assert_eq!(with(part(4, Side::Sell, 0, true)), [Some(Open), None, Some(Open), None]);
}

#[test]
fn the_end_of_a_market_says_how_what_is_held_stands() {
    use Lifecycle::{Closed, Closing, Loser, Split, Winner};
    let rows = [
        part(1, Side::Buy, 5, true),
        part(2, Side::Buy, 0, true),
        part(3, Side::Buy, 5, true),
        part(4, Side::Sell, 5, true),
        part(5, Side::Sell, 0, false),
    ];
    for (pays, held) in [(1_000_000, Winner), (0, Loser), (500_000, Split)] {
        let stands = lifecycles(&rows, Some(Usdc::from_micro(pays)));
        assert_eq!(stands, [Some(Closed), None, Some(held), Some(Closed), Some(Closing)]);
    }
}

#[test]
fn what_is_told_of_a_token_is_the_later_whatever_comes_first() {
    let (early, late) = (common::resolved(0, 100), common::resolved(1_000_000, 200));
    let (old, new) = (common::marked(1, Some(400_000), 100), common::marked(1, None, 200));
    let told = |first: bool| {
        let mut tokens = Tokens::default();
        let mut other = Tokens::default();
        let (a, b) = if first { (&early, &late) } else { (&late, &early) };
        tokens.resolve(a.clone());
        other.resolve(b.clone());
        let (a, b) = if first { (&old, &new) } else { (&new, &old) };
        tokens.mark(a.clone());
        other.mark(b.clone());
        tokens.merge(&other);
        tokens.merge(&other);
        tokens
    };
    assert_eq!(told(true), told(false));
    let key = (common::wallet(), common::asset(1));
    assert_eq!(told(true).outcomes[&key].per_share, Usdc::from_units(1));
    assert_eq!((told(true).outcomes.len(), told(true).marks[&key].best_bid), (2, None));
}

/// Of changes without a trade only those that lead to another id are kept, and each once.
#[test]
fn what_leads_to_another_id_is_read_from_fills() {
    let mut split = common::migrated(4, 5);
    split.kind = schemas::ChangeKind::Split;
    split.deltas[0].becomes = None;
    let records: Vec<Stored> =
        [common::migrated(1, 2), split, common::migrated(2, 3), common::migrated(1, 2)]
            .iter()
            .zip(0..)
            .map(|(changed, offset)| stored(record(Topic::Fills, 0, "k", changed), offset))
            .collect();
    let codec = Codec::bundled().unwrap();
    let reads = records.iter().map(|r| fold::read(&codec, r).unwrap()).collect();
    let log_id = LogId::from_uuid(Uuid::from_u128(7));
    let (batch, dead) = fold::fold(log_id, &BTreeMap::new(), reads, &BTreeMap::new());
    assert!(dead.is_empty());
    assert_eq!(batch.tokens.links.len(), 2);
    let migrated = batch.tokens.migrated();
    for number in 1..=3 {
        assert_eq!(*migrated.current(common::wallet(), &common::asset(number)), common::asset(3));
    }
    assert_eq!(*migrated.current(common::wallet(), &common::asset(4)), common::asset(4));
}

/// The row of an order names the id under which it was made; its position is that of the current one.
#[test]
fn orders_under_all_ids_of_a_token_are_of_one_position() {
    let mut tokens = Tokens::default();
    tokens.change(&common::migrated(1, 2));
    let row = |number: u32| {
        let state = OrderState { asset: common::asset(number), ..order(tenant(1), number, 5) };
        attempts([state]).row().unwrap()
    };
    let migrated = tokens.migrated();
    assert_eq!(row(1).position(&migrated), row(2).position(&migrated));
    assert_ne!(row(1).position(&migrated), row(3).position(&migrated));
    assert_eq!((row(1).asset, row(2).asset), (common::asset(1), common::asset(2)));
    // What is told of either is told of both, the later of it.
    let told = |per_share, seconds, number| {
        let mut told = common::resolved(per_share, seconds);
        told.payouts.truncate(1);
        told.payouts[0].asset = common::asset(number);
        told
    };
    tokens.resolve(told(0, 300, 1));
    tokens.resolve(told(1_000_000, 200, 2));
    for number in 1..=2 {
        let outcome = tokens.outcome(&migrated, common::wallet(), &common::asset(number)).unwrap();
        assert_eq!(outcome.per_share, Usdc::ZERO);
    }
}

#[test]
fn a_cut_counts_only_if_it_is_the_next_of_its_chain() {
    let mut head = None;
    let (first, first_hash) = cut(0, 0, Hash32::ZERO, 2);
    let (second, second_hash) = cut(0, 1, first_hash, 0);
    assert!(!take_cut(&mut head, 0, &second, second_hash), "the chain begins with 0");
    assert!(take_cut(&mut head, 0, &first, first_hash));
    assert!(!take_cut(&mut head, 0, &first, first_hash), "once only");
    let (stray, stray_hash) = cut(0, 1, Hash32::from_bytes([9; 32]), 0);
    assert!(!take_cut(&mut head, 0, &stray, stray_hash), "another previous hash");
    let (gap, gap_hash) = cut(0, 2, first_hash, 0);
    assert!(!take_cut(&mut head, 0, &gap, gap_hash), "a number too far");
    let (elsewhere, elsewhere_hash) = cut(1, 1, first_hash, 0);
    assert!(!take_cut(&mut head, 0, &elsewhere, elsewhere_hash), "of another partition");
    assert!(take_cut(&mut head, 0, &second, second_hash));
    assert_eq!(head, Some(Head { number: 1, hash: second_hash, left: 0 }));
}

#[test]
fn a_decision_counts_only_for_its_own_accepted_cut_even_where_two_writers_interleave() {
    let named = |hash: Hash32| hash.to_string();
    let mut head = None;
    let (first, hash) = cut(0, 0, Hash32::ZERO, 2);
    assert!(!take_decision(&mut head, Some(named(hash).as_bytes())), "no cut at all");
    take_cut(&mut head, 0, &first, hash);
    assert!(!take_decision(&mut head, None), "it names no cut");
    assert!(take_decision(&mut head, Some(named(hash).as_bytes())));
    // A zombie wrote the same number again, in the midst of it.
    let (stray, stray_hash) = cut(0, 0, Hash32::from_bytes([9; 32]), 2);
    assert!(!take_cut(&mut head, 0, &stray, stray_hash));
    assert!(!take_decision(&mut head, Some(named(stray_hash).as_bytes())), "of a refused cut");
    assert!(take_decision(&mut head, Some(named(hash).as_bytes())));
    assert!(!take_decision(&mut head, Some(named(hash).as_bytes())), "more than the cut announced");
}

fn stored(append: Append, offset: i64) -> Stored {
    Stored { at: append.to, offset: Offset(offset), record: append.record }
}

#[test]
fn what_cannot_be_taken_is_counted_and_stops_nothing() {
    let (known, stranger) = (tenant(1), tenant(2));
    let owners = BTreeMap::from([(known.account, known.user)]);
    let records = [
        stored(common::order_record(0, &order(known, 1, 5)), 3),
        stored(common::garbage(Topic::Orders, 0), 5),
        stored(common::order_record(0, &order(stranger, 2, 5)), 6),
        stored(common::order_record(0, &order(common::Tenant { user: stranger.user, ..known }, 3, 5)), 7),
        stored(record(Topic::Orders, 0, "k", &cut(0, 0, Hash32::ZERO, 0).0), 8),
        stored(record(Topic::Orders, 0, "k", &schemas::events::Gap { count: 1 }), 9),
        stored(common::order_record(0, &order(known, 4, 5)), 10),
    ];
    let codec = Codec::bundled().unwrap();
    let reads = records.iter().map(|r| fold::read(&codec, r).unwrap()).collect();
    let log_id = LogId::from_uuid(Uuid::from_u128(7));
    let (batch, dead) = fold::fold(log_id, &BTreeMap::new(), reads, &owners);
    assert_eq!(batch.orders.len(), 2);
    let codes: Vec<_> = dead.iter().map(|dead| (dead.stored.offset.0, dead.trouble.code())).collect();
    assert_eq!(
        codes,
        [
            (5, "record_schema_unknown"),
            (6, "account_unknown"),
            (7, "account_of_another_user"),
            (8, "record_of_another_topic"),
        ]
    );
    let (_, to) = batch.advances.values().next().unwrap();
    assert_eq!((to.next, to.dead, to.ignored), (Offset(11), 4, 0));
    assert_eq!(to.before, Some(eventlog::position::hash(&codec, &records[6].record)));
}

#[test]
fn records_before_the_partition_s_place_are_passed_over() {
    let known = tenant(1);
    let owners = BTreeMap::from([(known.account, known.user)]);
    let records = [
        stored(common::order_record(0, &order(known, 1, 5)), 3),
        stored(common::order_record(0, &order(known, 2, 5)), 4),
    ];
    let codec = Codec::bundled().unwrap();
    let log_id = LogId::from_uuid(Uuid::from_u128(7));
    let progress = Progress { next: Offset(4), ..Progress::start(log_id) };
    let reads = records.iter().map(|r| fold::read(&codec, r).unwrap()).collect();
    let (batch, _) = fold::fold(log_id, &BTreeMap::from([(records[0].at, progress)]), reads, &owners);
    assert_eq!(
        batch.orders.keys().map(|key| key.1).collect::<Vec<_>>(),
        [order(known, 2, 5).idempotency_key]
    );
}

/// Histories of a few closes and purchases: each attempt with its revisions.
fn histories() -> impl Strategy<Value = Vec<OrderState>> {
    let attempt =
        (0_u32..4, 0_i32..3, 1_usize..5, 0_i64..6).prop_map(|(number, attempt, revisions, filled)| {
            let mut state =
                if number == 0 { order(tenant(1), number, 5) } else { sale(tenant(1), number, attempt, 5) };
            let mut states = vec![state.clone()];
            for revision in 1..revisions {
                let status =
                    if revision + 1 == revisions { OrderStatus::Cancelled } else { OrderStatus::Open };
                state = later(&state, status, filled);
                states.push(state.clone());
            }
            states
        });
    proptest::collection::vec(attempt, 1..8).prop_map(|attempts| {
        // One history an attempt: of several for the same one, the first stands.
        let mut by_attempt = BTreeMap::new();
        for states in attempts {
            by_attempt.entry((states[0].idempotency_key, states[0].attempt)).or_insert(states);
        }
        by_attempt.into_values().flatten().collect()
    })
}

fn rows(states: &[OrderState]) -> Vec<project::core::ledger::LedgerRow> {
    let mut copies: BTreeMap<_, Attempts> = BTreeMap::new();
    for state in states {
        copies.entry(state.idempotency_key).or_default().take(state.clone());
    }
    copies.values().filter_map(Attempts::row).collect()
}

proptest! {
    #[test]
    fn the_ledger_is_the_same_in_whatever_order_and_however_often_states_come(
        (states, shuffled) in histories().prop_flat_map(|states| {
            let twice: Vec<OrderState> = states.iter().chain(&states).cloned().collect();
            (Just(states), Just(twice).prop_shuffle())
        })
    ) {
        prop_assert_eq!(rows(&states), rows(&shuffled));
    }

    #[test]
    fn lifecycles_depend_on_the_rows_alone(
        (parts, shuffled) in proptest::collection::vec((any::<bool>(), 0_i64..9, any::<bool>()), 0..9)
            .prop_map(|drawn| (1_u8..).zip(drawn).map(|(number, (sells, filled, is_final))| {
                part(number, if sells { Side::Sell } else { Side::Buy }, filled, is_final)
            }).collect::<Vec<_>>())
            .prop_flat_map(|parts| (Just(parts.clone()), Just(parts).prop_shuffle()))
    ) {
        let by_key = |parts: &[Part]| -> BTreeMap<_, _> {
            parts.iter().zip(lifecycles(parts, None)).map(|(part, found)| (part.key, found.map(Lifecycle::as_str))).collect()
        };
        prop_assert_eq!(by_key(&parts), by_key(&shuffled));
    }

    /// Orders under whichever id of a token, what leads from one to the next, and what it pays: in whatever batches, and
    /// whichever partition is read first, every row stands where it stands when all came at once.
    #[test]
    fn where_rows_stand_does_not_depend_on_what_was_read_first(
        orders in proptest::collection::vec((1_u32..4, any::<bool>(), 0_i64..9, any::<bool>()), 1..9),
        links in proptest::collection::vec(1_u32..4, 0..4),
        outcome in proptest::option::of((1_u32..4, 0_i64..2)),
        choices in proptest::collection::vec((0_usize..2, 1_usize..4), 12),
    ) {
        let orders: Vec<OrderState> = (1..).zip(orders).map(|(number, (asset, buys, filled, is_final))| {
            let base = if buys { order(tenant(1), number, 9) } else { sale(tenant(1), number, 0, 9) };
            let status = if is_final { OrderStatus::Filled } else { OrderStatus::Open };
            OrderState { asset: common::asset(asset), ..later(&base, status, filled) }
        }).collect();
        let mut told: Vec<Tokens> = links.into_iter().map(|from| {
            let mut tokens = Tokens::default();
            tokens.change(&common::migrated(from, from + 1));
            tokens
        }).collect();
        if let Some((number, pays)) = outcome {
            let mut ended = common::resolved(pays * 1_000_000, 500);
            ended.payouts.truncate(1);
            ended.payouts[0].asset = common::asset(number);
            let mut tokens = Tokens::default();
            tokens.resolve(ended);
            told.push(tokens);
        }
        let batch = |orders: &[OrderState], told: &[Tokens]| {
            let mut batch = Batch::default();
            for state in orders {
                let copy = (state.billing_account_id, state.idempotency_key);
                batch.orders.entry(copy).or_default().take(state.clone());
            }
            for tokens in told {
                batch.tokens.merge(tokens);
            }
            batch
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (whole, pieces) = (MemoryStore::default(), MemoryStore::default());
        runtime.block_on(async {
            whole.apply(&batch(&orders, &told)).await.unwrap();
            // Each list in its own order, as a partition is; between the two anything goes.
            let (mut orders, mut told) = (&orders[..], &told[..]);
            for (which, take) in choices {
                if which == 0 {
                    let (now, rest) = orders.split_at(take.min(orders.len()));
                    pieces.apply(&batch(now, &[])).await.unwrap();
                    orders = rest;
                } else {
                    let (now, rest) = told.split_at(take.min(told.len()));
                    pieces.apply(&batch(&[], now)).await.unwrap();
                    told = rest;
                }
            }
            pieces.apply(&batch(orders, told)).await.unwrap();
        });
        prop_assert_eq!(whole.rows(), pieces.rows());
    }
}
