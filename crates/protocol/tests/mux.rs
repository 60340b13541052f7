//! Two honest ends joined by a pipe that splits bytes anywhere: whatever they do in whatever order, every
//! byte of every stream arrives in order, nobody is accused, and nothing is left at the end.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use sandkeep_protocol::head::{Head, ResponseHead};
use sandkeep_protocol::mux::{Event, Mux, OpenError, SEND_QUEUE_BYTES, Side, StreamId};

/// What somebody does. Numbers choose among what is possible.
#[derive(Debug, Clone)]
enum Op {
    Open { upper: bool, fds: u8 },
    Reply { upper: bool, which: usize },
    Send { upper: bool, which: usize, len: usize },
    Finish { upper: bool, which: usize },
    Reset { upper: bool, which: usize },
    Consume { upper: bool, which: usize, share: usize },
    Ping { upper: bool },
    Pump { upper: bool, most: usize, times: usize },
}

fn any_op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![1..10_usize, 1..100_000_usize];
    let most = prop_oneof![1..20_usize, 1..200_000_usize];
    prop_oneof![
        3 => (any::<bool>(), 0..4_u8).prop_map(|(upper, fds)| Op::Open { upper, fds }),
        4 => any::<(bool, usize)>().prop_map(|(upper, which)| Op::Reply { upper, which }),
        8 => (any::<(bool, usize)>(), len).prop_map(|((upper, which), len)| Op::Send { upper, which, len }),
        2 => any::<(bool, usize)>().prop_map(|(upper, which)| Op::Finish { upper, which }),
        1 => any::<(bool, usize)>().prop_map(|(upper, which)| Op::Reset { upper, which }),
        4 => (any::<(bool, usize)>(), 1..4_usize)
            .prop_map(|((upper, which), share)| Op::Consume { upper, which, share }),
        1 => any::<bool>().prop_map(|upper| Op::Ping { upper }),
        8 => (any::<bool>(), most, 1..50_usize)
            .prop_map(|(upper, most, times)| Op::Pump { upper, most, times }),
    ]
}

/// What one end knows of a stream.
#[derive(Debug, Default)]
struct Ledger {
    ours: bool,
    replied: bool,
    finished: bool,
    gone: bool,
    sent: usize,
    received: usize,
    unconsumed: usize,
    peer_finished: bool,
    owed_writable: bool,
}

/// Every byte of a body is a function of who sends it and where it stands.
fn byte_at(id: StreamId, from_upper: bool, position: usize) -> u8 {
    let mixed = (id.get() as usize).wrapping_mul(31) + usize::from(from_upper) * 7 + position * 13;
    u8::try_from((mixed ^ (mixed >> 8)) & 0xff).unwrap()
}

struct End {
    mux: Mux,
    upper: bool,
    streams: BTreeMap<StreamId, Ledger>,
    /// Descriptors under way to here: of which stream, how many.
    fds: VecDeque<(StreamId, u8)>,
    pongs: usize,
}

impl End {
    fn new(side: Side) -> Self {
        let upper = side == Side::Upper;
        Self { mux: Mux::new(side), upper, streams: BTreeMap::new(), fds: VecDeque::new(), pongs: 0 }
    }

    /// A stream that is not gone.
    fn pick(&self, which: usize) -> Option<StreamId> {
        let live: Vec<_> =
            self.streams.iter().filter(|(_, ledger)| !ledger.gone).map(|(id, _)| *id).collect();
        live.get(which.checked_rem(live.len())?).copied()
    }

    fn open(&mut self, fds: u8) {
        match self.mux.open(&Head::new("/echo").with("n", "1"), fds) {
            Ok(id) => drop(self.streams.insert(id, Ledger { ours: true, ..Ledger::default() })),
            Err(error) => assert_eq!(error, OpenError::TooManyStreams),
        }
    }

    fn reply(&mut self, id: StreamId) {
        let ledger = self.streams.get_mut(&id).unwrap();
        if !ledger.ours && !ledger.replied {
            self.mux.reply(id, &ResponseHead::new(200)).unwrap();
            ledger.replied = true;
        }
    }

    fn send(&mut self, id: StreamId, len: usize) {
        let ledger = self.streams.get_mut(&id).unwrap();
        if ledger.finished || (!ledger.ours && !ledger.replied) {
            assert!(self.mux.send(id, b"x").is_err());
            return;
        }
        let bytes: Vec<u8> = (ledger.sent..ledger.sent + len).map(|at| byte_at(id, self.upper, at)).collect();
        let room = self.mux.writable(id);
        let accepted = self.mux.send(id, &bytes).unwrap();
        assert_eq!(accepted, room.min(len));
        assert!(room <= SEND_QUEUE_BYTES);
        ledger.sent += accepted;
        ledger.owed_writable |= accepted < len;
    }

    fn finish(&mut self, id: StreamId) {
        let ledger = self.streams.get_mut(&id).unwrap();
        if !ledger.finished && (ledger.ours || ledger.replied) {
            self.mux.finish(id).unwrap();
            ledger.finished = true;
            ledger.owed_writable = false;
        }
    }

    fn reset(&mut self, id: StreamId) {
        self.mux.reset(id, 9);
        self.streams.get_mut(&id).unwrap().gone = true;
    }

    fn consume(&mut self, id: StreamId, share: usize) {
        let ledger = self.streams.get_mut(&id).unwrap();
        let bytes = ledger.unconsumed.div_ceil(share);
        ledger.unconsumed -= bytes;
        self.mux.consume(id, bytes);
    }

    fn note_events(&mut self) {
        while let Some(event) = self.mux.poll_event() {
            self.note(event);
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Hello { version } => assert_eq!(version, 1),
            Event::Pong { token } => {
                assert_eq!(token, 42);
                self.pongs += 1;
            }
            Event::Opened { id, head, fds } => {
                assert_eq!(head.header("n"), Some("1"));
                if fds > 0 {
                    assert_eq!(self.fds.pop_front(), Some((id, fds)), "descriptors came with their stream");
                }
                assert!(self.streams.insert(id, Ledger::default()).is_none(), "{id} opened twice");
            }
            Event::Replied { id, head } => {
                let ledger = self.of(id);
                assert_eq!((ledger.ours, ledger.replied, head.status), (true, false, 200));
                ledger.replied = true;
            }
            Event::Data { id, bytes } => {
                let upper = self.upper;
                let ledger = self.of(id);
                assert!(!ledger.peer_finished && !bytes.is_empty());
                for (at, byte) in bytes.iter().enumerate() {
                    assert_eq!(*byte, byte_at(id, !upper, ledger.received + at));
                }
                ledger.received += bytes.len();
                ledger.unconsumed += bytes.len();
            }
            Event::Finished { id } => {
                let ledger = self.of(id);
                assert!(!ledger.peer_finished);
                ledger.peer_finished = true;
            }
            Event::Reset { id, code } => {
                assert_eq!(code, 9);
                self.of(id).gone = true;
            }
            Event::Writable { id } => {
                let room = self.mux.writable(id);
                let ledger = self.of(id);
                assert!(ledger.owed_writable && (room >= SEND_QUEUE_BYTES / 2 || ledger.finished));
                ledger.owed_writable = false;
            }
        }
    }

    /// A stream we know and have not given up: nothing is heard of others.
    fn of(&mut self, id: StreamId) -> &mut Ledger {
        self.streams.get_mut(&id).filter(|ledger| !ledger.gone).unwrap_or_else(|| panic!("event for {id}"))
    }
}

struct Pair {
    ends: [End; 2],
}

impl Pair {
    fn new() -> Self {
        Self { ends: [End::new(Side::Upper), End::new(Side::Lower)] }
    }

    fn end(&mut self, upper: bool) -> &mut End {
        &mut self.ends[usize::from(!upper)]
    }

    /// Moves at most that many bytes towards the named end; false when there was nothing.
    fn pump(&mut self, to_upper: bool, most: usize) -> bool {
        let [upper, lower] = &mut self.ends;
        let (from, to) = if to_upper { (lower, upper) } else { (upper, lower) };
        let Some(output) = from.mux.pending_output() else {
            assert!(!from.mux.has_output());
            from.note_events();
            return false;
        };
        let len = output.bytes.len().min(most);
        to.fds.extend(output.fds.map(|id| (id, output.fd_count)));
        to.mux.receive(&output.bytes[..len]).unwrap();
        from.mux.advance(len);
        from.note_events();
        to.note_events();
        true
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Open { upper, fds } => self.end(upper).open(fds),
            Op::Reply { upper, which } => self.on_stream(upper, which, End::reply),
            Op::Send { upper, which, len } => self.on_stream(upper, which, |end, id| end.send(id, len)),
            Op::Finish { upper, which } => self.on_stream(upper, which, End::finish),
            Op::Reset { upper, which } => self.on_stream(upper, which, End::reset),
            Op::Consume { upper, which, share } => {
                self.on_stream(upper, which, |end, id| end.consume(id, share));
            }
            Op::Ping { upper } => self.end(upper).mux.ping(42),
            Op::Pump { upper, most, times } => {
                for _ in 0..times {
                    self.pump(upper, most);
                }
            }
        }
    }

    fn on_stream(&mut self, upper: bool, which: usize, act: impl FnOnce(&mut End, StreamId)) {
        let end = self.end(upper);
        if let Some(id) = end.pick(which) {
            act(end, id);
        }
    }

    /// Brings every stream to its end: all replied, consumed, finished and delivered.
    fn settle(&mut self) {
        loop {
            let moved = [true, false].map(|upper| self.pump(upper, usize::MAX));
            for end in &mut self.ends {
                for id in end.streams.iter().filter(|(_, l)| !l.gone).map(|(id, _)| *id).collect::<Vec<_>>() {
                    end.reply(id);
                    end.finish(id);
                    end.consume(id, 1);
                }
            }
            if moved == [false, false] && self.ends.iter().all(|end| !end.mux.has_output()) {
                return;
            }
        }
    }

    fn check_settled(&self) {
        let [upper, lower] = &self.ends;
        for end in &self.ends {
            assert_eq!(end.mux.open_streams(), 0);
            assert!(end.mux.is_at_border());
        }
        for (id, here) in &upper.streams {
            let Some(there) = lower.streams.get(id) else {
                assert!(here.gone, "{id} never arrived");
                continue;
            };
            if here.gone || there.gone {
                assert!(here.received <= there.sent && there.received <= here.sent);
            } else {
                assert_eq!((here.received, there.received), (there.sent, here.sent));
                assert!(here.peer_finished && there.peer_finished);
                assert!(!here.owed_writable && !there.owed_writable);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn every_byte_arrives_in_order(ops in prop::collection::vec(any_op(), 1..200)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
        }
        pair.settle();
        pair.check_settled();
    }
}

#[test]
fn a_long_body_flows_through_many_windows() {
    let mut pair = Pair::new();
    pair.end(true).open(0);
    let id = pair.end(true).pick(0).unwrap();
    while pair.end(true).streams[&id].sent < 5_000_000 {
        pair.end(true).send(id, 60_000);
        pair.pump(false, 10_000);
        if pair.end(false).pick(0).is_some() {
            pair.end(false).consume(id, 1);
        }
        pair.pump(true, 10_000);
    }
    pair.settle();
    pair.check_settled();
}

#[test]
fn streams_can_be_used_up_and_renewed_without_end() {
    let mut pair = Pair::new();
    let mut seed = 7_u32;
    for round in 0..3000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        for upper in [true, false] {
            (0..4).for_each(|_| pair.end(upper).open(0));
            let which = (seed >> 8) as usize;
            pair.on_stream(upper, which, End::reply);
            pair.on_stream(upper, which, End::finish);
            if seed.is_multiple_of(5) {
                pair.on_stream(upper, which / 3, End::reset);
            }
            pair.pump(upper, (seed >> 16) as usize % 300);
        }
        if round % 500 == 499 {
            pair.settle();
            pair.check_settled();
        }
    }
}

#[test]
fn pings_are_answered() {
    let mut pair = Pair::new();
    pair.settle();
    pair.end(true).mux.ping(42);
    pair.settle();
    assert_eq!((pair.end(true).pongs, pair.end(false).pongs), (1, 0));
}
