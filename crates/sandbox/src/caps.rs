//! Capabilities: what is left of root's powers inside a sandbox.
//!
//! Who calls it: the child that is about to become an execution, in this order:
//! 1. [`bound`], while it still holds `SETPCAP`: what no later exec may bring back;
//! 2. it changes its ids (which clears the sets, unless it stays uid 0);
//! 3. [`hold`]: what it has from now on;
//! 4. [`set_no_new_privs`].
//!
//! The bounding set is inherited by fork, and does not touch what a process holds. So the agent shrinks its own once,
//! to the most that any execution gets, and a child has only the difference left to drop: each costs half a
//! microsecond, even one that is gone already.
//!
//! The inheritable set of code is always emptied: uid 0 gets bounding ∩ permitted on exec without it, while a filled
//! one would hand capabilities to whoever runs a file with inheritable bits (CVE-2022-24769 in container engines).
//! Securebits are left alone: with an empty bounding set there is nothing for them to hold back, and the dev root
//! needs the ordinary meaning of uid 0, in particular that `setuid(1000)` loses everything.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

pub use rustix::thread::CapabilitySet as Caps;

/// No capability: everything of profile `strict`, and the user of profile `dev`.
pub const NONE: Caps = CapabilitySet::empty();

/// Every capability of this and any later kernel.
pub const ALL: Caps = CapabilitySet::from_bits_retain(u64::MAX);

/// What inside-root of profile `dev` has, in the sandbox's own user namespace: enough for package managers.
pub const DEV_ROOT: Caps = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// A step that the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `EPERM`: the caller has no `SETPCAP` in its user namespace.
    #[error("cannot drop capability {number} from the bounding set")]
    Bound {
        /// `CAP_*` of linux/capability.h.
        number: u32,
        #[source]
        source: Errno,
    },
    /// The ambient set could not be cleared (a kernel before 4.3).
    #[error("cannot clear the ambient capabilities")]
    Ambient(#[source] Errno),
    /// `EPERM`: more was asked for than the caller is permitted.
    #[error("cannot set the capabilities")]
    Hold(#[source] Errno),
    /// `PR_SET_NO_NEW_PRIVS` failed (a kernel before 3.5).
    #[error("cannot set no_new_privs")]
    NoNewPrivs(#[source] Errno),
}

/// Drops from the bounding set what is in `present` and not in `keep`. One system call each.
///
/// `present` is what may be in it now: [`ALL`] for a process we know nothing of.
///
/// # Errors
/// [`Error::Bound`]; some may be dropped already.
pub fn bound(present: Caps, keep: Caps) -> Result<(), Error> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if !present.contains(one) || keep.contains(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // Past the last capability that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(source) => return Err(Error::Bound { number, source }),
        }
    }
    Ok(())
}

/// Makes `keep` all that the thread has: effective and permitted are `keep`, inheritable and ambient are empty.
///
/// # Errors
/// [`Error::Ambient`], or [`Error::Hold`] when something in `keep` is not permitted to the caller now.
pub fn hold(keep: Caps) -> Result<(), Error> {
    hold_inheritable(keep, NONE)
}

/// As [`hold`], and leaves what is in `keep` and `inheritable` to be [handed on](hand_on) by a child, which an empty bounding
/// set would forbid to any that was not inheritable before.
///
/// # Errors
/// As [`hold`].
pub fn hold_inheritable(keep: Caps, inheritable: Caps) -> Result<(), Error> {
    rustix::thread::clear_ambient_capability_set().map_err(Error::Ambient)?;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable };
    rustix::thread::set_capabilities(None, sets).map_err(Error::Hold)
}

/// What the thread is permitted now.
///
/// # Errors
/// The kernel's refusal.
pub fn permitted() -> Result<Caps, Error> {
    rustix::thread::capabilities(None).map(|sets| sets.permitted).map_err(Error::Hold)
}

/// Makes `keep` all that the thread has, and what the program has that it becomes next.
///
/// # Errors
/// As [`hold`]; `EPERM` too for what is not inheritable.
pub fn hand_on(keep: Caps) -> Result<(), Error> {
    hold_inheritable(keep, keep)?;
    for one in keep.iter() {
        rustix::thread::configure_capability_in_ambient_set(one, true).map_err(Error::Ambient)?;
    }
    Ok(())
}

/// From now on exec gives nothing that the caller does not have: set-uid bits and file capabilities are void.
///
/// # Errors
/// [`Error::NoNewPrivs`].
pub fn set_no_new_privs() -> Result<(), Error> {
    rustix::thread::set_no_new_privs(true).map_err(Error::NoNewPrivs)
}
