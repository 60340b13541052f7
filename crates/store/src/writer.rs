//! The one way in: a queue of operations, a task, a connection. To SQLite the task has a thread of its own.
//!
//! Operations that wait together are one transaction; where one of them fails, it is run again with each in a savepoint
//! of its own. Answers and wake-ups leave after the commit. See `docs/decisions/0012-durability-and-group-commit.md`.

mod group;
mod operation;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::lock::DirectoryLock;
use crate::open::Place;
use crate::wake::{Bells, Channel};
use group::Group;
use operation::{Operation, Pending};

/// What a write survives, once it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The server being killed.
    Relaxed,
    /// Power loss.
    Durable,
}

/// The future of an operation, which borrows the transaction and its own input.
pub type Running<'t, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 't>>;

/// The transaction that an operation runs in, and what it wants said afterwards.
#[derive(Debug)]
pub struct Tx {
    connection: Connection,
    /// What the connection is set to; nothing where that is not known.
    chosen: Option<Durability>,
    wakeups: Vec<Channel>,
}

impl Tx {
    /// Wakes whoever waits for `channel`, after the commit.
    pub fn wake(&mut self, channel: Channel) {
        self.wakeups.push(channel);
    }
}

impl std::ops::Deref for Tx {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl std::ops::DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Operations that may wait: at a thousand group commits a second of full batches, a quarter of a second's work.
pub const QUEUE_MOST: usize = 16_384;
/// Operations of one group: beyond this the flush is a small part of each one's share (measured: 72.5 µs for one row with
/// its flush, 261 µs for a hundred).
const BATCH_MOST: usize = 256;
/// How often a group that met another server's is run.
const ATTEMPTS: u32 = 5;

/// The end of the queue that callers hold.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Box<dyn Pending>>,
}

impl Writer {
    /// Starts the task. It ends when the last handle is gone and the queue is empty.
    pub(crate) fn start(
        connection: Connection,
        place: Place,
        bells: Arc<Bells>,
        lock: Option<DirectoryLock>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MOST);
        let on_spot = !connection.is_postgres();
        let task = Task {
            tx: Tx { connection, chosen: None, wakeups: Vec::new() },
            place,
            bells,
            waiting,
            _lock: lock,
        };
        // Ends when its queue is closed and empty.
        if on_spot {
            // SQLite is called, and a flush waited for, on the spot: not on a thread that others need. A runtime that ends waits
            // for it, and so for what is in the queue.
            let runtime = tokio::runtime::Handle::current();
            let _running = tokio::task::spawn_blocking(move || runtime.block_on(task.run()));
        } else {
            let _running = tokio::spawn(task.run());
        }
        Self { queue }
    }

    /// Runs `operation` with `input` in a transaction and gives its answer after the commit. It may be called several
    /// times, each time from the start. When the caller leaves, it runs all the same.
    pub(crate) async fn write<A, T>(
        &self,
        durability: Durability,
        input: A,
        operation: impl for<'t> Fn(&'t mut Tx, &'t A) -> Running<'t, T> + Send + Sync + 'static,
    ) -> Result<T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = Box::new(Operation::new(durability, input, operation, reply));
        match self.queue.try_send(pending) {
            Ok(()) => answer.await.unwrap_or(Err(Error::Closed)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Error::Overloaded { waiting: QUEUE_MOST }),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Error::Closed),
        }
    }
}

struct Task {
    tx: Tx,
    place: Place,
    bells: Arc<Bells>,
    waiting: mpsc::Receiver<Box<dyn Pending>>,
    /// Until the last write is done, nobody else may have the directory.
    _lock: Option<DirectoryLock>,
}

impl Task {
    async fn run(mut self) {
        while let Some(first) = self.waiting.recv().await {
            let mut operations = vec![first];
            while operations.len() < BATCH_MOST {
                let Ok(next) = self.waiting.try_recv() else { break };
                operations.push(next);
            }
            self.commit(operations).await;
        }
    }

    /// One group, from its start to its answers.
    async fn commit(&mut self, operations: Vec<Box<dyn Pending>>) {
        let mut group = Group::new(operations);
        for attempt in 1..=ATTEMPTS {
            self.tx.wakeups.clear();
            match group.run(&mut self.tx).await {
                Ok(()) => {
                    // First those who wait for this, then those who are curious.
                    group.answer();
                    self.tx.wakeups.drain(..).for_each(|channel| self.bells.ring(channel));
                    return;
                }
                Err(error) if error.may_be_repeated() && attempt < ATTEMPTS => {}
                Err(error) => {
                    if error.is_of_connection() {
                        self.reconnect().await;
                    }
                    return group.fail(&error);
                }
            }
        }
    }

    /// A new connection in place of one that is of no use. Where there is none yet, the next group finds that out.
    async fn reconnect(&mut self) {
        if let Ok(connection) = self.place.connect_writer().await {
            self.tx.connection = connection;
            self.tx.chosen = None;
        }
    }
}
