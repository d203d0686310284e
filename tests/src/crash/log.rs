//! The log, with steps around what execute writes to it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use eventlog::{
    Append, Extent, Group, Log, LogError, Manifest, Member, Offset, Polled, Stored, TopicPartition, Written,
};
use schemas::Timestamp;

use super::points::Points;

/// A log whose writers may die.
#[derive(Debug)]
pub struct AtSteps {
    pub inner: Arc<dyn Log>,
    pub points: Points,
}

#[async_trait]
impl Log for AtSteps {
    fn manifest(&self) -> &Manifest {
        self.inner.manifest()
    }

    async fn append(&self, records: Vec<Append>) -> Written<Vec<Offset>> {
        self.points.around("publish", self.inner.append(records)).await
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        let inner = self.points.around("join", self.inner.join(group)).await?;
        Ok(Box::new(MemberAtSteps { inner, points: self.points.clone() }))
    }

    async fn read(&self, at: TopicPartition, from: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        self.inner.read(at, from, limit).await
    }

    async fn extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.inner.extent(at).await
    }

    async fn settled_extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.inner.settled_extent(at).await
    }

    async fn offset_at(&self, at: TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        self.inner.offset_at(at, time).await
    }

    async fn committed(
        &self,
        group: &str,
        of: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        self.inner.committed(group, of).await
    }
}

struct MemberAtSteps {
    inner: Box<dyn Member>,
    points: Points,
}

#[async_trait]
impl Member for MemberAtSteps {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, LogError> {
        self.inner.poll(max, wait).await
    }

    async fn commit(
        &mut self,
        records: Vec<Append>,
        offsets: BTreeMap<TopicPartition, Offset>,
    ) -> Written<Vec<Offset>> {
        self.points.around("commit", self.inner.commit(records, offsets)).await
    }

    async fn seek(&mut self, at: TopicPartition, to: Offset) -> Result<(), LogError> {
        self.inner.seek(at, to).await
    }

    async fn pause(&mut self, at: TopicPartition, paused: bool) -> Result<(), LogError> {
        self.inner.pause(at, paused).await
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.inner.assignment()
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        self.inner.leave().await
    }
}
