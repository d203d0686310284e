//! Looks into a rejection (`behaviour.md` 6.8): reads what the wallet holds and has approved, writes it on the order's event,
//! and pauses a tenant whose wallet cannot pay rather than hammer the venue.

use schemas::{MarketVersion, Side, Usdc};
use venue::{
    port::{BalanceOf, Exchange},
    signing::ApiCreds,
    wire::BalanceAllowance,
};

use super::{desk::Desk, limits::Route};
use crate::{
    core::{
        Attempt, Event,
        diagnosis::{Diagnosis, Holding, Wallet, diagnose, pause_reason, was_refused},
        follow::Class,
        transition,
    },
    store::{Pause, StoreError},
};

/// Looks into a refusal that nobody has looked into; gives the attempt back as it stands then. Where the venue does not
/// answer, it is tried again with the next look.
///
/// # Errors
/// The store's.
pub async fn look_into(
    desk: &Desk,
    attempt: Attempt,
    exchange: &dyn Exchange,
    creds: &ApiCreds,
) -> Result<Attempt, StoreError> {
    let stage = &desk.stage;
    if !was_refused(&attempt) {
        return Ok(attempt);
    }
    if let Some(found) = stage.store.diagnosis(attempt.key()).await? {
        // Whoever found it may have died before it came to this.
        pause(desk, &attempt, &found).await?;
        return Ok(attempt);
    }
    let Some(wallet) = wallet(desk, &attempt, exchange, creds).await else { return Ok(attempt) };
    let found = diagnose(&attempt, wallet);
    let now = stage.clock.now();
    let event = Event::Diagnosed { detail: found.detail.clone() };
    let Some(mut after) = transition(&attempt, &event, now) else { return Ok(attempt) };
    after.next_look_at = attempt.next_look_at;
    stage.store.diagnose(&attempt, &after, &found, now).await?;
    tracing::warn!(
        order = ?after.order_id,
        account = %after.billing_account_id,
        ailment = found.ailment.as_str(),
        reason = after.reason.as_deref(),
        "an order was refused"
    );
    stage.board.trouble("order_rejected");
    desk.to_relay.notify_one();
    pause(desk, &after, &found).await?;
    Ok(after)
}

async fn pause(desk: &Desk, attempt: &Attempt, found: &Diagnosis) -> Result<(), StoreError> {
    if !found.ailment.is_the_wallet_s() {
        return Ok(());
    }
    let stage = &desk.stage;
    let reason = pause_reason(found);
    let wanted = Pause {
        account: attempt.billing_account_id,
        mode: attempt.mode,
        partition: desk.lease.partition,
        id: stage.chance.uuid(),
        reason: &reason,
        at: stage.clock.now(),
    };
    if stage.store.pause_after_rejections(&wanted).await? {
        tracing::error!(account = %attempt.billing_account_id, %reason, "a tenant's BUYs are paused");
        stage.board.trouble("paused_after_rejections");
        desk.to_relay.notify_one();
    }
    Ok(())
}

/// What the wallet has; `None` where the venue does not answer.
async fn wallet(desk: &Desk, attempt: &Attempt, exchange: &dyn Exchange, creds: &ApiCreds) -> Option<Wallet> {
    let stage = &desk.stage;
    let connection = match stage.store.connection(attempt.connection_id?).await {
        Ok(sealed) => sealed?.connection,
        Err(error) => {
            tracing::debug!(%error, "the wallet of a refused order could not be read");
            return None;
        }
    };
    let read = async |of: BalanceOf| {
        stage.venues.limits().wait(Route::Balance, Class::Urgent, &*stage.clock).await;
        let asked = stage.clock.now();
        match exchange.balance_allowance(&of, connection.signature_type, creds, asked).await {
            Ok(answer) => Some(holding(&answer)),
            Err(error) => {
                tracing::debug!(%error, "what the wallet of a refused order holds could not be read");
                None
            }
        }
    };
    let usdc = read(BalanceOf::Collateral).await;
    let shares = read(BalanceOf::Token { asset: attempt.asset.clone(), version: MarketVersion::V1 }).await;
    // What the order gives is what matters; the other is told where it can be had.
    match attempt.side {
        Side::Buy => usdc?,
        Side::Sell => shares?,
    };
    Some(Wallet { usdc: usdc.unwrap_or_default(), shares: shares.unwrap_or_default() })
}

fn holding(answer: &BalanceAllowance) -> Holding {
    Holding {
        balance: answer.balance().map(Usdc::micro),
        allowance: answer.least_allowance().map(Usdc::micro),
    }
}
