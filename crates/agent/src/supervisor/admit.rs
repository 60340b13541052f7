//! Processes that clients start through the envd services: executions whose output goes to those clients and not into
//! a log of ours.
//!
//! The agent speaks with the clients; here is what must not depend on it: the domain, the limits, the time, the end. A
//! client that goes away takes nothing along.

use buffa::MessageField;
use sandkeep_protocol::agent as inner;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::mux::{StreamId, reset_code};
use sandkeep_protocol::routes::agent as agent_routes;
use sandkeep_protocol::supervisor as proto;

use super::domain::Domain;
use super::execution::Execution;
use super::{Supervisor, watch};
use crate::calls::{self, Incoming};

impl Supervisor {
    /// Makes room for the process that a client wants, and passes its call on to the agent.
    pub(super) fn start_process(&mut self, id: StreamId, call: &Incoming) {
        if let Err(error) = self.try_to_start_process(id, call) {
            call.refuse(&mut self.server, id, &error);
        }
    }

    fn try_to_start_process(&mut self, id: StreamId, call: &Incoming) -> Result<(), ConnectError> {
        let timeout_ms = call.timeout_us()?.unwrap_or(0) / 1_000;
        self.make_room()?;
        let limits = proto::ExecutionLimits { timeout_ms, ..Default::default() };
        let (number, domain) = self.take_domain(&limits)?;
        self.processes += 1;
        let name = format!("process-{}", self.processes);
        let request = proto::StartExecution {
            execution_id: name.clone(),
            limits: MessageField::some(limits),
            ..Default::default()
        };
        let mut execution = Execution::new(request, domain, number);
        execution.is_process = true;
        if let Err(error) =
            self.ask_to_admit(&mut execution).and_then(|()| self.pass_start_on(id, call, &name))
        {
            if let (Some(hold), Some(sandbox)) = (execution.call, &mut self.sandbox) {
                sandbox.link.reset(hold, reset_code::CANCEL);
            }
            self.give_domain_back(&mut execution);
            return Err(error);
        }
        self.executions.insert(name, execution);
        Ok(())
    }

    fn ask_to_admit(&mut self, execution: &mut Execution) -> Result<(), ConnectError> {
        let exhausted = |text: String| ConnectError::new(Code::ResourceExhausted, text);
        let domain = execution.domain.as_ref().expect("a new execution has its domain");
        let (descriptors, clone_into_group) =
            domain.ways_in().map_err(|error| exhausted(format!("sandbox_failed: {error}")))?;
        let own_pid_namespace = matches!(domain, Domain::Namespace(_));
        let own_processes = watch::own_processes(self.sandbox.as_ref(), self.is_dev());
        let rlimits = watch::rlimits(&execution.request, &self.spec, own_pid_namespace, own_processes);
        let request = inner::AdmitRequest {
            execution_id: execution.request.execution_id.clone(),
            rlimits: MessageField::some(rlimits),
            clone_into_group,
            own_pid_namespace,
            deadline_boot_us: execution.deadline_us.unwrap_or(0),
        };
        let Some(sandbox) = &mut self.sandbox else {
            return Err(ConnectError::new(Code::Unavailable, "sandbox_lost: the sandbox has ended"));
        };
        let call = calls::call(&mut sandbox.link, agent_routes::ADMIT, &request, descriptors)
            .map_err(|error| exhausted(format!("too_many_executions: {error}")))?;
        execution.call = Some(call);
        Ok(())
    }

    /// After the admission, on the same connection: so the agent knows it when the call comes.
    fn pass_start_on(&mut self, id: StreamId, call: &Incoming, name: &str) -> Result<(), ConnectError> {
        let twin = self.open_twin(id, &call.head(), Some(name))?;
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.link.send(twin, call.body());
            sandbox.link.finish(twin);
        }
        Ok(())
    }
}
