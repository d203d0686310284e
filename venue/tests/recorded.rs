//! The venue's real answers, as others recorded them: everything must be read, and mean what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use schemas::{
    events::MarketFacts,
    ids::{AssetId, OrderId},
    money::{Price, Tick},
    words::MarketVersion,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use venue::{
    facts::{BOOK_DEPTH, book_snapshot, market_facts},
    outcome::{Answer, RejectCause, SubmitOutcome, of_submit},
    wire::{
        ActivityKind, Book, ClobMarket, GammaMarket, LegacyActivityRow, LegacyTradeRow, Rows,
        data::UNLABELED_OUTCOME,
    },
};

fn text(path: &Path) -> String {
    let mut out = String::new();
    let file = File::open(path).unwrap();
    match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => flate2::read::GzDecoder::new(file).read_to_string(&mut out).unwrap(),
        Some("zst") => zstd::Decoder::new(file).unwrap().read_to_string(&mut out).unwrap(),
        _ => BufReader::new(file).read_to_string(&mut out).unwrap(),
    };
    out
}

/// Every row, or the test fails with the first that cannot be read.
fn all<T: serde::de::DeserializeOwned>(json: &str) -> Vec<T> {
    let rows = Rows::<T>::read_array(json.trim_start_matches('\u{feff}').as_bytes()).unwrap();
    assert_eq!(rows.unreadable, [], "every recorded row is read");
    rows.rows
}

#[test]
fn open_gamma_markets_become_facts() {
    let Some(data) = testkit::shared_dir("open_gamma_markets_become_facts", "data") else { return };
    let markets: Vec<GammaMarket> = all(&text(&data.join("gamma-open-markets/markets.json.gz")));
    assert_eq!(markets.len(), 80);
    let facts: Vec<MarketFacts> =
        markets.iter().map(|m| market_facts(m, None).unwrap_or_else(|e| panic!("{e}"))).collect();
    for (market, facts) in markets.iter().zip(&facts) {
        assert_eq!(facts.tokens.len(), 2, "{}", market.slug);
        assert_eq!(facts.version, MarketVersion::V1, "position ids alone say nothing: {}", market.slug);
        assert_eq!(facts.tokens[0].asset, market.clob_token_ids[0]);
        assert_eq!(facts.opposite(&facts.tokens[0].asset), Some(&facts.tokens[1].asset));
        assert_eq!(facts.min_shares.to_string(), "5");
        assert!(facts.end_at.is_some());
        assert!([0, 40_000, 50_000, 70_000].contains(&facts.fee_rate), "{}", facts.fee_rate);
        assert_eq!(facts.fee_exponent, 1);
    }
    assert_eq!(markets.iter().filter(|m| !m.position_ids.is_empty()).count(), 36);
    assert_eq!(facts.iter().filter(|f| f.fee_rate == 0).count(), 11);
    let photo = &facts[0];
    assert_eq!(photo.slug.as_deref(), Some("will-trump-be-in-the-wc-champions-photo-20260608152527021"));
    // 2026-07-20T03:59:00Z
    assert_eq!(photo.end_at.unwrap().secs(), 1_784_519_940);
    assert_eq!((photo.tick.micro(), photo.fee_rate), (1_000, 50_000));
}

#[derive(Deserialize)]
struct Event {
    markets: Vec<Box<RawValue>>,
}

#[test]
fn a_neg_risk_event_is_signed_for_its_own_exchange() {
    let Some(data) = testkit::shared_dir("a_neg_risk_event_is_signed_for_its_own_exchange", "data") else {
        return;
    };
    let folder = data.join("negrisk-event");
    let event: Event = serde_json::from_str(&text(&folder.join("gamma-event.json"))).unwrap();
    let clob: Vec<ClobMarket> = all(&text(&folder.join("clob-markets.json")));
    let clob: BTreeMap<_, _> = clob.into_iter().map(|m| (m.condition.clone().unwrap(), m)).collect();
    assert_eq!(clob.len(), 5);
    let mut met = 0;
    for raw in &event.markets {
        let gamma: GammaMarket = serde_json::from_str(raw.get()).unwrap();
        let Some(clob) = clob.get(&gamma.condition_id) else { continue };
        met += 1;
        let facts = market_facts(&gamma, Some(clob)).unwrap();
        assert!(facts.neg_risk && facts.accepting_orders);
        assert_eq!(facts.tick, Tick::from_micro(1_000).unwrap());
        assert_eq!((facts.fee_rate, facts.fee_exponent), (50_000, 1));
        // Rows written by our own types are the rows that were read.
        let again: ClobMarket = serde_json::from_str(&serde_json::to_string(clob).unwrap()).unwrap();
        assert_eq!(&again, clob);
        let again: GammaMarket = serde_json::from_str(&serde_json::to_string(&gamma).unwrap()).unwrap();
        assert_eq!(again, gamma);

        // Where the two disagree on the contract, nothing is signed.
        let mut other = clob.clone();
        other.neg_risk = Some(false);
        assert_eq!(market_facts(&gamma, Some(&other)).unwrap_err().code(), "market_facts_conflict");
        let mut other = clob.clone();
        other.version = Some("v9".to_owned());
        assert_eq!(market_facts(&gamma, Some(&other)).unwrap_err().code(), "market_facts_conflict");
        let mut other = clob.clone();
        other.tokens[0].token = "1".parse().unwrap();
        assert_eq!(market_facts(&gamma, Some(&other)).unwrap_err().code(), "market_facts_conflict");
        let mut other = clob.clone();
        other.condition = Some(format!("0x{}", "01".repeat(32)));
        assert_eq!(market_facts(&gamma, Some(&other)).unwrap_err().code(), "market_facts_conflict");
        let mut unknown = gamma.clone();
        unknown.version = Some("v9".to_owned());
        assert_eq!(market_facts(&unknown, Some(clob)).unwrap_err().code(), "market_facts_missing");
    }
    assert_eq!(met, 5);
    for book in all::<Book>(&text(&folder.join("clob-books.json"))) {
        check_book(&book);
    }
}

/// The venue's order: best levels last. Ours: best first.
fn check_book(book: &Book) {
    assert_eq!(book.best_bid(), book.bids.last().copied());
    assert_eq!(book.best_ask(), book.asks.last().copied());
    if let (Some(bid), Some(ask)) = (book.best_bid(), book.best_ask()) {
        assert!(bid.price < ask.price, "{}", book.asset_id);
    }
    let ours = book_snapshot(book);
    assert_eq!(ours.bids.len(), book.bids.len().min(BOOK_DEPTH));
    assert!(
        ours.bids.is_sorted_by(|a, b| a.price > b.price) && ours.asks.is_sorted_by(|a, b| a.price < b.price)
    );
    assert_eq!(ours.bids.first().map(|l| (l.price, l.shares)), book.best_bid().map(|l| (l.price, l.size)));
    let again: Book = serde_json::from_str(&serde_json::to_string(book).unwrap()).unwrap();
    assert_eq!(&again, book);
}

#[derive(Deserialize)]
struct Batch {
    books: Vec<Box<RawValue>>,
}

#[test]
fn recorded_books_have_their_best_level_last() {
    let Some(data) = testkit::shared_dir("recorded_books_have_their_best_level_last", "data") else { return };
    let mut count = 0;
    for name in ["books_run_20260311T214149Z.jsonl.gz", "books_run_20260311T214230Z.jsonl.gz"] {
        for line in text(&data.join("books-2026-03").join(name)).lines() {
            let batch: Batch = serde_json::from_str(line).unwrap();
            for raw in &batch.books {
                let book: Book = serde_json::from_str(raw.get()).unwrap();
                check_book(&book);
                // Digits survive: the venue's own text for a level is ours.
                let wire = serde_json::to_string(&book.bids).unwrap();
                assert!(raw.get().replace(": ", ":").replace(", ", ",").contains(&wire));
                count += 1;
            }
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn gamma_pages_of_other_years_are_read() {
    let Some(data) = testkit::shared_dir("gamma_pages_of_other_years_are_read", "data") else { return };
    let mut ids: BTreeMap<AssetId, usize> = BTreeMap::new();
    for name in ["markets_2024-11-06", "markets_2025-10-10", "markets_2025-11-07"] {
        let file = data.join(format!("gamma-resolutions/{name}.raw.jsonl.zst"));
        for line in BufReader::new(zstd::Decoder::new(File::open(file).unwrap()).unwrap()).lines() {
            let market: GammaMarket = serde_json::from_str(&line.unwrap()).unwrap();
            assert_eq!(market.protocol(), Some(MarketVersion::V1));
            assert_eq!(market.traded_ids().len(), market.outcomes.len(), "{}", market.slug);
            for id in market.traded_ids() {
                *ids.entry(id.clone()).or_default() += 1;
            }
        }
    }
    assert!(ids.len() > 1_000, "{}", ids.len());
    let mut pages = 0;
    for entry in std::fs::read_dir(data.join("books-2026-03")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("markets_page") {
            let page: venue::wire::GammaPage<GammaMarket> = serde_json::from_str(&text(&path)).unwrap();
            assert!(page.markets.iter().all(|m| m.tick().is_some() && m.condition().is_ok()));
            pages += 1;
        }
    }
    assert_eq!(pages, 7);
}

#[test]
fn a_tape_of_the_old_api_is_read_digit_by_digit() {
    let Some(data) = testkit::shared_dir("a_tape_of_the_old_api_is_read_digit_by_digit", "data") else {
        return;
    };
    let text = text(&data.join("nobel-2025-trades/trades.csv.gz"));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names: BTreeMap<String, usize> =
        reader.headers().unwrap().iter().enumerate().map(|(i, n)| (n.to_owned(), i)).collect();
    let (mut rows, mut off_tick) = (0, 0);
    for record in reader.records() {
        let record = record.unwrap();
        let row = LegacyTradeRow::from_columns(|name| record.get(*names.get(name)?)).unwrap();
        assert!(row.size.is_positive() && row.price > Price::ZERO && row.price.micro() <= 1_000_000);
        off_tick += usize::from(row.price.micro() % 1_000 != 0);
        // JSON of the same row says the same.
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<LegacyTradeRow>(&json).unwrap(), row);
        rows += 1;
    }
    assert_eq!(rows, 5_000);
    assert!(off_tick > 0, "prices of takers are averages");
    assert!(LegacyTradeRow::from_columns(|_| None).is_err());
}

#[test]
fn activity_of_wallets_is_read_with_its_empty_sides() {
    let Some(data) = testkit::shared_dir("activity_of_wallets_is_read_with_its_empty_sides", "data") else {
        return;
    };
    let mut kinds: BTreeMap<ActivityKind, usize> = BTreeMap::new();
    for name in ["onchain", "whale1", "whale2"] {
        for row in
            all::<LegacyActivityRow>(&text(&data.join(format!("wallet-activity/{name}_activity.json.gz"))))
        {
            if row.kind == ActivityKind::Trade {
                assert!(row.side.is_some() && row.asset.is_some());
            }
            if row.kind == ActivityKind::Redeem {
                assert_eq!((row.side, &row.asset, row.outcome_index), (None, &None, UNLABELED_OUTCOME));
            }
            *kinds.entry(row.kind).or_default() += 1;
        }
    }
    assert_eq!(kinds.values().sum::<usize>(), 799);
    assert!(kinds.keys().all(|k| !matches!(k, ActivityKind::Other(_))), "{kinds:?}");
    assert!(kinds.contains_key(&ActivityKind::Redeem) && kinds.contains_key(&ActivityKind::Trade));
}

#[test]
fn recorded_refusals_are_told_apart_from_doubts() {
    let Some(data) = testkit::shared_dir("recorded_refusals_are_told_apart_from_doubts", "data") else {
        return;
    };
    let text = text(&data.join("order-outcomes/bot_orders.csv.gz"));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let column = reader.headers().unwrap().iter().position(|n| n == "rejection_reason").unwrap();
    let id = OrderId::from_bytes([1; 32]);
    let mut seen: BTreeMap<RejectCause, usize> = BTreeMap::new();
    let mut unknown = 0;
    for record in reader.records() {
        let record = record.unwrap();
        // `HTTP 400: {'error': '...'}`, as a Python program wrote it down.
        let Some((status, body)) = record.get(column).and_then(|t| t.strip_prefix("HTTP ")?.split_once(": "))
        else {
            continue;
        };
        let body = body.replace('\'', "\"").into_bytes();
        let answer = Answer { status: status.parse().unwrap(), retry_after: None, body };
        match of_submit(&answer, id) {
            SubmitOutcome::Rejected { cause, .. } => *seen.entry(cause).or_default() += 1,
            SubmitOutcome::Unknown { .. } => unknown += 1,
            other => panic!("{answer:?}: {other:?}"),
        }
    }
    assert_eq!(seen.get(&RejectCause::BalanceOrAllowance), Some(&376), "{seen:?}");
    assert_eq!(unknown, 5, "`500 could not insert order` is no refusal");
    assert!(!seen.contains_key(&RejectCause::Other), "{seen:?}");
}
