//! What can be done, and what it takes.

use std::fmt;

use super::role::Role;
use super::scope::Scope;

/// Declares the actions once: variant, text, least role, scope.
macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $role:ident, $scope:ident;)+) => {
        /// Something that a request does. Its text stands in the audit log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[$doc])* $variant,)+
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Action] = &[$(Action::$variant),+];

            /// The stable text: `sandbox.create`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Action::$variant => $text),+ }
            }

            /// The least role that may do it.
            pub const fn least_role(self) -> Role {
                match self { $(Action::$variant => Role::$role),+ }
            }

            /// What a token has to be good for.
            pub const fn scope(self) -> Scope {
                match self { $(Action::$variant => Scope::$scope),+ }
            }
        }
    };
}

actions! {
    /// Make a sandbox.
    SandboxCreate = "sandbox.create", Operator, SandboxesWrite;
    /// See sandboxes.
    SandboxRead = "sandbox.read", Viewer, SandboxesRead;
    /// Change a sandbox: name, labels, limits, life.
    SandboxUpdate = "sandbox.update", Operator, SandboxesWrite;
    /// End a sandbox.
    SandboxDelete = "sandbox.delete", Operator, SandboxesWrite;
    /// Run code.
    ExecutionCreate = "execution.create", Operator, ExecutionsWrite;
    /// See executions and their output.
    ExecutionRead = "execution.read", Viewer, ExecutionsRead;
    /// Cancel an execution.
    ExecutionCancel = "execution.cancel", Operator, ExecutionsWrite;
    /// Read the feed of what happened.
    EventRead = "event.read", Viewer, EventsRead;
    /// Make a project: a matter of the server, so for its administrators.
    ProjectCreate = "project.create", Owner, ProjectsWrite;
    /// See a project.
    ProjectRead = "project.read", Viewer, ProjectsRead;
    /// Change a project: its name.
    ProjectUpdate = "project.update", Owner, ProjectsWrite;
    /// Make a token, for oneself, that is good for at most what one's own is.
    TokenCreate = "token.create", Viewer, TokensWrite;
    /// See tokens: one's own, an owner everybody's.
    TokenRead = "token.read", Viewer, TokensRead;
    /// Revoke a token: one's own, an owner anybody's.
    TokenRevoke = "token.revoke", Viewer, TokensWrite;
    /// See who changed what.
    AuditRead = "audit.read", Owner, AuditRead;
    /// See names of secrets. No action shows a value.
    SecretRead = "secret.read", Editor, SecretsRead;
    /// Set a secret.
    SecretWrite = "secret.write", Editor, SecretsWrite;
    /// Remove a secret.
    SecretDelete = "secret.delete", Editor, SecretsWrite;
    /// Give a secret to code of one's own. Whoever may do this can print it, so it is not the operator's.
    SecretUse = "secret.use", Editor, SecretsUse;
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
