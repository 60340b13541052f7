//! Executions that are written down as running here, and that nobody runs.
//!
//! A commit may have happened though its answer was lost, and a start may have been on its way while its sandbox changed hands. What
//! is found so is taken up as after a restart: the sandbox is asked by id, and starts it where it never heard of it.

use std::time::Duration;

use sandkeep_store::executions::{self, Claim, Live};
use sandkeep_store::{Durability, Result};

use super::executions::Mine;
use super::{Engine, PASS_MOST, lock};

/// How often is looked, and how long ago it began: whoever has just written that it runs is about to run it.
const PERIOD: Duration = Duration::from_secs(10);

impl Engine {
    /// Looks now and then, until the engine stops.
    pub(super) async fn look_for_strays(self) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            self.take_strays().await;
        }
    }

    /// Takes up what began a while ago and is nobody's.
    pub(super) async fn take_strays(&self) {
        let ago_us = i64::try_from(PERIOD.as_micros()).unwrap_or(i64::MAX);
        let before_us = self.parts.clock.now_us() - ago_us;
        let running = async {
            executions::running(&mut self.parts.store.reader().await?, self.server_id, before_us, PASS_MOST)
                .await
        };
        for live in self.told("read what runs", running.await).unwrap_or_default() {
            let held = lock(&self.held).get(&live.sandbox_id).cloned();
            // What is not held is being found, or ended.
            let Some(held) = held.filter(|_| !self.working.has(live.id)) else { continue };
            let taken = self.told("take over what nobody runs", self.retake(&live).await).flatten();
            if let Some(live) = taken {
                tracing::warn!(execution.id = %live.id, "an execution that nobody ran is taken up");
                let claim = Claim { server_id: self.server_id, token: live.token };
                let mine = Mine { live, claim, found: true };
                self.tasks.spawn(self.clone().run(mine, Some(held), true, None));
            }
        }
    }

    async fn retake(&self, live: &Live) -> Result<Option<Live>> {
        let of = (live.id, live.token, self.server_id);
        let write = self
            .parts
            .store
            .write(Durability::Durable, of, |tx, of| Box::pin(executions::retake(tx, of.0, of.1, of.2)));
        write.await
    }
}
