//! Keys, API credentials, approvals and balances: what the gate needs to have at hand, fetched outside of it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use schemas::{BillingAccountId, MarketVersion, Mode, Usdc, events::IntentsEvent, topics::Topic};
use venue::{
    VenueError,
    port::BalanceOf,
    signing::{ApiCreds, LocalSigner},
};

use uuid::Uuid;

use super::{Stage, desk::Desk, limits::Route};
use crate::{
    core::{
        Attempt,
        close::CloseName,
        follow::Class,
        gate::{close_of, head_of},
        snapshot::Connection,
    },
    signer::Keys,
    store::{BudgetKey, SealedConnection, StoreError},
};

/// How often credentials are asked for before a tenant is refused for now.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_millis(300);

/// What a wallet has to be ready for: its approvals are looked for on this token.
#[derive(Debug, Clone)]
pub struct About {
    /// The position: whose, and of which token.
    pub position: CloseName,
    /// The protocol of its market.
    pub version: MarketVersion,
}

impl About {
    /// What an intent is about.
    pub fn intent(intent: &IntentsEvent) -> Self {
        let facts = match intent {
            IntentsEvent::PlaceIntent(place) => Some(&place.facts),
            IntentsEvent::CloseIntent(close) => close.facts.as_ref(),
            IntentsEvent::CancelIntent(_) | IntentsEvent::MigrateIntent(_) => None,
        };
        Self {
            position: close_of(head_of(intent)),
            version: facts.map_or(MarketVersion::V1, |facts| facts.version),
        }
    }
}

/// Brings to hand what a batch needs, by the positions that it is about: rows to be locked by, and the open keys of the
/// tenants' wallets. A wallet that cannot be opened is refused, and its intents are denied as `trading_not_ready`.
///
/// # Errors
/// The store's.
pub async fn prepare(stage: &Stage, batch: &[About]) -> Result<(), StoreError> {
    let budgets: BTreeSet<BudgetKey> = batch
        .iter()
        .map(|a| BudgetKey { billing_account_id: a.position.billing_account_id, mode: a.position.mode })
        .collect();
    let accounts: BTreeSet<BillingAccountId> = budgets.iter().map(|b| b.billing_account_id).collect();
    stage.store.open_budgets(&budgets.into_iter().collect::<Vec<_>>()).await?;
    let accounts: Vec<_> = accounts.into_iter().collect();
    for sealed in stage.store.active_connections(&accounts).await? {
        let id = sealed.connection.id;
        if !stage.keyring.is_known(id) {
            admit(stage, &sealed).await?;
        }
        // On paper nothing has to be approved, and what a paper venue says of it must not count for money.
        let of_money = |a: &&About| {
            a.position.billing_account_id == sealed.billing_account_id && a.position.mode != Mode::Paper
        };
        let about = batch.iter().find(of_money);
        let (false, Some(about)) = (sealed.connection.approved, about) else { continue };
        let stand = match stage.keyring.keys(id) {
            Some(keys) => approvals_stand(stage, &sealed.connection, &keys, about).await,
            None => false,
        };
        if stand {
            stage.store.approve(id, stage.clock.now()).await?;
        } else {
            stage.keyring.note_unapproved(id);
        }
    }
    Ok(())
}

/// Opens a connection's keys, or remembers why they do not open.
async fn admit(stage: &Stage, sealed: &SealedConnection) -> Result<(), StoreError> {
    let id = sealed.connection.id;
    match open(stage, sealed).await? {
        Ok(keys) => stage.keyring.admit(id, keys),
        Err(why) => {
            tracing::error!(account = %sealed.billing_account_id, connection = %id, %why, "a wallet cannot trade");
            stage.board.trouble("wallet_refused");
            stage.keyring.refuse(id, &why);
        }
    }
    Ok(())
}

async fn open(stage: &Stage, sealed: &SealedConnection) -> Result<Result<Keys, String>, StoreError> {
    let (id, keyring) = (sealed.connection.id, &stage.keyring);
    let signer = match keyring.open_signer(id, &sealed.signing_key) {
        Ok(signer) if signer.address() == sealed.connection.address => signer,
        Ok(_) => return Ok(Err("the signing key is not that of the connection's address".to_owned())),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let creds = match &sealed.api_credentials {
        Some(stored) => keyring.open_creds(id, &signer, stored).map_err(|e| e.to_string()),
        None => match derive(stage, &signer).await {
            Ok(creds) => match keyring.seal_creds(&stage.chance, id, &creds) {
                Ok(bytes) => {
                    // Another process may have been first: the venue gives the same credentials to both.
                    stage.store.keep_credentials(id, &bytes).await?;
                    Ok(creds)
                }
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        },
    };
    Ok(creds.and_then(|creds| Keys::new(&sealed.connection, signer, creds).map_err(|e| e.to_string())))
}

async fn derive(stage: &Stage, signer: &LocalSigner) -> Result<ApiCreds, VenueError> {
    let mut tried = 1;
    loop {
        let issuer = stage.venues.issuer();
        match issuer.api_key(signer, stage.clock.now(), stage.keyring.chain_id()).await {
            Err(error) if error.may_pass() && tried < TRIES => {
                stage.clock.sleep(error.retry_after().unwrap_or(BETWEEN_TRIES * tried)).await;
                tried += 1;
            }
            answer => return answer,
        }
    }
}

/// Whether the exchange may take dollars and shares of the wallet: no position without an exit (`behaviour.md` 5).
async fn approvals_stand(stage: &Stage, connection: &Connection, keys: &Keys, about: &About) -> bool {
    let Some(exchange) = stage.venues.exchange(about.position.mode) else { return false };
    let shares = BalanceOf::Token { asset: about.position.asset.clone(), version: about.version };
    for of in [BalanceOf::Collateral, shares] {
        stage.venues.limits().wait(Route::Balance, Class::Urgent, &*stage.clock).await;
        let now = stage.clock.now();
        match exchange.balance_allowance(&of, connection.signature_type, keys.creds(), now).await {
            Ok(answer) if answer.least_allowance().is_some_and(Usdc::is_positive) => {}
            Ok(_) => return false,
            Err(error) => {
                tracing::warn!(connection = %connection.id, %error, "approvals could not be read");
                return false;
            }
        }
    }
    true
}

/// The keys that an attempt was signed with: of its connection, though it may be revoked by now.
pub async fn keys_of(stage: &Stage, attempt: &Attempt) -> Option<Arc<Keys>> {
    keys_of_connection(stage, attempt.connection_id?).await
}

/// The keys of a connection, revoked or not.
pub async fn keys_of_connection(stage: &Stage, id: Uuid) -> Option<Arc<Keys>> {
    if let Some(keys) = stage.keyring.keys(id) {
        return Some(keys);
    }
    load(stage, id).await.unwrap_or_else(|error| {
        tracing::warn!(connection = %id, %error, "the keys of a connection could not be loaded yet");
        None
    })
}

/// Opens the keys of a connection. Where they do not open, those of the same wallet connected again since: the venue knows
/// wallets, and what the former row's key signed must not stay unknown because its seal was lost.
async fn load(stage: &Stage, id: Uuid) -> Result<Option<Arc<Keys>>, StoreError> {
    let Some(sealed) = stage.store.connection(id).await? else { return Ok(None) };
    admit(stage, &sealed).await?;
    if let Some(keys) = stage.keyring.keys(id) {
        return Ok(Some(keys));
    }
    let wallet_of =
        |of: &SealedConnection| (of.connection.address, of.connection.signature_type, of.connection.funder);
    for active in stage.store.active_connections(&[sealed.billing_account_id]).await? {
        let again = active.connection.id;
        if again == id || wallet_of(&active) != wallet_of(&sealed) {
            continue;
        }
        if !stage.keyring.is_known(again) {
            admit(stage, &active).await?;
        }
        return Ok(stage.keyring.keys(again));
    }
    Ok(None)
}

/// Reads the balances of the partition's tenants now and then, and gives refused wallets another look.
pub async fn keep_house(desk: Desk) {
    let stage = &desk.stage;
    loop {
        if let Err(error) = read_balances(&desk).await {
            tracing::warn!(%error, "balances could not be read");
        }
        let keep = stage.clock.now().minus(Duration::from_secs(3600));
        if let Err(error) = stage.store.forget_published(desk.lease.partition, keep).await {
            tracing::warn!(%error, "published events could not be removed");
        }
        stage.clock.sleep(stage.settings.housekeeping).await;
        stage.keyring.forget_refusals();
    }
}

async fn read_balances(desk: &Desk) -> Result<(), StoreError> {
    let stage = &desk.stage;
    let manifest = stage.log.manifest();
    for (key, _) in stage.store.budgets().await? {
        let place = manifest.place(Topic::Intents, key.billing_account_id.to_string().as_bytes());
        let Some(exchange) = stage.venues.exchange(key.mode) else { continue };
        if place.partition != desk.lease.partition {
            continue;
        }
        for sealed in stage.store.active_connections(&[key.billing_account_id]).await? {
            let connection = &sealed.connection;
            // Keys are opened by the first intent: a tenant without any has nothing to be read.
            let Some(keys) = stage.keyring.keys(connection.id) else { continue };
            stage.venues.limits().wait(Route::Balance, Class::Resting, &*stage.clock).await;
            // Taken before the question: fills after it are not in the answer.
            let asked = stage.clock.now();
            let kind = connection.signature_type;
            match exchange.balance_allowance(&BalanceOf::Collateral, kind, keys.creds(), asked).await {
                Ok(answer) => {
                    if let Some(balance) = answer.balance() {
                        stage.store.keep_balance(key, balance, asked).await?;
                    }
                }
                Err(error) => {
                    tracing::warn!(account = %key.billing_account_id, %error, "a balance could not be read");
                }
            }
        }
    }
    Ok(())
}
