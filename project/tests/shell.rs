//! The stage as a whole: a log, real tables, and everything that goes wrong between them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::{
    Tenant, add_tenant, append, cut, cut_record, database, decision, decision_record, garbage, later, log,
    order, order_record, sale, superuser, tables,
};
use eventlog::{Log, Offset, TopicPartition, memory::MemoryLog};
use project::{
    Connections,
    core::fold::{Batch, Progress},
    rebuild::Rebuild,
    shell::{Options, Ports, ProjectError, run},
    store::{MemoryStore, PgStore, Store, StoreError},
};
use runtime::{Board, Stop};
use schemas::{
    BillingAccountId, Hash32, OrderStatus, Reason, TargetId, UserId,
    codec::{Codec, FIRST_BUNDLED_ID, SchemaId, SchemaSource, released},
    events::{DeadLetter, DeadLettersEvent, OrderState},
    topics::Topic,
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::{sync::Mutex, task::JoinHandle};

const PATIENCE: Duration = Duration::from_secs(30);

fn ports(log: &MemoryLog, store: Arc<dyn Store>) -> Ports {
    Ports {
        log: Arc::new(log.clone()),
        store,
        clock: common::clock(),
        codec: Codec::bundled().unwrap(),
        board: Board::new(),
    }
}

struct Running {
    stop: Stop,
    board: Board,
    task: JoinHandle<Result<(), ProjectError>>,
}

impl Running {
    fn start(ports: Ports) -> Self {
        Self::start_with(ports, 500)
    }

    fn start_with(ports: Ports, batch: usize) -> Self {
        let stop = Stop::new();
        let board = ports.board.clone();
        let options = Options { batch, wait: Duration::from_millis(10), ..Options::default() };
        let task = {
            let stop = stop.clone();
            tokio::spawn(async move { run(&ports, &options, &stop).await })
        };
        Self { stop, board, task }
    }

    async fn finish(self) {
        self.stop.request();
        self.task.await.unwrap().unwrap();
    }
}

/// Waits until everything in the log has been folded into these tables.
async fn caught_up(log: &MemoryLog, store: &dyn Store) {
    testkit::wait_for("project to read all of the log", PATIENCE, || async {
        for topic in [Topic::Decisions, Topic::Orders, Topic::Fills] {
            for partition in 0..log.manifest().partitions(topic) {
                let at = TopicPartition::new(topic, partition);
                let last = log.read(at, Offset::ZERO, 10_000).await.unwrap().last().map(|s| s.offset.next());
                let progress = store.progress(&[at].into()).await.unwrap_or_default();
                if last.is_some_and(|last| progress.get(&at).is_none_or(|progress| progress.next < last)) {
                    return false;
                }
            }
        }
        true
    })
    .await;
}

/// Two partitions with cuts, decisions and orders of two tenants; some records that nobody can read.
/// An order's record in a partition of `orders`. A wallet has one partition number in all topics, and [`common::wallet`] has
/// partition 0: those of partition 1 are another wallet's.
fn in_partition(partition: i32, state: &OrderState) -> eventlog::Append {
    let wallet = match partition {
        0 => state.wallet,
        _ => schemas::Address::from_bytes([0x99; 20]),
    };
    let of = OrderState { wallet, target_id: TargetId::of_wallet(wallet), ..state.clone() };
    order_record(partition, &of)
}

async fn fill(log: &MemoryLog, a: Tenant, b: Tenant) {
    let mut heads = [Hash32::ZERO; 2];
    for round in 0..6_u32 {
        for partition in 0..2_i32 {
            let of = &mut heads[usize::try_from(partition).unwrap()];
            let number = round * 2 + u32::try_from(partition).unwrap();
            let (next, hash) = cut(partition, i64::from(round), *of, 2);
            *of = hash;
            let placed = order(a, number, 5);
            let skipped = decision(b, partition, i64::from(round), number, Reason::StaleFill);
            let ours = decision(a, partition, i64::from(round), number, Reason::Ok);
            append(
                log,
                vec![cut_record(&next), decision_record(&ours, hash), decision_record(&skipped, hash)],
            )
            .await;
            append(log, vec![in_partition(partition, &placed)]).await;
            append(log, vec![in_partition(partition, &later(&placed, OrderStatus::Filled, 5))]).await;
        }
        append(log, vec![garbage(Topic::Orders, 0), garbage(Topic::Decisions, 1)]).await;
    }
    // What fills tell of tokens, among what they tell of trades.
    append(log, vec![of_fills(&common::marked(1, Some(400_000), 70)), of_fills(&watermark())]).await;
    append(log, vec![of_fills(&common::migrated(1, 3)), of_fills(&common::migrated(1, 3))]).await;
    append(
        log,
        vec![of_fills(&common::marked(1, Some(500_000), 80)), of_fills(&common::resolved(500_000, 90))],
    )
    .await;
    let sold = sale(a, 50, 0, 20);
    append(log, vec![order_record(0, &sold), order_record(0, &later(&sold, OrderStatus::Cancelled, 12))])
        .await;
}

/// A record of `fills`, as ingest writes it.
fn of_fills<E: schemas::avro::Event>(event: &E) -> eventlog::Append {
    let codec = Codec::bundled().unwrap();
    let key = common::wallet().to_string();
    let (record, _) = eventlog::event::record(&codec, &key, event, common::at(0), None).unwrap();
    eventlog::Append { to: TopicPartition::new(Topic::Fills, 0), record }
}

/// Something in `fills` that is none of project's business.
fn watermark() -> schemas::events::Watermark {
    schemas::events::Watermark {
        wallet: common::wallet(),
        complete_until: common::at(60),
        observed_at: common::at(61),
    }
}

async fn letters(log: &MemoryLog) -> Vec<DeadLetter> {
    let codec = Codec::bundled().unwrap();
    let at = TopicPartition::new(Topic::DeadLetters, 0);
    log.read(at, Offset::ZERO, 1_000)
        .await
        .unwrap()
        .iter()
        .map(|stored| match codec.decode(stored.record.value.as_deref().unwrap()).unwrap() {
            DeadLettersEvent::DeadLetter(letter) => letter,
            DeadLettersEvent::Gap(gap) => panic!("{gap:?}"),
        })
        .collect()
}

async fn setup() -> (Connections, Tenant, Tenant, PgStore) {
    let connections = database().await;
    let (a, b) = (add_tenant(&connections, 1).await, add_tenant(&connections, 2).await);
    let store = PgStore::connect(&connections).await.unwrap();
    (connections, a, b, store)
}

async fn count(connections: &Connections, table: &str) -> i64 {
    let pool = superuser(connections).await;
    let sql = format!("select count(*) from {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&pool).await.unwrap()
}

#[tokio::test]
async fn every_decision_and_every_order_becomes_a_row_and_what_cannot_be_read_a_dead_letter() {
    let (connections, a, b, store) = setup().await;
    let log = log(2);
    fill(&log, a, b).await;
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    caught_up(&log, &store).await;
    assert_eq!(count(&connections, "poly_copy_trade_decisions").await, 24);
    assert_eq!(count(&connections, "poly_copy_trade_fills").await, 13);
    assert_eq!(count(&connections, "poly_copy_trade_fills where position_lifecycle = 'closed'").await, 3);
    assert_eq!(count(&connections, "poly_copy_trade_fills where position_lifecycle = 'split'").await, 4);
    assert_eq!(count(&connections, "poly_copy_trade_fills where position_lifecycle = 'open'").await, 6);
    assert_eq!(count(&connections, "poly_token_outcomes where per_share = 500000").await, 2);
    assert_eq!(count(&connections, "poly_token_marks where best_bid = 500000").await, 1);
    let letters = letters(&log).await;
    assert_eq!(letters.len(), 12);
    let first = letters.iter().find(|letter| letter.topic == "orders").unwrap();
    assert_eq!(
        (first.partition, first.code.as_str(), first.reader.as_str()),
        (0, "record_schema_unknown", "project")
    );
    assert_eq!(
        (first.key.as_deref(), first.value.as_deref()),
        (Some(&b"junk"[..]), Some(&[0, 255, 255, 255, 255, 1][..]))
    );
    let lag = running.board.clone();
    testkit::wait_for("the lag to be told", PATIENCE, || async { lag.figures().lag.contains_key("project") })
        .await;
    let place = TopicPartition::new(Topic::Orders, 1);
    let next = store.progress(&[place].into()).await.unwrap()[&place].next;
    testkit::wait_for("the group's offsets to follow", PATIENCE, || async {
        log.committed("project", &[place]).await.unwrap().get(&place) == Some(&next)
    })
    .await;
    running.finish().await;
}

#[tokio::test]
async fn after_a_stop_it_continues_where_it_stopped() {
    let (connections, a, b, store) = setup().await;
    let log = log(2);
    fill(&log, a, b).await;
    let first = Running::start(ports(&log, Arc::new(store.clone())));
    caught_up(&log, &store).await;
    first.finish().await;
    let before = letters(&log).await.len();
    let more = order(a, 90, 5);
    append(&log, vec![in_partition(1, &more)]).await;
    let second = Running::start(ports(&log, Arc::new(store.clone())));
    caught_up(&log, &store).await;
    second.finish().await;
    assert_eq!(count(&connections, "poly_copy_trade_fills").await, 14);
    assert_eq!(letters(&log).await.len(), before, "nothing was read twice");
}

#[tokio::test]
async fn two_projectors_that_believe_they_own_the_same_partition_do_no_harm() {
    let (connections, a, b, store) = setup().await;
    let log = log(2);
    let first = Running::start(ports(&log, Arc::new(store.clone())));
    let second = Running::start(ports(&log, Arc::new(PgStore::connect(&connections).await.unwrap())));
    for round in 0..4 {
        // A zombie goes on with what it read before it learns that it is one.
        log.evict("project", TopicPartition::new(Topic::Orders, round % 2));
        if round == 1 {
            fill(&log, a, b).await;
        }
        log.rebalance("project");
        tokio::task::yield_now().await;
    }
    caught_up(&log, &store).await;
    first.finish().await;
    second.finish().await;
    let live = tables(&superuser(&connections).await, "public").await;
    assert_eq!(live, rebuilt(&connections, &log).await);
}

async fn rebuilt(connections: &Connections, log: &MemoryLog) -> Vec<String> {
    let mut rebuild = Rebuild::begin(connections).await.unwrap();
    rebuild.catch_up(log, &Codec::bundled().unwrap(), 7).await.unwrap();
    tables(&superuser(connections).await, "rebuild").await
}

/// Bought under one id and sold under the next; what leads there is told in between, and some of it after the sale.
#[tokio::test]
async fn a_token_that_went_on_under_other_ids_is_one_position_live_and_rebuilt() {
    let (connections, a, _, store) = setup().await;
    let log = log(2);
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    let bought = later(&order(a, 1, 10), OrderStatus::Filled, 10);
    let sold = OrderState { asset: common::asset(3), ..later(&sale(a, 2, 0, 10), OrderStatus::Filled, 10) };
    append(&log, vec![order_record(0, &bought), of_fills(&common::migrated(1, 2))]).await;
    caught_up(&log, &store).await;
    append(&log, vec![order_record(0, &sold)]).await;
    caught_up(&log, &store).await;
    let closed = "poly_copy_trade_fills where position_lifecycle = 'closed'";
    assert_eq!(count(&connections, closed).await, 1, "the sale, of what nobody is known to have bought");
    append(&log, vec![of_fills(&common::migrated(2, 3))]).await;
    caught_up(&log, &store).await;
    assert_eq!(count(&connections, closed).await, 2);
    running.finish().await;
    let live = tables(&superuser(&connections).await, "public").await;
    let ids = live.iter().filter(|row| row.starts_with("poly_token_ids")).count();
    assert_eq!((ids, count(&connections, "poly_copy_trade_fills where asset = '7001'").await), (3, 1));
    assert_eq!(live, rebuilt(&connections, &log).await);
}

/// Invariant 6.
#[tokio::test]
async fn a_rebuilt_table_equals_the_live_one() {
    let (connections, a, b, store) = setup().await;
    let log = log(2);
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    fill(&log, a, b).await;
    let mut strange = order(a, 70, 5);
    strange.reason = Some("a\0b".into());
    append(&log, vec![in_partition(1, &strange), in_partition(1, &order(a, 71, 5))]).await;
    caught_up(&log, &store).await;
    running.finish().await;
    let live = tables(&superuser(&connections).await, "public").await;
    assert!(live.len() > 40, "{}", live.len());
    assert_eq!(live, rebuilt(&connections, &log).await);
}

#[tokio::test]
async fn a_rebuild_takes_the_live_tables_place_under_a_running_projector() {
    let (connections, a, b, store) = setup().await;
    let log = log(2);
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    fill(&log, a, b).await;
    caught_up(&log, &store).await;
    let superuser = superuser(&connections).await;
    // Whatever went wrong with the live tables:
    sqlx::query("update poly_copy_trade_fills set filled_shares = 0").execute(&superuser).await.unwrap();
    sqlx::query("delete from poly_copy_trade_decisions").execute(&superuser).await.unwrap();
    let mut rebuild = Rebuild::begin(&connections).await.unwrap();
    let built = rebuild.catch_up(&log, &Codec::bundled().unwrap(), 500).await.unwrap();
    assert_eq!((built.dead, built.records > 60), (12, true), "{built:?}");
    append(&log, vec![in_partition(1, &order(a, 91, 5))]).await;
    caught_up(&log, &store).await;
    assert!(rebuild.behind(&log).await.unwrap() > 0);
    rebuild.swap(&log, &Codec::bundled().unwrap()).await.unwrap();
    assert_eq!(
        count(&connections, "poly_copy_trade_fills").await,
        14,
        "what the live tables had come to is there"
    );
    append(&log, vec![order_record(0, &order(a, 92, 5))]).await;
    caught_up(&log, &store).await;
    assert!(!running.task.is_finished());
    running.finish().await;
    assert_eq!(count(&connections, "poly_copy_trade_fills").await, 15);
    assert_eq!(count(&connections, "poly_copy_trade_decisions").await, 24);
    let live = tables(&superuser, "public").await;
    assert_eq!(live, rebuilt(&connections, &log).await);
    let guarded: i64 = sqlx::query_scalar(
        "select count(*) from pg_class c join pg_policies p on p.tablename = c.relname and p.schemaname = 'public'
         where c.relname = any($1) and c.relnamespace = 'public'::regnamespace and c.relrowsecurity
             and c.relforcerowsecurity",
    )
    .bind(project::rebuild::TABLES.to_vec())
    .fetch_one(&superuser)
    .await
    .unwrap();
    assert_eq!(guarded, 13, "the new tables have the old ones' policies");
}

#[tokio::test]
async fn a_rebuild_from_nothing_repairs_the_tables_in_one_call() {
    let (connections, a, b, store) = setup().await;
    let log = log(2);
    fill(&log, a, b).await;
    let codec = Codec::bundled().unwrap();
    let built = project::rebuild::rebuild(&connections, &log, &codec).await.unwrap();
    assert_eq!(count(&connections, "poly_copy_trade_fills").await, 13);
    // The projector goes on from there, and reads nothing again.
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    append(&log, vec![order_record(0, &order(a, 92, 5))]).await;
    caught_up(&log, &store).await;
    running.finish().await;
    assert_eq!(count(&connections, "poly_copy_trade_fills").await, 14);
    assert!(letters(&log).await.is_empty(), "a rebuild writes no dead letters again");
    assert_eq!(
        project::rebuild::rebuild(&connections, &log, &codec).await.unwrap().records,
        built.records + 1
    );
}

#[tokio::test]
async fn a_record_that_the_database_cannot_hold_is_a_dead_letter_and_its_neighbours_are_rows() {
    let (connections, a, _, store) = setup().await;
    let log = log(1);
    let mut strange = order(a, 2, 5);
    strange.reason = Some("a\0b".into());
    append(
        &log,
        vec![order_record(0, &order(a, 1, 5)), order_record(0, &strange), order_record(0, &order(a, 3, 5))],
    )
    .await;
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    caught_up(&log, &store).await;
    running.finish().await;
    assert_eq!(count(&connections, "poly_copy_trade_fills").await, 2);
    let letters = letters(&log).await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].code.as_str(), letters[0].offset), ("record_not_storable", 1));
}

#[tokio::test]
async fn the_letter_of_a_record_fits_into_the_log_however_large_the_record() {
    let (connections, a, _, store) = setup().await;
    let log = log(1);
    let mut large = garbage(Topic::Orders, 0);
    // As much as the broker takes of anybody.
    large.record.value = Some(vec![1; 9_000_000].into());
    append(&log, vec![large, order_record(0, &order(a, 1, 5))]).await;
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    caught_up(&log, &store).await;
    running.finish().await;
    assert_eq!(count(&connections, "poly_copy_trade_fills").await, 1);
    let letters = letters(&log).await;
    assert_eq!(
        (letters.len(), letters[0].key.as_deref(), letters[0].value.as_deref()),
        (1, Some(&b"junk"[..]), None)
    );
    assert!(letters[0].reason.contains("9000000 bytes"), "{}", letters[0].reason);
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

#[tokio::test]
async fn a_record_of_a_newer_program_stops_the_stage_and_is_taken_by_that() {
    const LATER: u32 = FIRST_BUNDLED_ID + 9_999;
    let (connections, a, _, store) = setup().await;
    let log = log(1);
    let mut newer = order_record(0, &order(a, 1, 5));
    newer.record.value = newer.record.value.map(|value| under(LATER, &value).into());
    append(&log, vec![newer]).await;
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    testkit::wait_for("it to stop", PATIENCE, || async { running.task.is_finished() }).await;
    assert_eq!(running.task.await.unwrap().unwrap_err().code(), "record_schema_newer");
    assert!(letters(&log).await.is_empty());
    let upgraded = ports(&log, Arc::new(store.clone()));
    upgraded.codec.learn(SchemaId(LATER), &schema_of("OrderState")).unwrap();
    let running = Running::start(upgraded);
    caught_up(&log, &store).await;
    running.finish().await;
    assert_eq!(count(&connections, "poly_copy_trade_fills").await, 1);
}

#[tokio::test]
async fn a_record_whose_schema_the_registry_does_not_tell_now_is_waited_for() {
    let (connections, a, _, store) = setup().await;
    let log = log(1);
    let mut of_registry = order_record(0, &order(a, 1, 5));
    of_registry.record.value = of_registry.record.value.map(|value| under(77, &value).into());
    append(&log, vec![of_registry]).await;
    let registry = Arc::new(Sleepy { schema: schema_of("OrderState"), ..Sleepy::default() });
    let ports = ports(&log, Arc::new(store.clone()));
    ports.codec.ask(registry.clone());
    let running = Running::start(ports);
    testkit::wait_for("it to wait", PATIENCE, || async {
        running.board.figures().troubles.contains_key("registry_unreachable")
    })
    .await;
    registry.awake.store(true, Ordering::SeqCst);
    caught_up(&log, &store).await;
    running.finish().await;
    assert_eq!(count(&connections, "poly_copy_trade_fills").await, 1);
    assert!(letters(&log).await.is_empty());
}

#[tokio::test]
async fn an_offset_of_another_log_stops_the_stage_and_names_the_remedy() {
    let (_connections, a, _, store) = setup().await;
    let first = log(1);
    append(&first, vec![order_record(0, &order(a, 1, 5))]).await;
    let running = Running::start(ports(&first, Arc::new(store.clone())));
    caught_up(&first, &store).await;
    running.finish().await;
    let second = log(1);
    append(&second, vec![order_record(0, &order(a, 1, 5))]).await;
    let error = Running::start(ports(&second, Arc::new(store))).task.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "stored_offset_of_another_log");
    assert!(error.to_string().contains("rebuild"), "{error}");
}

#[tokio::test]
async fn a_log_that_went_another_way_stops_the_stage() {
    let (_connections, a, _, _) = setup().await;
    let log = log(1);
    append(&log, vec![order_record(0, &order(a, 1, 5))]).await;
    let store = MemoryStore::default();
    let place = TopicPartition::new(Topic::Orders, 0);
    let elsewhere = Progress {
        next: Offset(1),
        before: Some(Hash32::from_bytes([9; 32])),
        ..Progress::start(log.manifest().log_id)
    };
    let advances = BTreeMap::from([(place, (None, elsewhere))]);
    store.apply(&Batch { advances, ..Batch::default() }).await.unwrap();
    let error = Running::start(ports(&log, Arc::new(store))).task.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "stored_offset_mismatch");
}

/// What a database does on a bad day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bad {
    /// It is away.
    Away,
    /// The batch is in, and the answer lost.
    AnswerLost,
}

#[derive(Debug, Default)]
struct Flaky {
    inside: MemoryStore,
    to_come: Mutex<Vec<Bad>>,
}

#[async_trait]
impl Store for Flaky {
    async fn progress(
        &self,
        of: &BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Progress>, StoreError> {
        self.inside.progress(of).await
    }

    async fn owners(
        &self,
        of: &BTreeSet<BillingAccountId>,
    ) -> Result<BTreeMap<BillingAccountId, UserId>, StoreError> {
        self.inside.owners(of).await
    }

    async fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let bad = self.to_come.lock().await.pop();
        if bad == Some(Bad::Away) {
            return Err(StoreError::Unreachable("gone".into()));
        }
        self.inside.apply(batch).await?;
        if bad == Some(Bad::AnswerLost) { Err(StoreError::Unreachable("lost".into())) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_database_that_is_away_or_loses_its_answer_loses_and_doubles_nothing() {
    let (a, b) = (common::tenant(1), common::tenant(2));
    let good = MemoryStore::default();
    let bad = Flaky::default();
    for store in [&good, &bad.inside] {
        store.add_account(a.account, a.user);
        store.add_account(b.account, b.user);
    }
    *bad.to_come.lock().await = vec![Bad::AnswerLost, Bad::Away, Bad::Away, Bad::AnswerLost];
    let log = log(2);
    fill(&log, a, b).await;
    let inside = bad.inside.clone();
    let one = Running::start_with(ports(&log, Arc::new(bad)), 7);
    caught_up(&log, &inside).await;
    assert_eq!(one.board.figures().troubles.get("database_unreachable"), Some(&4));
    one.finish().await;
    let letters = letters(&log).await;
    let places: BTreeSet<_> = letters.iter().map(|l| (l.topic.clone(), l.partition, l.offset)).collect();
    assert_eq!(places.len(), 12, "none is lost; some may stand twice");
    let other = self::log(2);
    fill(&other, a, b).await;
    let two = Running::start(ports(&other, Arc::new(good.clone())));
    caught_up(&other, &good).await;
    two.finish().await;
    assert_eq!(inside.rows(), good.rows());
    assert_eq!(inside.decisions(), good.decisions());
}

/// The server ends every session of the projector, again and again, while records flow.
#[tokio::test]
async fn sessions_that_the_server_ends_lose_and_double_nothing() {
    let (connections, a, b, store) = setup().await;
    let log = log(2);
    let running = Running::start_with(ports(&log, Arc::new(store.clone())), 5);
    let superuser = superuser(&connections).await;
    let mut ended = 0;
    for _ in 0..3 {
        let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where usename = 'projector' and datname = current_database()";
        ended += sqlx::query_scalar::<_, i64>(end).fetch_one(&superuser).await.unwrap();
        fill(&log, a, b).await;
    }
    assert!(ended > 0);
    // The rounds write the same cuts again: those are foreign, and the orders are old news.
    caught_up(&log, &store).await;
    assert!(!running.task.is_finished());
    running.finish().await;
    assert_eq!(count(&connections, "poly_copy_trade_decisions").await, 24);
    assert_eq!(tables(&superuser, "public").await, rebuilt(&connections, &log).await);
}

#[tokio::test]
async fn decisions_outside_the_accepted_chain_make_no_rows_and_are_counted() {
    let (connections, a, _, store) = setup().await;
    let log = log(1);
    let (first, hash) = cut(0, 0, Hash32::ZERO, 1);
    let (stray, stray_hash) = cut(0, 0, Hash32::from_bytes([3; 32]), 1);
    append(
        &log,
        vec![
            cut_record(&first),
            cut_record(&stray),
            decision_record(&decision(a, 0, 0, 8, Reason::MarketClosed), stray_hash),
            decision_record(&decision(a, 0, 0, 7, Reason::StaleFill), hash),
        ],
    )
    .await;
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    caught_up(&log, &store).await;
    running.finish().await;
    assert_eq!(count(&connections, "poly_copy_trade_decisions where reason = 'stale_fill'").await, 1);
    assert_eq!(count(&connections, "poly_copy_trade_decisions").await, 1);
    let place = TopicPartition::new(Topic::Decisions, 0);
    assert_eq!(store.progress(&[place].into()).await.unwrap()[&place].ignored, 2);
}

/// A database of before ids were kept: what was told of them then was passed over, and is read when it is migrated.
#[tokio::test]
async fn what_was_told_of_ids_before_they_were_kept_is_read_once_the_database_is_migrated() {
    let (connections, a, _, store) = setup().await;
    let log = log(1);
    let bought = later(&order(a, 1, 10), OrderStatus::Filled, 10);
    append(&log, vec![order_record(0, &bought), of_fills(&common::migrated(1, 2))]).await;
    append(&log, vec![of_fills(&common::marked(1, Some(400_000), 70)), garbage(Topic::Orders, 0)]).await;
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    caught_up(&log, &store).await;
    running.finish().await;
    let before = tables(&superuser(&connections).await, "public").await;
    let dead = letters(&log).await.len();
    sqlx::raw_sql(
        "drop table poly_token_ids cascade;
         create policy tenant on poly_token_outcomes for select to app_user using (false);
         create policy tenant on poly_token_marks for select to app_user using (false);
         delete from _sqlx_migrations where version = 11",
    )
    .execute(&superuser(&connections).await)
    .await
    .unwrap();
    project::migrate(&connections, &runtime::Chance::system()).await.unwrap();
    assert_eq!(count(&connections, "projection_offsets where topic <> 'fills'").await, 1);
    assert_eq!(
        count(&connections, "pg_class where relname = 'projection_offsets' and relforcerowsecurity").await,
        1
    );
    let store = PgStore::connect(&connections).await.unwrap();
    let running = Running::start(ports(&log, Arc::new(store.clone())));
    caught_up(&log, &store).await;
    running.finish().await;
    assert_eq!(tables(&superuser(&connections).await, "public").await, before);
    assert_eq!(letters(&log).await.len(), dead, "nothing else was read again");
}
