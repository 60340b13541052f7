//! Reading requests: each extractor refuses in our words.

mod body;
mod caller;
mod id;
mod query;
mod repeat;

pub(crate) use body::Body;
pub(crate) use caller::Caller;
pub(crate) use id::Id;
pub(crate) use query::Query;
pub(crate) use repeat::Repeat;
