//! Which ids inside a sandbox are which ids outside.
//!
//! Root gives each sandbox a range of its own, so that no id inside is host id 0 or an id of another live
//! sandbox. An ordinary user has either a subordinate range (written by the setuid helpers `newuidmap` and
//! `newgidmap`) or nothing but their own id.

use std::fs;
use std::io;
use std::process::Command;

use rustix::process::Pid;

/// Code's ordinary user inside.
pub const USER_ID: u32 = 1000;
/// The agent's user inside where more than one id can be mapped: never the code's.
pub const AGENT_ID: u32 = 65_533;
/// Ids in the range of one sandbox, as container images expect them.
pub const RANGE: u32 = 65_536;
/// The ids above the agent's: that of `nobody` and `nogroup`, which package managers change to, and one more.
const ABOVE: std::ops::Range<u32> = AGENT_ID + 1..RANGE;

/// One run of ids: `inside..inside+count` are `outside..outside+count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First id as the sandbox sees it.
    pub inside: u32,
    /// First id as the host sees it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl Span {
    /// Its ids mapped to themselves, less `hole`.
    fn split_at(&self, hole: Option<u32>) -> impl Iterator<Item = Span> {
        let end = self.inside + self.count;
        let hole = hole.filter(|id| (self.inside..end).contains(id));
        let parts = match hole {
            None => [(self.inside, end), (end, end)],
            Some(id) => [(self.inside, id), (id + 1, end)],
        };
        parts.into_iter().filter(|(from, to)| from < to).map(|(from, to)| Span {
            inside: from,
            outside: from,
            count: to - from,
        })
    }
}

/// A sandbox's mapping of user ids and of group ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    /// User ids.
    pub uids: Vec<Span>,
    /// Group ids.
    pub gids: Vec<Span>,
    /// Who may write it.
    pub writer: Writer,
}

/// Who has the privilege to write a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// We have (root).
    Direct,
    /// The setuid helpers have.
    Helpers,
    /// Anyone may map their own single id, once `setgroups` is denied.
    Single,
}

impl IdMap {
    /// A whole range starting at host id `base` (root only). `base` must not be 0.
    #[must_use]
    pub fn range(base: u32) -> Self {
        assert!(base != 0, "inside id 0 must never be host id 0");
        let all = vec![Span { inside: 0, outside: base, count: RANGE }];
        Self { uids: all.clone(), gids: all, writer: Writer::Direct }
    }

    /// The caller's subordinate ranges, with the caller's own id as the agent's.
    #[must_use]
    pub fn subordinate(uid: u32, gid: u32, uids: Subordinate, gids: Subordinate) -> Self {
        let spans = |own: u32, sub: Subordinate| {
            let below = sub.from(0, 0..AGENT_ID);
            let above = sub.from(below.count, ABOVE);
            mapped([below, Span { inside: AGENT_ID, outside: own, count: 1 }, above])
        };
        Self { uids: spans(uid, uids), gids: spans(gid, gids), writer: Writer::Helpers }
    }

    /// The caller's subordinate ranges, with the caller's own id as the code's ordinary user: for host directories
    /// that the code is to write as the caller.
    #[must_use]
    pub fn subordinate_as_caller(uid: u32, gid: u32, uids: Subordinate, gids: Subordinate) -> Self {
        let spans = |own: u32, sub: Subordinate| {
            let below = sub.from(0, 0..USER_ID);
            let agent = sub.from(USER_ID, AGENT_ID..AGENT_ID + 1);
            let between = sub.from(USER_ID + 1, USER_ID + 1..AGENT_ID);
            let above = sub.from(USER_ID + 1 + between.count, ABOVE);
            mapped([below, Span { inside: USER_ID, outside: own, count: 1 }, between, agent, above])
        };
        Self { uids: spans(uid, uids), gids: spans(gid, gids), writer: Writer::Helpers }
    }

    /// The caller's subordinate ranges, with the caller's own id as the root inside: for a root file system of the caller's
    /// that the root inside is to change.
    #[must_use]
    pub fn subordinate_as_root(uid: u32, gid: u32, uids: Subordinate, gids: Subordinate) -> Self {
        let spans = |own: u32, sub: Subordinate| {
            // One is left for the agent.
            let all_but_one = Subordinate { count: sub.count - 1, ..sub };
            let below = all_but_one.from(0, 1..AGENT_ID);
            let agent = sub.from(below.count, AGENT_ID..AGENT_ID + 1);
            let above = sub.from(below.count + 1, ABOVE);
            mapped([Span { inside: 0, outside: own, count: 1 }, below, agent, above])
        };
        Self { uids: spans(uid, uids), gids: spans(gid, gids), writer: Writer::Helpers }
    }

    /// For a namespace below this one: every id as it is here, but for the agent's where it has one of its own, which
    /// does not exist there.
    #[must_use]
    pub fn without_agent(&self) -> Self {
        let agent = self.separates_agent().then(|| self.agent_id());
        let below = |spans: &[Span]| spans.iter().flat_map(|span| span.split_at(agent)).collect();
        let writer = if self.separates_agent() { Writer::Direct } else { Writer::Single };
        Self { uids: below(&self.uids), gids: below(&self.gids), writer }
    }

    /// What belongs to `disk` (user and group on disk) belongs to `shown` in what is mounted with this mapping.
    #[must_use]
    pub fn of_owner(disk: (u32, u32), shown: (u32, u32)) -> Self {
        let one = |disk, shown| vec![Span { inside: disk, outside: shown, count: 1 }];
        Self { uids: one(disk.0, shown.0), gids: one(disk.1, shown.1), writer: Writer::Direct }
    }

    /// Only the caller's own id, seen inside as `inside`.
    #[must_use]
    pub fn single(uid: u32, gid: u32, inside: u32) -> Self {
        let one = |outside| vec![Span { inside, outside, count: 1 }];
        Self { uids: one(uid), gids: one(gid), writer: Writer::Single }
    }

    /// Whether the agent has an id that the code cannot have.
    #[must_use]
    pub fn separates_agent(&self) -> bool {
        self.writer != Writer::Single
    }

    /// The id inside that the agent has.
    #[must_use]
    pub fn agent_id(&self) -> u32 {
        if self.separates_agent() { AGENT_ID } else { self.uids[0].inside }
    }

    /// The host's id of `inside`, if it is mapped.
    #[must_use]
    pub fn outside_uid(&self, inside: u32) -> Option<u32> {
        let span = self.uids.iter().find(|s| inside >= s.inside && inside - s.inside < s.count)?;
        Some(span.outside + (inside - span.inside))
    }

    /// Writes the mapping for the process `pid`, which waits in a new user namespace.
    ///
    /// # Errors
    /// The kernel's refusal, or what the helper printed.
    pub fn write(&self, pid: Pid) -> io::Result<()> {
        let pid = pid.as_raw_nonzero();
        match self.writer {
            Writer::Helpers => {
                run_helper("newuidmap", pid.get(), &self.uids)?;
                run_helper("newgidmap", pid.get(), &self.gids)
            }
            Writer::Single | Writer::Direct => {
                if self.writer == Writer::Single {
                    fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
                }
                fs::write(format!("/proc/{pid}/uid_map"), lines(&self.uids))?;
                fs::write(format!("/proc/{pid}/gid_map"), lines(&self.gids))
            }
        }
    }
}

/// A range that `/etc/subuid` or `/etc/subgid` lends to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subordinate {
    /// First host id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Subordinate {
    /// Its ids from number `skip` on as those `inside`, as many as there are.
    fn from(self, skip: u32, inside: std::ops::Range<u32>) -> Span {
        let count = (inside.end - inside.start).min(self.count.saturating_sub(skip));
        Span { inside: inside.start, outside: self.first + skip, count }
    }
}

/// Those that hold any id.
fn mapped<const N: usize>(spans: [Span; N]) -> Vec<Span> {
    spans.into_iter().filter(|span| span.count > 0).collect()
}

/// The largest range that `table` (the text of `/etc/subuid`) lends to `user` by name or by number, if it holds
/// more ids than the code's own two need.
#[must_use]
pub fn subordinate(table: &str, user: &str, uid: u32) -> Option<Subordinate> {
    let number = uid.to_string();
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let first = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok()?;
            (owner == user || owner == number).then_some(Subordinate { first, count })
        })
        .filter(|sub| sub.count > USER_ID + 1 && sub.first > 0)
        .max_by_key(|sub| sub.count)
}

/// The name of `uid` in `/etc/passwd`, or an empty one.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let named = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = named.filter(|fields| fields.get(2) == Some(&number.as_str()));
    found.next().and_then(|fields| fields.first().map(|name| (*name).to_owned())).unwrap_or_default()
}

/// Whether the setuid helpers that write subordinate mappings are installed.
#[must_use]
pub fn helpers_present() -> bool {
    ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"].iter().any(|dir| {
        ["newuidmap", "newgidmap"].iter().all(|name| std::path::Path::new(dir).join(name).exists())
    })
}

/// What our own user namespace maps, as its parent sees it: the text of `/proc/self/uid_map`.
#[must_use]
pub fn parse_map(text: &str) -> Vec<Span> {
    let span = |line: &str| {
        let mut numbers = line.split_whitespace().map_while(|number| number.parse().ok());
        Some(Span { inside: numbers.next()?, outside: numbers.next()?, count: numbers.next()? })
    };
    text.lines().filter_map(span).collect()
}

/// Whether all of `first..first+RANGE` can be handed on to a namespace below ours.
#[must_use]
pub fn covers(own: &[Span], first: u32) -> bool {
    own.iter().any(|span| {
        let end = u64::from(span.inside) + u64::from(span.count);
        first >= span.inside && u64::from(first) + u64::from(RANGE) <= end
    })
}

/// Whether our id 0 is that of the root above us: of the whole machine, as far as anyone here can tell.
#[must_use]
pub fn is_real_root(own: &[Span]) -> bool {
    own.iter().any(|span| span.inside == 0 && span.outside == 0)
}

fn lines(spans: &[Span]) -> String {
    spans.iter().map(|s| format!("{} {} {}\n", s.inside, s.outside, s.count)).collect()
}

fn run_helper(program: &str, pid: i32, spans: &[Span]) -> io::Result<()> {
    let numbers = spans.iter().flat_map(|s| [s.inside, s.outside, s.count]).map(|n| n.to_string());
    let output = Command::new(program).arg(pid.to_string()).args(numbers).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program}: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ranges_are_found_by_name_and_number() {
        let table =
            "# comment\nann:100000:65536\nbob:200000:5\n1007:300000:65536\nann:500000:70000\nbad:line\n";
        let check = |user: &str, uid, expect: Option<(u32, u32)>| {
            assert_eq!(subordinate(table, user, uid).map(|s| (s.first, s.count)), expect, "{user}");
        };
        check("ann", 1, Some((500_000, 70_000)));
        check("bob", 2, None);
        check("eve", 1007, Some((300_000, 65_536)));
        check("eve", 9, None);
    }

    #[test]
    fn no_mapping_reaches_host_root_and_the_agent_stands_apart() {
        let sub = Subordinate { first: 100_000, count: 65_536 };
        let maps = [
            IdMap::range(1 << 30),
            IdMap::subordinate(1001, 1001, sub, sub),
            IdMap::subordinate_as_caller(1001, 1001, sub, sub),
            IdMap::subordinate_as_root(1001, 1001, sub, sub),
        ];
        for map in maps {
            assert!(map.uids.iter().chain(&map.gids).all(|s| s.outside > 0));
            assert!(map.outside_uid(USER_ID).is_some());
            assert_ne!(map.outside_uid(USER_ID), map.outside_uid(map.agent_id()));
            assert!((0..RANGE).all(|id| map.outside_uid(id).is_some()), "{map:?}");
            let mut outside: Vec<u32> = (0..RANGE).filter_map(|id| map.outside_uid(id)).collect();
            outside.sort_unstable();
            assert!(outside.windows(2).all(|pair| pair[0] < pair[1]), "two ids are one: {map:?}");
        }
        assert_eq!(IdMap::single(1001, 1001, 1000).outside_uid(1000), Some(1001));
        assert_eq!(IdMap::single(1001, 1001, 1000).outside_uid(0), None);
    }

    #[test]
    fn a_small_range_maps_what_it_has_and_no_more() {
        let sub = Subordinate { first: 100_000, count: USER_ID + 2 };
        let maps = [
            IdMap::subordinate(1001, 1001, sub, sub),
            IdMap::subordinate_as_caller(1001, 1001, sub, sub),
            IdMap::subordinate_as_root(1001, 1001, sub, sub),
        ];
        for map in maps {
            let lent = map.uids.iter().filter(|span| span.outside != 1001);
            assert!(lent.clone().all(|s| s.outside >= 100_000 && s.outside + s.count <= 101_002), "{map:?}");
            assert!(lent.map(|span| span.count).sum::<u32>() <= sub.count);
            assert!([0, USER_ID, AGENT_ID].iter().all(|id| map.outside_uid(*id).is_some()), "{map:?}");
        }
    }

    #[test]
    fn a_namespace_around_us_is_seen_in_its_map() {
        let (whole, container) = ("         0          0 4294967295\n", "0 100000 65536\n");
        assert!(covers(&parse_map(whole), 1_879_048_192) && is_real_root(&parse_map(whole)));
        assert!(!covers(&parse_map(container), 1_879_048_192) && !is_real_root(&parse_map(container)));
        assert!(is_real_root(&parse_map("0 0 1\n")) && !covers(&parse_map("0 0 1\n"), 1_879_048_192));
    }

    #[test]
    fn the_inner_namespace_has_all_ids_but_the_agents() {
        let sub = Subordinate { first: 100_000, count: 65_536 };
        let outer = [IdMap::range(1 << 30), IdMap::subordinate(1001, 1001, sub, sub)];
        for outer in outer {
            let inner = outer.without_agent();
            assert_eq!(inner.outside_uid(AGENT_ID), None);
            assert_eq!(inner.outside_uid(0), Some(0));
            assert_eq!(inner.outside_uid(AGENT_ID - 1), Some(AGENT_ID - 1));
            assert_eq!(inner.outside_uid(AGENT_ID + 1), Some(AGENT_ID + 1));
            // What the outer one does not map, the inner one must not.
            assert_eq!(inner.outside_uid(RANGE), None);
        }
        let single = IdMap::single(1001, 1001, 1000).without_agent();
        assert_eq!(single.outside_uid(1000), Some(1000));
        assert_eq!(single.writer, Writer::Single);
    }

    #[test]
    #[should_panic(expected = "host id 0")]
    fn a_range_from_zero_cannot_be_made() {
        let _map = IdMap::range(0);
    }
}
