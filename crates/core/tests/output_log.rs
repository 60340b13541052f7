//! Properties of the output log, against the plainest model there is: a list of all bytes.

use proptest::prelude::*;
use sandkeep_core::execution::Encoding;
use sandkeep_core::output::{Gap, Kept, OutputLog, Piece, Stream};
use sandkeep_core::size::ByteSize;

type Byte = (Stream, u8);

/// Chunks as they arrive: some tiny, some longer than the caps.
fn chunks() -> impl Strategy<Value = Vec<(Stream, Vec<u8>)>> {
    let stream = prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)];
    let bytes = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..8),
        1 => prop::collection::vec(any::<u8>(), 0..400),
    ];
    prop::collection::vec((stream, bytes), 0..40)
}

fn caps() -> impl Strategy<Value = (usize, usize)> {
    (0..200usize, 0..200usize)
}

fn log_of(chunks: &[(Stream, Vec<u8>)], (head, tail): (usize, usize)) -> OutputLog {
    let mut log = OutputLog::new(head, tail);
    chunks.iter().for_each(|(stream, bytes)| log.append(*stream, bytes));
    log
}

fn all_bytes(chunks: &[(Stream, Vec<u8>)]) -> Vec<Byte> {
    chunks.iter().flat_map(|(stream, bytes)| bytes.iter().map(|&byte| (*stream, byte))).collect()
}

/// Follows offsets to the end: what stands at each, and `None` where nothing was kept.
fn read_all(log: &OutputLog, from: u64, max: usize) -> Vec<Option<Byte>> {
    let mut found = Vec::new();
    loop {
        let at = from + found.len() as u64;
        match log.read(at, max) {
            Piece::Bytes { offset, stream, bytes } => {
                assert_eq!(offset, at, "a read answers for the offset that was asked for");
                assert!(!bytes.is_empty() && bytes.len() <= max.max(1));
                found.extend(bytes.iter().map(|&byte| Some((stream, byte))));
            }
            Piece::Gap { from, to } => {
                assert_eq!(from, at);
                assert!(to > from, "a gap leads on");
                found.resize(found.len() + usize::try_from(to - from).expect("a small gap"), None);
            }
            Piece::End => return found,
        }
    }
}

proptest! {
    #[test]
    fn head_gap_and_tail_account_for_every_byte(chunks in chunks(), caps in caps(), max in 0..50usize) {
        let (log, all) = (log_of(&chunks, caps), all_bytes(&chunks));
        let found = read_all(&log, 0, max);
        prop_assert_eq!(log.total(), all.len() as u64);
        prop_assert_eq!(found.len(), all.len());
        let kept_from_tail = all.len().saturating_sub(caps.1);
        for (at, (found, byte)) in found.iter().zip(&all).enumerate() {
            let kept = at < caps.0 || at >= kept_from_tail;
            prop_assert_eq!(*found, kept.then_some(*byte), "at {}", at);
        }
        let gap = found.iter().position(Option::is_none).map(|from| {
            let to = found.iter().rposition(Option::is_none).unwrap() + 1;
            Gap { from: from as u64, to: to as u64 }
        });
        prop_assert_eq!(log.gap(), gap);
    }

    #[test]
    fn any_offset_is_a_place_to_begin(chunks in chunks(), caps in caps(), from in 0..2_000u64) {
        let log = log_of(&chunks, caps);
        let whole = read_all(&log, 0, usize::MAX);
        let from = from.min(log.total() + 3);
        let rest = whole.get(usize::try_from(from).unwrap()..).unwrap_or_default();
        prop_assert_eq!(read_all(&log, from, 7), rest);
    }

    #[test]
    fn chunk_borders_mean_nothing(chunks in chunks(), caps in caps()) {
        let log = log_of(&chunks, caps);
        let mut bytewise = OutputLog::new(caps.0, caps.1);
        for (stream, byte) in all_bytes(&chunks) {
            bytewise.append(stream, &[byte]);
        }
        prop_assert_eq!(read_all(&log, 0, usize::MAX), read_all(&bytewise, 0, usize::MAX));
        for stream in [Stream::Stdout, Stream::Stderr] {
            prop_assert_eq!(log.kept(stream), bytewise.kept(stream));
        }
    }

    #[test]
    fn a_reader_who_follows_along_sees_the_same_bytes(chunks in chunks(), caps in caps(), max in 1..50usize) {
        // One read after each append: it may lag, be overtaken by the gap, and must never go wrong.
        let all = all_bytes(&chunks);
        let mut log = OutputLog::new(caps.0, caps.1);
        let mut at = 0;
        for (stream, bytes) in &chunks {
            log.append(*stream, bytes);
            match log.read(at, max) {
                Piece::Bytes { offset, stream, bytes } => {
                    prop_assert_eq!(offset, at);
                    for &byte in bytes {
                        prop_assert_eq!(all[usize::try_from(at).unwrap()], (stream, byte));
                        at += 1;
                    }
                }
                Piece::Gap { from, to } => {
                    prop_assert_eq!(from, at);
                    at = to;
                }
                Piece::End => prop_assert_eq!(at, log.total()),
            }
        }
    }

    #[test]
    fn each_stream_accounts_for_its_own(chunks in chunks(), caps in caps()) {
        let (log, all) = (log_of(&chunks, caps), all_bytes(&chunks));
        for stream in [Stream::Stdout, Stream::Stderr] {
            let own: Vec<u8> = all.iter().filter(|(of, _)| *of == stream).map(|(_, byte)| *byte).collect();
            let Kept { head, tail, missing_bytes } = log.kept(stream);
            prop_assert_eq!(log.total_of(stream), own.len() as u64);
            prop_assert_eq!((head.len() + tail.len()) as u64 + missing_bytes, own.len() as u64);
            prop_assert!(own.starts_with(&head) && own.ends_with(&tail));
        }
    }

    #[test]
    fn text_stays_text_wherever_it_is_cut(text in "[a-zé€🦀]{0,60}", caps in (0..40usize, 0..40usize)) {
        let mut log = OutputLog::new(caps.0, caps.1);
        log.append(Stream::Stdout, text.as_bytes());
        let (kept, encoding, missing) = log.kept(Stream::Stdout).to_text();
        prop_assert_eq!(encoding, Encoding::Utf8);
        prop_assert_eq!(kept.len() as u64 + missing, text.len() as u64);
        if missing == 0 {
            prop_assert_eq!(kept, text);
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_base64() {
    let mut log = OutputLog::new(4, 2);
    log.append(Stream::Stdout, b"\xff\x00ab-----\xfez");
    let (text, encoding, missing) = log.kept(Stream::Stdout).to_text();
    assert_eq!((text.as_str(), encoding, missing), ("/wBhYv56", Encoding::Base64, 5));
    log.append(Stream::Stderr, b"");
    assert_eq!(log.kept(Stream::Stderr).to_text(), (String::new(), Encoding::Utf8, 0));
}

#[test]
fn a_character_cut_by_the_end_of_the_program_is_not_text() {
    let mut log = OutputLog::new(100, 0);
    log.append(Stream::Stdout, "é".as_bytes().split_at(1).0);
    assert_eq!(log.kept(Stream::Stdout).to_text(), ("ww==".to_owned(), Encoding::Base64, 0));
}

#[test]
fn a_flood_costs_its_caps_and_no_more() {
    // 1 GiB in pipe-sized chunks, and a little of the other stream in between.
    let mut log = OutputLog::keeping(ByteSize::from_mib(10));
    let chunk = vec![b'x'; 64 * 1024];
    for round in 0..16 * 1024u32 {
        log.append(if round % 7 == 0 { Stream::Stderr } else { Stream::Stdout }, &chunk);
    }
    log.append(Stream::Stdout, b"end");
    assert_eq!(log.total(), (1 << 30) + 3);
    assert_eq!(log.gap(), Some(Gap { from: 8 << 20, to: (1 << 30) + 3 - (2 << 20) }));
    let kept: usize = [Stream::Stdout, Stream::Stderr]
        .iter()
        .map(|&stream| {
            let kept = log.kept(stream);
            kept.head.len() + kept.tail.len()
        })
        .sum();
    assert_eq!(kept, 10 << 20);
    assert!(log.kept(Stream::Stdout).tail.ends_with(b"end"));
}

#[test]
fn streams_that_alternate_byte_by_byte_cost_no_more() {
    let mut log = OutputLog::new(1 << 20, 1 << 18);
    for round in 0..3u32 << 20 {
        log.append(if round % 2 == 0 { Stream::Stdout } else { Stream::Stderr }, b"a");
    }
    assert_eq!(log.pieces(0).count(), (1 << 20) + 1 + (1 << 18));
    assert_eq!(log.kept(Stream::Stderr).missing_bytes, (3 << 19) - (1 << 19) - (1 << 17));
}

#[test]
fn a_log_of_nothing_keeps_nothing() {
    let mut log = OutputLog::new(0, 0);
    assert_eq!(log.read(0, 10), Piece::End);
    log.append(Stream::Stdout, b"abc");
    assert_eq!(log.read(0, 10), Piece::Gap { from: 0, to: 3 });
    assert_eq!(log.read(1, 10), Piece::Gap { from: 1, to: 3 });
    assert_eq!(log.read(3, 10), Piece::End);
    assert_eq!(log.read(u64::MAX, 10), Piece::End);
}
