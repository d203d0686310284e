//! What the paper venue asks of the ledger: it has no books of its own.

use std::fmt;

use async_trait::async_trait;
use schemas::{Address, AssetId, OrderId, Shares, Timestamp, Usdc};

use super::StoreError;
use crate::core::Attempt;

/// The orders of mode `paper`, as they stand in the ledger. A wallet is named by its signing key's address.
#[async_trait]
pub trait PaperLedger: fmt::Debug + Send + Sync {
    /// The attempt whose order has this id.
    async fn paper_attempt(&self, id: OrderId) -> Result<Option<Attempt>, StoreError>;

    /// The attempts of a wallet, in one token or in all, committed at `since` or later; oldest first.
    async fn paper_attempts(
        &self,
        wallet: Address,
        asset: Option<&AssetId>,
        since: Option<Timestamp>,
    ) -> Result<Vec<Attempt>, StoreError>;

    /// What a wallet's sales brought less what its orders cost, fees included: below zero where more was spent.
    async fn paper_cash(&self, wallet: Address) -> Result<Usdc, StoreError>;

    /// The shares of a token that a wallet bought less those that it sold. One that goes on under another id is there under
    /// the new one, at once: on paper nobody has to move it.
    async fn paper_shares(&self, wallet: Address, asset: &AssetId) -> Result<Shares, StoreError>;
}
