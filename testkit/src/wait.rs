//! Waiting for something to come true, and names that nobody else has.

use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Asks again and again until `condition` is true, and fails the test, saying `what`, when it is not by the
/// deadline. For real time only: under a paused clock the deadline comes at once.
pub async fn wait_for(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    wait_for_some(what, deadline, async || condition().await.then_some(())).await;
}

/// The same for a value that appears.
pub async fn wait_for_some<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let ask = async {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    let answer = tokio::time::timeout(deadline, ask).await;
    answer.unwrap_or_else(|_elapsed| panic!("not within {deadline:?}: {what}"))
}

/// The same for tests without a runtime.
pub fn wait_for_blocking(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a test's patience is real time")]
    let begin = Instant::now();
    let mut pause = FIRST_PAUSE;
    while !condition() {
        assert!(begin.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// `prefix` and something that no other call has had, in this process or another, made of `a-z0-9_` so that
/// it does for a topic, a group, a database.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    #[expect(clippy::disallowed_methods, reason = "only has to differ from other runs")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut name = prefix.to_owned();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let _ = write!(name, "_{}_{:x}_{count}", now.as_secs(), std::process::id());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_is_waited_for() {
        let mut left = 5;
        wait_for("a countdown", Duration::from_secs(10), || {
            left -= 1;
            let done = left == 0;
            async move { done }
        })
        .await;
        assert_eq!(left, 0);
        assert_eq!(wait_for_some("a value", Duration::from_secs(10), || async { Some(7) }).await, 7);
        wait_for_blocking("a countdown", Duration::from_secs(10), || {
            left += 1;
            left == 3
        });
    }

    #[tokio::test]
    #[should_panic(expected = "not within 30ms: pigs to fly")]
    async fn a_deadline_that_passes_says_what_was_waited_for() {
        wait_for("pigs to fly", Duration::from_millis(30), || async { false }).await;
    }

    #[test]
    #[should_panic(expected = "not within 30ms: pigs to fly")]
    fn a_deadline_that_passes_says_so_without_a_runtime_too() {
        wait_for_blocking("pigs to fly", Duration::from_millis(30), || false);
    }

    #[test]
    fn unique_names_differ() {
        assert_ne!(unique("a"), unique("a"));
        assert!(unique("topic").chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    }
}
