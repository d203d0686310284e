//! Byte for byte what the official clients produce: the cases of `vectors/signing.json` (`venue.md` 9).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use schemas::{
    ids::Address,
    money::{Price, Round, Shares, Tick, Usdc},
    time::Timestamp,
    words::{Side, SignatureType},
};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use venue::{
    amounts::{self, Amounts, AmountsError},
    signing::{
        ExchangeTable, LocalSigner, OrderFields, OrderSignError, Route, l1_headers, l1_signer, l2_signature,
        order_digest, sign_order, signer_of_order,
    },
    wire::{Checksummed, HexBytes, PostOrder},
};

#[derive(Deserialize)]
struct Vectors {
    order_type_string: String,
    orders: Vec<OrderCase>,
    hmac: Vec<HmacCase>,
    l1_auth: Vec<L1Case>,
    amount_rounding: Vec<AmountCase>,
}

#[derive(Deserialize)]
struct OrderCase {
    name: String,
    private_key: String,
    exchange: String,
    domain: Domain,
    order: serde_json::Value,
    order_hash: String,
    signature: String,
    domain_separator: String,
    wire_body: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Domain {
    version: String,
    chain_id: u64,
    verifying_contract: Address,
}

#[derive(Deserialize)]
struct HmacCase {
    name: String,
    secret: String,
    #[serde(with = "venue::wire::num::secs")]
    timestamp: Timestamp,
    method: String,
    request_path: String,
    body: Option<String>,
    poly_signature: String,
}

#[derive(Deserialize)]
struct L1Case {
    private_key: String,
    address: String,
    chain_id: u64,
    #[serde(with = "venue::wire::num::secs")]
    timestamp: Timestamp,
    nonce: u64,
    poly_signature: String,
}

#[derive(Deserialize)]
struct AmountCase {
    kind: String,
    tick: String,
    side: Side,
    size: Option<Box<RawValue>>,
    amount: Option<Box<RawValue>>,
    price: Box<RawValue>,
    maker_amount: Option<String>,
    taker_amount: Option<String>,
}

fn vectors(test: &str) -> Option<Vectors> {
    let path = testkit::vectors_dir(test)?.join("signing.json");
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

fn route(name: &str) -> Route {
    match name {
        "normal" => Route::Normal,
        "neg_risk" => Route::NegRisk,
        "v3" => Route::V3,
        other => panic!("unknown route {other}"),
    }
}

fn fields(order: &serde_json::Value) -> OrderFields {
    let text = |name: &str| order[name].as_str().unwrap();
    OrderFields {
        salt: text("salt").parse().unwrap(),
        maker: text("maker").parse().unwrap(),
        signer: text("signer").parse().unwrap(),
        token: text("tokenId").parse().unwrap(),
        maker_amount: text("makerAmount").parse().unwrap(),
        taker_amount: text("takerAmount").parse().unwrap(),
        side: text("side").parse().unwrap(),
        signature_type: match order["signatureType"].as_u64().unwrap() {
            0 => SignatureType::Eoa,
            1 => SignatureType::Proxy,
            2 => SignatureType::Safe,
            3 => SignatureType::Poly1271,
            other => panic!("unknown signature type {other}"),
        },
        timestamp: Timestamp::from_millis(text("timestamp").parse().unwrap()),
        metadata: text("metadata").parse().unwrap(),
        builder: text("builder").parse().unwrap(),
    }
}

#[test]
fn orders_have_the_digest_and_signature_of_the_official_clients() {
    let Some(vectors) = vectors("orders_have_the_digest_and_signature_of_the_official_clients") else {
        return;
    };
    assert_eq!(vectors.order_type_string, venue::signing::order::ORDER_TYPE);
    let table = ExchangeTable::default();
    let mut kinds = std::collections::BTreeSet::new();
    for case in &vectors.orders {
        let (route, order) = (route(&case.exchange), fields(&case.order));
        let exchange = table.exchange(route);
        assert_eq!(
            (&exchange.version, exchange.contract, table.chain_id),
            (&case.domain.version, case.domain.verifying_contract, case.domain.chain_id),
            "{}",
            case.name
        );
        assert_eq!(table.domain_separator(route).to_string(), case.domain_separator, "{}", case.name);
        let key = LocalSigner::from_hex(&case.private_key).unwrap();
        let (id, signature) = sign_order(&table, route, &order, &key).unwrap();
        assert_eq!(id.to_string(), case.order_hash, "{}", case.name);
        assert_eq!(order_digest(&table, route, &order).unwrap(), id, "{}", case.name);
        assert_eq!(HexBytes(signature.clone()).to_string(), case.signature, "{}", case.name);
        if order.signature_type == SignatureType::Poly1271 {
            assert_eq!(signature.len(), 317);
        }
        assert_eq!(signer_of_order(&table, route, &order, &signature), Ok(key.address()), "{}", case.name);
        kinds.insert((route, order.signature_type, order.side));
    }
    let routes: std::collections::BTreeSet<_> = kinds.iter().map(|k| k.0).collect();
    let types: std::collections::BTreeSet<_> = kinds.iter().map(|k| k.1).collect();
    assert_eq!((routes.len(), types.len()), (3, 4), "every route and every signature type has a case");
}

#[test]
fn a_changed_order_does_not_carry_its_old_signature() {
    let Some(vectors) = vectors("a_changed_order_does_not_carry_its_old_signature") else { return };
    let table = ExchangeTable::default();
    for case in &vectors.orders {
        let (route, order) = (route(&case.exchange), fields(&case.order));
        let key = LocalSigner::from_hex(&case.private_key).unwrap();
        let (_, signature) = sign_order(&table, route, &order, &key).unwrap();
        let mut dearer = order.clone();
        dearer.maker_amount += 1;
        assert_ne!(signer_of_order(&table, route, &dearer, &signature), Ok(key.address()), "{}", case.name);
        let other = if route == Route::Normal { Route::NegRisk } else { Route::Normal };
        assert_ne!(signer_of_order(&table, other, &order, &signature), Ok(key.address()), "{}", case.name);
        if order.signature_type == SignatureType::Poly1271 {
            // The wallet checks the parts behind the inner signature, so they must be this order's.
            for byte in 65..signature.len() {
                let mut other = signature.clone();
                other[byte] ^= 1;
                assert_eq!(signer_of_order(&table, route, &order, &other), Err(OrderSignError::NotOfOrder));
            }
            assert!(signer_of_order(&table, route, &order, &signature[..64]).is_err());
        }
        if order.signature_type == SignatureType::Eoa {
            let mut funded = order.clone();
            funded.maker = Address::from_bytes([9; 20]);
            assert!(sign_order(&table, route, &funded, &key).is_err(), "a plain key trades for itself only");
        }
        let mut stranger = order.clone();
        stranger.signature_type = SignatureType::Eoa;
        stranger.signer = Address::from_bytes([9; 20]);
        assert!(sign_order(&table, route, &stranger, &key).is_err(), "{}", case.name);
    }
}

#[test]
fn bodies_are_read_and_written_byte_for_byte() {
    let Some(vectors) = vectors("bodies_are_read_and_written_byte_for_byte") else { return };
    let hmac_body = vectors.hmac.iter().find(|c| c.name == "post_order_body").unwrap();
    let mut found = false;
    for case in &vectors.orders {
        // The recorded body, without the spaces of the vector file.
        let compact: Box<str> = compact(case.wire_body.get());
        let post = PostOrder::read(compact.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&post).unwrap(), *compact, "{}", case.name);
        assert_eq!(OrderFields::from(&post.order), fields(&case.order), "{}", case.name);
        found |= hmac_body.body.as_deref() == Some(&*compact);
    }
    assert!(found, "the body that the official client signed is one of these");
}

/// JSON without blanks between its tokens.
fn compact(json: &str) -> Box<str> {
    let (mut out, mut in_string) = (String::new(), false);
    for c in json.chars() {
        in_string ^= c == '"';
        if in_string || !c.is_whitespace() {
            out.push(c);
        }
    }
    out.into()
}

#[test]
fn private_requests_carry_the_hmac_of_the_official_clients() {
    let Some(vectors) = vectors("private_requests_carry_the_hmac_of_the_official_clients") else { return };
    assert!(vectors.hmac.len() >= 4);
    for case in &vectors.hmac {
        let body = case.body.as_deref().unwrap_or_default();
        let secret = SecretString::from(case.secret.clone());
        let signature =
            l2_signature(&secret, case.timestamp.secs(), &case.method, &case.request_path, body.as_bytes())
                .unwrap();
        assert_eq!(signature, case.poly_signature, "{}", case.name);
    }
}

#[test]
fn key_requests_carry_the_signature_of_the_official_clients() {
    let Some(vectors) = vectors("key_requests_carry_the_signature_of_the_official_clients") else { return };
    assert!(vectors.l1_auth.len() >= 2);
    for case in &vectors.l1_auth {
        let key = LocalSigner::from_hex(&case.private_key).unwrap();
        let now = case.timestamp;
        let headers = l1_headers(&key, now, case.nonce, case.chain_id);
        assert_eq!(
            headers,
            [
                ("POLY_ADDRESS", case.address.clone()),
                ("POLY_SIGNATURE", case.poly_signature.clone()),
                ("POLY_TIMESTAMP", now.secs().to_string()),
                ("POLY_NONCE", case.nonce.to_string()),
            ]
        );
        let signature = const_hex::decode(&case.poly_signature[2..]).unwrap();
        assert_eq!(l1_signer(key.address(), now, case.nonce, case.chain_id, &signature), Ok(key.address()));
        assert_ne!(
            l1_signer(key.address(), now, case.nonce + 1, case.chain_id, &signature),
            Ok(key.address())
        );
        assert_eq!(Checksummed(case.address.to_lowercase().parse().unwrap()).to_string(), case.address);
    }
}

#[test]
fn amounts_round_as_the_official_client_rounds() {
    let Some(vectors) = vectors("amounts_round_as_the_official_client_rounds") else { return };
    assert!(vectors.amount_rounding.len() >= 64);
    for case in &vectors.amount_rounding {
        let tick = Tick::from_micro(case.tick.parse::<Price>().unwrap().micro()).unwrap();
        let price: Price = case.price.get().parse().unwrap();
        let size = case.size.as_ref().or(case.amount.as_ref()).unwrap().get();
        let shares = || Shares::parse(size, Round::Down).unwrap();
        let ours = match (case.kind.as_str(), case.side) {
            ("limit", side) => amounts::limit(side, price, shares(), tick),
            ("market", Side::Buy) => {
                amounts::market_buy(price, Usdc::parse(size, Round::Down).unwrap(), tick)
            }
            ("market", Side::Sell) => amounts::market_sell(price, shares(), tick),
            (other, _) => panic!("unknown kind {other}"),
        };
        let theirs = case.maker_amount.as_ref().zip(case.taker_amount.as_ref());
        let what = format!("{} {} {size} at {price}, tick {tick}", case.kind, case.side);
        match theirs {
            Some((maker, taker)) => assert_eq!(
                ours,
                Ok(Amounts { maker: maker.parse().unwrap(), taker: taker.parse().unwrap() }),
                "{what}"
            ),
            // Their price rounds to nothing; they divide by it, we say so.
            None => assert!(matches!(ours, Err(AmountsError::PriceOutOfRange { .. })), "{what}: {ours:?}"),
        }
    }
}

/// The vectors hold every type and every exchange, and not every pair: each pair is checked by who signed it.
#[test]
fn every_wallet_signs_for_every_exchange_and_no_signature_serves_two() {
    let key =
        LocalSigner::from_hex("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
    let table = ExchangeTable::default();
    let mut signatures = std::collections::BTreeSet::new();
    for kind in [SignatureType::Eoa, SignatureType::Proxy, SignatureType::Safe, SignatureType::Poly1271] {
        let funder = if kind == SignatureType::Eoa { key.address() } else { Address::from_bytes([0x77; 20]) };
        for route in [Route::Normal, Route::NegRisk, Route::V3] {
            for side in [Side::Buy, Side::Sell] {
                let order = OrderFields {
                    salt: 42,
                    maker: funder,
                    signer: if kind == SignatureType::Poly1271 { funder } else { key.address() },
                    token: "1234".parse().unwrap(),
                    maker_amount: 5_200_000,
                    taker_amount: 10_000_000,
                    side,
                    signature_type: kind,
                    timestamp: Timestamp::from_millis(1_780_000_000_123),
                    metadata: schemas::Hash32::ZERO,
                    builder: schemas::Hash32::ZERO,
                };
                let (id, signature) = sign_order(&table, route, &order, &key).unwrap();
                assert_eq!(order_digest(&table, route, &order), Ok(id));
                assert_eq!(signer_of_order(&table, route, &order, &signature), Ok(key.address()));
                assert_eq!(signature.len(), if kind == SignatureType::Poly1271 { 317 } else { 65 });
                // The same again is the same: nothing in it is drawn.
                assert_eq!(sign_order(&table, route, &order, &key), Ok((id, signature.clone())));
                assert!(signatures.insert(signature), "{kind} {route:?} {side}");
            }
        }
    }
    assert_eq!(signatures.len(), 24);
}
