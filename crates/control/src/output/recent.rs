//! What was stored last of a running execution, for the readers that keep up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Part;

/// Bytes kept for readers: what a fast program writes in the time that a slow reader's page takes.
const KEPT_MOST: u64 = 1 << 20;

/// The newest pieces, oldest first.
#[derive(Debug)]
pub(super) struct Recent {
    kept: Mutex<VecDeque<Arc<Part>>>,
    /// First position after all that was stored, and whether no more will come.
    reach: watch::Sender<(u64, bool)>,
}

/// Where a reader stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This piece holds the position.
    Part(Arc<Part>),
    /// It was stored before what is kept here.
    Older,
    /// It is not stored yet.
    NotYet,
    /// It never will be.
    Over,
}

impl Recent {
    pub(super) fn new(reach: u64) -> Self {
        Self { kept: Mutex::default(), reach: watch::Sender::new((reach, false)) }
    }

    pub(super) fn push(&self, part: Part) {
        let to = part.to();
        let mut kept = self.lock();
        if kept.back().is_some_and(|last| last.to() >= to) {
            return; // stored again by whoever did not hear that it was
        }
        kept.push_back(Arc::new(part));
        // A gap holds no bytes, and the newest piece always stays.
        while kept.len() > 1 && size(&kept) > KEPT_MOST {
            kept.pop_front();
        }
        drop(kept);
        self.reach.send_modify(|(reach, _)| *reach = (*reach).max(to));
    }

    pub(super) fn end(&self) {
        self.reach.send_modify(|(_, over)| *over = true);
    }

    pub(super) fn find(&self, position: u64) -> Found {
        let (reach, over) = *self.reach.borrow();
        if position >= reach {
            return if over { Found::Over } else { Found::NotYet };
        }
        let kept = self.lock();
        let index = kept.partition_point(|part| part.to() <= position);
        match kept.get(index) {
            Some(part) if part.from() <= position => Found::Part(Arc::clone(part)),
            Some(_) | None => Found::Older,
        }
    }

    /// All that was stored, if all of it is here.
    pub(super) fn all(&self) -> Option<Vec<Arc<Part>>> {
        let kept = self.lock();
        let begins = kept.front().map_or_else(|| self.reach.borrow().0, |part| part.from());
        (begins == 0).then(|| kept.iter().map(Arc::clone).collect())
    }

    /// Returns when there is something at `position`, or no more will come. Cancel-safe.
    pub(super) async fn changed(&self, position: u64) {
        let mut receiver = self.reach.subscribe();
        // Only an error when the sender is gone, and it is ours.
        let _there = receiver.wait_for(|(reach, over)| *over || *reach > position).await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Part>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(kept: &VecDeque<Arc<Part>>) -> u64 {
    let bytes = |part: &Arc<Part>| match part.as_ref() {
        Part::Segments { .. } => part.to() - part.from(),
        Part::Gap { .. } => 0,
    };
    kept.iter().map(bytes).sum()
}
