//! Credentials, approvals and balances of the tenants' wallets.

use crate::{
    SOON,
    common::{price, sealed_key, shares},
    key, one, one_new, secs,
};
use execute::{
    Store,
    core::{gate::denial, snapshot::Connection},
    store::SealedConnection,
};
use schemas::{Denial, OrderStatus};
use uuid::Uuid;

#[tokio::test]
async fn credentials_are_derived_once_and_kept_sealed() {
    let (world, tenant) = one();
    let executor = world.start();
    world.publish(tenant.buy(1, "10", "0.50")).await;
    world.until("it is posted", SOON, || world.venue.posts().len() == 1).await;
    executor.stop(&world).await;
    let kept = world.store.connection(tenant.connection.id).await.unwrap().unwrap().api_credentials.unwrap();
    assert!(!kept.windows(4).any(|w| w == b"pass"), "sealed");
    let executor = world.start();
    world.publish(tenant.buy(2, "10", "0.50")).await;
    world.until("it is posted", SOON, || world.venue.posts().len() == 2).await;
    assert_eq!(world.venue.keys_given(), 1);
    executor.stop(&world).await;
}

#[tokio::test]
async fn a_wallet_that_does_not_open_is_denied_and_the_others_go_on() {
    let (world, tenant) = one();
    let broken = world.add(2);
    world.store.put_connection(SealedConnection {
        billing_account_id: broken.account,
        connection: broken.connection.clone(),
        signing_key: b"sealed with another installation's key".to_vec(),
        api_credentials: None,
    });
    let executor = world.start();
    world.publish(broken.buy(1, "10", "0.50")).await;
    world.publish(tenant.buy(2, "10", "0.50")).await;
    world.until("both are gated", SOON, || world.store.attempts().len() == 2).await;
    world.until("the good one is posted", SOON, || world.venue.posts().len() == 1).await;
    let denied = world.store.attempts().into_iter().find(|a| a.billing_account_id == broken.account).unwrap();
    assert_eq!(denial(&denied), Some(Denial::TradingNotReady));
    executor.stop(&world).await;
}

/// The installation's key was lost, and the wallet connected again: its orders are of the former row, whose seal stays shut.
#[tokio::test]
async fn orders_of_a_wallet_whose_seal_was_lost_are_followed_once_it_is_connected_again() {
    let (world, tenant) = one();
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("it rests", SOON, || world.status(key(&intent)) == Some(OrderStatus::Open)).await;
    executor.stop(&world).await;
    let former = world.store.connection(tenant.connection.id).await.unwrap().unwrap();
    let row = Uuid::from_u128(0xa6a1);
    world.store.put_connection(SealedConnection {
        signing_key: b"sealed with the key that was lost".to_vec(),
        ..former.clone()
    });
    world.store.put_connection(SealedConnection {
        connection: Connection { id: row, ..former.connection },
        signing_key: sealed_key(1, row),
        api_credentials: None,
        ..former
    });
    let executor = world.start();
    let id = world.attempt(key(&intent)).unwrap().order_id.unwrap();
    world.venue.fill(id, shares("10"), price("0.50"), "CONFIRMED");
    world.until("it is known", secs(60), || world.status(key(&intent)) == Some(OrderStatus::Filled)).await;
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn approvals_are_looked_for_before_a_market_is_bought() {
    let (world, tenant) = one_new();
    world.venue.set_allowance(0);
    let executor = world.start();
    let first = tenant.buy(1, "10", "0.50");
    world.publish(first.clone()).await;
    world.until("it is denied", SOON, || world.attempt(key(&first)).is_some()).await;
    assert_eq!(denial(&world.attempt(key(&first)).unwrap()), Some(Denial::TradingNotReady));
    executor.stop(&world).await;
    world.venue.set_allowance(1);
    let executor = world.start();
    let second = tenant.buy(2, "10", "0.50");
    world.publish(second.clone()).await;
    world.until("it rests", SOON, || world.status(key(&second)) == Some(OrderStatus::Open)).await;
    executor.stop(&world).await;
}

#[tokio::test]
async fn balances_are_read_and_count() {
    let (world, tenant) = one();
    world.venue.set_balance(7_000_000);
    let executor = world.start();
    world.publish(tenant.buy(1, "10", "0.50")).await;
    world.until("it is posted", SOON, || world.venue.posts().len() == 1).await;
    world.pass(secs(31)).await;
    let second = tenant.buy(2, "10", "0.50");
    world.publish(second.clone()).await;
    world.until("it is gated", SOON, || world.attempt(key(&second)).is_some()).await;
    assert_eq!(denial(&world.attempt(key(&second)).unwrap()), Some(Denial::InsufficientBalance));
    executor.stop(&world).await;
}
