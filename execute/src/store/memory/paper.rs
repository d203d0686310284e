//! What the paper venue asks, in memory.

use async_trait::async_trait;
use schemas::{Address, AssetId, Mode, OrderId, Shares, Side, Timestamp, Usdc};

use super::{MemoryStore, State};
use crate::{
    core::Attempt,
    store::{PaperLedger, StoreError},
};

impl State {
    fn on_paper(&self, wallet: Address) -> impl Iterator<Item = &Attempt> {
        let of = move |a: &&Attempt| {
            let connection = a.connection_id.and_then(|id| self.connections.get(&id));
            a.mode == Mode::Paper && connection.is_some_and(|(c, _)| c.connection.address == wallet)
        };
        self.orders.values().filter(of)
    }
}

#[async_trait]
impl PaperLedger for MemoryStore {
    async fn paper_attempt(&self, id: OrderId) -> Result<Option<Attempt>, StoreError> {
        self.call("paper_attempt", |state| {
            let found = state.orders.values().find(|a| a.mode == Mode::Paper && a.order_id == Some(id));
            Ok(found.cloned())
        })
        .await
    }

    async fn paper_attempts(
        &self,
        wallet: Address,
        asset: Option<&AssetId>,
        since: Option<Timestamp>,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.call("paper_attempts", |state| {
            let wanted = |a: &&Attempt| {
                asset.is_none_or(|asset| *asset == a.asset) && since.is_none_or(|at| a.created_at >= at)
            };
            let mut found: Vec<Attempt> = state.on_paper(wallet).filter(wanted).cloned().collect();
            found.sort_by_key(|a| (a.created_at, a.idempotency_key, a.attempt));
            Ok(found)
        })
        .await
    }

    async fn paper_cash(&self, wallet: Address) -> Result<Usdc, StoreError> {
        self.call("paper_cash", |state| {
            let moved = |a: &Attempt| match a.side {
                Side::Buy => -a.filled_usdc.micro() - a.fees_usdc.micro(),
                Side::Sell => a.filled_usdc.micro() - a.fees_usdc.micro(),
            };
            Ok(Usdc::from_micro(state.on_paper(wallet).map(moved).sum()))
        })
        .await
    }

    async fn paper_shares(&self, wallet: Address, asset: &AssetId) -> Result<Shares, StoreError> {
        self.call("paper_shares", |state| {
            let moved = |a: &Attempt| match a.side {
                Side::Buy => a.filled_shares.micro(),
                Side::Sell => -a.filled_shares.micro(),
            };
            let of_it = state.on_paper(wallet).filter(|a| a.held_as == *asset);
            Ok(Shares::from_micro(of_it.map(moved).sum()))
        })
        .await
    }
}
