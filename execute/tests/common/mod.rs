//! Tenants, intents and venues for the tests.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod channel;
pub mod crash;
pub mod ledger;
pub mod scene;
pub mod venue;
pub mod world;

use ::venue::signing::{ApiCreds, ExchangeTable, LocalSigner};
use execute::{
    Keyring, SealingKey, Secret,
    core::{
        Attempt, Snapshot,
        gate::{Step, gate},
        snapshot::{Connection, Grant, Readiness, Target},
    },
    signer::Keys,
};
use runtime::Chance;
use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, Hash32, IdempotencyKey, MarketVersion, Mode,
    Placement, Price, Shares, Side, SignatureType, TargetId, TargetRowId, TargetStatus, Tick, Timestamp,
    TxHash, Usdc, UserId,
    events::{
        CancelIntent, CloseIntent, IntentHead, IntentsEvent, MarketFacts, MarketToken, Origin, PlaceIntent,
    },
};
use secrecy::SecretString;
use uuid::Uuid;

/// The time at which tests begin.
pub const START: Timestamp = Timestamp::from_secs(1_790_000_000);

/// A public development key, of the anvil test node.
pub const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

pub fn usdc(s: &str) -> Usdc {
    s.parse().unwrap()
}

pub fn price(s: &str) -> Price {
    s.parse().unwrap()
}

pub fn shares(s: &str) -> Shares {
    s.parse().unwrap()
}

pub fn wallet(n: u8) -> Address {
    Address::from_bytes([n; 20])
}

/// The tokens of market `m`: 1000 m + 1 and 1000 m + 2.
pub fn asset(market: u32, outcome: u32) -> AssetId {
    (market * 1_000 + outcome).to_string().parse().unwrap()
}

pub fn condition(market: u32) -> ConditionId {
    let mut bytes = [0; 32];
    bytes[28..].copy_from_slice(&market.to_be_bytes());
    ConditionId::from_bytes(bytes)
}

pub fn facts(market: u32) -> MarketFacts {
    let token = |n, outcome: &str| MarketToken { asset: asset(market, n), outcome: outcome.into() };
    MarketFacts {
        condition_id: condition(market),
        tokens: vec![token(1, "Yes"), token(2, "No")],
        version: MarketVersion::V1,
        neg_risk: false,
        tick: Tick::CENT,
        min_shares: Shares::from_units(5),
        accepting_orders: true,
        end_at: None,
        fee_rate: 0,
        fee_exponent: 1,
        category: None,
        slug: None,
        title: None,
    }
}

/// A tenant with a wallet, who follows the wallets 1 to 9.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub account: BillingAccountId,
    pub user: UserId,
    pub connection: Connection,
    pub targets: [TargetRowId; 9],
}

impl Tenant {
    pub fn new(n: u128) -> Self {
        let id = |kind: u128| Uuid::from_u128(n << 32 | kind);
        let key = key_of(n);
        Self {
            account: BillingAccountId::from_uuid(id(1)),
            user: UserId::from_uuid(id(2)),
            connection: Connection {
                id: id(3),
                address: key.address(),
                signature_type: SignatureType::Eoa,
                funder: key.address(),
                approved: true,
            },
            targets: std::array::from_fn(|i| TargetRowId::from_uuid(id(0x100 + i as u128))),
        }
    }

    pub fn target(&self, n: u8) -> (TargetRowId, Target) {
        let target = Target {
            status: TargetStatus::Active,
            wallet: wallet(n),
            mode: Mode::Simulated,
            created_by: self.user,
        };
        (self.targets[usize::from(n) - 1], target)
    }

    pub fn head(&self, leader: u8, market: u32, outcome: u32, side: Side, fill: u32) -> IntentHead {
        let mut tx = [0xfe; 32];
        tx[..4].copy_from_slice(&fill.to_be_bytes());
        let tx = TxHash::from_bytes(tx);
        let asset = asset(market, outcome);
        let target_id = TargetId::of_wallet(wallet(leader));
        let fill_id = FillId::data_api(tx, &asset, side, START);
        IntentHead {
            billing_account_id: self.account,
            created_by_user_id: self.user,
            target_row_id: self.targets[usize::from(leader) - 1],
            target_id,
            wallet: wallet(leader),
            idempotency_key: IdempotencyKey::of(target_id, &fill_id),
            fill_id,
            revision: 0,
            tx: Some(tx),
            asset,
            condition_id: condition(market),
            side,
            filled_at: START,
            mode: Mode::Simulated,
            origin: Origin {
                partition: 0,
                cut: 1,
                decision_hash: Hash32::ZERO,
                policy_revision: 1,
                observed_at: START,
            },
        }
    }

    /// A limit BUY of leader 1 in market 1: so many shares at a limit.
    pub fn buy(&self, fill: u32, size: &str, limit: &str) -> PlaceIntent {
        self.buy_of(1, 1, 1, fill, size, limit)
    }

    pub fn buy_of(
        &self,
        leader: u8,
        market: u32,
        outcome: u32,
        fill: u32,
        size: &str,
        limit: &str,
    ) -> PlaceIntent {
        PlaceIntent {
            head: self.head(leader, market, outcome, Side::Buy, fill),
            limit: price(limit),
            shares: shares(size),
            amount: None,
            placement: Placement::MirrorLimit,
            order_ttl_s: 600,
            send_until: START.plus(std::time::Duration::from_secs(120)),
            facts: facts(market),
            max_usdc_per_token: usdc("1000000"),
            allow_both_sides: false,
            replaces: None,
            book: None,
        }
    }

    /// A market BUY of leader 1 in market 1: so many dollars up to a limit.
    pub fn buy_now(&self, fill: u32, dollars: &str, limit: &str) -> PlaceIntent {
        let amount = usdc(dollars);
        PlaceIntent {
            amount: Some(amount),
            shares: price(limit).shares_for(amount, schemas::Round::Down).unwrap(),
            placement: Placement::MarketFak,
            ..self.buy(fill, "1", limit)
        }
    }

    /// A close of leader 1 in market 1.
    pub fn close(&self, fill: u32, num: i64, den: i64, sale: &str) -> CloseIntent {
        CloseIntent {
            head: self.head(1, 1, 1, Side::Sell, fill),
            fraction_num: num * 1_000_000,
            fraction_den: den * 1_000_000,
            flat: num >= den,
            sale_price: Some(price(sale)),
            exit_slippage_fraction: None,
            exit_floor_fraction: None,
            min_close_usdc: None,
            facts: Some(facts(1)),
            book: None,
        }
    }

    pub fn cancel(&self, fill: u32, cancels: &IntentHead) -> CancelIntent {
        CancelIntent {
            head: self.head(1, 1, 1, Side::Buy, fill),
            cancels: cancels.idempotency_key,
            cause: "void".into(),
        }
    }

    /// A snapshot in which everything is allowed.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            connection: Some(self.connection.clone()),
            readiness: Readiness::Ready,
            grant: Some(grant()),
            targets: (1..=9).map(|n| self.target(n)).collect(),
            ..Snapshot::empty(self.account, Mode::Simulated, START)
        }
    }
}

/// A grant at the constants of the code.
pub fn grant() -> Grant {
    Grant {
        scopes: vec!["poly:trade:buy".into(), "poly:trade:sell".into()],
        per_order: usdc("500"),
        daily: usdc("5000"),
        hourly: 500,
        per_market: None,
        expires_at: None,
        revoked: false,
    }
}

/// The installation's key of the tests.
pub fn sealing() -> SealingKey {
    SealingKey::from_hex(&"42".repeat(32)).unwrap()
}

/// The signing key of tenant `n`: derived from its number, so that no two tenants share a wallet.
pub fn key_of(n: u128) -> LocalSigner {
    LocalSigner::from_hex(&format!("{:064x}", n + 0x0100)).unwrap()
}

pub fn sealed_key(n: u128, connection: Uuid) -> Vec<u8> {
    let bytes = const_hex::decode(format!("{:064x}", n + 0x0100)).unwrap();
    sealing().seal(&Chance::seeded(7), connection, Secret::SigningKey, &bytes).unwrap()
}

pub fn creds(signer: &LocalSigner) -> ApiCreds {
    let secret = SecretString::from("c2VjcmV0LW9mLXRoZS10ZXN0cw==");
    ApiCreds::new(signer.address(), format!("key-of-{}", signer.address()), secret, "pass".into()).unwrap()
}

/// A keyring that holds the keys of these tenants.
pub fn keyring(tenants: &[(u128, &Tenant)]) -> Keyring {
    let keyring = Keyring::new(sealing(), ExchangeTable::default());
    for (n, tenant) in tenants {
        let signer = key_of(*n);
        let creds = creds(&signer);
        keyring.admit(tenant.connection.id, Keys::new(&tenant.connection, signer, creds).unwrap());
    }
    keyring
}

/// The one attempt that an intent makes in a snapshot.
pub fn inserted(snapshot: &mut Snapshot, intent: impl Into<IntentsEvent>, keyring: &Keyring) -> Attempt {
    let steps = gate(snapshot, &intent.into(), 0, keyring).unwrap();
    match steps.as_slice() {
        [Step::Insert(attempt)] => (**attempt).clone(),
        other => panic!("not one insert: {other:?}"),
    }
}
