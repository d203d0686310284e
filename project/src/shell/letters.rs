//! Dead letters: a record that cannot be taken stops nothing, and is not lost.

use eventlog::{Append, Stored, Written, event, letter};
use runtime::signals;
use schemas::{events::DeadLetter, topics::Topic};

use super::{Ports, ProjectError, STAGE};
use crate::core::fold::Trouble;

/// Puts a record into `dead-letters`.
pub(super) async fn send(ports: &Ports, stored: &Stored, trouble: &Trouble) -> Result<(), ProjectError> {
    let letter = letter::fit(DeadLetter {
        topic: stored.at.topic.name().to_owned(),
        partition: stored.at.partition,
        offset: stored.offset.0,
        reader: STAGE.to_owned(),
        code: trouble.code().to_owned(),
        reason: trouble.to_string(),
        key: stored.record.key.clone(),
        value: stored.record.value.clone(),
        observed_at: ports.clock.now(),
    });
    let (mut record, _) = event::record(&ports.codec, "", &letter, letter.observed_at, None)?;
    // As received, UTF-8 or not.
    record.key = letter.key;
    let to = ports.log.manifest().place(Topic::DeadLetters, record.key.as_deref().unwrap_or_default());
    match ports.log.append(vec![Append { to, record }]).await {
        Written::Done(_) => {}
        Written::NotDone(error) | Written::Unknown(error) => return Err(error.into()),
    }
    tracing::warn!(
        code = trouble.code(), %trouble, at = %stored.at, offset = %stored.offset, "a record went to dead-letters"
    );
    metrics::counter!(signals::DEAD_LETTER, "stage" => STAGE, "topic" => stored.at.topic.name()).increment(1);
    ports.board.trouble("dead_letter");
    Ok(())
}
