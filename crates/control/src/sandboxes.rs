//! Sandboxes as a caller sees them: asked for, looked at, wished away.

use std::collections::BTreeMap;
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::defaults;
use sandkeep_core::enforcement::Enforcement;
use sandkeep_core::id::{ProjectId, SandboxId};
use sandkeep_core::identity::{Action, Denied, Principal, Resource, authorize};
use sandkeep_core::limits::{LimitsRequest, Names};
use sandkeep_core::sandbox::{Doing, Failure, Profile, Reason, SandboxState};
use sandkeep_store::executions::Before;
use sandkeep_store::idempotency::Earlier;
use sandkeep_store::sandboxes::{self, Accepted, Ended, Sandbox};
use sandkeep_store::{Connection, Durability, Guarded, Store, Tx, audit};
use serde_json::json;

use crate::audit::{Change, entry};
use crate::clock::Clock;
use crate::ends::Bells;
use crate::engine::Parts;
use crate::events;
use crate::fault::problem;
use crate::idempotency::{self, Idempotent};
use crate::ids::fresh;
use crate::list::{Listed, Look};
use crate::request::{Lifetime, SandboxSpec, check_env};
use crate::seal::Sealer;

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

/// Which sandboxes a list has.
#[derive(Debug, Clone)]
pub struct Filter {
    /// In this state, by its name.
    pub status: Option<&'static str>,
    /// Of this template.
    pub template: Option<String>,
    /// Of this name.
    pub name: Option<String>,
    /// With all of these.
    pub labels: BTreeMap<String, String>,
    /// Accepted after this.
    pub created_after_us: i64,
    /// Accepted before this.
    pub created_before_us: i64,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            status: None,
            template: None,
            name: None,
            labels: BTreeMap::new(),
            created_after_us: i64::MIN,
            created_before_us: i64::MAX,
        }
    }
}

impl Filter {
    /// Where to begin: at the page, or at the time before which all are to be.
    fn begin(&self, page: Before) -> Before {
        if page.created_us < self.created_before_us {
            return page;
        }
        // Before every id of that time.
        Before { created_us: self.created_before_us, id: String::new() }
    }

    async fn read(
        &self,
        from: &mut Connection,
        project_id: ProjectId,
        before: &Before,
        most: u32,
    ) -> sandkeep_store::Result<Vec<Known>> {
        let live = |sandbox| Known::Live(Box::new(sandbox));
        if self.status == Some("terminated") {
            let found = sandboxes::list_ended(from, project_id, before, most).await?;
            return Ok(found.into_iter().map(Known::Ended).collect());
        }
        if let Some(name) = &self.name {
            // There is one at most.
            let found = sandboxes::named(from, project_id, name).await?;
            let found = found.filter(|found| {
                (found.created_us, found.id.to_string()) < (before.created_us, before.id.clone())
            });
            return Ok(found.map(live).into_iter().collect());
        }
        let found = sandboxes::list(from, project_id, before, most).await?;
        Ok(found.into_iter().map(live).collect())
    }

    fn passes(&self, known: &Known) -> Result<bool, Problem> {
        let spec = known.spec()?;
        let name = match known {
            Known::Live(sandbox) => &sandbox.name,
            Known::Ended(ended) => &ended.name,
        };
        Ok(self.status.is_none_or(|status| status == known.state().as_str())
            && self.template.as_ref().is_none_or(|template| *template == spec.template)
            && (self.name.is_none() || self.name == *name)
            && self.labels.iter().all(|(label, value)| spec.labels.get(label) == Some(value)))
    }
}

/// A change of what is only said of a sandbox; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// Another name.
    pub name: Option<String>,
    /// Labels to set, or to remove.
    pub labels: BTreeMap<String, Option<String>>,
}

impl Description {
    fn check(&self) -> Result<(), Problem> {
        self.name.as_deref().map_or(Ok(()), check_name)
    }

    fn apply(&self, labels: &mut BTreeMap<String, String>) {
        for (label, value) in &self.labels {
            match value {
                Some(value) => drop(labels.insert(label.clone(), value.clone())),
                None => drop(labels.remove(label)),
            }
        }
    }
}

/// How often a change is tried again that another's came before.
const ATTEMPTS: u32 = 5;
/// Longest name, most labels, longest label and value.
const NAME_CHARS: usize = 128;
const LABELS_MOST: usize = 64;
const LABEL_CHARS: usize = 256;

impl NewSandbox {
    /// What it is to be, checked.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub(crate) fn spec(&self, once: bool) -> Result<SandboxSpec, Problem> {
        let template = self.template.clone().unwrap_or_else(|| defaults::TEMPLATE.to_owned());
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
        let (limits, asked) = self.limits.of_ephemeral(&Names::FIELDS)?;
        check_env(&self.env)?;
        check_labels(&self.labels)?;
        if let Some(name) = &self.name {
            check_name(name)?;
        }
        Ok(SandboxSpec {
            template,
            lifetime: Lifetime::Ephemeral,
            profile: self.profile.unwrap_or(defaults::PROFILE),
            limits,
            asked: sandkeep_core::limits::LimitKind::ALL
                .into_iter()
                .filter(|kind| asked.contains(*kind))
                .collect(),
            sealed_env: None,
            labels: self.labels.clone(),
            once,
        })
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
    sealer: Sealer,
    life: Duration,
}

impl Sandboxes {
    /// Beside an engine with these parts.
    #[must_use]
    pub fn new(parts: &Parts) -> Self {
        let Parts { store, outputs: _, driver: _, clock, bells, sealer, life } = parts.clone();
        Self { store, clock, bells, sealer, life }
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
        let now_us = self.clock.now_us();
        let life = Life { most: self.life, once: false };
        let (accepted, _) = accepted(&self.clock, &self.sealer, project_id, new, life)?;
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
        let found = self.bells.until(&name, within, || async {
            let known = self.get(principal, id).await?;
            Ok::<_, Problem>(settled(&known).then_some(known))
        });
        match found.await? {
            Some(known) => Ok(known),
            None => self.get(principal, id).await,
        }
    }

    /// Those of a project that pass `filter`, newest first: of those that have not ended, or, where the filter asks for
    /// `terminated`, of those that have. At most [`SEEN_MOST`](crate::list::SEEN_MOST) are looked at.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn list(
        &self,
        principal: &Principal,
        project_id: ProjectId,
        filter: &Filter,
        before: Before,
        limit: u32,
    ) -> Result<Listed<Known>, Problem> {
        authorize(principal, Action::SandboxRead, Resource::Project(project_id))?;
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let mut look = Look::new(filter.begin(before), limit);
        while let Some((before, most)) = look.next() {
            let found = filter.read(&mut reader, project_id, &before, most).await;
            for known in found.map_err(|error| problem(&error))? {
                let (created_us, id) = known.key();
                if created_us <= filter.created_after_us {
                    // Nothing younger comes.
                    return Ok(Listed { more: None, ..look.listed() });
                }
                let wanted = filter.passes(&known)?;
                look.saw(created_us, id.to_string(), wanted.then_some(known));
            }
        }
        Ok(look.listed())
    }

    /// Changes what is only said of a sandbox: its name, its labels. Of two who do so at once, each gets its part.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_value`, `name_taken`, `sandbox_ended`; the store's.
    pub async fn describe(
        &self,
        principal: &Principal,
        id: SandboxId,
        change: Description,
        request_id: &str,
    ) -> Result<Known, Problem> {
        let known = self.find(principal, id, Action::SandboxUpdate).await?;
        change.check()?;
        let note = self.note(principal, Action::SandboxUpdate, known.project_id(), id, request_id);
        let mut attempts = 0..ATTEMPTS;
        while attempts.next().is_some() {
            let known = self.find(principal, id, Action::SandboxUpdate).await?;
            let Known::Live(before) = &known else { break };
            let mut spec = spec_of(&before.spec)?;
            let name = change.name.clone().or_else(|| before.name.clone());
            change.apply(&mut spec.labels);
            check_labels(&spec.labels)?;
            let input = (id, before.spec.clone(), name, written(&spec)?, note.clone());
            let write = self.store.write(Durability::Durable, input, |tx, of| {
                Box::pin(async move {
                    let done = sandboxes::describe(tx, of.0, &of.1, of.2.as_deref(), &of.3).await?;
                    if done.is_updated() {
                        audit::add(tx, &of.4).await?;
                    }
                    Ok(done)
                })
            });
            if write.await.map_err(|error| problem(&error))? == Guarded::Updated {
                return self.get(principal, id).await;
            }
        }
        match self.get(principal, id).await? {
            Known::Ended(_) => {
                let problem = Problem::new(ErrorCode::SandboxEnded, "the sandbox has ended");
                Err(problem.expecting("a sandbox that has not ended"))
            }
            Known::Live(_) => {
                let message = "others kept changing the same sandbox";
                Err(Problem::new(ErrorCode::Overloaded, message)
                    .expecting("the same request again in a moment"))
            }
        }
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

    /// What it is.
    ///
    /// # Errors
    /// `internal`: another release wrote it.
    pub fn spec(&self) -> Result<SandboxSpec, Problem> {
        let text = match self {
            Self::Live(sandbox) => &sandbox.spec,
            Self::Ended(ended) => &ended.spec,
        };
        spec_of(text)
    }

    /// Where it is, and why.
    #[must_use]
    pub fn state(&self) -> SandboxState {
        match self {
            Self::Live(sandbox) => state(sandbox),
            Self::Ended(ended) => SandboxState::Terminated(reason(&ended.reason)),
        }
    }

    /// How each limit is held, while it runs.
    #[must_use]
    pub fn enforcement(&self) -> Option<Enforcement> {
        match self {
            Self::Live(sandbox) if sandbox.state == "running" => {
                sandbox.detail.as_deref().and_then(|text| serde_json::from_str(text).ok())
            }
            Self::Live(_) | Self::Ended(_) => None,
        }
    }

    /// What lists are ordered by.
    pub fn key(&self) -> (i64, SandboxId) {
        match self {
            Self::Live(sandbox) => (sandbox.created_us, sandbox.id),
            Self::Ended(ended) => (ended.created_us, ended.id),
        }
    }
}

fn spec_of(text: &str) -> Result<SandboxSpec, Problem> {
    serde_json::from_str(text).map_err(|error| {
        Problem::new(ErrorCode::Internal, format!("a stored sandbox cannot be read: {error}"))
    })
}

/// What is seen of it, unless it is wished away: then that is what happens to it.
fn state(sandbox: &Sandbox) -> SandboxState {
    match (sandbox.desired.as_str(), sandbox.state.as_str()) {
        ("deleted", _) => SandboxState::Terminating(Reason::Deleted),
        ("expired", _) => SandboxState::Terminating(Reason::Expired),
        ("lost", _) => SandboxState::Terminating(Reason::Lost),
        (_, "running") => SandboxState::Running,
        (_, "error") => SandboxState::Error(failure(sandbox)),
        _ => SandboxState::Creating,
    }
}

fn failure(sandbox: &Sandbox) -> Failure {
    let told = sandbox.detail.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let (reason, attempt) = told.map_or_else(
        || ("it cannot be made".to_owned(), 1),
        |told: crate::engine::Failure| (told.message, told.attempt),
    );
    let next_try_ms = (sandbox.next_try_us / 1000).unsigned_abs();
    Failure { doing: Doing::Creating, reason, attempt, next_try_ms }
}

/// What a newer release writes there is taken for a wish: nothing else is known of it.
fn reason(text: &str) -> Reason {
    Reason::ALL.into_iter().find(|reason| reason.as_str() == text).unwrap_or(Reason::Deleted)
}

/// When a sandbox is to end by itself.
pub(crate) struct Life {
    /// After this time, whatever happens in it.
    pub(crate) most: Duration,
    /// With the end of the one execution that it is made for.
    pub(crate) once: bool,
}

/// The row of what is accepted, and what it is.
pub(crate) fn accepted(
    clock: &Clock,
    sealer: &Sealer,
    project_id: ProjectId,
    new: NewSandbox,
    life: Life,
) -> Result<(Accepted, SandboxSpec), Problem> {
    let (id, most) = (fresh(clock), i64::try_from(life.most.as_micros()).unwrap_or(i64::MAX));
    let mut spec = new.spec(life.once)?;
    spec.seal_env(sealer, project_id, id, &new.env)?;
    let text = written(&spec)?;
    let expires_us = Some(clock.now_us().saturating_add(most));
    Ok((Accepted { id, project_id, name: new.name, spec: text, expires_us }, spec))
}

fn written(spec: &SandboxSpec) -> Result<String, Problem> {
    serde_json::to_string(spec).map_err(|error| {
        Problem::new(ErrorCode::Internal, format!("a sandbox cannot be written down: {error}"))
    })
}

/// Writes a sandbox down, with its event.
pub(crate) async fn accept(tx: &mut Tx, accepted: &Accepted, now_us: i64) -> sandkeep_store::Result<()> {
    sandboxes::accept(tx, accepted, now_us).await?;
    events::tell(tx, accepted.project_id, "sandbox.creating", &accepted.id, "{}", now_us).await
}

pub(crate) async fn known(from: &mut Connection, id: SandboxId) -> sandkeep_store::Result<Option<Known>> {
    if let Some(live) = sandboxes::get(from, id).await? {
        return Ok(Some(Known::Live(Box::new(live))));
    }
    Ok(sandboxes::ended(from, id).await?.map(Known::Ended))
}
