// What must hold for any bytes given to the frame decoder. Shared by the fuzz target and by the test that
// replays the corpus.

use sandkeep_protocol::frame::{Decoder, Error, Frame, HEADER_BYTES, MAX_PAYLOAD_BYTES, encode};
use sandkeep_protocol::mux::{Mux, Side};

pub(crate) fn holds(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    for piece in [1, 2, 7, HEADER_BYTES, 4096] {
        assert_eq!(decode(data, piece), whole, "in pieces of {piece}");
    }
    let mut again = Vec::new();
    for frame in &whole.0 {
        let header = frame.header;
        encode(&mut again, header.kind, header.stream, header.fds, &frame.payload);
    }
    assert!(data.starts_with(&again), "frames are what was read");
    connection(data);
}

fn decode(data: &[u8], piece: usize) -> (Vec<Frame>, Option<Error>) {
    let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
    for mut bytes in data.chunks(piece) {
        loop {
            match decoder.next(&mut bytes) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(&mut bytes), Err(error), "an error stays");
                    return (frames, Some(error));
                }
            }
            assert!(decoder.buffered() < HEADER_BYTES + MAX_PAYLOAD_BYTES);
        }
    }
    (frames, None)
}

/// A connection whose peer says this, with and without a greeting, never panics and answers little.
fn connection(data: &[u8]) {
    for side in [Side::Upper, Side::Lower] {
        for greeted in [true, false] {
            let (mut mux, mut peer) = (Mux::new(side), Mux::new(Side::Upper));
            let hello = peer.pending_output().map(|output| output.bytes.to_vec()).unwrap_or_default();
            if greeted {
                mux.receive(&hello).expect("our own greeting is in order");
            }
            for bytes in data.chunks(1000) {
                let outcome = mux.receive(bytes);
                while mux.poll_event().is_some() {}
                while let Some(len) = mux.pending_output().map(|output| output.bytes.len()) {
                    mux.advance(len);
                }
                if let Err(violation) = outcome {
                    assert_eq!(mux.receive(&[]), Err(violation), "a violation stays");
                    break;
                }
            }
        }
    }
}
