//! The stored form of a piece: for each segment its stream, its length (32 bits, little-endian) and its bytes.

use sandkeep_core::output::Stream;

use super::Segment;

pub(super) fn encode(segments: &[Segment]) -> Vec<u8> {
    let size = segments.iter().map(|segment| HEAD + segment.bytes.len()).sum();
    let mut all = Vec::with_capacity(size);
    for segment in segments {
        let length = u32::try_from(segment.bytes.len()).expect("a segment is at most a few frames long");
        all.push(segment.stream as u8);
        all.extend(length.to_le_bytes());
        all.extend(&segment.bytes);
    }
    all
}

/// `None` for anything that [`encode`] does not make.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    while let Some((stream, rest)) = bytes.split_first() {
        let stream = match stream {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return None,
        };
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (segment, rest) = rest.split_at_checked(length)?;
        segments.push(Segment { stream, bytes: segment.to_vec() });
        bytes = rest;
    }
    Some(segments)
}

const HEAD: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let segment = |stream, bytes: &[u8]| Segment { stream, bytes: bytes.to_vec() };
        let segments = [
            segment(Stream::Stdout, b"\x00\xff"),
            segment(Stream::Stderr, b"\n"),
            segment(Stream::Stdout, &[7; 70_000]),
        ];
        assert_eq!(decode(&encode(&segments)).unwrap(), segments);
        assert_eq!(decode(b"").unwrap(), []);
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        let whole = encode(&[Segment { stream: Stream::Stderr, bytes: b"abc".to_vec() }]);
        for length in 1..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length}");
        }
        assert_eq!(decode(b"\x03\x00\x00\x00\x00"), None);
        assert_eq!(decode(b"\x01\xff\xff\xff\xffabc"), None);
    }
}
