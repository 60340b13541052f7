//! Operations that are committed together.

use sandkeep_core::code::chain;

use super::operation::Pending;
use super::{Durability, Tx};
use crate::error::{Error, Result};

/// Some operations, and what became of them.
pub(super) struct Group {
    operations: Vec<Box<dyn Pending>>,
}

impl Group {
    pub(super) fn new(operations: Vec<Box<dyn Pending>>) -> Self {
        Self { operations }
    }

    /// Runs all in one transaction and commits it. An operation that fails is rolled back alone.
    ///
    /// Nearly always none fails, and savepoints would be two thirds of the statements: so they are set only when the group
    /// has to be run again because one did.
    ///
    /// # Errors
    /// The transaction is not there: nothing was changed, or (a commit whose answer was lost) it is unknown.
    pub(super) async fn run(&mut self, tx: &mut Tx) -> Result<()> {
        begin(tx, self.durability()).await?;
        let ran = match self.run_all(tx).await {
            Ok(Some((at, error))) => {
                tx.run("roll back", "ROLLBACK").await?;
                tx.wakeups.clear();
                return self.run_without(tx, at, error).await;
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        close(tx, ran).await
    }

    /// The same once operation number `at` has failed with `error`.
    async fn run_without(&mut self, tx: &mut Tx, at: usize, error: Error) -> Result<()> {
        if self.operations.len() == 1 {
            self.operations[at].refuse(error);
            return Ok(());
        }
        begin(tx, self.durability()).await?;
        let ran = self.run_each(tx).await;
        close(tx, ran).await
    }

    /// One after another, up to the first that fails by itself: which, and how.
    async fn run_all(&mut self, tx: &mut Tx) -> Result<Option<(usize, Error)>> {
        for (at, operation) in self.operations.iter_mut().enumerate() {
            match operation.run(tx).await {
                Ok(()) => {}
                Err(error) if concerns_all(&error) => return Err(error),
                Err(error) => return Ok(Some((at, error))),
            }
        }
        Ok(None)
    }

    fn durability(&self) -> Durability {
        self.operations.iter().map(|operation| operation.durability()).max().unwrap_or(Durability::Durable)
    }

    /// Each in a savepoint of its own.
    async fn run_each(&mut self, tx: &mut Tx) -> Result<()> {
        for operation in &mut self.operations {
            tx.run("savepoint", "SAVEPOINT operation").await?;
            let wakeups = tx.wakeups.len();
            match operation.run(tx).await {
                Ok(()) => tx.run("release", "RELEASE SAVEPOINT operation").await?,
                Err(error) if concerns_all(&error) => return Err(error),
                Err(error) => {
                    tx.wakeups.truncate(wakeups);
                    tx.run("undo", "ROLLBACK TO SAVEPOINT operation").await?;
                    tx.run("release", "RELEASE SAVEPOINT operation").await?;
                    operation.refuse(error);
                }
            }
        }
        Ok(())
    }

    /// Tells every operation's caller what became of it.
    pub(super) fn answer(self) {
        for operation in self.operations {
            operation.answer();
        }
    }

    /// Tells every caller that nothing was committed.
    pub(super) fn fail(mut self, error: &Error) {
        for operation in &mut self.operations {
            operation.refuse(Error::NotCommitted { why: chain(error) });
        }
        self.answer();
    }
}

/// The group is run again, or fails as a whole.
fn concerns_all(error: &Error) -> bool {
    error.may_be_repeated() || error.is_of_connection()
}

/// Commits what `ran`, or undoes it.
async fn close(tx: &mut Tx, ran: Result<()>) -> Result<()> {
    let closed = match ran {
        Ok(()) => commit(tx).await,
        Err(error) => Err(error),
    };
    if closed.is_err() {
        // Also after a commit that failed: on a full disk SQLite keeps the transaction open. If this fails too, there is none
        // any more, or the connection is gone and the transaction with it.
        let _gone = tx.run("roll back", "ROLLBACK").await;
    }
    closed
}

async fn commit(tx: &mut Tx) -> Result<()> {
    #[cfg(feature = "crash-points")]
    crate::crash::point();
    let committed = tx.run("commit", "COMMIT").await;
    #[cfg(feature = "crash-points")]
    crate::crash::point();
    committed
}

/// Opens a transaction of the given class.
async fn begin(tx: &mut Tx, durability: Durability) -> Result<()> {
    if tx.is_postgres() {
        tx.run("begin", "BEGIN").await?;
        return match durability {
            Durability::Durable => Ok(()),
            Durability::Relaxed => tx.run("relax", "SET LOCAL synchronous_commit TO off").await,
        };
    }
    if tx.chosen != Some(durability) {
        // Between transactions, where SQLite takes it.
        let class = match durability {
            Durability::Durable => "PRAGMA synchronous = FULL",
            Durability::Relaxed => "PRAGMA synchronous = NORMAL",
        };
        tx.run("choose durability", class).await?;
        tx.chosen = Some(durability);
    }
    tx.run("begin", "BEGIN IMMEDIATE").await
}
