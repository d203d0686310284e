//! What earlier starts came to, so that the figures of `up` go on from there: asked of each tenant's own tables, as
//! that tenant.

use std::time::Duration;

use api::Operator;
use project::{
    Connections, Role,
    pg::begin_as,
    queries::{copies_by_status, decisions_by_reason},
};

use crate::{error::Error, installation::Installation};

/// Counting waits no longer than this: a long history shall not hold the start up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Puts the totals on the board. They are for people: where they cannot be had, counts begin at zero.
pub async fn totals(installation: &Installation, connections: &Connections) {
    tokio::select! {
        biased;
        counted = count(installation, connections) => if let Err(error) = counted {
            tracing::warn!(%error, "earlier decisions and orders could not be counted");
        },
        () = installation.clock.sleep(PATIENCE) => {
            tracing::warn!("earlier decisions and orders are too many to be counted at the start");
        }
    }
}

async fn count(installation: &Installation, connections: &Connections) -> Result<(), Error> {
    let (clock, chance) = (installation.clock.clone(), installation.chance.clone());
    let operator = Operator::connect(connections, installation.codec().await?, clock, chance).await;
    let pool = installation.pool(connections, Role::AppUser, 1).await?;
    for listed in operator.map_err(Error::said)?.list().await.map_err(Error::said)? {
        let mut transaction = begin_as(&pool, listed.tenant.user).await.map_err(Error::said)?;
        let decisions = decisions_by_reason(&mut transaction).await.map_err(Error::said)?;
        let orders = copies_by_status(&mut transaction).await.map_err(Error::said)?;
        installation.board.go_on_from(decisions.into_iter().map(|((_, reason), n)| (reason, n)), orders);
    }
    Ok(())
}
