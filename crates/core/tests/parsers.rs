//! Properties of everything that is read from text.

use proptest::prelude::*;
use sandkeep_core::base64;
use sandkeep_core::cpu::CpuMillis;
use sandkeep_core::duration::Span;
use sandkeep_core::execution::Json;
use sandkeep_core::id::{ExecutionId, SandboxId};
use sandkeep_core::size::ByteSize;
use sandkeep_core::time::Timestamp;

/// Texts near the grammar: random ones almost never are.
const NEAR: &str = "[0-9]{0,20}(\\.[0-9]{0,14})? ?(ms|[KMGTkmgtdhs]?i?[Bb]?){0,3}";

proptest! {
    #[test]
    fn what_is_shown_can_be_read(number: u64) {
        let size = ByteSize::from_bytes(number);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
        let span = Span::from_millis(number);
        prop_assert_eq!(span.to_string().parse(), Ok(span));
        let at = Timestamp::from_unix_ms(number);
        prop_assert_eq!(at.to_string().parse(), Ok(at));
    }

    #[test]
    fn times_are_ordered_as_their_texts(a in 0..253_402_300_800_000u64, b in 0..253_402_300_800_000u64) {
        let (a, b) = (Timestamp::from_unix_ms(a), Timestamp::from_unix_ms(b));
        prop_assert_eq!(a.to_string().parse(), Ok(a));
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
    }

    #[test]
    fn shares_come_back(millis in 10..=1_024_000u32) {
        let cpu = CpuMillis::from_millis(millis).unwrap();
        prop_assert_eq!(cpu.to_string().parse(), Ok(cpu));
        prop_assert_eq!(format!("{millis}m").parse(), Ok(cpu));
    }

    #[test]
    fn units_multiply(number in 0..16_000_000u64, unit in 0..4u32) {
        let name = ["Ki", "Mi", "Gi", "Ti"][unit as usize];
        let size: ByteSize = format!("{number}{name}").parse().unwrap();
        prop_assert_eq!(size.bytes(), number << (10 * (unit + 1)));
    }

    #[test]
    fn a_fraction_is_rounded_down(whole in 0..1_000u64, milli in 0..1_000u64) {
        let size: ByteSize = format!("{whole}.{milli:03}Mi").parse().unwrap();
        prop_assert_eq!(size.bytes(), (whole * 1_000 + milli) * (1 << 20) / 1_000);
    }

    #[test]
    fn parts_of_a_span_add_up(d in 0..99u64, h in 0..99u64, m in 0..99u64, s in 0..99u64, ms in 0..9_999u64) {
        let span: Span = format!("{d}d{h}h{m}m{s}s{ms}ms").parse().unwrap();
        let seconds = ((d * 24 + h) * 60 + m) * 60 + s;
        prop_assert_eq!(span.as_millis(), seconds * 1_000 + ms);
    }

    #[test]
    fn no_text_panics(text in prop_oneof![any::<String>(), NEAR]) {
        let outcomes = [
            text.parse::<ByteSize>().err(),
            text.parse::<Span>().err(),
            text.parse::<CpuMillis>().err(),
            text.parse::<SandboxId>().err(),
            text.parse::<Timestamp>().err(),
        ];
        for problem in outcomes.into_iter().flatten() {
            prop_assert!(!problem.to_string().chars().any(char::is_control));
            prop_assert!(problem.expected.is_some());
        }
    }

    #[test]
    fn ids_come_back_and_sort_by_time(a in 0..1u64 << 48, b in 0..1u64 << 48, random: [u8; 10]) {
        let (first, second) = (ExecutionId::new(a, random), ExecutionId::new(b, random));
        prop_assert_eq!(first.to_string().parse(), Ok(first));
        prop_assert_eq!(first.created_ms(), a);
        prop_assert_eq!(a.cmp(&b), first.to_string().cmp(&second.to_string()));
        prop_assert_eq!(first.cmp(&second), first.to_string().cmp(&second.to_string()));
    }

    #[test]
    fn base64_comes_back(bytes: Vec<u8>) {
        let text = base64::encode(&bytes);
        prop_assert_eq!(text.len(), bytes.len().div_ceil(3) * 4);
        prop_assert_eq!(base64::decode(&text), Some(bytes));
    }

    #[test]
    fn json_is_carried_or_refused(bytes: Vec<u8>) {
        if let Ok(json) = Json::parse(&bytes) {
            prop_assert_eq!(Json::parse(json.as_str().as_bytes()).unwrap(), json);
        }
    }
}
