// What must hold for any bytes given to the duration parser. Shared by the fuzz target and by the test
// that replays the corpus.

use sandkeep_core::code::ErrorCode;
use sandkeep_core::duration::Span;

pub(crate) fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Span>() {
        Ok(span) => {
            assert!(text.ends_with(|c: char| c.is_ascii_lowercase()), "{text:?} ends with a unit");
            assert_eq!(span.to_string().parse(), Ok(span), "what is shown can be read back");
            assert_eq!(format!("{}ms", span.as_millis()).parse(), Ok(span), "and so can milliseconds");
        }
        Err(problem) => {
            assert_eq!(problem.code, ErrorCode::InvalidDuration);
            assert!(!problem.to_string().chars().any(char::is_control), "safe to show");
            assert!(problem.to_string().len() < 2_000, "short enough to show");
        }
    }
}
