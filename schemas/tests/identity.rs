//! The frozen identity formulas, against the vectors in `VECTORS_DIR` (default `../shared/vectors`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use schemas::{Address, FillId, IdempotencyKey, TargetId};
use serde_json::Value;

/// A fill id as the vectors give it: any text of a known scheme.
fn fill_id(text: &str) -> FillId {
    text.parse().unwrap()
}

#[test]
fn target_ids_and_keys_are_those_of_the_vectors() {
    let Some(dir) = testkit::vectors_dir("target_ids_and_keys_are_those_of_the_vectors") else { return };
    let text = std::fs::read_to_string(dir.join("identity.json")).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let word = |v: &Value, name: &str| v[name].as_str().unwrap().to_owned();
    let (targets, keys) =
        (vectors["target_id"].as_array().unwrap(), vectors["idempotency_key"].as_array().unwrap());
    assert!(!targets.is_empty() && !keys.is_empty());
    for case in targets {
        let wallet: Address = word(case, "wallet").parse().unwrap();
        assert_eq!(TargetId::of_wallet(wallet).to_string(), word(case, "target_id"));
    }
    for case in keys {
        let target: TargetId = word(case, "target_id").parse().unwrap();
        let key = IdempotencyKey::of(target, &fill_id(&word(case, "fill_id")));
        assert_eq!(key.to_string(), word(case, "key"));
    }
}
