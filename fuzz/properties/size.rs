// What must hold for any bytes given to the size parser. Shared by the fuzz target and by the test that
// replays the corpus.

use sandkeep_core::code::ErrorCode;
use sandkeep_core::size::ByteSize;

pub(crate) fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<ByteSize>() {
        Ok(size) => {
            assert!(text.starts_with(|c: char| c.is_ascii_digit()), "{text:?} starts with a digit");
            assert_eq!(size.to_string().parse(), Ok(size), "what is shown can be read back");
            assert_eq!(size.bytes().to_string().parse(), Ok(size), "and so can bytes");
            assert!(!size.rounded().is_empty());
        }
        Err(problem) => {
            assert_eq!(problem.code, ErrorCode::InvalidSize);
            assert!(!problem.to_string().chars().any(char::is_control), "safe to show");
            assert!(problem.to_string().len() < 2_000, "short enough to show");
        }
    }
}
