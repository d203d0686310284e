//! librdkafka's errors in the words of the port.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};

use crate::port::LogError;

/// The error of a call: what was being done, and why it failed.
pub(super) fn log_error(doing: &str, error: &KafkaError) -> LogError {
    match error {
        // The value may be a password.
        KafkaError::ClientConfig(_, why, key, _) => {
            LogError::Refused(format!("the Kafka property {key} is not accepted: {why}"))
        }
        _ => by_code(format!("{doing}: {error}"), code(error)),
    }
}

/// The code of an error, where it has one.
pub(super) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Whether a producer was told that another one took its place, which also ended its transaction.
pub(super) fn is_fenced(error: &KafkaError) -> bool {
    matches!(code(error), Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch))
}

fn by_code(text: String, code: Option<Code>) -> LogError {
    match code {
        Some(
            Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::MessageTimedOut
            | Code::QueueFull
            | Code::PurgeQueue
            | Code::PurgeInflight
            | Code::WaitingForCoordinator
            | Code::WaitCache
            | Code::Retry
            | Code::InProgress
            | Code::PreviousInProgress
            | Code::GaplessGuarantee
            | Code::Inconsistent
            | Code::PollExceeded
            | Code::RequestTimedOut
            | Code::BrokerNotAvailable
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::NotController
            | Code::KafkaStorageError
            | Code::ConcurrentTransactions
            | Code::UnstableOffsetCommit
            | Code::OffsetNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            // Forgotten after days without a record; a new producer goes on.
            | Code::InvalidProducerIdMapping
            | Code::UnknownProducerId
            | Code::OutOfOrderSequenceNumber
            | Code::TransactionCoordinatorFenced
            // A topic that was just created is not known everywhere at once.
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition,
        ) => LogError::Unreachable(text),
        Some(
            Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::InvalidTransactionalState
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::RebalanceInProgress
            | Code::FencedInstanceId
            | Code::AssignmentLost,
        ) => LogError::Fenced(text),
        Some(Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::NoOffset | Code::LogTruncation) => LogError::OutOfRange(text),
        Some(Code::BadMessage | Code::BadCompression | Code::InvalidMessage) => LogError::Corrupt(text),
        Some(Code::InvalidSessionTimeout) => LogError::Refused(format!(
            "{text}. The broker's group.min.session.timeout.ms and group.max.session.timeout.ms do not allow this session"
        )),
        _ => LogError::Refused(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_property_is_named_without_its_value() {
        let error = rdkafka::ClientConfig::new()
            .set("sasl.passwort", "hunter2")
            .create::<rdkafka::consumer::BaseConsumer>()
            .map(|_| ())
            .unwrap_err();
        let said = log_error("connecting", &error).to_string();
        assert!(said.contains("sasl.passwort") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn a_lost_generation_is_a_fence_and_a_lost_broker_is_not() {
        let of = |code| log_error("committing", &KafkaError::ConsumerCommit(code));
        assert!(matches!(of(Code::IllegalGeneration), LogError::Fenced(_)));
        assert!(matches!(of(Code::AllBrokersDown), LogError::Unreachable(_)));
        assert!(matches!(of(Code::TopicAuthorizationFailed), LogError::Refused(_)));
    }
}
