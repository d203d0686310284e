//! The demo tenant of `up`: so that a first start shows something without a word typed.

use api::accounts::{SCOPES, SetGrant};
use schemas::{Address, Usdc};

use crate::{
    admin::Admin,
    error::Error,
    installation::{Database, Installation},
};

/// The demo tenant's handle.
const HANDLE: &str = "demo";
/// How many leaders it follows, and how it sizes its BUYs for each.
const POLICIES: [&[&str]; 3] = [
    &["sizing=min_bet"],
    &["sizing=fixed", "usdc_per_trade=5"],
    &["sizing=fixed", "usdc_per_trade=10", "max_usdc_per_trade=10", "max_usdc_per_token=50"],
];

/// Makes the demo tenant with all that it has, or what is missing of it: an earlier start may have died on the way. The
/// grant comes last, so what has one is left as its owner made it.
///
/// # Errors
/// A database that cannot be used.
pub async fn set_up(
    installation: &Installation,
    database: &Database,
    leaders: &[Address],
) -> Result<(), Error> {
    let admin = Admin::open(installation, database).await?;
    let done = complete(&admin, leaders).await;
    admin.close().await;
    done
}

async fn complete(admin: &Admin<'_>, leaders: &[Address]) -> Result<(), Error> {
    let tenant = admin.find_or_create(HANDLE).await?;
    let allowed = admin.was_allowed(tenant).await?;
    // An earlier program granted first.
    if allowed && admin.has_followed(tenant).await? {
        return Ok(());
    }
    for (leader, policy) in leaders.iter().zip(POLICIES) {
        let settings: Vec<String> = policy.iter().map(|s| (*s).to_owned()).collect();
        admin.follow(tenant, *leader, &settings, None).await?;
    }
    if allowed {
        return Ok(());
    }
    let grant = SetGrant {
        scopes: SCOPES.iter().map(|s| (*s).to_owned()).collect(),
        per_order_usdc_cap: Usdc::from_units(20),
        daily_usdc_cap: Usdc::from_units(5_000),
        hourly_fills_cap: 500,
        per_market_usdc_cap: None,
        expires_at: None,
    };
    admin.allow(tenant, grant).await.map(drop)
}
