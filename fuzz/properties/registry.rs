// What must hold for any text that a person, a registry or a file of credentials gives. Shared by the fuzz target and by the
// test that replays the corpus.

use sandkeep_core::code::ErrorCode;
use sandkeep_registry::{Reference, read_as_anything};

pub(crate) fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(reference) = read_as_anything(text) else {
        let problem = Reference::parse(text).expect_err("it was refused before");
        assert_eq!(problem.code, ErrorCode::ImageUnknown);
        assert!(!problem.to_string().chars().any(char::is_control), "safe to show");
        assert!(problem.to_string().len() < 2_000, "short enough to show");
        return;
    };
    let again = Reference::parse(&reference.to_string()).expect("what is shown can be read back");
    assert_eq!((again.registry(), again.repository()), (reference.registry(), reference.repository()));
    let safe =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:[]".contains(&byte));
    assert!(safe(reference.registry()) && safe(reference.repository()) && safe(reference.tag()));
    assert!(!format!("/{}/", reference.repository()).contains("/../"));
}
