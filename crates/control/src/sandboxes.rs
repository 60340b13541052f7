//! Sandboxes as a caller sees them: asked for, looked at, wished away.

use std::collections::BTreeMap;
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::defaults;
use sandkeep_core::id::{ProjectId, SandboxId};
use sandkeep_core::identity::{Action, Denied, Principal, Resource, authorize};
use sandkeep_core::limits::LimitsRequest;
use sandkeep_core::sandbox::Profile;
use sandkeep_store::executions::Before;
use sandkeep_store::idempotency::Earlier;
use sandkeep_store::sandboxes::{self, Accepted, Ended, Sandbox};
use sandkeep_store::{Connection, Durability, Store, Tx, audit, events};
use serde_json::json;

use crate::audit::{Change, entry};
use crate::clock::Clock;
use crate::ends::Bells;
use crate::fault::problem;
use crate::idempotency::{self, Idempotent};
use crate::ids::fresh;
use crate::request::{Lifetime, SandboxSpec, check_env};

/// A sandbox that is asked for.
#[derive(Debug, Clone, Default)]
pub struct NewSandbox {
    /// Unique among those of the project that have not ended.
    pub name: Option<String>,
    /// What it starts from; the default without.
    pub template: Option<String>,
    /// How much of a system it is; the default without.
    pub profile: Option<Profile>,
    /// What it may use, over the defaults.
    pub limits: LimitsRequest,
    /// Of everything that runs in it.
    pub env: BTreeMap<String, String>,
    /// Of its owner.
    pub labels: BTreeMap<String, String>,
}

/// A sandbox as its rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Something is left of it.
    Live(Box<Sandbox>),
    /// Nothing is.
    Ended(Ended),
}

/// Life of an ephemeral sandbox.
pub const LIFE_MOST: Duration = Duration::from_secs(6 * 3600);
/// Longest name, most labels, longest label and value.
const NAME_CHARS: usize = 128;
const LABELS_MOST: usize = 64;
const LABEL_CHARS: usize = 256;

impl NewSandbox {
    /// What it is to be, checked.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub(crate) fn spec(self, once: bool) -> Result<(Option<String>, SandboxSpec), Problem> {
        let template = self.template.unwrap_or_else(|| defaults::TEMPLATE.to_owned());
        if template != defaults::TEMPLATE {
            let expected = format!("`{}`, the programs of the server's host", defaults::TEMPLATE);
            return Err(Problem::refused(
                ErrorCode::InvalidValue,
                &template,
                "is not a template here",
                &expected,
            )
            .within("template"));
        }
        let (limits, asked) = self.limits.resolve(&defaults::limits())?;
        check_env(&self.env)?;
        check_labels(&self.labels)?;
        if let Some(name) = &self.name {
            check_name(name)?;
        }
        let spec = SandboxSpec {
            template,
            lifetime: Lifetime::Ephemeral,
            profile: self.profile.unwrap_or(defaults::PROFILE),
            limits,
            asked: sandkeep_core::limits::LimitKind::ALL
                .into_iter()
                .filter(|kind| asked.contains(*kind))
                .collect(),
            env: self.env,
            labels: self.labels,
            once,
        };
        Ok((self.name, spec))
    }
}

fn check_name(name: &str) -> Result<(), Problem> {
    let fine = !name.is_empty() && name.chars().count() <= NAME_CHARS && !name.chars().any(char::is_control);
    if fine {
        return Ok(());
    }
    let expected = "1 to 128 characters without control characters";
    Err(Problem::refused(ErrorCode::InvalidValue, name, "is not a name", expected).within("name"))
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Problem> {
    if labels.len() > LABELS_MOST {
        let text = format!("labels: there are {}, more than {LABELS_MOST}", labels.len());
        return Err(Problem::new(ErrorCode::InvalidValue, text).expecting("fewer labels"));
    }
    let odd = labels.iter().find(|(name, value)| {
        name.is_empty() || name.chars().count() > LABEL_CHARS || value.chars().count() > LABEL_CHARS
    });
    match odd {
        None => Ok(()),
        Some((name, _)) => {
            let expected = "a name of 1 to 256 characters, a value of at most 256";
            Err(Problem::refused(ErrorCode::InvalidValue, name, "is not a label", expected).within("labels"))
        }
    }
}

/// The service.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    store: Store,
    clock: Clock,
    bells: Bells,
}

impl Sandboxes {
    /// Over this store; `bells` ring for what the engine does.
    #[must_use]
    pub fn new(store: Store, clock: Clock, bells: Bells) -> Self {
        Self { store, clock, bells }
    }

    /// Writes down that a sandbox is wanted, and answers at once.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, what is wrong with the request, `name_taken`, `idempotency_key_reused`; the store's.
    pub async fn create(
        &self,
        principal: &Principal,
        project_id: ProjectId,
        new: NewSandbox,
        repeat: Option<Idempotent>,
        request_id: &str,
    ) -> Result<Known, Problem> {
        authorize(principal, Action::SandboxCreate, Resource::Project(project_id))?;
        let (name, spec) = new.spec(false)?;
        let now_us = self.clock.now_us();
        let accepted = accepted(&self.clock, project_id, name, &spec)?;
        let id = accepted.id;
        let note = self.note(principal, Action::SandboxCreate, project_id, id, request_id);
        let input = (accepted, note, repeat, now_us);
        let write = self.store.write(Durability::Durable, input, |tx, (accepted, note, repeat, now_us)| {
            Box::pin(async move {
                let id = accepted.id.to_string();
                let found = idempotency::begin(tx, repeat.as_ref(), &id, *now_us).await?;
                if found == Earlier::First {
                    accept(tx, accepted, *now_us).await?;
                    audit::add(tx, note).await?;
                }
                Ok(found)
            })
        });
        let found = write.await.map_err(|error| problem(&error))?;
        let id = match idempotency::earlier(found)? {
            None => id,
            Some(earlier) => earlier.parse()?,
        };
        self.get(principal, id).await
    }

    /// The sandbox of an id.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn get(&self, principal: &Principal, id: SandboxId) -> Result<Known, Problem> {
        self.find(principal, id, Action::SandboxRead).await
    }

    /// The sandbox of an id once it is `settled`, or as it is when the time is over.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn wait(
        &self,
        principal: &Principal,
        id: SandboxId,
        within: Duration,
        settled: impl Fn(&Known) -> bool,
    ) -> Result<Known, Problem> {
        let name = id.to_string();
        let found = self.bells.until(&name, within, async || {
            let known = self.get(principal, id).await?;
            Ok::<_, Problem>(settled(&known).then_some(known))
        });
        match found.await? {
            Some(known) => Ok(known),
            None => self.get(principal, id).await,
        }
    }

    /// Those of a project that have not ended, newest first.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn list(
        &self,
        principal: &Principal,
        project_id: ProjectId,
        before: &Before,
        limit: u32,
    ) -> Result<Vec<Sandbox>, Problem> {
        authorize(principal, Action::SandboxRead, Resource::Project(project_id))?;
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        sandboxes::list(&mut reader, project_id, before, limit).await.map_err(|error| problem(&error))
    }

    /// Wishes a sandbox away, whatever was wished before, and answers at once. Of one that has ended nothing is to be done.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn delete(
        &self,
        principal: &Principal,
        id: SandboxId,
        request_id: &str,
    ) -> Result<Known, Problem> {
        let Known::Live(found) = self.find(principal, id, Action::SandboxDelete).await? else {
            return self.get(principal, id).await;
        };
        let note = self.note(principal, Action::SandboxDelete, found.project_id, id, request_id);
        let input = (id, note, self.clock.now_us());
        let write = self.store.write(Durability::Durable, input, |tx, (id, note, now_us)| {
            Box::pin(async move {
                // Within the transaction nobody else can wish in between.
                let Some(found) = sandboxes::get(tx, *id).await? else { return Ok(()) };
                if sandboxes::want(tx, *id, found.generation, "deleted", *now_us).await?.is_updated() {
                    audit::add(tx, note).await?;
                }
                Ok(())
            })
        });
        write.await.map_err(|error| problem(&error))?;
        self.get(principal, id).await
    }

    async fn find(&self, principal: &Principal, id: SandboxId, action: Action) -> Result<Known, Problem> {
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let known = known(&mut reader, id).await.map_err(|error| problem(&error))?;
        let known = known.ok_or_else(|| Problem::from(Denied::Hidden))?;
        authorize(principal, action, Resource::Project(known.project_id()))?;
        Ok(known)
    }

    fn note(
        &self,
        by: &Principal,
        action: Action,
        project_id: ProjectId,
        id: SandboxId,
        request_id: &str,
    ) -> audit::Entry {
        let (project_id, resource, detail) = (Some(project_id), id.to_string(), json!({}));
        entry(&self.clock, by, Change { action, project_id, resource, request_id, detail })
    }
}

impl Known {
    /// Whose.
    #[must_use]
    pub fn project_id(&self) -> ProjectId {
        match self {
            Self::Live(sandbox) => sandbox.project_id,
            Self::Ended(ended) => ended.project_id,
        }
    }
}

/// The row of what is accepted.
pub(crate) fn accepted(
    clock: &Clock,
    project_id: ProjectId,
    name: Option<String>,
    spec: &SandboxSpec,
) -> Result<Accepted, Problem> {
    let life = i64::try_from(LIFE_MOST.as_micros()).unwrap_or(i64::MAX);
    let spec = serde_json::to_string(spec).map_err(|error| {
        Problem::new(ErrorCode::Internal, format!("a sandbox cannot be written down: {error}"))
    })?;
    Ok(Accepted { id: fresh(clock), project_id, name, spec, expires_us: Some(clock.now_us() + life) })
}

/// Writes a sandbox down, with its event.
pub(crate) async fn accept(tx: &mut Tx, accepted: &Accepted, now_us: i64) -> sandkeep_store::Result<()> {
    sandboxes::accept(tx, accepted, now_us).await?;
    let subject = accepted.id.to_string();
    let news = events::News {
        project_id: accepted.project_id,
        kind: "sandbox.creating",
        subject: &subject,
        data: "{}",
    };
    events::add(tx, &news, now_us).await
}

pub(crate) async fn known(from: &mut Connection, id: SandboxId) -> sandkeep_store::Result<Option<Known>> {
    if let Some(live) = sandboxes::get(from, id).await? {
        return Ok(Some(Known::Live(Box::new(live))));
    }
    Ok(sandboxes::ended(from, id).await?.map(Known::Ended))
}
