//! Container images without Docker: read from a file or a directory, checked, unpacked once, kept by digest.
//!
//! [`source`] finds out what a path holds: an OCI image layout (directory or tar) or an archive of `docker save`. Its
//! reading changes nothing. [`Store`] has one directory for each unpacked image, named by the image's id, which is the
//! digest of its configuration; that names the digests of all layers, so an image that is there was checked whole.
//! Layers are kept once and shared by the images that have them. A pull from a registry writes a layout into a directory
//! of the store's ([`Incoming`]), which is then a source like any other.
//!
//! Everything read here is hostile: names, sizes, links and numbers in archives are what an attacker wants them to be,
//! and this code runs with the rights of whoever starts it, often root. So what parses is Rust without our own
//! `unsafe`, every amount has a bound ([`limits`]), and files are made only through [`root`], which never leaves the
//! directory it was given.
//!
//! Not for running anything: nothing of an image is executed or followed outside of a sandbox. Everything blocks; the
//! command calls it before its sandbox exists.

mod config;
mod digest;
mod error;
mod layer;
pub mod limits;
pub mod manifest;
mod platform;
mod root;
pub mod source;
mod store;
mod unchecked;

pub use config::Config;
pub use digest::Digest;
pub use error::Error;
pub use source::{Image, Source};
pub use store::{Held, Incoming, Runtime, Store, Stored};
pub use unchecked::unpack_unchecked;
