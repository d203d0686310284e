//! A member of a group, as its shell sees it: a handle on its thread.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
};
use tokio::sync::oneshot;

use super::{
    Shared,
    error::log_error,
    rebalance::Rebalances,
    worker::{Command, Worker},
};
use crate::port::{Append, Group, LogError, Member, Offset, Polled, TopicPartition, Written};

/// How long to wait for a broker to take note of a leave.
const LEAVE: Duration = Duration::from_secs(5);

pub(super) struct KafkaMember {
    commands: mpsc::Sender<Command>,
    hurry: Arc<AtomicBool>,
    /// A poll that was asked for and whose caller went away before the answer.
    pending: Option<oneshot::Receiver<Result<Polled, LogError>>>,
    /// An answer that was not handed out yet.
    kept: Option<Result<Polled, LogError>>,
    held: Vec<TopicPartition>,
}

fn gone() -> LogError {
    LogError::Unreachable("the member's thread has ended: join again".into())
}

impl KafkaMember {
    pub(super) fn join(shared: &Arc<Shared>, group: Group) -> Result<Self, LogError> {
        let context = Rebalances::new(shared.config.clone());
        let consumer = BaseConsumer::from_config_and_context(&shared.config.member(&group), context)
            .map_err(|e| log_error("joining a group", &e))?;
        let topics: Vec<_> = group.topics.iter().map(|t| shared.config.topic(*t)).collect();
        let names: Vec<_> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|e| log_error("joining a group", &e))?;
        let (commands, received) = mpsc::channel();
        let hurry = Arc::new(AtomicBool::new(false));
        let worker = Worker::new(shared.clone(), group, consumer, hurry.clone());
        thread::Builder::new()
            .name("kafka-member".into())
            .spawn(move || worker.run(&received))
            .map_err(|e| LogError::Unreachable(format!("starting a member's thread: {e}")))?;
        Ok(Self { commands, hurry, pending: None, kept: None, held: Vec::new() })
    }

    /// Takes in what a poll brings whose caller went away, before anything else is asked.
    async fn settle(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        self.hurry.store(true, Ordering::SeqCst);
        let polled = pending.await.unwrap_or_else(|_| Err(gone()));
        self.hurry.store(false, Ordering::SeqCst);
        self.pending = None;
        self.kept = match polled {
            Ok(Polled::Idle) => None,
            other => Some(other),
        };
    }

    async fn ask(
        &mut self,
        command: impl FnOnce(oneshot::Sender<Result<(), LogError>>) -> Command,
    ) -> Result<(), LogError> {
        self.settle().await;
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Where kept records of a partition begin: they are given back, and read again later.
    fn give_back(&mut self, at: TopicPartition) -> Option<Offset> {
        let Some(Ok(Polled::Records(records))) = &mut self.kept else { return None };
        let first = records.iter().find(|s| s.at == at).map(|s| s.offset);
        records.retain(|s| s.at != at);
        if records.is_empty() {
            self.kept = None;
        }
        first
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        // A poll that is waiting must not keep the partitions of a member that is no more.
        self.hurry.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Member for KafkaMember {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, LogError> {
        let polled = match self.kept.take() {
            Some(Ok(Polled::Records(mut records))) if records.len() > max.max(1) => {
                let rest = records.split_off(max.max(1));
                self.kept = Some(Ok(Polled::Records(rest)));
                Ok(Polled::Records(records))
            }
            Some(kept) => kept,
            None => {
                if self.pending.is_none() {
                    let (answer, answered) = oneshot::channel();
                    self.commands.send(Command::Poll { max, wait, answer }).map_err(|_| gone())?;
                    self.pending = Some(answered);
                }
                // Where this call is dropped, the answer stays for the next one.
                let polled = match &mut self.pending {
                    Some(pending) => pending.await.unwrap_or_else(|_| Err(gone())),
                    None => Ok(Polled::Idle),
                };
                self.pending = None;
                polled
            }
        };
        match &polled {
            Ok(Polled::Assigned(new)) => self.held.extend(new),
            Ok(Polled::Lost(lost)) => self.held.retain(|p| !lost.contains(p)),
            _ => {}
        }
        polled
    }

    async fn commit(
        &mut self,
        records: Vec<Append>,
        offsets: BTreeMap<TopicPartition, Offset>,
    ) -> Written<Vec<Offset>> {
        self.settle().await;
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Commit { records, offsets, answer }).is_err() {
            return Written::NotDone(gone());
        }
        let written = answered.await.unwrap_or_else(|_| Written::Unknown(gone()));
        if !matches!(written, Written::Done(_)) && matches!(self.kept, Some(Ok(Polled::Records(_)))) {
            // They are read again behind the rewind.
            self.kept = None;
        }
        written
    }

    async fn seek(&mut self, at: TopicPartition, to: Offset) -> Result<(), LogError> {
        self.ask(|answer| Command::Seek { at, to, answer }).await?;
        self.give_back(at);
        Ok(())
    }

    async fn pause(&mut self, at: TopicPartition, paused: bool) -> Result<(), LogError> {
        self.ask(|answer| Command::Pause { at, paused, answer }).await?;
        match self.give_back(at) {
            Some(first) => self.ask(|answer| Command::Seek { at, to: first, answer }).await,
            None => Ok(()),
        }
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.held.clone()
    }

    async fn leave(mut self: Box<Self>) -> Result<(), LogError> {
        self.settle().await;
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Leave { answer }).map_err(|_| gone())?;
        match tokio::time::timeout(LEAVE, answered).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(LogError::Unreachable("leaving a group: the broker does not answer".into())),
        }
    }
}
