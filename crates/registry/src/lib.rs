//! Container images from registries: a reference becomes a digest, the digest blobs, and those a layout in the store.
//!
//! [`pull`] is all that callers need. It asks the registry what a tag means, fetches manifest, configuration and the
//! layers that the store lacks, each bounded in bytes and time and checked by its digest, and leaves them in a directory
//! of the store's from which they are unpacked as from any other layout. Who serves the bytes does not matter, then:
//! [`Settings`] may name mirrors, and what one of them gives is right or refused.
//!
//! A registry is as hostile as an image. Its answers are never held whole unless they are small, its redirects are few
//! and never lead from TLS to plain text, its words are not repeated, and credentials ([`auth`]) go to the registry they
//! are for and to the token service that it names.
//!
//! Everything blocks: the command calls it before its sandbox exists.

pub mod auth;
mod challenge;
mod client;
mod endpoint;
mod fuzzed;
mod layout;
mod pull;
mod reference;
mod settings;
mod token;

pub use fuzzed::read_as_anything;
pub use pull::{Pulled, pull};
pub use reference::Reference;
pub use settings::{Settings, Times};
