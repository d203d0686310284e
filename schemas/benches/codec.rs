//! What the hot path pays for a record: encoding, decoding, its hash; for a key: its formula and its partition.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench")]

#[path = "../tests/samples/mod.rs"]
mod samples;

use divan::{Bencher, black_box, counter::BytesCount};
use samples::Shape;
use schemas::{
    Address, AssetId, FillId, IdempotencyKey, Side, TargetId, Timestamp, TxHash,
    codec::Codec,
    events::{Decision, DecisionsEvent, Fill, FillsEvent},
    topics::{murmur2, partition_of_wallet},
};

fn main() {
    divan::main();
}

/// With everything optional there: facts, book, order.
fn full<E: schemas::avro::Event>() -> E {
    let sample = samples::samples(0).into_iter().find(|s| s.name == E::NAME && s.shape == Shape::Full);
    serde_json::from_value(sample.unwrap().value).unwrap()
}

fn fill_id() -> FillId {
    let asset: AssetId = "7".repeat(77).parse().unwrap();
    FillId::data_api(TxHash::from_bytes([0xab; 32]), &asset, Side::Buy, Timestamp::from_secs(1_790_000_000))
}

#[divan::bench]
fn encode_fill_with_facts(bencher: Bencher) {
    let (codec, fill) = (Codec::bundled().unwrap(), full::<Fill>());
    let bytes = codec.encode(&fill).unwrap().value.len();
    bencher.counter(BytesCount::new(bytes)).bench(|| codec.encode(black_box(&fill)).unwrap());
}

#[divan::bench]
fn decode_fill_with_facts(bencher: Bencher) {
    let codec = Codec::bundled().unwrap();
    let value = codec.encode(&full::<Fill>()).unwrap().value;
    let decode = || codec.decode::<FillsEvent>(black_box(&value)).unwrap();
    bencher.counter(BytesCount::new(value.len())).bench(decode);
}

#[divan::bench]
fn encode_decision(bencher: Bencher) {
    let (codec, decision) = (Codec::bundled().unwrap(), full::<Decision>());
    let bytes = codec.encode(&decision).unwrap().value.len();
    bencher.counter(BytesCount::new(bytes)).bench(|| codec.encode(black_box(&decision)).unwrap());
}

#[divan::bench]
fn decode_decision(bencher: Bencher) {
    let codec = Codec::bundled().unwrap();
    let value = codec.encode(&full::<Decision>()).unwrap().value;
    let decode = || codec.decode::<DecisionsEvent>(black_box(&value)).unwrap();
    bencher.counter(BytesCount::new(value.len())).bench(decode);
}

#[divan::bench]
fn content_hash_of_a_decision(bencher: Bencher) {
    let codec = Codec::bundled().unwrap();
    let value = codec.encode(&full::<Decision>()).unwrap().value;
    bencher.counter(BytesCount::new(value.len())).bench(|| codec.content_hash(black_box(&value)));
}

#[divan::bench]
fn murmur2_of_a_wallet(bencher: Bencher) {
    let wallet = Address::from_bytes([0xcd; 20]).to_string();
    bencher.bench(|| murmur2(black_box(wallet.as_bytes())));
}

#[divan::bench]
fn partition_of_a_wallet(bencher: Bencher) {
    let wallet = Address::from_bytes([0xcd; 20]);
    bencher.bench(|| partition_of_wallet(black_box(wallet), 12));
}

#[divan::bench]
fn idempotency_key(bencher: Bencher) {
    let (target, fill) = (TargetId::of_wallet(Address::from_bytes([0xcd; 20])), fill_id());
    bencher.bench(|| IdempotencyKey::of(black_box(target), black_box(&fill)));
}

#[divan::bench]
fn target_id_of_a_wallet(bencher: Bencher) {
    let wallet = Address::from_bytes([0xcd; 20]);
    bencher.bench(|| TargetId::of_wallet(black_box(wallet)));
}
