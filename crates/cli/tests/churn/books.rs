//! What has to be true between two rounds: all that was accepted has ended once, and nothing is left over.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use sandkeep_runtime::local::StateDirectory;
use sha2::Digest as _;

use crate::life::Bed;
use crate::support::server::{At, PATIENCE};
use crate::support::{host, is_root};
use crate::work::Accepted;

/// Waits until `found` is nothing.
async fn until_nothing<T: std::fmt::Debug>(what: &str, found: impl AsyncFn() -> Vec<T>) {
    let begun = Instant::now();
    loop {
        let left = found().await;
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Everything of `accepted` has ended, once and as it should; and so has nothing else. Gives the position in the feed.
pub(crate) async fn assert_all_ended(at: &At, accepted: &Accepted, mut position: i64) -> i64 {
    for (id, ends) in &accepted.executions {
        let begun = Instant::now();
        let ended = loop {
            let found = at.ask("GET", &format!("/executions/{id}"), "", "").await.unwrap().json();
            if found["finished_at"].is_string() {
                break found;
            }
            assert!(begun.elapsed() < PATIENCE, "{id} was accepted and has no end: {found}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(ends.contains(&ended["status"].as_str().unwrap()), "{id} should be one of {ends:?}: {ended}");
        let time = |name: &str| ended[name].as_str().map(str::to_owned);
        let times = [time("created_at"), time("started_at"), time("finished_at")];
        // Where a clock is set back in the middle of it, only what lies on one side of that can be compared; but no end comes
        // before its beginning.
        assert!(times.iter().flatten().collect::<Vec<_>>().is_sorted(), "{id}: {times:?}");
    }
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        let path = format!("/events?kind=execution&limit=1000&after={position}");
        let page = at.ask("GET", &path, "", "").await.unwrap().json();
        position = page["after"].as_i64().unwrap();
        let items = page["items"].as_array().unwrap();
        if items.is_empty() {
            break;
        }
        for item in items.iter().filter(|item| item["kind"] == "execution.ended") {
            *ends.entry(item["subject"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let twice: Vec<_> = ends.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "more than one end: {twice:?}");
    let unknown: Vec<_> = ends.keys().filter(|id| !accepted.executions.contains_key(*id)).collect();
    assert!(unknown.is_empty(), "nobody was told of these: {unknown:?}");
    assert_eq!(ends.len(), accepted.executions.len());
    position
}

/// No sandbox in the books; no supervisor, process, control group, mount, directory or slot of one.
pub(crate) async fn assert_nothing_is_left(at: &At, bed: &Bed, marker: &str) {
    until_nothing("sandboxes in the books", async || {
        let page = at.ask("GET", "/sandboxes?limit=100", "", "").await.unwrap().json();
        let items = page["items"].as_array().unwrap();
        items.iter().filter(|item| item["status"] != "terminated").cloned().collect()
    })
    .await;
    let state = StateDirectory::default_path();
    let doors = state.join("supervisors").join(owner(&bed.data()));
    until_nothing("supervisors", async || names(&doors)).await;
    until_nothing("processes", async || {
        host::with_argument(marker).into_iter().map(host::describe).collect::<Vec<_>>()
    })
    .await;
    until_nothing("mounts", async || host::mounts_of_ours()).await;
    let own = |name: &String| name != "slots" && name != "supervisors";
    for directory in names(&state).into_iter().filter(own) {
        until_nothing(&directory, async || names(&state.join(&directory))).await;
    }
    until_nothing("slots", async || {
        taken().into_iter().filter(|slot| !bed.taken_before.contains(slot)).collect::<Vec<_>>()
    })
    .await;
    // Groups are named by slot, and an ordinary user's slots are not those of the groups.
    if !is_root() {
        return;
    }
    let others: Vec<String> = taken().into_iter().map(|(slot, _)| slot).collect();
    let free = names(&state.join("slots")).into_iter().filter(|slot| !others.contains(slot));
    for slot in free.filter_map(|name| name.parse().ok()) {
        until_nothing("control groups", async || host::in_groups_of_slot(slot)).await;
    }
}

/// Under which name the driver keeps the sandboxes of a server with these data: see `host::outliving_driver`.
fn owner(data: &Path) -> String {
    let digest = sha2::Sha256::digest(data.as_os_str().as_encoded_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Slots that somebody lives in, and whose process holds them.
pub(crate) fn taken() -> Vec<(String, u32)> {
    let slots = StateDirectory::default_path().join("slots");
    let inode = |name: &String| fs::metadata(slots.join(name)).map_or(0, |file| file.ino());
    let by_inode: BTreeMap<u64, String> =
        names(&slots).into_iter().map(|name| (inode(&name), name)).collect();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let lock = |line: &str| {
        // 1: FLOCK  ADVISORY  WRITE 3133 fe:00:1130499 0 EOF
        let words: Vec<&str> = line.split_whitespace().collect();
        let inode = words.get(5)?.rsplit(':').next()?.parse().ok()?;
        Some((by_inode.get(&inode)?.clone(), words[4].parse().ok()?))
    };
    locks.lines().filter_map(lock).collect()
}
