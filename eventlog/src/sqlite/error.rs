//! What SQLite's errors mean to a caller of the log.

use std::{path::Path, time::Duration};

use rusqlite::ErrorCode;

use crate::port::LogError;

/// What went wrong in a statement.
pub(super) type SqlError = rusqlite::Error;

/// The error as the log's caller sees it.
pub(super) fn explain(path: &Path, error: &SqlError) -> LogError {
    let at = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            LogError::Unreachable(format!("{at} is locked by another process"))
        }
        Some(ErrorCode::DiskFull) => {
            LogError::Unreachable(format!("the disk that holds {at} is full; free some space"))
        }
        Some(ErrorCode::CannotOpen) => LogError::Unreachable(format!("{at} cannot be opened ({error})")),
        Some(ErrorCode::SystemIoFailure) => LogError::Unreachable(format!("{at}: the disk failed ({error})")),
        Some(ErrorCode::OutOfMemory) => LogError::Unreachable(format!("{at}: out of memory")),
        Some(
            ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::AuthorizationForStatementDenied,
        ) => LogError::Refused(format!("{at} may not be written by this user ({error})")),
        Some(ErrorCode::NotADatabase) => LogError::Refused(format!("{at} is no log file ({error})")),
        Some(ErrorCode::DatabaseCorrupt) => LogError::Corrupt(format!("{at}: {error}")),
        Some(ErrorCode::TooBig) => LogError::Refused(format!("a record is larger than {at} can hold")),
        _ => match error {
            // A column holds what was never written there.
            SqlError::InvalidColumnType(..)
            | SqlError::FromSqlConversionFailure(..)
            | SqlError::IntegralValueOutOfRange(..)
            | SqlError::QueryReturnedNoRows => LogError::Corrupt(format!("{at}: {error}")),
            _ => LogError::Refused(format!("{at}: {error}")),
        },
    }
}

/// Locked for longer than a caller wants to wait.
pub(super) fn busy(path: &Path, patience: Duration) -> LogError {
    LogError::Unreachable(format!(
        "{} was locked by another process for {} ms; look for one that is stopped in the middle of a write",
        path.display(),
        patience.as_millis()
    ))
}

/// Whether somebody else holds a lock: the same statement may succeed in a moment.
pub(super) fn is_busy(error: &SqlError) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether only the statement failed, and with it the request it belongs to: the transaction may go on.
pub(super) fn is_of_one_request(error: &SqlError) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)
    )
}

/// How a COMMIT ended that gave an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailedCommit {
    /// Nothing of it can ever be seen.
    NotDone,
    /// Its frames may stand in the write-ahead log, complete: whoever recovers the file would find them.
    Unknown,
}

/// The commit frame is the last one written, and counts only if it is whole. A full disk keeps it from
/// being whole, and so does a lock that was never had; a failed sync comes after it was written.
pub(super) fn judge(error: &SqlError) -> FailedCommit {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            FailedCommit::NotDone
        }
        _ => FailedCommit::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn sqlite(code: i32) -> SqlError {
        SqlError::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_commit_that_failed_after_its_last_frame_is_unknown() {
        assert_eq!(judge(&sqlite(ffi::SQLITE_FULL)), FailedCommit::NotDone);
        assert_eq!(judge(&sqlite(ffi::SQLITE_BUSY)), FailedCommit::NotDone);
        assert_eq!(judge(&sqlite(ffi::SQLITE_IOERR_FSYNC)), FailedCommit::Unknown);
        assert_eq!(judge(&sqlite(ffi::SQLITE_IOERR_WRITE)), FailedCommit::Unknown);
        assert_eq!(judge(&SqlError::InvalidQuery), FailedCommit::Unknown, "whatever is not understood");
    }

    #[test]
    fn each_error_names_the_file_and_what_to_do() {
        let path = Path::new("log.db");
        let of = |code| explain(path, &sqlite(code));
        assert!(
            matches!(of(ffi::SQLITE_FULL), LogError::Unreachable(why) if why.contains("free some space"))
        );
        assert!(matches!(of(ffi::SQLITE_CORRUPT), LogError::Corrupt(why) if why.contains("log.db")));
        assert!(matches!(of(ffi::SQLITE_NOTADB), LogError::Refused(_)));
        assert!(matches!(of(ffi::SQLITE_READONLY), LogError::Refused(_)));
        assert!(matches!(of(ffi::SQLITE_IOERR_READ), LogError::Unreachable(_)));
        assert!(busy(path, Duration::from_secs(2)).is_transient());
    }
}
