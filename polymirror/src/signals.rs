//! Ctrl-C and SIGTERM: the first asks to drain and stop, the second ends at once.

use runtime::Stop;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// A stop that is requested by the first signal. The second one ends the process.
pub fn stop_on_signal() -> Stop {
    let stop = Stop::new();
    let requested = stop.clone();
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            tracing::warn!("signals cannot be watched: only kill -9 ends this process");
            return;
        };
        for first in [true, false] {
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                requested.request();
                tracing::info!("draining; a second signal ends at once");
            }
        }
        std::process::exit(INTERRUPTED);
    });
    stop
}
