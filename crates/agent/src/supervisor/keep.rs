//! What is remembered of executions that have ended, and for how long.
//!
//! Where the sandbox outlives its server, only what a server said is stored may go: until then this is the one place that
//! knows. So such a sandbox takes nothing more to run once too much is waiting to be stored. Elsewhere nobody says so, and
//! the oldest goes first.

use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::supervisor as proto;

use super::Supervisor;
use super::execution::Execution;

/// Executions that are remembered, ended ones included.
const MOST_EXECUTIONS: usize = 4_096;
/// Output and results of ended executions that are kept in all, beside the newest's.
const MOST_KEPT_BYTES: u64 = 64 << 20;
/// The same, of all executions that no server has stored: no new one begins above it.
const MOST_UNSTORED_BYTES: u64 = 256 << 20;

type Answer<T> = Result<T, ConnectError>;

impl Supervisor {
    /// A server has stored all that is known of it. Its record stays while there is room: an id that ran once must not run
    /// again.
    pub(super) fn forget(&mut self, request: &proto::ForgetRequest) -> Answer<proto::ForgetResponse> {
        self.fence(request.incarnation, request.token)?;
        // One that is not known any more was forgotten before.
        if let Some(execution) = self.executions.get_mut(&request.execution_id) {
            if !execution.is_ended() {
                let text = format!("invalid_value: {} has not ended", request.execution_id);
                return Err(ConnectError::new(Code::FailedPrecondition, text));
            }
            execution.stored = true;
            execution.forget_output();
        }
        Ok(proto::ForgetResponse::default())
    }

    /// Forgets what the oldest ended executions wrote, as far as more is kept than a sandbox is worth. Their records stay:
    /// an id that ran once must not run again.
    pub(super) fn forget_outputs(&mut self) {
        let outlives = self.outlives();
        let ended = self.executions.values_mut().filter(|execution| may_go(execution, outlives));
        let mut ended: Vec<&mut Execution> = ended.collect();
        ended.sort_by_key(|execution| std::cmp::Reverse(execution.begun_us));
        let mut kept = 0;
        for execution in ended {
            kept += execution.kept_bytes();
            if kept > MOST_KEPT_BYTES {
                execution.forget_output();
            }
        }
    }

    /// # Errors
    /// `resource_exhausted` when nothing can be forgotten for one more execution.
    pub(super) fn make_room(&mut self) -> Answer<()> {
        if self.outlives() {
            let unstored = self.executions.values().map(Execution::kept_bytes).sum::<u64>();
            if unstored > MOST_UNSTORED_BYTES {
                let text = "too_many_executions: too much of their output is not stored yet";
                return Err(ConnectError::new(Code::ResourceExhausted, text));
            }
        }
        if self.executions.len() >= MOST_EXECUTIONS {
            self.forget_oldest()?;
        }
        Ok(())
    }

    fn forget_oldest(&mut self) -> Answer<()> {
        let outlives = self.outlives();
        let ended = self.executions.iter().filter(|(_, execution)| may_go(execution, outlives));
        let oldest = ended.min_by_key(|(_, execution)| execution.begun_us).map(|(id, _)| id.clone());
        let Some(oldest) = oldest else {
            return Err(ConnectError::new(
                Code::ResourceExhausted,
                "too_many_executions: all of them are running, or not stored yet",
            ));
        };
        self.executions.remove(&oldest);
        Ok(())
    }
}

fn may_go(execution: &Execution, outlives: bool) -> bool {
    execution.is_ended() && execution.tails.is_empty() && (execution.stored || !outlives)
}
