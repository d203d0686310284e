//! Gamma: market rows (`venue.md` 2).

use std::collections::BTreeSet;

use schemas::ids::ConditionId;
use serde_json::value::RawValue;

use super::transport::{HttpSettings, Query, Transport, good, read};
use crate::{
    error::VenueError,
    wire::{GammaMarket, GammaPage, Pagination, Rows, page::read_rows},
};

/// Conditions asked for at once. Gamma takes 100 ids, and an id may be asked for in two forms.
const CHUNK: usize = 50;

/// A client of Gamma.
#[derive(Debug, Clone)]
pub struct Gamma {
    transport: Transport,
}

impl Gamma {
    /// A client of Gamma at this address.
    ///
    /// # Errors
    /// An address that cannot be used.
    pub fn new(base: &str, settings: HttpSettings) -> Result<Self, VenueError> {
        Ok(Self { transport: Transport::new(base, settings)? })
    }

    /// The rows of these conditions, open and closed. What Gamma does not know is missing.
    ///
    /// # Errors
    /// No answer, or one that is no page.
    pub async fn markets(&self, conditions: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError> {
        let mut all = Rows { rows: Vec::new(), unreadable: Vec::new(), pagination: Pagination::default() };
        let wanted: Vec<ConditionId> =
            conditions.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        for chunk in wanted.chunks(CHUNK) {
            // Closed markets are left out unless asked for by name.
            self.add(chunk, false, &mut all).await?;
            let found: BTreeSet<ConditionId> = all.rows.iter().filter_map(|m| m.condition().ok()).collect();
            let missing: Vec<ConditionId> = chunk.iter().copied().filter(|c| !found.contains(c)).collect();
            if !missing.is_empty() {
                self.add(&missing, true, &mut all).await?;
            }
        }
        Ok(all)
    }

    async fn add(
        &self,
        conditions: &[ConditionId],
        closed: bool,
        into: &mut Rows<GammaMarket>,
    ) -> Result<(), VenueError> {
        let path = "/markets/keyset";
        let mut params = Query::default().with("limit", &100).with("closed", &closed);
        for condition in conditions {
            let text = condition.to_string();
            // A last byte of zero may be the padding of a 31-byte id: ask for that form too.
            if let Some(short) = text.strip_suffix("00") {
                params = params.with("condition_ids", &short);
            }
            params = params.with("condition_ids", &text);
        }
        let body = good(self.transport.get(path, &params).await, path)?;
        let raw = if body.trim_ascii_start().starts_with(b"[") {
            read::<Vec<Box<RawValue>>>(path, &body)?
        } else {
            read::<GammaPage<Box<RawValue>>>(path, &body)?.markets
        };
        let (rows, unreadable) = read_rows(&raw);
        // Gamma ignores filters that it does not know: what was not asked for is not an answer.
        into.rows.extend(
            rows.into_iter().filter(|m: &GammaMarket| m.condition().is_ok_and(|c| conditions.contains(&c))),
        );
        into.unreadable.extend(unreadable);
        Ok(())
    }
}
