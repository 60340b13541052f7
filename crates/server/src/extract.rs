//! Reading requests: each extractor refuses in our words.
#![cfg_attr(
    not(test),
    allow(dead_code, unused_imports, reason = "the first routes that need them come with the services")
)]

mod body;
mod caller;
mod query;

pub(crate) use body::Body;
pub(crate) use caller::Caller;
pub(crate) use query::Query;
