//! Images for a person and for a program.

use std::time::{SystemTime, UNIX_EPOCH};

use sandkeep_core::size::ByteSize;
use sandkeep_core::time::Timestamp;
use sandkeep_image::{Runtime, Stored};
use serde::Serialize;

use crate::out::{self, Stop};

/// An image, for a program.
#[derive(Debug, Serialize)]
struct Row<'a> {
    id: String,
    names: &'a [String],
    size_bytes: u64,
    entries: u64,
    left_out: u64,
    owners_clamped: u64,
    unpacked_at: Timestamp,
    used_at: Timestamp,
    in_use: bool,
    runtimes: Option<&'a [Runtime]>,
}

impl<'a> From<&'a Stored> for Row<'a> {
    fn from(stored: &'a Stored) -> Self {
        Self {
            id: stored.id.to_string(),
            names: &stored.names,
            size_bytes: stored.size_bytes,
            entries: stored.entries,
            left_out: stored.left_out,
            owners_clamped: stored.clamped,
            unpacked_at: timestamp(stored.unpacked_at),
            used_at: timestamp(stored.used_at),
            in_use: stored.in_use,
            runtimes: stored.runtimes.as_deref(),
        }
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn json(all: &[Stored]) -> Result<(), Stop> {
    out::json(&all.iter().map(Row::from).collect::<Vec<_>>())
}

pub(super) fn table(all: &[Stored]) -> Result<(), Stop> {
    let row = |id: &str, size: &str, used: &str, names: &str| {
        out::line(format!("{id:<14}{size:<10}{used:<24}{names}").trim_end())
    };
    row("id", "size", "used", "names")?;
    for stored in all {
        let used = if stored.in_use { "now".to_owned() } else { to_the_second(stored.used_at) };
        let size = ByteSize::from_bytes(stored.size_bytes).rounded();
        row(&stored.id.short(), &size, &used, &stored.names.join(" "))?;
    }
    Ok(())
}

/// Everything, in a few lines.
pub(super) fn whole(stored: &Stored) -> Result<(), Stop> {
    let row = |what: &str, is: &str| out::line(format!("{what:<10}{is}").trim_end());
    row("id", &stored.id.to_string())?;
    row("names", &stored.names.join(" "))?;
    row(
        "size",
        &format!("{} in {} entries", ByteSize::from_bytes(stored.size_bytes).rounded(), stored.entries),
    )?;
    row("unpacked", &to_the_second(stored.unpacked_at))?;
    row("used", &if stored.in_use { "now".to_owned() } else { to_the_second(stored.used_at) })?;
    match stored.runtimes.as_deref() {
        None => row("runtimes", "not looked for yet")?,
        Some([]) => row("runtimes", "none that are known")?,
        Some(all) => {
            for Runtime { language, path, version } in all {
                row("runtime", &format!("{language} {} ({path})", version.as_deref().unwrap_or("-")))?;
            }
        }
    }
    Ok(())
}

/// In one line.
pub(super) fn line(stored: &Stored) -> String {
    let size = ByteSize::from_bytes(stored.size_bytes).rounded();
    let names = stored.names.join(" ");
    format!("{} {names}", stored.id.short()).trim_end().to_owned() + &format!(" ({size})")
}

/// What of an image is not as it was.
pub(super) fn notes(stored: &Stored) {
    if stored.left_out > 0 {
        out::note(&format!("{}: left out {} devices and FIFOs", stored.id.short(), stored.left_out));
    }
    if stored.clamped > 0 {
        out::note(&format!(
            "{}: {} owners have no id in a sandbox and are nobody now",
            stored.id.short(),
            stored.clamped
        ));
    }
}

/// Seconds are enough to tell old from new.
fn to_the_second(time: SystemTime) -> String {
    let text = timestamp(time).to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}
