//! Signals that something was written which somebody waits for.
//!
//! A wake-up carries nothing: whoever gets one looks at the rows. It is sent after the commit of the write that caused
//! it, so looking finds it. Several that come together are one. Waiting for them is never the only way: every loop has a
//! slow period too.

use tokio::sync::watch;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// A sandbox's desired state.
    Sandboxes,
    /// An execution to be started or cancelled.
    Executions,
    /// An event.
    Events,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 3] = [Self::Sandboxes, Self::Executions, Self::Events];

    fn index(self) -> usize {
        match self {
            Self::Sandboxes => 0,
            Self::Executions => 1,
            Self::Events => 2,
        }
    }
}

/// Senders of all channels.
#[derive(Debug)]
pub(crate) struct Bells([watch::Sender<u64>; Channel::ALL.len()]);

impl Default for Bells {
    fn default() -> Self {
        Self(Channel::ALL.map(|_| watch::Sender::new(0)))
    }
}

impl Bells {
    pub(crate) fn ring(&self, channel: Channel) {
        self.0[channel.index()].send_modify(|count| *count += 1);
    }

    pub(crate) fn listen(&self, channel: Channel) -> Wakeups {
        Wakeups(self.0[channel.index()].subscribe())
    }
}

/// The wake-ups of one channel from when it was asked for.
#[derive(Debug)]
pub struct Wakeups(watch::Receiver<u64>);

impl Wakeups {
    /// Returns when there was a wake-up since the last call; false when the store is closed. Cancel-safe.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn none_is_missed_and_many_are_one() {
        let bells = Bells::default();
        let mut wakeups = bells.listen(Channel::Executions);
        bells.ring(Channel::Executions);
        bells.ring(Channel::Executions);
        bells.ring(Channel::Sandboxes);
        assert!(wakeups.next().await);
        drop(bells);
        assert!(!wakeups.next().await, "both were one, and the other was another channel's");
    }
}
