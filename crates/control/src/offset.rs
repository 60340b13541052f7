//! How far the database's clock is from this machine's: measured at the start of a server, and with every heartbeat.

use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_store::{Store, time};

use crate::clock::{Clock, Offsets, Sample};
use crate::fault;

/// Answers of which the nearest counts. One that waited, here or there, is told by its round trip.
const SAMPLES: u32 = 3;
/// For all of them. Half of it is the most that a measurement can be wrong.
const WITHIN: Duration = Duration::from_secs(2);
/// From here on an offset is told, and so is a change of it: no clock that is kept right is this wrong.
const NOTABLE_US: u64 = 1_000_000;

/// Asks the database for its time and lets `clock` go by it. On SQLite there is nothing to ask.
///
/// # Errors
/// The database did not answer in time: `clock` goes on as it was.
pub async fn measure(store: &Store, clock: &Clock) -> Result<(), Problem> {
    let nearest = tokio::time::timeout(WITHIN, nearest(store, clock)).await;
    let silent = || Problem::new(ErrorCode::StoreUnavailable, "the database did not tell its time within 2s");
    let Some(sample) = nearest.unwrap_or_else(|_| Err(silent()))? else { return Ok(()) };
    tell(notable(clock.hear(sample)));
    Ok(())
}

async fn nearest(store: &Store, clock: &Clock) -> Result<Option<Sample>, Problem> {
    let mut nearest: Option<Sample> = None;
    // Taken before the time is: waiting for a connection is no part of the way to the database.
    let mut reader = store.reader().await.map_err(|error| fault::problem(&error))?;
    for _ in 0..SAMPLES {
        let asked = clock.monotonic();
        let told = time::now_us(&mut reader).await.map_err(|error| fault::problem(&error))?;
        let Some(database_us) = told else { return Ok(None) };
        let sample = clock.sample(database_us, clock.monotonic().duration_since(asked));
        nearest = nearest.filter(|kept| kept.within_us <= sample.within_us).or(Some(sample));
    }
    Ok(nearest)
}

/// What somebody should hear of an offset.
#[derive(Debug, PartialEq, Eq)]
enum Notable {
    Nothing,
    /// One of the two clocks is wrong.
    Large(i64),
    /// One of the two was set: from, to.
    Jumped(i64, i64),
}

fn notable(offsets: Offsets) -> Notable {
    match offsets {
        Offsets { now_us, before_us: None } if now_us.unsigned_abs() >= NOTABLE_US => Notable::Large(now_us),
        Offsets { now_us, before_us: Some(before_us) } if now_us.abs_diff(before_us) >= NOTABLE_US => {
            Notable::Jumped(before_us, now_us)
        }
        Offsets { .. } => Notable::Nothing,
    }
}

fn tell(notable: Notable) {
    match notable {
        Notable::Nothing => {}
        Notable::Large(now_us) => tracing::warn!(
            clock.offset_ms = now_us / 1000,
            "this machine's clock is not the database's, whose time counts: one of them is wrong"
        ),
        Notable::Jumped(before_us, now_us) => tracing::warn!(
            clock.offset_ms = now_us / 1000,
            clock.offset_before_ms = before_us / 1000,
            "this machine's clock or the database's has jumped; the database's time counts"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_offset_is_told_once_and_a_jump_each_time() {
        let check = |before_us, now_us, expected| {
            assert_eq!(notable(Offsets { now_us, before_us }), expected, "{before_us:?} {now_us}");
        };
        check(None, 999_999, Notable::Nothing);
        check(None, -1_000_000, Notable::Large(-1_000_000));
        check(Some(-1_000_000), -1_000_100, Notable::Nothing);
        check(Some(0), 2_000_000, Notable::Jumped(0, 2_000_000));
        check(Some(2_000_000), 0, Notable::Jumped(2_000_000, 0));
    }
}
