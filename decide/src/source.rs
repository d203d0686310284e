//! The inputs of recorded cuts, read again from the log, in order and in bounded memory.

use std::collections::VecDeque;

use eventlog::{Log, LogError, Offset, Stored, TopicPartition};
use schemas::{
    codec::{Codec, CodecError},
    events::{Cut, Taken},
};

use crate::{
    DecideError,
    cut::{INPUTS, Slice, read},
};

/// Records read at a time.
const CHUNK: usize = 500;

/// One input topic.
#[derive(Debug)]
struct Cursor {
    at: TopicPartition,
    /// Where the next range begins.
    next: Offset,
    ahead: VecDeque<Stored>,
}

/// The three inputs of a partition, cut by cut.
#[derive(Debug)]
pub struct Source {
    codec: Codec,
    cursors: [Cursor; 3],
}

impl Source {
    /// From where a chain stands.
    pub fn new(codec: Codec, partition: i32, from: [Offset; 3]) -> Self {
        let cursor = |i: usize| Cursor {
            at: TopicPartition::new(INPUTS[i], partition),
            next: from[i],
            ahead: VecDeque::new(),
        };
        Self { codec, cursors: [cursor(0), cursor(1), cursor(2)] }
    }

    /// What the next cut takes. The inner error says why its ranges do not follow from the log.
    ///
    /// # Errors
    /// A log that does not answer, or a record that this program lacks something to read: the same call may be made again.
    pub async fn batch(
        &mut self,
        log: &dyn Log,
        cut: &Cut,
    ) -> Result<Result<[Slice; 3], String>, DecideError> {
        if cut.taken.len() != INPUTS.len() {
            return Ok(Err(format!("it takes from {} topics instead of 3", cut.taken.len())));
        }
        // First read what is needed of all three, so that what fails in between loses nothing.
        for (cursor, taken) in self.cursors.iter_mut().zip(&cut.taken) {
            if let Err(why) = cursor.fetch(log, taken).await? {
                return Ok(Err(why));
            }
        }
        let mut slices = [Offset::ZERO; 3].map(Slice::nothing);
        for ((slice, cursor), taken) in slices.iter_mut().zip(&mut self.cursors).zip(&cut.taken) {
            *slice = cursor.slice(&self.codec, taken)?;
        }
        for (cursor, slice) in self.cursors.iter_mut().zip(&slices) {
            cursor.pass(slice.until);
        }
        Ok(Ok(slices))
    }
}

impl Cursor {
    async fn fetch(&mut self, log: &dyn Log, taken: &Taken) -> Result<Result<(), String>, LogError> {
        let name = self.at.topic.name();
        if taken.topic != name {
            return Ok(Err(format!("it names `{}` where `{name}` belongs", taken.topic)));
        }
        if taken.from != self.next.0 || taken.until < taken.from {
            return Ok(Err(format!(
                "it takes {name} from {} to {}, and the cut before it ended at {}",
                taken.from, taken.until, self.next
            )));
        }
        loop {
            let reached = self.ahead.back().map_or(self.next, |last| last.offset.next());
            if reached.0 >= taken.until {
                return Ok(Ok(()));
            }
            let more = match log.read(self.at, reached, CHUNK).await {
                Ok(more) => more,
                Err(LogError::OutOfRange(_)) => Vec::new(),
                Err(e) => return Err(e),
            };
            if more.is_empty() {
                return Ok(Err(format!("it takes {name} up to {}, and the log ends before", taken.until)));
            }
            self.ahead.extend(more);
        }
    }

    /// What a range holds.
    fn slice(&self, codec: &Codec, taken: &Taken) -> Result<Slice, CodecError> {
        let mut slice = Slice { from: Offset(taken.from), until: Offset(taken.until), inputs: Vec::new() };
        for stored in self.ahead.iter().take_while(|s| s.offset < slice.until) {
            let skipped = taken.skipped.contains(&stored.offset.0);
            slice.inputs.extend(read(codec, stored, skipped)?);
        }
        Ok(slice)
    }

    /// Goes on behind a range.
    fn pass(&mut self, until: Offset) {
        while self.ahead.front().is_some_and(|s| s.offset < until) {
            self.ahead.pop_front();
        }
        self.next = until;
    }
}
