//! From what is wanted to the bytes that are posted: deterministic, exact, and never dearer than asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use schemas::{
    ids::{Address, BillingAccountId, IdempotencyKey},
    money::{Price, Round, Shares, Tick, Usdc},
    time::Timestamp,
    words::{MarketVersion, OrderType, Side, SignatureType},
};
use venue::{
    amounts,
    order::{OrderRequest, SALT_LIMIT, Terms, TradingWallet, build, derive_salt, order_id},
    signing::{ExchangeTable, LocalSigner, OrderFields, Route, signer_of_order},
    wire::PostOrder,
};

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

fn account(n: u8) -> BillingAccountId {
    format!("00000000-0000-4000-8000-0000000000{n:02x}").parse().unwrap()
}

fn wallet(kind: SignatureType) -> TradingWallet {
    let key = LocalSigner::from_hex(KEY).unwrap().address();
    let funder = if kind == SignatureType::Eoa { key } else { Address::from_bytes([0x77; 20]) };
    TradingWallet::new(kind, funder, key, "f4f247b7-4ac7-ff29-a152-04fda0a8755a").unwrap()
}

fn request(terms: Terms, tick: Tick) -> OrderRequest {
    OrderRequest {
        route: Route::of(MarketVersion::V1, true),
        asset: "71321045679252212594626385532706912750332728571942532289631379312455583992563"
            .parse()
            .unwrap(),
        tick,
        terms,
        salt: 42,
        timestamp: Timestamp::from_millis(1_780_000_000_123),
    }
}

fn buy(price: &str, shares: &str) -> Terms {
    Terms::Limit {
        side: Side::Buy,
        price: price.parse().unwrap(),
        shares: shares.parse().unwrap(),
        expires: Some(Timestamp::from_secs(1_780_000_660)),
        post_only: false,
    }
}

#[test]
fn the_salt_of_an_attempt_is_frozen() {
    let key = IdempotencyKey::from_bytes([0xab; 32]);
    // Stored orders were built with these: they must never change. Computed by a second implementation.
    assert_eq!(derive_salt(account(1), key, 0), FROZEN[0]);
    assert_eq!(derive_salt(account(1), key, 1), FROZEN[1]);
    assert_eq!(derive_salt(account(2), key, 0), FROZEN[2]);
}

const FROZEN: [u64; 3] = [75_455_953_325_896, 7_447_317_339_245_298, 38_165_280_129_363];

proptest! {
    #[test]
    fn salts_are_json_integers_and_differ_by_account_key_and_attempt(a: u8, b: u8, key: [u8; 32], other: [u8; 32], attempt in 0i32..1_000) {
        let key = IdempotencyKey::from_bytes(key);
        let salt = derive_salt(account(a), key, attempt);
        prop_assert!(salt > 0 && salt < SALT_LIMIT);
        prop_assert_eq!(salt, derive_salt(account(a), key, attempt));
        prop_assert_ne!(salt, derive_salt(account(a), key, attempt + 1));
        prop_assert!(a == b || salt != derive_salt(account(b), key, attempt));
        let other = IdempotencyKey::from_bytes(other);
        prop_assert!(key == other || salt != derive_salt(account(a), other, attempt));
    }
}

#[test]
fn the_worked_example_costs_what_it_says() {
    // behaviour.md 2: 5 shares at 0.41; and 6.97 shares at 0.43 for $3.
    let amounts = buy("0.41", "5").amounts(Tick::CENT).unwrap();
    assert_eq!((amounts.maker, amounts.taker), (2_050_000, 5_000_000));
    let amounts = buy("0.43", "6.97").amounts(Tick::CENT).unwrap();
    assert_eq!((amounts.maker, amounts.taker), (2_997_100, 6_970_000));
}

#[test]
fn equal_requests_are_equal_bytes_with_an_id_known_beforehand() {
    let (table, key) = (ExchangeTable::default(), LocalSigner::from_hex(KEY).unwrap());
    for kind in SignatureType::ALL.iter().copied() {
        let wallet = wallet(kind);
        let request = request(buy("0.41", "5"), Tick::CENT);
        let first = build(&request, &wallet, &table, &key).unwrap();
        assert_eq!(build(&request, &wallet, &table, &key).unwrap(), first, "{kind}");
        assert_eq!(order_id(&request, &wallet, &table).unwrap(), first.id, "{kind}");

        let post = PostOrder::read(&first.body).unwrap();
        assert_eq!((post.order_type, post.post_only, post.defer_exec), (OrderType::Gtd, false, false));
        assert_eq!(post.order.expiration, Some(Timestamp::from_secs(1_780_000_660)));
        let fields = OrderFields::from(&post.order);
        assert_eq!(
            signer_of_order(&table, request.route, &fields, &post.order.signature.0),
            Ok(key.address()),
            "{kind}"
        );
        // Every signed field makes another order.
        let mut later = request.clone();
        later.timestamp = Timestamp::from_millis(1_780_000_000_124);
        let mut salted = request.clone();
        salted.salt = 43;
        let mut routed = request.clone();
        routed.route = Route::Normal;
        for other in [later, salted, routed] {
            assert_ne!(order_id(&other, &wallet, &table).unwrap(), first.id, "{kind}");
        }
    }
}

#[test]
fn every_lifetime_has_its_word() {
    let limit = |expires| Terms::Limit {
        side: Side::Sell,
        price: "0.5".parse().unwrap(),
        shares: Shares::from_units(5),
        expires,
        post_only: true,
    };
    let sell = |all_or_nothing| Terms::MarketSell {
        limit: "0.5".parse().unwrap(),
        shares: Shares::from_units(5),
        all_or_nothing,
    };
    let take = |all_or_nothing| Terms::MarketBuy {
        limit: "0.5".parse().unwrap(),
        usdc: Usdc::from_units(5),
        all_or_nothing,
    };
    assert_eq!(limit(None).order_type(), OrderType::Gtc);
    assert_eq!(limit(Some(Timestamp::from_secs(9))).order_type(), OrderType::Gtd);
    assert_eq!((sell(false).order_type(), sell(true).order_type()), (OrderType::Fak, OrderType::Fok));
    assert_eq!((take(false).order_type(), take(true).order_type()), (OrderType::Fak, OrderType::Fok));
}

#[test]
fn what_would_move_a_limit_or_sign_for_another_is_refused() {
    let (table, key) = (ExchangeTable::default(), LocalSigner::from_hex(KEY).unwrap());
    let code = |r: &OrderRequest, w: &TradingWallet| build(r, w, &table, &key).unwrap_err().code();
    let eoa = wallet(SignatureType::Eoa);
    for price in ["0.415", "0", "1", "0.995", "-0.5"] {
        assert_eq!(code(&request(buy(price, "5"), Tick::CENT), &eoa), "price_off_tick", "{price}");
    }
    for shares in ["0", "0.009", "-1"] {
        assert_eq!(code(&request(buy("0.41", shares), Tick::CENT), &eoa), "size_out_of_range", "{shares}");
    }
    for salt in [0, SALT_LIMIT, u64::MAX] {
        let mut bad = request(buy("0.41", "5"), Tick::CENT);
        bad.salt = salt;
        assert_eq!(code(&bad, &eoa), "salt_out_of_range");
    }
    let mut bad = request(buy("0.41", "5"), Tick::CENT);
    bad.terms = Terms::Limit {
        side: Side::Buy,
        price: "0.41".parse().unwrap(),
        shares: Shares::from_units(5),
        expires: Some(Timestamp::from_millis(1_500)),
        post_only: false,
    };
    assert_eq!(code(&bad, &eoa), "expiration_invalid");

    let stranger = TradingWallet::new(
        SignatureType::Safe,
        Address::from_bytes([1; 20]),
        Address::from_bytes([2; 20]),
        "k",
    )
    .unwrap();
    assert_eq!(code(&request(buy("0.41", "5"), Tick::CENT), &stranger), "signer_mismatch");
    let funder = TradingWallet::new(SignatureType::Eoa, Address::from_bytes([1; 20]), key.address(), "k");
    assert_eq!(funder.unwrap_err().code(), "funder_mismatch");
}

fn ticks() -> impl Strategy<Value = Tick> {
    prop::sample::select(vec![100_000, 10_000, 5_000, 2_500, 1_000, 100])
        .prop_map(|t| Tick::from_micro(t).unwrap())
}

proptest! {
    #[test]
    fn a_limit_order_never_gives_more_than_price_times_size(
        tick in ticks(), step in 1i64..9_999, micro in 10_000i64..10_000_000_000_000, sell: bool,
    ) {
        let steps = 1_000_000 / tick.micro();
        let price = Price::from_micro((1 + step % (steps - 1)) * tick.micro());
        let shares = Shares::from_micro(micro);
        let side = if sell { Side::Sell } else { Side::Buy };
        let out = amounts::limit(side, price, shares, tick).unwrap();
        let (usdc, size) = if sell { (out.taker, out.maker) } else { (out.maker, out.taker) };
        prop_assert!(size <= micro && micro - size < 10_000 && size % 10_000 == 0);
        // On the tick nothing is rounded in the price: dollars are exactly price times size.
        prop_assert_eq!(i128::from(usdc) * 1_000_000, i128::from(price.micro()) * i128::from(size));
        prop_assert!(Usdc::from_micro(usdc) <= price.cost(shares, Round::Down).unwrap());
    }

    #[test]
    fn a_market_buy_spends_what_it_is_given_and_wants_what_its_limit_buys(
        tick in ticks(), step in 1i64..9_999, cents in 100i64..1_000_000_000,
    ) {
        let steps = 1_000_000 / tick.micro();
        let price = Price::from_micro((1 + step % (steps - 1)) * tick.micro());
        let usdc = Usdc::from_micro(cents * 10_000 + 9_999);
        let out = amounts::market_buy(price, usdc, tick).unwrap();
        prop_assert_eq!(out.maker, cents * 10_000);
        // maker / price, rounded down in the amount's last decimal.
        let exact = i128::from(out.maker) * 1_000_000;
        let implied = i128::from(out.taker) * i128::from(price.micro());
        let step = i128::from(price.micro()) * i128::from(tick_amount_step(tick));
        prop_assert!(implied <= exact && exact - implied < step, "{} {}", exact, implied);
    }

    #[test]
    fn a_market_sell_never_gives_more_shares_nor_asks_less_than_its_limit(
        tick in ticks(), step in 1i64..9_999, micro in 10_000i64..10_000_000_000_000,
    ) {
        let steps = 1_000_000 / tick.micro();
        let price = Price::from_micro((1 + step % (steps - 1)) * tick.micro());
        let out = amounts::market_sell(price, Shares::from_micro(micro), tick).unwrap();
        prop_assert!(out.maker <= micro && micro - out.maker < 10_000);
        prop_assert_eq!(i128::from(out.taker) * 1_000_000, i128::from(price.micro()) * i128::from(out.maker));
    }

    #[test]
    fn bodies_survive_reading_and_writing(step in 1i64..99, cents in 1i64..1_000_000, sell: bool, salt in 1..SALT_LIMIT, gtc: bool) {
        let (table, key) = (ExchangeTable::default(), LocalSigner::from_hex(KEY).unwrap());
        let terms = Terms::Limit {
            side: if sell { Side::Sell } else { Side::Buy },
            price: Price::from_micro(step * 10_000),
            shares: Shares::from_micro(cents * 10_000),
            expires: (!gtc).then(|| Timestamp::from_secs(1_780_000_660)),
            post_only: false,
        };
        let mut request = request(terms, Tick::CENT);
        request.salt = salt;
        let signed = build(&request, &wallet(SignatureType::Proxy), &table, &key).unwrap();
        let post = PostOrder::read(&signed.body).unwrap();
        prop_assert_eq!(post.order.salt, salt);
        prop_assert_eq!(serde_json::to_vec(&post).unwrap(), signed.body);
    }
}

/// 10^-6 units in the last decimal of an amount: two decimals more than the tick.
fn tick_amount_step(tick: Tick) -> i64 {
    let mut places = 0;
    while tick.micro() * 10i64.pow(places) % 1_000_000 != 0 {
        places += 1;
    }
    10i64.pow(4 - places)
}
