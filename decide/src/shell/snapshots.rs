//! Snapshots of a partition's state in `decide-state`. They may be lost: they only save time.

use std::collections::BTreeMap;

use eventlog::{Append, Log, LogError, Offset, Stored, TopicPartition, Written, event};
use schemas::{
    Hash32, Timestamp,
    codec::Codec,
    events::{DecideStateEvent, DecisionsEvent, StateSnapshot},
    topics::Topic,
};
use serde::{Deserialize, Serialize};

use crate::{
    DecideError,
    core::{Core, Head},
    plan::Version,
    state::State,
};

/// The most bytes of state in one record: below the log's limit with some room for the rest.
const PART: usize = 900_000;

/// How many records are looked at first.
const WINDOW: i64 = 16;

/// Where the chain stood, beside what [`StateSnapshot`] itself says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Stood {
    clock: Timestamp,
    offset: Offset,
    inputs: [Offset; 3],
}

/// Writes a snapshot, in parts.
pub(super) async fn save(
    log: &dyn Log,
    codec: &Codec,
    core: &Core,
    at: Timestamp,
) -> Result<(), DecideError> {
    let head = core.head();
    let partition = core.partition();
    if head.number < 0 {
        return Ok(());
    }
    let failed = |e: std::io::Error| LogError::Refused(format!("the state cannot be written: {e}"));
    let stood = Stood { clock: head.clock, offset: head.offset, inputs: head.inputs };
    let stood = serde_json::to_vec(&stood).map_err(|e| failed(e.into()))?;
    let mut bytes = Vec::new();
    // The length of what comes first, so that the state can follow as it is.
    bytes.extend_from_slice(&u32::try_from(stood.len()).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(&stood);
    bytes.extend_from_slice(&core.state().to_bytes().map_err(failed)?);

    let chunks: Vec<&[u8]> = bytes.chunks(PART).collect();
    let count = i32::try_from(chunks.len()).unwrap_or(i32::MAX);
    let to = TopicPartition::new(Topic::DecideState, partition);
    // Two sets of keys by turns: the topic is compacted, and a snapshot of which some parts were lost must
    // not take the one before it along.
    let turn = head.number.rem_euclid(2);
    let mut records = Vec::new();
    for (part, chunk) in (0i32..).zip(chunks) {
        let snapshot = StateSnapshot {
            partition,
            log_id: log.manifest().log_id,
            cut: head.number,
            cut_hash: head.hash,
            decisions_offset: head.end.0,
            plan_version: core.version(),
            part,
            parts: count,
            state: bytes::Bytes::copy_from_slice(chunk),
        };
        let key = format!("{partition}/{turn}/{part}");
        records.push(Append { to, record: event::record(codec, &key, &snapshot, at, None)?.0 });
    }
    match log.append(records).await {
        Written::Done(_) => Ok(()),
        Written::NotDone(e) | Written::Unknown(e) => Err(e.into()),
    }
}

/// The newest snapshot that is whole, of this log, of a known version, and whose cut stands in the log.
pub(super) async fn newest(
    log: &dyn Log,
    codec: &Codec,
    partition: i32,
    versions: &'static [Version],
) -> Result<Option<Core>, DecideError> {
    let at = TopicPartition::new(Topic::DecideState, partition);
    let extent = log.extent(at).await?;
    let mut window = WINDOW;
    loop {
        let from = Offset((extent.end.0 - window).max(extent.start.0));
        let found = whole(codec, &read_all(log, at, from, extent.end).await?);
        for ((cut, hash), parts) in found.into_iter().rev() {
            let opened = open(log, codec, partition, versions, &parts).await?;
            if opened.is_some() {
                return Ok(opened);
            }
            tracing::warn!(event = "snapshot_ignored", partition, cut, hash = %hash);
        }
        if from <= extent.start {
            return Ok(None);
        }
        window = window.saturating_mul(4);
    }
}

async fn read_all(
    log: &dyn Log,
    at: TopicPartition,
    mut from: Offset,
    end: Offset,
) -> Result<Vec<Stored>, LogError> {
    let mut all = Vec::new();
    while from < end {
        let records = log.read(at, from, 64).await?;
        let Some(last) = records.last().map(|r| r.offset) else { break };
        from = last.next();
        all.extend(records);
    }
    Ok(all)
}

type Snapshots = BTreeMap<(i64, Hash32), Vec<StateSnapshot>>;

/// The snapshots of which every part is there, by their cut.
fn whole(codec: &Codec, records: &[Stored]) -> Snapshots {
    let mut found: BTreeMap<(i64, Hash32), BTreeMap<i32, StateSnapshot>> = BTreeMap::new();
    for stored in records {
        let value = stored.record.value.clone().unwrap_or_default();
        if let Ok(DecideStateEvent::StateSnapshot(s)) = codec.decode(&value) {
            found.entry((s.cut, s.cut_hash)).or_default().insert(s.part, s);
        }
    }
    found
        .into_iter()
        .map(|(cut, parts)| (cut, parts.into_values().collect::<Vec<_>>()))
        .filter(|(_, parts)| {
            parts.first().is_some_and(|p| usize::try_from(p.parts).is_ok_and(|n| n == parts.len()))
        })
        .collect()
}

/// A snapshot as a core; `None` where it is of no use.
async fn open(
    log: &dyn Log,
    codec: &Codec,
    partition: i32,
    versions: &'static [Version],
    parts: &[StateSnapshot],
) -> Result<Option<Core>, DecideError> {
    let Some(first) = parts.first() else { return Ok(None) };
    if first.log_id != log.manifest().log_id || first.partition != partition {
        return Ok(None);
    }
    let bytes: Vec<u8> = parts.iter().flat_map(|p| p.state.iter().copied()).collect();
    let Some((stood, state)) = parse(&bytes) else { return Ok(None) };
    let at = TopicPartition::new(Topic::Decisions, partition);
    let cut = match log.read(at, stood.offset, 1).await {
        Ok(records) => records.into_iter().find(|r| r.offset == stood.offset),
        Err(LogError::OutOfRange(_)) => None,
        Err(e) => return Err(e.into()),
    };
    let value = cut.and_then(|r| r.record.value).unwrap_or_default();
    let stands = codec.content_hash(&value) == first.cut_hash
        && matches!(codec.decode(&value), Ok(DecisionsEvent::Cut(cut)) if cut.number == first.cut);
    if !stands {
        return Ok(None);
    }
    let head = Head {
        number: first.cut,
        hash: first.cut_hash,
        clock: stood.clock,
        offset: stood.offset,
        end: Offset(first.decisions_offset),
        inputs: stood.inputs,
    };
    // One of a version that is not known here was written by a newer program: the chain will tell.
    Ok(Core::restored(partition, codec.clone(), versions, first.plan_version, head, state).ok())
}

fn parse(bytes: &[u8]) -> Option<(Stood, State)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (stood, state) = rest.split_at_checked(length)?;
    Some((serde_json::from_slice(stood).ok()?, State::from_bytes(state).ok()?))
}
