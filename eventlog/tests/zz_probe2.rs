//! x
use std::{time::{Duration, Instant}, sync::Arc, collections::BTreeMap};
use eventlog::{*, kafka::*, conformance::Consumer};
use runtime::*; use schemas::topics::Topic;
#[tokio::test(flavor="multi_thread")]
async fn probe() {
    let b = std::env::var("KAFKA_BROKERS").unwrap();
    let cfg = KafkaConfig::new(&b).with_prefix(testkit::unique("probe")+".");
    let e = eventlog::conformance::expected();
    let log: Arc<dyn Log> = Arc::new(KafkaLog::open(cfg.clone(), &e, SystemClock::shared(), &Chance::system()).await.unwrap());
    let f = TopicPartition::new(Topic::Fills,0); let d = TopicPartition::new(Topic::Decisions,0);
    let rec = |to| Append{to, record: Record{key:None,value:Some(vec![1;100].into()),headers:vec![],timestamp: schemas::Timestamp::from_secs(5)}};
    let mut c = Consumer::join(&log, Group{name:"g".into(),topics:vec![Topic::Fills],session:Duration::from_secs(26)}).await;
    c.until("x", Duration::from_secs(30), |c| c.held.len()==4).await;
    let t0=Instant::now();
    for i in 0..40 { 
      let Written::Done(_) = c.member.commit(vec![rec(d);10], BTreeMap::from([(f,Offset(3))])).await else {panic!()};
      let t=Instant::now(); let n = log.read(d, Offset(i*11), 100).await.unwrap().len(); if t.elapsed() > Duration::from_millis(100) {eprintln!("##### {i} read {n} {:?} at {:?}", t.elapsed(), t0.elapsed());} else {eprintln!("#### {i} {:?}", t.elapsed());}
    }
}
