//! Reading requests: each extractor refuses in our words.

mod body;
mod caller;
mod id;
mod query;
mod repeat;

use sandkeep_core::code::{ErrorCode, Problem};

pub(crate) use body::Body;
pub(crate) use caller::Caller;
pub(crate) use id::Id;
pub(crate) use query::Query;
pub(crate) use repeat::Repeat;

/// ``unknown field `nam`, expected one of `a`, `b` `` and ``unknown variant …``, taken apart.
fn unknown(code: ErrorCode, text: &str) -> Option<Problem> {
    let (what, rest) = text.split_once(" `")?;
    let (value, expected) = rest.split_once("`, expected ")?;
    let why = match what {
        "unknown field" => "is not known here",
        "unknown variant" => "is not a word that stands here",
        _ => return None,
    };
    Some(Problem::refused(code, value, why, expected))
}
