//! Servers outlive the test that happened to need them first, so they live on a runtime of their own.

use std::future::Future;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

/// Never dropped: the end of the process ends it, and the watchdogs take it from there.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("testkit")
        .enable_all()
        .build()
        .expect("the system gives a thread to testkit")
});

/// Runs `work` on that runtime and waits for it on the caller's.
pub(crate) async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match RUNTIME.spawn(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("testkit's runtime is gone: {error}"),
        },
    }
}
