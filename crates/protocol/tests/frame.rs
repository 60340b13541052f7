//! The frame decoder against tables, arbitrary bytes and the corpus of the fuzzer.

use proptest::prelude::*;
use sandkeep_protocol::frame::{Decoder, Error, Frame, Header, Kind, MAX_FDS, MAX_PAYLOAD_BYTES, encode};

#[path = "../../../fuzz/properties/frame.rs"]
mod property;

fn decode(mut bytes: &[u8]) -> Result<Option<Frame>, Error> {
    Decoder::new().next(&mut bytes)
}

/// A header as a peer might write it.
fn raw(len: u32, stream: u32, kind: u8, flags: u8, reserved: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(len.to_le_bytes());
    bytes.extend(stream.to_le_bytes());
    bytes.extend([kind, flags]);
    bytes.extend(reserved.to_le_bytes());
    bytes
}

#[test]
fn the_wire_format_is_fixed() {
    let mut out = Vec::new();
    encode(&mut out, Kind::Open, 0x0102_0304, 3, b"ab");
    assert_eq!(out, [2, 0, 0, 0, 4, 3, 2, 1, 2, 3, 0, 0, b'a', b'b']);
    let numbers: Vec<u8> = Kind::ALL.iter().map(|kind| *kind as u8).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn bad_headers_are_refused_before_any_payload() {
    let check = |bytes: Vec<u8>, expect: Error| assert_eq!(decode(&bytes), Err(expect), "{bytes:?}");
    check(raw(0, 0, 0, 0, 0), Error::Kind(0));
    check(raw(0, 0, 10, 0, 0), Error::Kind(10));
    check(raw(0, 1, 5, 0, 0x0100), Error::Reserved(0x0100));
    check(raw(0, 1, 4, 0, 0), Error::Length { kind: Kind::Data, len: 0 });
    check(raw(65_537, 1, 4, 0, 0), Error::Length { kind: Kind::Data, len: 65_537 });
    check(raw(u32::MAX, 1, 4, 0, 0), Error::Length { kind: Kind::Data, len: u32::MAX });
    check(raw(16_385, 1, 2, 0, 0), Error::Length { kind: Kind::Open, len: 16_385 });
    check(raw(1, 1, 5, 0, 0), Error::Length { kind: Kind::End, len: 1 });
    check(raw(3, 1, 7, 0, 0), Error::Length { kind: Kind::Window, len: 3 });
    check(raw(4, 0, 1, 0, 0), Error::Length { kind: Kind::Hello, len: 4 });
    check(raw(1, 0, 4, 0, 0), Error::Stream { kind: Kind::Data, stream: 0 });
    check(raw(8, 1, 8, 0, 0), Error::Stream { kind: Kind::Ping, stream: 1 });
    check(raw(1, 1, 4, 1, 0), Error::Flags { kind: Kind::Data, flags: 1 });
    check(raw(9, 1, 2, MAX_FDS + 1, 0), Error::Flags { kind: Kind::Open, flags: 17 });
}

#[test]
fn a_claimed_length_costs_nothing_until_the_bytes_come() {
    let mut decoder = Decoder::new();
    assert_eq!(decoder.next(&mut &raw(65_536, 1, 4, 0, 0)[..]), Ok(None));
    assert_eq!(decoder.buffered(), 12);
    let mut payload = &vec![7; MAX_PAYLOAD_BYTES + 5][..];
    let frame = decoder.next(&mut payload).unwrap().unwrap();
    assert_eq!((frame.payload.len(), payload.len()), (MAX_PAYLOAD_BYTES, 5));
    assert!(decoder.is_at_border());
}

#[test]
fn every_file_of_the_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/frame");
    let mut files = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        property::holds(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 25, "only {files} files in {corpus}");
}

/// Frames that a decoder accepts.
fn any_frame() -> impl Strategy<Value = Frame> {
    let kinds = prop::sample::select(Kind::ALL.to_vec());
    (kinds, 1_u32.., 0..=MAX_FDS, prop::collection::vec(any::<u8>(), 1..2000)).prop_map(
        |(kind, stream, fds, mut payload)| {
            let (stream, len) = match kind {
                Kind::Hello | Kind::Ping | Kind::Pong => (0, 8),
                Kind::End => (stream, 0),
                Kind::Reset | Kind::Window => (stream, 4),
                Kind::Data => (stream, payload.len()),
                Kind::Open | Kind::Reply => (stream, payload.len().max(2)),
            };
            payload.resize(len, 0);
            let fds = if kind == Kind::Open { fds } else { 0 };
            Frame { header: Header { len, stream, kind, fds }, payload }
        },
    )
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..3000)) {
        property::holds(&data);
    }

    #[test]
    fn damaged_frames_never_panic(
        frames in prop::collection::vec(any_frame(), 1..12),
        at in any::<prop::sample::Index>(),
        value: u8,
    ) {
        let mut bytes = Vec::new();
        for Frame { header, payload } in &frames {
            encode(&mut bytes, header.kind, header.stream, header.fds, payload);
        }
        let at = at.index(bytes.len());
        bytes[at] = value;
        property::holds(&bytes);
    }

    #[test]
    fn frames_come_back_as_they_were(frames in prop::collection::vec(any_frame(), 0..20), piece in 1..500_usize) {
        let mut bytes = Vec::new();
        for Frame { header, payload } in &frames {
            encode(&mut bytes, header.kind, header.stream, header.fds, payload);
        }
        let (mut decoder, mut found) = (Decoder::new(), Vec::new());
        for mut piece in bytes.chunks(piece) {
            while let Some(frame) = decoder.next(&mut piece).unwrap() {
                found.push(frame);
            }
        }
        prop_assert_eq!(found, frames);
        prop_assert!(decoder.is_at_border());
    }
}
