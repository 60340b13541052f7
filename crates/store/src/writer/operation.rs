//! One write on its way: input, function, and where the answer goes.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::{Durability, Running, Tx};
use crate::error::{Error, Result};

/// An operation without its types.
pub(super) trait Pending: Send {
    fn durability(&self) -> Durability;

    /// Runs it and keeps its result. An error is for the group to look at; the operation keeps a copy for its caller.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Running<'t, ()>;

    /// Keeps an error as its result.
    fn refuse(&mut self, error: Error);

    /// Says the result.
    fn answer(self: Box<Self>);
}

pub(super) struct Operation<A, T, F> {
    durability: Durability,
    input: A,
    operation: F,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<A, T, F> Operation<A, T, F> {
    pub(super) fn new(
        durability: Durability,
        input: A,
        operation: F,
        reply: oneshot::Sender<Result<T>>,
    ) -> Self {
        Self { durability, input, operation, result: None, reply }
    }
}

impl<A, T, F> Pending for Operation<A, T, F>
where
    A: Send + Sync + 'static,
    T: Send + 'static,
    F: for<'t> Fn(&'t mut Tx, &'t A) -> Running<'t, T> + Send + Sync + 'static,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Running<'t, ()> {
        let (operation, input, result) = (&self.operation, &self.input, &mut self.result);
        // Called inside of the future, so that a panic of the call is caught with those that come later.
        let running = AssertUnwindSafe(async move { operation(tx, input).await }).catch_unwind();
        Box::pin(async move {
            let value = running.await.unwrap_or(Err(Error::Panicked))?;
            *result = Some(Ok(value));
            Ok(())
        })
    }

    fn refuse(&mut self, error: Error) {
        self.result = Some(Err(error));
    }

    fn answer(self: Box<Self>) {
        // Nobody may be waiting any more.
        let _left = self.reply.send(self.result.unwrap_or(Err(Error::Closed)));
    }
}
