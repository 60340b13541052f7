//! The parsers of what others write, all at once, for the fuzzer.

use crate::auth;
use crate::challenge::Challenge;
use crate::reference::Reference;

/// Gives `text` to every parser that reads what a registry or a file of credentials says; the reference that it may be.
/// Not for anything else.
pub fn read_as_anything(text: &str) -> Option<Reference> {
    let _challenge = Challenge::parse(text);
    if let Err(why) = auth::entry(text, "r.example") {
        // It must not repeat secrets, so it repeats nothing.
        assert!(why.is_ascii() && why.len() < 100, "{why}");
    }
    Reference::parse(text).ok()
}
