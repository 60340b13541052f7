//! The pipe that keeps code back: its process reads a byte from it right before it becomes the code, whether it may. The pipe's
//! end, which comes when the supervisor dies, is a no as well.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, read, retry_on_intr, write};
use rustix::pipe::{PipeFlags, pipe_with};

/// The byte that lets code begin. Any other does not.
const GO: u8 = b'1';

/// The supervisor's end.
#[derive(Debug)]
pub struct Gate(OwnedFd);

impl Gate {
    /// A gate, and the end that goes to the agent.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn new() -> rustix::io::Result<(Self, OwnedFd)> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Self(ours), theirs))
    }

    /// Lets the code begin.
    pub fn open(self) {
        self.say(GO);
    }

    /// Ends what waits for it. Said, since the pipe's end may be long in coming: a child of ours may have a copy of it.
    pub fn shut(self) {
        self.say(b'0');
    }

    fn say(self, word: u8) {
        // Nobody is there to read it where the process died of something else; then that is told.
        let _gone = write(&self.0, &[word]);
    }
}

/// Waits at the other end until the code may begin.
///
/// # Errors
/// `ECANCELED`: it may not. The kernel's refusal.
pub fn pass(theirs: &OwnedFd) -> rustix::io::Result<()> {
    let mut word = [0];
    match retry_on_intr(|| read(theirs, &mut word))? {
        1 if word == [GO] => Ok(()),
        _ => Err(Errno::CANCELED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_go_lets_it_pass() {
        for (say, passes) in [
            (Some(Gate::open as fn(Gate)), Ok(())),
            (Some(Gate::shut), Err(Errno::CANCELED)),
            (None, Err(Errno::CANCELED)),
        ] {
            let (gate, theirs) = Gate::new().unwrap();
            match say {
                Some(say) => say(gate),
                None => drop(gate),
            }
            assert_eq!(pass(&theirs), passes);
        }
    }
}
