//! x
use std::{time::{Duration, Instant}, sync::Arc, collections::BTreeMap};
use eventlog::{*, kafka::*, conformance::Consumer};
use runtime::*; use schemas::topics::Topic;
#[tokio::test(flavor="multi_thread")]
async fn probe() {
    let b = std::env::var("KAFKA_BROKERS").unwrap();
    let cfg = KafkaConfig::new(&b).with_prefix(testkit::unique("probe")+".");
    let e = eventlog::conformance::expected();
    for i in 0..3 { let t=Instant::now(); let l=KafkaLog::open(cfg.clone(), &e, SystemClock::shared(), &Chance::system()).await.unwrap(); println!("open {i} {:?}", t.elapsed()); let t=Instant::now(); drop(l); println!("drop {:?}", t.elapsed()); }
    let log: Arc<dyn Log> = Arc::new(KafkaLog::open(cfg.clone(), &e, SystemClock::shared(), &Chance::system()).await.unwrap());
    let f = TopicPartition::new(Topic::Fills,0); let d = TopicPartition::new(Topic::Decisions,0);
    let rec = |to| Append{to, record: Record{key:None,value:Some(vec![1;100].into()),headers:vec![],timestamp: schemas::Timestamp::from_secs(5)}};
    for _ in 0..3 { let t=Instant::now(); let Written::Done(_) = log.append(vec![rec(f)]).await else {panic!()}; println!("append {:?}", t.elapsed()); }
    for p in 0..4 { let t=Instant::now(); let n = log.read(TopicPartition::new(Topic::Fills,p), Offset(0), 10).await.unwrap().len(); println!("read {p} {n} {:?}", t.elapsed()); }
    for _ in 0..3 { let t=Instant::now(); let n = log.read(f, Offset(0), 10).await.unwrap().len(); println!("read again {n} {:?}", t.elapsed()); }
    for round in 0..2 {
    let t=Instant::now();
    let mut c = Consumer::join(&log, Group{name:"g".into(),topics:vec![Topic::Fills],session:Duration::from_secs(6)}).await;
    println!("join {:?}", t.elapsed()); 
    c.until("x", Duration::from_secs(30), |c| c.held.len()==4).await; println!("assigned {:?}", t.elapsed());
    if round == 0 { c.until("x", Duration::from_secs(30), |c| c.staged.len()>=3).await; println!("records {:?}", t.elapsed());}
    for i in 0..3 { let t=Instant::now(); let Written::Done(_) = c.member.commit(vec![rec(d);10], BTreeMap::from([(f,Offset(3))])).await else {panic!()}; println!("commit {i} {:?}", t.elapsed());
      let t=Instant::now(); let e = log.extent(d).await.unwrap(); println!("  extent {e:?} {:?}", t.elapsed());
      let t=Instant::now(); let n = log.read(d, Offset(11*i), 100).await.unwrap().len(); println!("  read behind {n} {:?}", t.elapsed());
      let t=Instant::now(); let n = log.read(d, Offset(11*i+10), 100).await.unwrap().len(); println!("  read at end {n} {:?}", t.elapsed());
    }
    let t=Instant::now(); println!("seek {:?}", {c.member.seek(f, Offset(0)).await.unwrap(); c.staged.clear(); c.until("y", Duration::from_secs(9), |c| c.staged.len()>=3).await; t.elapsed()});
    let t=Instant::now(); c.member.leave().await.unwrap(); println!("leave {:?}", t.elapsed());
    }
    let t=Instant::now(); log.committed("g", &[f]).await.unwrap(); println!("committed {:?}", t.elapsed());
    let t=Instant::now(); log.committed("g", &[f]).await.unwrap(); println!("committed {:?}", t.elapsed());
    let t=Instant::now(); drop(log); println!("drop {:?}", t.elapsed());
}
