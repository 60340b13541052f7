//! The feed of what happened in a project: read on from any position, as far as it goes or as it grows.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::ProjectId;
use sandkeep_core::identity::{Action, Principal, Resource, authorize};
pub use sandkeep_store::events::Event;
use sandkeep_store::events::{self, News};
use sandkeep_store::wake::{Channel, Wakeups};
use sandkeep_store::{Store, Tx};

use crate::fault::problem;

/// Events that one reading looks at.
const AT_ONCE: u32 = 500;
/// Readings of one request, after which it goes on from where it came to.
const READINGS_MOST: u32 = 20;
/// How soon a reader looks again though nobody wrote here: another server may have.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Which events somebody wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind, or of the kinds that begin with it: `execution`.
    pub kind: Option<String>,
    /// What happened to this.
    pub subject: Option<String>,
}

impl Filter {
    fn passes(&self, event: &Event) -> bool {
        let of_kind = self.kind.as_deref().is_none_or(|kind| {
            event.kind.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        of_kind && self.subject.as_ref().is_none_or(|subject| *subject == event.subject)
    }
}

/// Writes down what happened to `subject`, in the write in which it happens. `data` is JSON.
pub(crate) async fn tell(
    tx: &mut Tx,
    project_id: ProjectId,
    kind: &'static str,
    subject: &impl Display,
    data: &str,
    now_us: i64,
) -> sandkeep_store::Result<()> {
    events::add(tx, &News { project_id, kind, subject: &subject.to_string(), data }, now_us).await
}

/// The service.
#[derive(Debug, Clone)]
pub struct Events {
    store: Store,
}

/// A part of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// In their order.
    pub events: Vec<Event>,
    /// Where to go on.
    pub after: i64,
    /// Whether more may be there already.
    pub more: bool,
}

struct Read {
    events: Vec<Event>,
    last: i64,
    forgotten: i64,
}

fn forgotten(after: i64, last: i64) -> Problem {
    let text = format!("events up to {last} are not kept any more, those after {after} among them");
    let expected = format!("after={last}, and a new look at what the events told of");
    Problem::new(ErrorCode::EventsForgotten, text).expecting(expected)
}

impl Events {
    /// Over this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Up to `limit` events of a project after `after` that pass the filter; after 0, from the first that is kept. A bounded
    /// number is looked at, so there may be none, and more further on.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `events_forgotten`; the store's.
    pub async fn after(
        &self,
        principal: &Principal,
        project_id: ProjectId,
        filter: &Filter,
        after: i64,
        limit: u32,
    ) -> Result<Part, Problem> {
        authorize(principal, Action::EventRead, Resource::Project(project_id))?;
        let mut part = Part { events: Vec::new(), after, more: true };
        for _ in 0..READINGS_MOST {
            let read = self.read(project_id, part.after).await.map_err(|error| problem(&error))?;
            if part.after > 0 && part.after < read.forgotten {
                return if part.events.is_empty() {
                    Err(forgotten(part.after, read.forgotten))
                } else {
                    Ok(part)
                };
            }
            let was_last = read.events.len() < AT_ONCE as usize;
            for event in read.events {
                part.after = event.position;
                part.events.extend(Some(event).filter(|event| filter.passes(event)));
                if part.events.len() >= limit as usize {
                    return Ok(part);
                }
            }
            if was_last {
                // What others' events are passed by is not missed when those are forgotten.
                part.after = part.after.max(read.last);
                part.more = false;
                break;
            }
        }
        Ok(part)
    }

    /// Events after a position, how far the feed went before they were read, and what was forgotten after.
    async fn read(&self, project_id: ProjectId, after: i64) -> sandkeep_store::Result<Read> {
        let mut reader = self.store.reader().await?;
        let last = events::reach(&mut reader).await?.last;
        let read = events::after(&mut reader, project_id, after, AT_ONCE).await?;
        let forgotten = events::reach(&mut reader).await?.forgotten;
        Ok(Read { events: read, last, forgotten })
    }

    /// The same as it grows.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn follow(
        &self,
        principal: &Arc<Principal>,
        project_id: ProjectId,
        filter: Filter,
        after: i64,
    ) -> Result<Follow, Problem> {
        authorize(principal, Action::EventRead, Resource::Project(project_id))?;
        let wakeups = self.store.wakeups(Channel::Events);
        Ok(Follow { of: self.clone(), principal: Arc::clone(principal), project_id, filter, after, wakeups })
    }
}

/// Somebody who reads the feed as it grows.
#[derive(Debug)]
pub struct Follow {
    of: Events,
    principal: Arc<Principal>,
    project_id: ProjectId,
    filter: Filter,
    after: i64,
    wakeups: Wakeups,
}

impl Follow {
    /// What comes next, at least one. Cancel-safe.
    ///
    /// # Errors
    /// `events_forgotten`: the reader fell behind what is kept; the store's. The next call tries again.
    pub async fn next(&mut self) -> Result<Vec<Event>, Problem> {
        loop {
            let part =
                self.of.after(&self.principal, self.project_id, &self.filter, self.after, AT_ONCE).await?;
            self.after = part.after;
            if !part.events.is_empty() {
                return Ok(part.events);
            }
            if !part.more {
                // What was written since the look is heard here too: the receiver keeps it.
                let _slow = tokio::time::timeout(LOOK_AGAIN, self.wakeups.next()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &str, passes: bool) {
        let filter = Filter { kind: Some("execution".to_owned()), subject: None };
        let event = Event {
            position: 1,
            project_id: crate::ids::fresh(&crate::clock::Clock::new()),
            happened_us: 1,
            kind: kind.to_owned(),
            subject: "x".to_owned(),
            data: "{}".to_owned(),
        };
        assert_eq!(filter.passes(&event), passes, "{kind}");
        assert!(!Filter { subject: Some("y".to_owned()), ..filter }.passes(&event));
    }

    #[test]
    fn a_kind_is_whole_words() {
        check("execution.ended", true);
        check("execution", true);
        check("executions.ended", false);
        check("sandbox.execution", false);
    }
}
