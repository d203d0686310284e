//! What an order costs before it leaves: its digest, its signature, and the whole way from what is wanted to the bytes that
//! are posted and the headers beside them.
//!
//! `cargo bench -p venue`: items are signatures, or orders. All of it happens in this process: no call leaves it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use divan::{Bencher, black_box, counter::ItemsCount};
use schemas::{
    ids::Address,
    money::Tick,
    time::Timestamp,
    words::{Side, SignatureType},
};
use secrecy::SecretString;
use venue::{
    order::{OrderRequest, Terms, TradingWallet, build},
    signing::{
        ApiCreds, ExchangeTable, LocalSigner, OrderFields, Route, l2_headers, order_digest, sign_order,
    },
    wire::PostOrder,
};

/// A public development key, of the anvil test node.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const KINDS: [SignatureType; 4] =
    [SignatureType::Eoa, SignatureType::Proxy, SignatureType::Safe, SignatureType::Poly1271];

fn main() {
    divan::main();
}

fn key() -> LocalSigner {
    LocalSigner::from_hex(KEY).unwrap()
}

fn wallet(kind: SignatureType) -> TradingWallet {
    let key = key().address();
    let funder = if kind == SignatureType::Eoa { key } else { Address::from_bytes([0x77; 20]) };
    TradingWallet::new(kind, funder, key, "f4f247b7-4ac7-ff29-a152-04fda0a8755a").unwrap()
}

fn request() -> OrderRequest {
    OrderRequest {
        route: Route::Normal,
        asset: "71321045679252212594626385532706912750332728571942532289631379312455583992563"
            .parse()
            .unwrap(),
        tick: Tick::CENT,
        terms: Terms::Limit {
            side: Side::Buy,
            price: "0.57".parse().unwrap(),
            shares: "10.5".parse().unwrap(),
            expires: Some(Timestamp::from_secs(1_780_000_660)),
            post_only: false,
        },
        salt: 42,
        timestamp: Timestamp::from_millis(1_780_000_000_123),
    }
}

fn fields(kind: SignatureType) -> OrderFields {
    let built = build(&request(), &wallet(kind), &ExchangeTable::default(), &key()).unwrap();
    OrderFields::from(&PostOrder::read(&built.body).unwrap().order)
}

/// The EIP-712 digest of an order: its id.
#[divan::bench]
fn digest(bencher: Bencher<'_, '_>) {
    let (table, fields) = (ExchangeTable::default(), fields(SignatureType::Eoa));
    bencher
        .counter(ItemsCount::new(1usize))
        .bench_local(|| order_digest(&table, Route::Normal, black_box(&fields)).unwrap());
}

/// Digest and signature of an order.
#[divan::bench(args = KINDS)]
fn signature(bencher: Bencher<'_, '_>, kind: SignatureType) {
    let (table, fields, key) = (ExchangeTable::default(), fields(kind), key());
    bencher
        .counter(ItemsCount::new(1usize))
        .bench_local(|| sign_order(&table, Route::Normal, black_box(&fields), &key).unwrap());
}

/// One full order: amounts, digest, signature, body, and the headers of its request.
#[divan::bench(args = KINDS)]
fn full_order(bencher: Bencher<'_, '_>, kind: SignatureType) {
    let (table, wallet, key, request) = (ExchangeTable::default(), wallet(kind), key(), request());
    let secret = |text: &str| SecretString::from(text);
    let creds = ApiCreds::new(key.address(), "key", secret("c2VjcmV0"), secret("phrase")).unwrap();
    let now = Timestamp::from_secs(1_780_000_001);
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        let order = build(black_box(&request), &wallet, &table, &key).unwrap();
        let headers = l2_headers(&creds, now, "POST", "/order", &order.body).unwrap();
        (order, headers)
    });
}
