//! Waiting for a condition instead of a time.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take before a test gives up on it. Generous, for it is only reached when
/// the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Tries `look` until it succeeds and returns what it found; panics with its last error once
/// [`PATIENCE`] is over. `what` completes the sentence "waited for …".
pub async fn eventually<T, E, F, Fut>(what: &str, look: F) -> T
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    eventually_within(PATIENCE, what, look).await
}

/// Like [`eventually`], for what takes longer.
pub async fn eventually_within<T, E, F, Fut>(patience: Duration, what: &str, mut look: F) -> T
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + patience;
    let mut last = "the first look did not end".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(error)) => last = error.to_string(),
            Err(_deadline) => {}
        }
        assert!(Instant::now() < deadline, "waited {patience:?} for {what}: {last}");
        sleep(PAUSE).await;
    }
}

/// The result of a look at a condition: `Ok` when it holds, else `otherwise` as the error.
///
/// # Errors
/// When the condition does not hold.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
