//! Tasks that the host cannot do without: deliveries, intakes of messages, sweepers, the clock of fairness.
//!
//! A panic ends only its own task. Without this module, a host whose deliveries have died would go on and look healthy.
//! A panic of a vital task is logged, and the host ends with an error as soon as it can. The operator's service manager
//! restarts it, and then stored messages are delivered. Calls of guests are not vital tasks: their panics are
//! [contained](super::panic).

use super::panic::message;
use futures::FutureExt as _;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use tokio_util::sync::CancellationToken;

/// One for the process, because a panic is a bug in the program.
static LOST: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// Returns when a vital task has panicked.
pub async fn lost() {
    LOST.cancelled().await;
}

/// Runs `task`, which the log calls `what`; `None` when it panicked.
pub async fn vital<T>(what: &'static str, task: impl Future<Output = T>) -> Option<T> {
    let ended = AssertUnwindSafe(task).catch_unwind().await;
    ended.map_err(|panic| lose(what, &*panic)).ok()
}

/// Like [`vital`], for the work of a thread.
pub fn vital_thread<T>(what: &'static str, work: impl FnOnce() -> T) -> Option<T> {
    let ended = catch_unwind(AssertUnwindSafe(work));
    ended.map_err(|panic| lose(what, &*panic)).ok()
}

fn lose(what: &str, panic: &(dyn Any + Send)) {
    tracing::error!(
        "{what} panicked, which is a bug in Souk: {}; the host stops, because it cannot run without it: start it again",
        message(panic)
    );
    LOST.cancel();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vital_task_that_panics_is_noticed_and_one_that_ends_is_not() {
        assert_eq!(vital("a task", async { 7 }).await, Some(7));
        assert_eq!(vital_thread("a thread", || 7), Some(7));
        let number = std::hint::black_box(7);
        let task = tokio::spawn(vital("a task", async move {
            tokio::task::yield_now().await;
            if number == 7 { panic!("boom {number}") } else { number }
        }));
        lost().await;
        assert_eq!(task.await.unwrap(), None);
        assert_eq!(vital_thread("a thread", || if number == 7 { panic!("boom") } else { number }), None);
    }
}
