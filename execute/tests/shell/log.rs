//! The stage and its log: what does not decode, what is published, whose partition it is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    SOON,
    common::{Tenant, keyring, venue::Post, world::World},
    key, one, secs,
};
use eventlog::{Offset, fault::Lost};
use execute::{
    Store,
    store::{intents, memory::Fate},
};
use runtime::Clock;
use schemas::{
    OrderStatus,
    codec::{Codec, FIRST_BUNDLED_ID, SchemaId, SchemaSource, released},
};

#[tokio::test]
async fn what_cannot_be_read_goes_to_dead_letters_and_stops_nothing() {
    let (world, tenant) = one();
    let executor = world.start();
    let account = tenant.account.to_string();
    world.publish_raw(&account, Some(b"\x01 not framed")).await;
    world.publish_raw(&account, None).await;
    // Nobody's money.
    world.publish(Tenant::new(77).buy(1, "10", "0.50")).await;
    let mut stolen = tenant.buy(2, "10", "0.50");
    stolen.head.created_by_user_id = Tenant::new(77).user;
    world.publish(stolen).await;
    let good = tenant.buy(3, "10", "0.50");
    world.publish(good.clone()).await;
    world.until("the good one rests", SOON, || world.status(key(&good)) == Some(OrderStatus::Open)).await;
    world.until("four letters", SOON, || world.letters().len() == 4).await;
    let mut codes: Vec<_> = world.letters().iter().map(|l| (l.reader.clone(), l.code.clone())).collect();
    codes.sort();
    let of = |code: &str| ("execute".to_owned(), code.to_owned());
    assert_eq!(
        codes,
        [of("account_of_another"), of("account_unknown"), of("record_not_framed"), of("record_not_framed")]
    );
    assert_eq!(world.store.attempts().len(), 1);
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn the_letter_of_an_intent_fits_into_the_log_however_large_the_record() {
    let (world, tenant) = one();
    let executor = world.start();
    // As much as the broker takes of anybody.
    world.publish_raw(&tenant.account.to_string(), Some(&vec![1; 9_000_000])).await;
    let good = tenant.buy(1, "10", "0.50");
    world.publish(good.clone()).await;
    world.until("the good one rests", SOON, || world.status(key(&good)) == Some(OrderStatus::Open)).await;
    let [letter] = &world.letters()[..] else { panic!("{} letters", world.letters().len()) };
    assert_eq!((letter.code.as_str(), letter.value.as_deref()), ("record_not_framed", None));
    assert!(letter.reason.contains("9000000 bytes"), "{}", letter.reason);
    executor.stop(&world).await;
    world.check();
}

/// A registry that answers once it is told to.
#[derive(Debug, Default)]
struct Sleepy {
    awake: AtomicBool,
    schema: String,
}

impl SchemaSource for Sleepy {
    fn schema(&self, _: SchemaId) -> Result<Option<String>, String> {
        if self.awake.load(Ordering::SeqCst) { Ok(Some(self.schema.clone())) } else { Err("asleep".into()) }
    }
}

/// A value under another schema id, as a newer program or one with a registry writes it.
fn under(id: u32, value: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], &value[5..]].concat()
}

/// The newest schema of a record.
fn schema_of(name: &str) -> String {
    released()
        .unwrap()
        .into_iter()
        .filter(|r| r.name == name)
        .max_by_key(|r| r.version)
        .unwrap()
        .json
        .to_owned()
}

/// To pass over a close of a newer program would be never to sell.
#[tokio::test]
async fn an_intent_of_a_newer_program_stops_the_stage_and_is_taken_by_that() {
    const LATER: u32 = FIRST_BUNDLED_ID + 9_999;
    let (mut world, tenant) = one();
    // The tests share one, and this one learns.
    world.codec = Codec::bundled().unwrap();
    let executor = world.start();
    let good = tenant.buy(1, "10", "0.50");
    let value = under(LATER, &world.codec.encode(&good).unwrap().value);
    world.publish_raw(&tenant.account.to_string(), Some(&value)).await;
    world.until("it stops", SOON, || executor.running.is_finished()).await;
    assert_eq!(executor.running.await.unwrap().unwrap_err().code(), "record_schema_newer");
    assert!(world.letters().is_empty());
    // Upgraded.
    world.codec.learn(SchemaId(LATER), &schema_of("PlaceIntent")).unwrap();
    let executor = world.start();
    world.until("the good one rests", SOON, || world.status(key(&good)) == Some(OrderStatus::Open)).await;
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn an_intent_whose_schema_the_registry_does_not_tell_now_is_waited_for() {
    let (mut world, tenant) = one();
    // The tests share one, and this one learns.
    world.codec = Codec::bundled().unwrap();
    let registry = Arc::new(Sleepy { schema: schema_of("PlaceIntent"), ..Sleepy::default() });
    world.codec.ask(registry.clone());
    let executor = world.start();
    let good = tenant.buy(1, "10", "0.50");
    let value = under(77, &world.codec.encode(&good).unwrap().value);
    world.publish_raw(&tenant.account.to_string(), Some(&value)).await;
    world
        .until("it waits", SOON, || executor.board.figures().troubles.contains_key("registry_unreachable"))
        .await;
    registry.awake.store(true, Ordering::SeqCst);
    world.until("the good one rests", SOON, || world.status(key(&good)) == Some(OrderStatus::Open)).await;
    assert!(world.letters().is_empty());
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn events_are_published_once_for_certain_whatever_the_log_answers() {
    let (world, tenant) = one();
    let executor = world.start();
    for fill in 0..3 {
        world.publish(tenant.buy(fill, "10", "0.10")).await;
        // The next to append is the relay.
        world.log.faults().lose_next_append(if fill % 2 == 0 { Lost::After } else { Lost::Before });
        world.pass(secs(2)).await;
    }
    world.until("all is told", SOON, || world.store.waiting().0 == 0).await;
    executor.stop(&world).await;
    let events = world.events();
    assert_eq!(world.store.attempts().len(), 3);
    assert!(events.len() > 6, "an append whose answer was lost is repeated");
    world.check();
}

#[tokio::test]
async fn a_database_older_than_the_log_is_refused() {
    let (world, tenant) = one();
    let executor = world.start();
    world.publish(tenant.buy(1, "10", "0.50")).await;
    world.until("all is told", SOON, || world.events().len() == 2).await;
    executor.stop(&world).await;
    let older = World::with_log(Some((world.log.clone(), world.clock.clone())));
    older.add(1);
    let executor = older.start();
    older.until("it refuses", SOON, || executor.running.is_finished()).await;
    let error = executor.running.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "database_older_than_log");
    assert!(error.to_string().contains("newer backup"), "{error}");
}

#[tokio::test]
async fn an_older_log_under_a_newer_database_is_refused() {
    let (world, tenant) = one();
    let executor = world.start();
    world.publish(tenant.buy(1, "10", "0.50")).await;
    world.until("it is posted", SOON, || world.venue.posts().len() == 1).await;
    executor.stop(&world).await;
    // The intents went another way than the ledger has taken them.
    let mut stored = world.store.stored_offset(world.partition(&tenant)).unwrap();
    stored.next = Offset(stored.next.0 + 50);
    let other = World::with_log(Some((world.log.clone(), world.clock.clone())));
    let claim = other.store.claim(stored.at.partition, "x", secs(1)).await.unwrap();
    let batch = execute::store::Batch {
        partition: stored.at.partition,
        epoch: claim.epoch,
        source: execute::store::Source::Log { from: None, to: stored },
        items: &[],
        now: world.clock.now(),
        served: &[],
    };
    other.store.gate(batch, &keyring(&[])).await.unwrap();
    let revisions = world.store.attempts();
    assert_eq!(revisions.len(), 1);
    let executor = other.start_with(|store, _| {
        // What the ledger lacks of the orders is another test's matter.
        let _ = store;
    });
    other.until("it refuses", SOON, || executor.running.is_finished()).await;
    let code = executor.running.await.unwrap().unwrap_err().code();
    assert!(["stored_offset_ahead_of_log", "database_older_than_log"].contains(&code), "{code}");
}

#[tokio::test]
async fn a_zombie_sends_nothing_once_another_may() {
    let (world, tenant) = one();
    let partition = world.partition(&tenant);
    let zombie = world.start();
    world.publish(tenant.buy(1, "10", "0.10")).await;
    world.until("it is posted", SOON, || world.venue.posts().len() == 1).await;
    // Its session ends; it lives on and does not know. The orders it holds wait at a venue that says: later.
    world.venue.script([Post::Later(429, Some(secs(12)))]);
    let put_off = tenant.buy(2, "10", "0.10");
    world.publish(put_off.clone()).await;
    world.until("it is put off", SOON, || world.status(key(&put_off)) == Some(OrderStatus::Submitted)).await;
    let owner = world.start();
    assert!(world.log.evict("execute", intents(partition)));
    world.until("it is resolved", secs(60), || world.status(key(&put_off)) == Some(OrderStatus::Open)).await;
    let posts = world.venue.posts().len();
    world.pass(secs(30)).await;
    assert_eq!(world.venue.posts().len(), posts);
    assert_eq!(world.venue.orders().len(), 2);
    owner.stop(&world).await;
    zombie.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn without_a_renewed_lease_nothing_is_sent() {
    let (world, tenant) = one();
    let deaf = Arc::new(AtomicBool::new(false));
    let executor = {
        let deaf = deaf.clone();
        world.start_with(move |store, _| {
            store.on_call(Some(Arc::new(move |name| {
                if name == "renew" && deaf.load(Ordering::SeqCst) { Fate::LostBefore } else { Fate::Fine }
            })));
        })
    };
    world.venue.script([Post::Later(429, Some(secs(11)))]);
    world.publish(tenant.buy(1, "10", "0.10")).await;
    world.until("it is put off", SOON, || world.venue.posts().len() == 1).await;
    deaf.store(true, Ordering::SeqCst);
    world.pass(secs(40)).await;
    assert_eq!(world.venue.posts().len(), 1, "the lease ran out");
    deaf.store(false, Ordering::SeqCst);
    world.until("it goes", SOON, || world.venue.posts().len() == 2).await;
    executor.stop(&world).await;
    world.check();
}
