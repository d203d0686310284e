//! Whose turn it is: all tenants share a few connections, and none has all of them at once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use schemas::BillingAccountId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Accounts, CONNECTIONS, Tenant};

/// How many requests of one account are answered at once: a connection is left for everybody else.
pub(crate) const AT_ONCE: usize = CONNECTIONS as usize - 1;
/// The longest that a request waits for others of its account: long for a script that sends many short ones, and short
/// enough that what it then asks for can still be answered in time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Turns of the accounts whose requests are being answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<BTreeMap<BillingAccountId, Weak<Semaphore>>>>);

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    fn of(&self, account: BillingAccountId) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = all.get(&account).and_then(Weak::upgrade) {
            return there;
        }
        all.retain(|_, turns| turns.strong_count() > 0);
        let new = Arc::new(Semaphore::new(AT_ONCE));
        all.insert(account, Arc::downgrade(&new));
        new
    }

    async fn take(&self, account: BillingAccountId, patience: Duration) -> Option<Turn> {
        let permit = timeout(patience, self.of(account).acquire_owned()).await.ok()?.ok()?;
        Some(Turn { _permit: permit })
    }
}

impl Accounts {
    /// The account's turn at the connections; `None` where others of its requests have it for too long.
    pub(crate) async fn turn(&self, tenant: Tenant) -> Option<Turn> {
        self.turns.take(tenant.account, PATIENCE).await
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn an_account_has_so_many_turns_and_takes_none_of_another() {
        let turns = Turns::default();
        let [a, b] = [1, 2].map(|n| BillingAccountId::from_uuid(Uuid::from_u128(n)));
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(turns.take(a, PATIENCE).await.unwrap());
        }
        assert!(turns.take(a, Duration::from_millis(20)).await.is_none());
        let other = turns.take(b, PATIENCE).await.unwrap();
        let (next, ()) = tokio::join!(turns.take(a, PATIENCE), async { drop(held.pop()) });
        assert!(next.is_some(), "whoever waits has the next");
        drop((held, next, other));
        turns.take(b, PATIENCE).await.unwrap();
        assert_eq!(turns.0.lock().unwrap().len(), 1, "who asks for nothing is forgotten");
    }
}
