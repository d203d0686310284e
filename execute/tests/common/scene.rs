//! A tenant whose closes run, without a database or a venue: the gate's steps over one snapshot.

use std::time::Duration;

use execute::{
    Keyring,
    core::{
        Attempt, Snapshot,
        close::{
            Close, Due,
            allot::{concerns, followed},
            due::{Buys, owed},
            plan::Market,
        },
        gate::{Step, gate},
        position::{Moved, Position},
        turn,
    },
};
use schemas::{
    FillId, IdempotencyKey, OrderStatus, Shares, Side,
    events::{CancelIntent, CloseIntent, IntentHead, IntentsEvent},
};

use super::{Tenant, keyring, shares, usdc};

/// A tenant whose closes run, without a database or a venue.
pub struct Scene {
    pub tenant: Tenant,
    pub keyring: Keyring,
    pub snapshot: Snapshot,
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Scene {
    /// So much is held.
    pub fn holding(held: &str) -> Self {
        let tenant = Tenant::new(1);
        let keyring = keyring(&[(1, &tenant)]);
        let mut snapshot = tenant.snapshot();
        let head = tenant.head(1, 1, 1, Side::Buy, 1);
        let position = Position { condition_id: head.condition_id, held: shares(held), cost: usdc("1") };
        snapshot.positions.insert((head.target_id, head.asset), position);
        Self { tenant, keyring, snapshot }
    }

    pub fn position(&self) -> (schemas::TargetId, schemas::AssetId) {
        let head = self.tenant.head(1, 1, 1, Side::Buy, 1);
        (head.target_id, head.asset)
    }

    pub fn gate(&mut self, intent: impl Into<IntentsEvent>) -> Vec<Step> {
        gate(&mut self.snapshot, &intent.into(), 0, &self.keyring).unwrap()
    }

    pub fn turn_with(&mut self, market: &Market) -> Vec<Attempt> {
        let position = self.position();
        inserted(turn::turn(&mut self.snapshot, &position, market, 0, &self.keyring).unwrap())
    }

    pub fn turn(&mut self) -> Vec<Attempt> {
        self.turn_with(&Market::default())
    }

    pub fn pass(&mut self, time: u64) {
        self.snapshot.now = self.snapshot.now.plus(secs(time));
    }

    /// A BUY that rests.
    pub fn buy(&mut self, fill: u32, size: &str) -> Attempt {
        let steps = self.gate(self.tenant.buy(fill, size, "0.40"));
        self.becomes(&inserted(steps)[0], OrderStatus::Open, "0")
    }

    pub fn now_is(&self, attempt: &Attempt) -> Attempt {
        self.snapshot.named[&attempt.key()].clone()
    }

    /// An attempt comes to this, with so much filled in all, and everything that follows from that.
    pub fn becomes(&mut self, attempt: &Attempt, status: OrderStatus, filled: &str) -> Attempt {
        let before = self.now_is(attempt);
        let filled = shares(filled);
        let after = Attempt {
            status,
            is_final: status.is_final(),
            filled_shares: filled,
            filled_usdc: before.limit_price.cost(filled, schemas::Round::Down).unwrap(),
            confirmed_shares: filled,
            revision: before.revision + 1,
            changed_at: self.snapshot.now,
            ..before.clone()
        };
        if let Some(moved) = Moved::between(&before, &after) {
            let position =
                self.snapshot.positions.get_mut(&(after.target_id, after.held_as.clone())).unwrap();
            *position = position.after(moved);
        }
        self.snapshot.named.insert(after.key(), after.clone());
        let position = self.position();
        if concerns(&before, &after)
            && let Some(close) = self.snapshot.closes.remove(&position)
        {
            self.snapshot.closes.insert(position, followed(close, &after));
        }
        after
    }

    pub fn close(&self) -> &Close {
        &self.snapshot.closes[&self.position()]
    }

    pub fn due(&self, key: IdempotencyKey) -> &Due {
        self.close().dues.iter().find(|d| d.idempotency_key == key).unwrap()
    }

    pub fn alive(&self) -> Vec<&Attempt> {
        self.snapshot.named.values().filter(|a| a.side == Side::Sell && !a.is_final).collect()
    }
}

pub fn inserted(steps: Vec<Step>) -> Vec<Attempt> {
    steps
        .into_iter()
        .filter_map(|s| match s {
            Step::Insert(attempt) => Some(*attempt),
            _ => None,
        })
        .collect()
}

pub fn cancelled(steps: &[Step]) -> Vec<(IdempotencyKey, String)> {
    steps
        .iter()
        .filter_map(|s| match s {
            Step::Update { after, .. } => {
                Some((after.idempotency_key, after.cancel_cause.clone().unwrap_or_default()))
            }
            _ => None,
        })
        .collect()
}

pub fn owed_now(scene: &Scene) -> Shares {
    owed(scene.close(), &Buys::new())
}

/// The close of a voided BUY.
pub fn void_of(tenant: &Tenant, buy: &IntentHead) -> CloseIntent {
    let mut close = tenant.close(999, 0, 1, "0.50");
    close.fraction_den = 1;
    close.flat = true;
    let fill_id: FillId = format!("void:{}", buy.fill_id).parse().unwrap();
    close.head.idempotency_key = IdempotencyKey::of(close.head.target_id, &fill_id);
    (close.head.fill_id, close.head.tx) = (fill_id, None);
    close
}

pub fn cancel_of(tenant: &Tenant, of: &IntentHead, cause: &str) -> CancelIntent {
    CancelIntent { cause: cause.into(), ..tenant.cancel(998, of) }
}
