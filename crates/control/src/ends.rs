//! Waiting for one execution's end, or one sandbox's state, without asking for it all the time.
//!
//! A caller says what it waits for before it looks at the row, and is woken when that row may have changed. Who is woken
//! by another server's write waits for the slow period instead, until servers tell each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sandkeep_core::execution::ExecutionResult;
use sandkeep_core::id::ExecutionId;
use tokio::sync::{Notify, oneshot};

/// How often the row is looked at though nobody rang.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

/// Bells by id. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Bells(Arc<Mutex<HashMap<String, Bell>>>);

#[derive(Debug, Default)]
struct Bell {
    notify: Arc<Notify>,
    waiting: usize,
}

impl Bells {
    /// Wakes everybody who waits for `id`.
    pub fn ring(&self, id: &str) {
        if let Some(bell) = self.lock().get(id) {
            bell.notify.notify_waiters();
        }
    }

    /// Asks until there is an answer or the time is over: at once, after each ring, and now and then. Cancel-safe.
    ///
    /// # Errors
    /// Those of `ask`.
    pub async fn until<T, E, F: Future<Output = Result<Option<T>, E>>>(
        &self,
        id: &str,
        within: Duration,
        ask: impl Fn() -> F,
    ) -> Result<Option<T>, E> {
        let waiter = Waiter::new(self, id);
        let asking = async {
            loop {
                let rung = waiter.notify.notified();
                tokio::pin!(rung);
                // From here on no ring is missed, so what is asked for next is seen or rung for.
                rung.as_mut().enable();
                if let Some(answer) = ask().await? {
                    return Ok(Some(answer));
                }
                tokio::select! {
                    () = rung => {}
                    () = tokio::time::sleep(PERIOD) => {}
                }
            }
        };
        tokio::time::timeout(within, asking).await.unwrap_or(Ok(None))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Bell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits; the last one takes the bell away.
struct Waiter<'a> {
    bells: &'a Bells,
    id: &'a str,
    notify: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    fn new(bells: &'a Bells, id: &'a str) -> Self {
        let mut all = bells.lock();
        let bell = all.entry(id.to_owned()).or_default();
        bell.waiting += 1;
        let notify = Arc::clone(&bell.notify);
        Self { bells, id, notify }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut all = self.bells.lock();
        if let Some(bell) = all.get_mut(self.id) {
            bell.waiting -= 1;
            if bell.waiting == 0 {
                all.remove(self.id);
            }
        }
    }
}

/// Ends that somebody waits for from before the start: told by whoever writes them, once they are written, so that nobody
/// has to read them again. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Ends(Arc<Mutex<HashMap<ExecutionId, oneshot::Sender<ExecutionResult>>>>);

impl Ends {
    /// Waits for the end of `id` from now on.
    pub(crate) fn expect(&self, id: ExecutionId) -> Expected {
        let (tell, told) = oneshot::channel();
        self.lock().insert(id, tell);
        Expected { ends: self.clone(), id, told }
    }

    /// Where to tell the end of `id`, if anybody waits for it.
    pub(crate) fn expected(&self, id: ExecutionId) -> Option<oneshot::Sender<ExecutionResult>> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ExecutionId, oneshot::Sender<ExecutionResult>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An end that is waited for.
#[derive(Debug)]
pub struct Expected {
    ends: Ends,
    id: ExecutionId,
    told: oneshot::Receiver<ExecutionResult>,
}

impl Expected {
    /// The end; `None` when nobody here will tell it. Cancel-safe.
    pub(crate) async fn told(&mut self) -> Option<ExecutionResult> {
        (&mut self.told).await.ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        drop(self.ends.expected(self.id));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_ring_between_looking_and_waiting_is_heard() {
        let (bells, there) = (Bells::default(), Arc::new(AtomicBool::new(false)));
        let answer = bells.until("x", Duration::from_secs(60), || async {
            let seen = there.load(Ordering::Relaxed);
            if !seen {
                // Written and rung for while the row was being looked at.
                there.store(true, Ordering::Relaxed);
                bells.ring("x");
            }
            Ok::<_, ()>(seen.then_some(7))
        });
        let begun = std::time::Instant::now();
        assert_eq!(answer.await, Ok(Some(7)));
        assert!(begun.elapsed() < PERIOD, "it was rung for, not looked at by chance");
        assert!(bells.lock().is_empty());
    }

    #[tokio::test]
    async fn time_runs_out_without_an_answer() {
        let bells = Bells::default();
        let answer = bells.until("x", Duration::from_millis(5), || async { Ok::<Option<()>, ()>(None) });
        assert_eq!(answer.await, Ok(None));
        assert!(bells.lock().is_empty());
    }
}
