//! What one end does with a peer, honest or not. The honest case at length is in tests/mux.rs.

use super::*;
use crate::frame::Kind;
use crate::head;

/// A frame as a peer writes it.
fn frame(kind: Kind, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode(&mut out, kind, stream, 0, payload);
    out
}

fn hello() -> Vec<u8> {
    frame(Kind::Hello, 0, b"SKMX\x01\0\x01\0")
}

fn open(stream: u32) -> Vec<u8> {
    frame(Kind::Open, stream, &Head::new("/a").encode().unwrap())
}

fn reply(stream: u32) -> Vec<u8> {
    frame(Kind::Reply, stream, &ResponseHead::new(200).encode().unwrap())
}

/// The lower end, greeted.
fn lower() -> Mux {
    let mut mux = Mux::new(Side::Lower);
    mux.receive(&hello()).unwrap();
    assert_eq!(mux.poll_event(), Some(Event::Hello { version: 1 }));
    mux
}

fn events(mux: &mut Mux) -> Vec<Event> {
    std::iter::from_fn(|| mux.poll_event()).collect()
}

/// Takes all output and decodes it.
fn written(mux: &mut Mux) -> Vec<(Kind, u32, Vec<u8>)> {
    let (mut decoder, mut frames) = (frame::Decoder::new(), Vec::new());
    while let Some(output) = mux.pending_output() {
        let mut bytes = output.bytes;
        let len = bytes.len();
        while let Some(frame) = decoder.next(&mut bytes).unwrap() {
            frames.push((frame.header.kind, frame.header.stream, frame.payload));
        }
        mux.advance(len);
    }
    frames
}

#[track_caller]
fn check_violation(frames: &[Vec<u8>], expect: Violation) {
    let mut mux = lower();
    let ours = mux.open(&Head::new("/ours"), 0).unwrap();
    assert_eq!(ours.get(), 2);
    written(&mut mux);
    let (last, before) = frames.split_last().unwrap();
    for frame in before {
        mux.receive(frame).unwrap();
    }
    assert_eq!(mux.receive(last), Err(expect));
    assert_eq!(mux.receive(&open(101)), Err(expect), "it stays");
}

#[test]
fn rules_are_enforced() {
    let word = |value: u32| value.to_le_bytes();
    let data = |stream, len| frame(Kind::Data, stream, &vec![0; len]);
    let end = |stream| frame(Kind::End, stream, &[]);
    check_violation(&[hello()], Violation::Hello);
    check_violation(&[open(4)], Violation::OpenedId(4));
    check_violation(&[open(3), open(1)], Violation::OpenedId(1));
    check_violation(&[open(1), open(1)], Violation::OpenedId(1));
    check_violation(&[data(1, 1)], Violation::Unknown(1));
    check_violation(&[data(4, 1)], Violation::Unknown(4));
    check_violation(&[frame(Kind::Reset, 9, &word(1))], Violation::Unknown(9));
    check_violation(&[reply(3)], Violation::Unknown(3));
    check_violation(&[open(1), reply(1)], Violation::Reply(1));
    check_violation(&[reply(2), reply(2)], Violation::Reply(2));
    check_violation(&[data(2, 1)], Violation::Reply(2));
    check_violation(&[end(2)], Violation::Reply(2));
    check_violation(&[open(1), end(1), data(1, 1)], Violation::AfterEnd(1));
    check_violation(&[open(1), end(1), end(1)], Violation::AfterEnd(1));
    check_violation(&[open(1), frame(Kind::Window, 1, &word(1))], Violation::Window(1));
    check_violation(&[open(1), frame(Kind::Window, 1, &word(u32::MAX))], Violation::Window(1));
    let full: Vec<_> = std::iter::once(open(1)).chain((0..4).map(|_| data(1, 65_536))).collect();
    check_violation(&[full, vec![data(1, 1)]].concat(), Violation::Overrun(1));
    let bad = Violation::Head { stream: 1, source: head::Error::Path };
    check_violation(&[frame(Kind::Open, 1, &[1, 0, b'x', 0])], bad);
    let bad = Violation::Head { stream: 2, source: head::Error::Status(7) };
    check_violation(&[frame(Kind::Reply, 2, &[7, 0, 0])], bad);
    check_violation(&[vec![0; 12]], Violation::Frame(frame::Error::Kind(0)));
    let opens: Vec<_> = (0..257).map(|n| open(2 * n + 1)).collect();
    check_violation(&opens, Violation::TooManyStreams);
}

#[test]
fn a_stream_that_has_not_been_written_is_unknown_to_the_peer() {
    let mut mux = lower();
    mux.open(&Head::new("/a"), 0).unwrap();
    assert_eq!(mux.receive(&reply(2)), Err(Violation::Unknown(2)));
}

#[test]
fn greetings_are_checked() {
    let check = |payload: &[u8], expect: Result<(), Violation>| {
        assert_eq!(Mux::new(Side::Upper).receive(&frame(Kind::Hello, 0, payload)), expect);
    };
    check(b"SKMX\x01\0\x01\0", Ok(()));
    check(b"SKMX\x00\0\x09\0 and more", Ok(()));
    check(b"SKMX\x02\0\x09\0", Err(Violation::Version { min: 2, max: 9 }));
    check(b"HTTP\x01\0\x01\0", Err(Violation::Magic));
    assert_eq!(Mux::new(Side::Lower).receive(&open(1)), Err(Violation::Hello));
}

#[test]
fn a_call_from_open_to_end() {
    let mut mux = lower();
    mux.receive(&[open(1), frame(Kind::Data, 1, b"ab"), frame(Kind::End, 1, &[])].concat()).unwrap();
    let id = StreamId(1);
    let expect = [
        Event::Opened { id, head: Head::new("/a"), fds: 0 },
        Event::Data { id, bytes: b"ab".to_vec() },
        Event::Finished { id },
    ];
    assert_eq!(events(&mut mux), expect);
    assert_eq!(mux.send(id, b"x"), Err(StreamError::NotReplied));
    assert_eq!(mux.finish(id), Err(StreamError::NotReplied));
    mux.reply(id, &ResponseHead::new(200)).unwrap();
    assert_eq!(mux.reply(id, &ResponseHead::new(200)), Err(StreamError::Replied));
    assert_eq!(mux.send(id, b"cd"), Ok(2));
    mux.finish(id).unwrap();
    assert_eq!(mux.send(id, b"e"), Err(StreamError::Finished));
    let kinds: Vec<_> = written(&mut mux).into_iter().map(|(kind, stream, _)| (kind, stream)).collect();
    assert_eq!(kinds, [(Kind::Hello, 0), (Kind::Reply, 1), (Kind::Data, 1), (Kind::End, 1)]);
    assert_eq!((mux.open_streams(), mux.send(id, b"x")), (0, Err(StreamError::Gone)));
    // Late frames for it are nobody's fault.
    mux.receive(&[frame(Kind::Window, 1, &[9; 4]), frame(Kind::Reset, 1, &[1, 0, 0, 0])].concat()).unwrap();
    assert_eq!(events(&mut mux), []);
}

#[test]
fn a_full_queue_says_when_it_has_room() {
    let mut mux = lower();
    let id = mux.open(&Head::new("/a"), 0).unwrap();
    let bytes = vec![7; 300 * 1024];
    assert_eq!(mux.send(id, &bytes), Ok(SEND_QUEUE_BYTES));
    assert_eq!((mux.writable(id), mux.send(id, b"x")), (0, Ok(0)));
    let sent = written(&mut mux).iter().map(|(_, _, payload)| payload.len()).sum::<usize>();
    assert!(sent >= WINDOW_BYTES, "the credit was used: {sent}");
    assert_eq!(events(&mut mux), [Event::Writable { id }]);
    assert_eq!(mux.send(id, &bytes), Ok(SEND_QUEUE_BYTES));
    assert_eq!(written(&mut mux), [], "no credit is left");
    mux.receive(&[reply(2), frame(Kind::Window, 2, &5_u32.to_le_bytes())].concat()).unwrap();
    assert_eq!(written(&mut mux), [(Kind::Data, 2, vec![7; 5])]);
}

#[test]
fn descriptors_stand_at_the_first_byte_of_their_frame() {
    let mut mux = lower();
    let plain = mux.open(&Head::new("/plain"), 0).unwrap();
    let two = mux.open(&Head::new("/two"), 2).unwrap();
    let dropped = mux.open(&Head::new("/dropped"), 4).unwrap();
    let three = mux.open(&Head::new("/three"), 3).unwrap();
    mux.reset(dropped, reset_code::CANCEL);
    mux.send(plain, b"data").unwrap();
    assert_eq!(mux.open(&Head::new("/many"), 17), Err(OpenError::TooManyFds(17)));
    let mut seen = Vec::new();
    while let Some(output) = mux.pending_output() {
        seen.push((output.fds, output.fd_count));
        if output.fds.is_some() {
            assert_eq!(output.bytes[8..10], [Kind::Open as u8, output.fd_count]);
        }
        mux.advance(1);
    }
    seen.retain(|(fds, _)| fds.is_some());
    assert_eq!(seen, [(Some(two), 2), (Some(three), 3)]);
}

#[test]
fn a_peer_that_never_reads_costs_no_more_for_asking_more() {
    let mut mux = lower();
    mux.pending_output().unwrap();
    let mut id = 1;
    for _ in 0..20_000 {
        let ping = frame(Kind::Ping, 0, &[1; 8]);
        mux.receive(&[open(id), frame(Kind::Data, id, b"x"), ping].concat()).unwrap();
        let stream = StreamId(id);
        mux.reply(stream, &ResponseHead::new(404)).unwrap();
        mux.send(stream, b"no such thing").unwrap();
        mux.finish(stream).unwrap();
        mux.consume(stream, 1);
        mux.receive(&frame(Kind::Reset, id, &[1, 0, 0, 0])).unwrap();
        events(&mut mux);
        mux.pending_output().unwrap();
        id += 2;
    }
    assert_eq!((mux.streams.len(), mux.output.ready.len(), mux.events.len()), (0, 0, 0));
    assert_eq!(written(&mut mux).len(), 2, "the greeting and one pong");
}

#[test]
fn resets_that_nobody_reads_count_as_open_streams() {
    let mut mux = lower();
    mux.pending_output().unwrap();
    for n in 0..256 {
        mux.receive(&open(2 * n + 1)).unwrap();
        mux.reset(StreamId(2 * n + 1), reset_code::REFUSED);
    }
    assert_eq!(mux.receive(&open(513)), Err(Violation::TooManyStreams));
    assert_eq!((events(&mut mux), written(&mut mux).len()), (vec![], 257));
    assert_eq!(mux.open_streams(), 0);
}

#[test]
fn undrained_events_end_the_connection() {
    let mut mux = lower();
    let pongs = frame(Kind::Pong, 0, &[0; 8]).repeat(MAX_EVENTS);
    mux.receive(&pongs).unwrap();
    assert_eq!(mux.receive(&frame(Kind::Ping, 0, &[0; 8])), Err(Violation::Flood));
}

#[test]
fn data_byte_by_byte_is_one_event() {
    let mut mux = lower();
    mux.receive(&[open(1), frame(Kind::Data, 1, b"x").repeat(5000)].concat()).unwrap();
    let expect = Event::Data { id: StreamId(1), bytes: vec![b'x'; 5000] };
    assert_eq!(events(&mut mux).pop(), Some(expect));
}

#[test]
fn ids_run_out_one_day() {
    let mut mux = Mux::new(Side::Upper);
    mux.next_id = u32::MAX - 2;
    assert_eq!(mux.open(&Head::new("/a"), 0).map(StreamId::get), Ok(u32::MAX - 2));
    assert_eq!(mux.open(&Head::new("/a"), 0), Err(OpenError::Exhausted));
}
