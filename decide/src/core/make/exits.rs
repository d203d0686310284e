//! Exits without the leader, at the prices that ingest samples of the tokens we hold (`behaviour.md` 4).

use eventlog::Offset;
use schemas::events::TokenMarked;

use super::{Maker, closes::cause};
use crate::{DecideError, plan::Part};

impl Maker<'_> {
    /// A sample of a token's price: each tenant whose policy now wants out sells all of it, once. While everything of
    /// the position is due already, by whatever close, more samples ask for nothing; a BUY placed since makes it a
    /// position that can be left again.
    pub(super) fn on_marked(&mut self, offset: Offset, mark: &TokenMarked) -> Result<(), DecideError> {
        // A book without bids says nothing about what the shares are worth.
        let Some(best_bid) = mark.best_bid else { return Ok(()) };
        for row in self.state.subscribed(mark.wallet, self.clock) {
            let own = self.state.own_key(row.wallet, row.billing_account_id, row.mode, &mark.asset);
            let view = self.state.own_view(&own, None, self.clock);
            let Some(exit) = (self.version.exit)(&row.policy, &view, best_bid) else { continue };
            if self.state.is_all_due(&own) {
                continue;
            }
            let Some(fill_id) = cause(&format!("exit:{}:{}:{}", exit.as_str(), mark.asset, offset)) else {
                continue;
            };
            let subject = self.own_cause(&row, fill_id, &mark.asset, mark.condition_id, mark.as_of, offset);
            // Nothing of the leader's is waited for, and no sale of its sets the price: the gate takes the best bid.
            let planned = (self.version.close)(&view, Part::WHOLE, true);
            let mut inputs = self.inputs(&row, &subject, view);
            (inputs.best_bid, inputs.best_ask) = (mark.best_bid, mark.best_ask);
            self.emit(&row, &subject, inputs, planned)?;
        }
        Ok(())
    }
}
