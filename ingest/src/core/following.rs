//! Whom to follow: the fold of `targets`.

use std::collections::BTreeMap;

use schemas::{Address, TargetRowId, TargetStatus, Timestamp, events::TargetState};

/// The targets of the partitions at hand, the highest revision of each row.
#[derive(Debug, Default)]
pub struct Following {
    by_wallet: BTreeMap<Address, BTreeMap<TargetRowId, TargetState>>,
}

impl Following {
    /// Takes a target's state; older revisions are ignored.
    pub fn absorb(&mut self, state: TargetState) {
        let rows = self.by_wallet.entry(state.wallet).or_default();
        let newer = rows.get(&state.target_row_id).is_none_or(|held| state.revision > held.revision);
        if newer {
            rows.insert(state.target_row_id, state);
        }
    }

    /// Forgets the wallets of which `keep` says no: their partition went elsewhere.
    pub fn retain(&mut self, keep: impl Fn(Address) -> bool) {
        self.by_wallet.retain(|wallet, _| keep(*wallet));
    }

    /// The wallets somebody follows, each with the moment from which its fills count: the earliest creation
    /// among its followed rows. Closing and paused targets are followed too, for their exits.
    pub fn wanted(&self) -> BTreeMap<Address, Timestamp> {
        self.by_wallet
            .iter()
            .filter_map(|(wallet, rows)| {
                let followed = rows.values().filter(|t| t.status != TargetStatus::Removed);
                Some((*wallet, followed.map(|t| t.created_at).min()?))
            })
            .collect()
    }
}
