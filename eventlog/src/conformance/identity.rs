//! Which log this is, and whether it is the one a stored offset was of.

use std::collections::BTreeSet;

use schemas::{LogId, codec::Codec, topics::Topic};
use uuid::Uuid;

use super::{Harness, append_numbered, at, expected, fresh_log, numbers, read_all};
use crate::{
    port::{Expected, LogError, Offset, VenueKind},
    position::{PositionError, StoredOffset},
};

/// A log of another venue, or another log than the one named, is not opened.
pub async fn a_wrong_log_is_refused(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    append_numbered(&*log, at(Topic::Fills, 0), 0..1).await;
    let manifest = log.manifest().clone();
    assert_eq!(manifest.venue, VenueKind::Simulator);
    assert_eq!(
        (manifest.wallet_partitions, manifest.account_partitions, manifest.market_partitions),
        (4, 2, 2)
    );

    let real = Expected { venue: VenueKind::Real, ..expected() };
    match h.open(&place, &real).await {
        Err(LogError::WrongManifest(why)) => assert!(why.contains("simulator"), "{why}"),
        other => panic!("another venue: {other:?}"),
    }
    let id = LogId::from_uuid(Uuid::from_u128(7));
    match h.open(&place, &Expected { log_id: Some(id), ..expected() }).await {
        Err(LogError::WrongManifest(why)) => {
            assert!(why.contains(&id.to_string()) && why.contains(&manifest.log_id.to_string()), "{why}");
        }
        other => panic!("another id: {other:?}"),
    }
    let same = h.open(&place, &Expected { log_id: Some(manifest.log_id), ..expected() }).await;
    assert_eq!(same.expect("the log that was named").manifest(), &manifest);
    assert_eq!(numbers(&read_all(&*log, at(Topic::Fills, 0)).await), [0], "and nothing was harmed");

    let (_, another) = fresh_log(h).await;
    assert_ne!(another.manifest().log_id, manifest.log_id, "each log has an id of its own");
}

/// Where a certain log is expected and there is none, none is made: a wrong path would look like a log
/// that lost everything.
pub async fn an_expected_log_that_is_not_there_is_not_made(h: &dyn Harness) {
    let place = h.fresh().await;
    let id = LogId::from_uuid(Uuid::from_u128(7));
    match h.open(&place, &Expected { log_id: Some(id), ..expected() }).await {
        Err(LogError::WrongManifest(why)) => assert!(why.contains(&id.to_string()), "{why}"),
        other => panic!("{other:?}"),
    }
    let log = h.open(&place, &expected()).await.expect("the place is still empty");
    assert_ne!(log.manifest().log_id, id);
}

/// Several who open an empty place at once make one log, and it is everybody's.
pub async fn racing_creators_make_one_log(h: &dyn Harness) {
    for _round in 0..3 {
        let place = h.fresh().await;
        // The counts differ: the manifest must be one creator's as a whole.
        let wanted: Vec<_> = (1..=6)
            .map(|n| Expected {
                wallet_partitions: n,
                account_partitions: n,
                market_partitions: n,
                ..expected()
            })
            .collect();
        let opened = futures_util::future::join_all(wanted.iter().map(|e| h.open(&place, e))).await;
        let logs: Vec<_> = opened.into_iter().map(|l| l.expect("opened")).collect();
        let ids: BTreeSet<_> = logs.iter().map(|l| l.manifest().log_id).collect();
        assert_eq!(ids.len(), 1, "one log");
        for log in &logs {
            let m = log.manifest();
            assert_eq!(m, logs[0].manifest());
            assert!(
                m.wallet_partitions == m.account_partitions && m.account_partitions == m.market_partitions
            );
        }
        for (n, log) in logs.iter().enumerate() {
            append_numbered(&**log, at(Topic::Fills, 0), n..n + 1).await;
        }
        assert_eq!(numbers(&read_all(&*logs[0], at(Topic::Fills, 0)).await), [0, 1, 2, 3, 4, 5]);
    }
}

/// A stored offset knows its log: it is refused by another one, by an older state of it, and by one that
/// went another way.
pub async fn stored_offsets_are_checked(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let of = at(Topic::Orders, 1);
    let codec = Codec::bundled().expect("the bundled schemas");
    let start = StoredOffset::take(&*log, &codec, of, Offset::ZERO).await.expect("the start");
    assert_eq!(start.before, None);
    append_numbered(&*log, of, 0..10).await;
    let stand = read_all(&*log, of).await;
    assert_eq!(stand.len(), 10);
    for s in &stand {
        let stored = StoredOffset::after(&codec, log.manifest().log_id, s);
        let taken = StoredOffset::take(&*log, &codec, of, s.offset.next()).await.expect("taken");
        assert_eq!(stored, taken);
        stored.check(&*log, &codec).await.expect("it is of this log");
    }
    start.check(&*log, &codec).await.expect("the start is in every log");

    // Another log with nine of the same ten records, and one other.
    let (_, other) = fresh_log(h).await;
    append_numbered(&*other, of, 0..7).await;
    append_numbered(&*other, of, 100..101).await;
    append_numbered(&*other, of, 8..9).await;
    let stored = StoredOffset::after(&codec, log.manifest().log_id, &stand[6]);
    assert!(matches!(stored.check(&*other, &codec).await, Err(PositionError::OfAnotherLog { .. })));
    let disguised = |n: usize| StoredOffset {
        log_id: other.manifest().log_id,
        ..StoredOffset::after(&codec, log.manifest().log_id, &stand[n])
    };
    disguised(6).check(&*other, &codec).await.expect("the same up to here");
    disguised(8).check(&*other, &codec).await.expect("the record before it is the same");
    assert!(matches!(disguised(7).check(&*other, &codec).await, Err(PositionError::Mismatch { .. })));
    assert!(matches!(disguised(9).check(&*other, &codec).await, Err(PositionError::AheadOfLog { .. })));
    for n in [7, 9] {
        let error = disguised(n).check(&*other, &codec).await.expect_err("refused");
        assert!(error.to_string().contains("orders-1"), "{error}");
        assert!(error.to_string().starts_with(error.code()), "{error}");
    }
}
