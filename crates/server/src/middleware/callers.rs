//! What one caller may ask for, so that whoever asks for too much is told so, and nobody else notices: requests at once,
//! open ones (waits and streams) at once, changes in a second; and for whoever comes with wrong keys, those in a second from
//! one address. It is kept in the memory of this server alone. It sheds load, and promises nothing exactly.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::PrincipalId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// All callers that there were lately.
#[derive(Debug)]
pub(crate) struct Callers {
    limits: Limits,
    known: Mutex<Table<PrincipalId, Asking>>,
    strangers: Mutex<Table<IpAddr, Paid>>,
}

/// What a request takes of its caller's share.
#[derive(Debug)]
pub(crate) struct Share {
    /// While it is worked on.
    pub(super) working: OwnedSemaphorePermit,
    /// Until its answer is complete.
    pub(super) open: Open,
}

/// A request of a caller that is not over.
#[derive(Debug)]
pub(crate) struct Open {
    _permit: OwnedSemaphorePermit,
}

impl Callers {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, known: Mutex::default(), strangers: Mutex::default() }
    }

    /// The share of a request, if its caller has one left.
    ///
    /// # Errors
    /// `too_many_requests`; nothing is taken then.
    pub(crate) fn begin(&self, caller: PrincipalId, changes: bool, now: Instant) -> Result<Share, Problem> {
        let Limits { caller_requests, caller_open, caller_changes, .. } = self.limits;
        let mut known = lock(&self.known);
        let asking = known.of(caller, now, || Asking::new(caller_requests, caller_open, now));
        let taken = |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).try_acquire_owned().ok();
        let refused = |most: usize, what: &str| {
            let problem =
                Problem::new(ErrorCode::TooManyRequests, format!("{most} {what}, and no more are taken"));
            problem.expecting("the same request again in a moment")
        };
        let working = taken(&asking.working)
            .ok_or_else(|| refused(caller_requests, "requests of this caller are being worked on"))?;
        let open = taken(&asking.open).ok_or_else(|| {
            refused(caller_open, "requests of this caller wait or are streams").expecting("fewer of them")
        })?;
        if changes && !asking.changes.pay(caller_changes, now) {
            return Err(refused(caller_changes, "changes in a second were asked for by this caller"));
        }
        Ok(Share { working, open: Open { _permit: open } })
    }

    /// Whether more wrong keys came from `address` than are looked at.
    pub(crate) fn is_suspect(&self, address: IpAddr, now: Instant) -> bool {
        let strangers = lock(&self.strangers);
        strangers.0.get(&site(address)).is_some_and(|paid| !paid.can_pay(self.limits.wrong_keys, now))
    }

    /// Takes down that a wrong key came from `address`.
    pub(crate) fn wrong_key(&self, address: IpAddr, now: Instant) {
        lock(&self.strangers).of(site(address), now, || Paid(now)).pay(self.limits.wrong_keys, now);
    }

    /// What whoever comes from such an address is told.
    pub(crate) fn suspect(&self) -> Problem {
        let message = format!("{} wrong keys in a second came from this address", self.limits.wrong_keys);
        Problem::new(ErrorCode::TooManyRequests, message)
            .expecting("a key that this server made, in a moment")
    }
}

/// Who has an address of IPv6 has its whole network of 64 bits.
fn site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// What one caller has in hand.
#[derive(Debug)]
struct Asking {
    most: [usize; 2],
    working: Arc<Semaphore>,
    open: Arc<Semaphore>,
    changes: Paid,
}

impl Asking {
    fn new(requests: usize, open: usize, now: Instant) -> Self {
        let most = [requests, open].map(|most| if most == 0 { Semaphore::MAX_PERMITS } else { most });
        let [working, open] = most.map(|most| Arc::new(Semaphore::new(most)));
        Self { most, working, open, changes: Paid(now) }
    }
}

/// How far in advance somebody has paid for what they asked: at most for [`AHEAD`] (the generic cell rate algorithm, ITU-T
/// I.371).
#[derive(Debug, Clone, Copy)]
struct Paid(Instant);

/// What may come at once is what may come in this time.
const AHEAD: Duration = Duration::from_secs(1);

impl Paid {
    /// After one more, of `per_second`; `None` when that is too far ahead. 0 is no bound.
    fn next(self, per_second: usize, now: Instant) -> Option<Self> {
        let Some(each) = u32::try_from(per_second).ok().and_then(|rate| AHEAD.checked_div(rate)) else {
            return Some(self);
        };
        let next = self.0.max(now) + each;
        (next <= now + AHEAD).then_some(Self(next))
    }

    fn can_pay(self, per_second: usize, now: Instant) -> bool {
        self.next(per_second, now).is_some()
    }

    fn pay(&mut self, per_second: usize, now: Instant) -> bool {
        self.next(per_second, now).map(|next| *self = next).is_some()
    }
}

/// An entry that is as good as none may go.
trait Idle {
    fn is_idle(&self, now: Instant) -> bool;
}

impl Idle for Paid {
    fn is_idle(&self, now: Instant) -> bool {
        self.0 <= now
    }
}

impl Idle for Asking {
    fn is_idle(&self, now: Instant) -> bool {
        let free = [&self.working, &self.open].map(|semaphore| semaphore.available_permits());
        free == self.most && self.changes.is_idle(now)
    }
}

/// Entries by key. What is idle goes when there are [`MOST`]; what is left then is bounded by connections and by what a server
/// can take in a second.
#[derive(Debug)]
struct Table<K, V>(HashMap<K, V>, usize);

/// Entries before the idle ones are looked for.
const MOST: usize = 4096;

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(HashMap::new(), MOST)
    }
}

impl<K: Copy + Eq + Hash, V: Idle> Table<K, V> {
    fn of(&mut self, key: K, now: Instant, new: impl FnOnce() -> V) -> &mut V {
        if self.0.len() >= self.1 && !self.0.contains_key(&key) {
            self.0.retain(|_, entry| !entry.is_idle(now));
            // Not again before half of them are new, however many stay.
            self.1 = MOST.max(self.0.len() * 2);
        }
        self.0.entry(key).or_insert_with(new)
    }
}

/// A poisoned table is still a table: every change of it is one call.
fn lock<T>(table: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callers(flags: &[(&'static str, &str)]) -> Callers {
        let flags = flags.iter().map(|(key, text)| (*key, (*text).to_owned())).collect();
        let sources = crate::config::Sources { flags, ..Default::default() };
        let values = crate::config::Values::collect(&sources).unwrap();
        Callers::new(crate::Config::of(&values).unwrap().limits)
    }

    fn caller(number: u8) -> PrincipalId {
        PrincipalId::new(0, [number; 10])
    }

    #[track_caller]
    fn refuses(asked: Result<Share, Problem>, says: &str) {
        let problem = asked.expect_err(says);
        assert_eq!(problem.code, ErrorCode::TooManyRequests);
        assert!(problem.message.contains(says), "{problem}");
    }

    #[test]
    fn each_has_a_share_of_their_own() {
        let callers = callers(&[("limits.caller_requests", "2"), ("limits.caller_open", "3")]);
        let now = Instant::now();
        let begin = |number| callers.begin(caller(number), false, now);
        let (first, second) = (begin(1).unwrap(), begin(1).unwrap());
        refuses(begin(1), "2 requests of this caller are being worked on");
        let _other = begin(2).unwrap();
        // One that only waits makes room for another, until too many wait.
        let Share { working, open: _waits } = first;
        drop(working);
        let third = begin(1).unwrap();
        drop((second.working, third.working));
        refuses(begin(1), "3 requests of this caller wait");
        drop(third.open);
        begin(1).unwrap();
    }

    #[test]
    fn changes_are_bounded_by_the_second_and_reads_are_not() {
        let callers = callers(&[("limits.caller_changes", "4")]);
        let begin = Instant::now();
        let change = |ms| callers.begin(caller(1), true, begin + Duration::from_millis(ms));
        for _ in 0..4 {
            change(0).unwrap();
        }
        refuses(change(0), "4 changes in a second");
        callers.begin(caller(1), false, begin).unwrap();
        callers.begin(caller(2), true, begin).unwrap();
        refuses(change(249), "4 changes");
        change(250).unwrap();
        refuses(change(251), "4 changes");
        for _ in 0..4 {
            change(2000).unwrap();
        }
        refuses(change(2000), "4 changes");
    }

    #[test]
    fn wrong_keys_count_by_address() {
        let callers = callers(&[("limits.wrong_keys", "2")]);
        let now = Instant::now();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..9 {
            callers.wrong_key(address("10.0.0.1"), now);
            callers.wrong_key(address("fd00::1"), now);
        }
        assert!(callers.is_suspect(address("10.0.0.1"), now));
        assert!(!callers.is_suspect(address("10.0.0.2"), now));
        assert!(callers.is_suspect(address("fd00::ffff"), now), "the same network");
        assert!(!callers.is_suspect(address("fd00:0:0:1::1"), now));
        assert!(!callers.is_suspect(address("10.0.0.1"), now + Duration::from_millis(500)));
    }

    #[test]
    fn nothing_is_no_bound() {
        let all =
            ["limits.caller_requests", "limits.caller_open", "limits.caller_changes", "limits.wrong_keys"];
        let callers = callers(&all.map(|key| (key, "0")));
        let (now, address) = (Instant::now(), IpAddr::from([10, 0, 0, 1]));
        let shares: Vec<_> = (0..5000).map(|_| callers.begin(caller(1), true, now).unwrap()).collect();
        (0..5000).for_each(|_| callers.wrong_key(address, now));
        assert!(!callers.is_suspect(address, now));
        drop(shares);
    }

    #[test]
    fn what_is_idle_takes_no_room() {
        let callers = callers(&[]);
        let begin = Instant::now();
        let number = |number: usize| {
            let mut bytes = [0; 10];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            PrincipalId::new(0, bytes)
        };
        let held = callers.begin(number(0), false, begin).unwrap();
        for one in 1..3 * MOST {
            let now = begin + Duration::from_secs(one as u64);
            callers.begin(number(one), true, now).unwrap();
            callers.wrong_key(IpAddr::from(u32::try_from(one).unwrap().to_be_bytes()), now);
            assert!(lock(&callers.known).0.len() <= MOST && lock(&callers.strangers).0.len() <= MOST);
        }
        assert!(lock(&callers.known).0.contains_key(&number(0)), "what is in use stays");
        drop(held);
    }
}
