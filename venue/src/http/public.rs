//! The three public sides of the venue as one [`MarketData`].

use async_trait::async_trait;
use schemas::{
    ids::{AssetId, ConditionId},
    time::Timestamp,
};

use super::{Clob, DataApi, Endpoints, Gamma, HttpSettings};
use crate::{
    error::VenueError,
    port::{ActivityQuery, MarketData, PositionsQuery, TradesQuery},
    wire::{ActivityRow, Book, ClobMarket, GammaMarket, PositionRow, ResolutionRow, Rows, TradeRow},
};

/// The Data API, Gamma, and the CLOB's public side.
#[derive(Debug, Clone)]
pub struct PublicData {
    /// The Data API.
    pub data: DataApi,
    /// Gamma.
    pub gamma: Gamma,
    /// The CLOB.
    pub clob: Clob,
}

impl PublicData {
    /// Clients of these addresses.
    ///
    /// # Errors
    /// An address that cannot be used.
    pub fn new(endpoints: &Endpoints, settings: HttpSettings) -> Result<Self, VenueError> {
        Ok(Self {
            data: DataApi::new(&endpoints.data_api, settings)?,
            gamma: Gamma::new(&endpoints.gamma, settings)?,
            clob: Clob::new(&endpoints.clob, settings)?,
        })
    }
}

#[async_trait]
impl MarketData for PublicData {
    async fn trades(&self, query: &TradesQuery, now: Timestamp) -> Result<Rows<TradeRow>, VenueError> {
        self.data.trades(query, now).await
    }

    async fn activity(&self, query: &ActivityQuery, now: Timestamp) -> Result<Rows<ActivityRow>, VenueError> {
        self.data.activity(query, now).await
    }

    async fn positions(
        &self,
        query: &PositionsQuery,
        now: Timestamp,
    ) -> Result<Rows<PositionRow>, VenueError> {
        self.data.positions(query, now).await
    }

    async fn resolution(
        &self,
        condition: ConditionId,
        now: Timestamp,
    ) -> Result<Option<ResolutionRow>, VenueError> {
        self.data.resolution(condition, now).await
    }

    async fn markets(&self, conditions: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError> {
        self.gamma.markets(conditions).await
    }

    async fn clob_market(&self, condition: ConditionId) -> Result<Option<ClobMarket>, VenueError> {
        self.clob.clob_market(condition).await
    }

    async fn book(&self, asset: &AssetId) -> Result<Option<Book>, VenueError> {
        self.clob.book(asset).await
    }

    async fn books(&self, assets: &[AssetId]) -> Result<Vec<Book>, VenueError> {
        self.clob.books(assets).await
    }
}
