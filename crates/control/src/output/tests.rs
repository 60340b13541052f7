//! Early, late, slow and returning readers see the same bytes at the same positions.

use super::*;
use sandkeep_core::output::OutputLog;
use sandkeep_core::size::ByteSize;
use sandkeep_store::{Options, Place as StorePlace};

async fn outputs() -> (tempfile::TempDir, Outputs) {
    let directory = tempfile::tempdir().unwrap();
    let place = StorePlace::Directory(directory.path().join("data"));
    let store = Store::open(&Options { place, readers: 2 }, 1).await.unwrap();
    let blobs = Blobs::local(&directory.path().join("blobs")).unwrap();
    (directory, Outputs::new(store, blobs))
}

fn id() -> ExecutionId {
    ExecutionId::new(1, [7; 10])
}

fn part(from: u64, bytes: &[u8]) -> Part {
    let stream = if from.is_multiple_of(2) { Stream::Stdout } else { Stream::Stderr };
    Part::Segments { from, segments: vec![Segment { stream, bytes: bytes.to_vec() }] }
}

/// All that a reader gets from `position` to the end: bytes, and what was missing.
async fn read(outputs: &Outputs, position: u64) -> (Vec<u8>, Vec<(u64, u64)>) {
    let (mut tail, mut bytes, mut gaps) = (outputs.tail(id(), position), Vec::new(), Vec::new());
    let mut at = position;
    while let Some(piece) = tail.next().await.unwrap() {
        match piece {
            Piece::Bytes { position, bytes: more, .. } => {
                assert_eq!(position, at, "no break");
                at += more.len() as u64;
                bytes.extend(more);
            }
            Piece::Gap { from, to } => {
                assert_eq!(from, at, "no break");
                at = to;
                gaps.push((from, to));
            }
        }
    }
    (bytes, gaps)
}

#[tokio::test]
async fn readers_see_the_same_from_wherever_they_begin() {
    let (_directory, outputs) = outputs().await;
    outputs.open(id(), 0);
    let early = tokio::spawn({
        let outputs = outputs.clone();
        async move { read(&outputs, 0).await }
    });
    // Small pieces lie in the index, large ones are blobs; one is missing, one comes twice.
    let large: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let after = 6 + large.len() as u64;
    for piece in [part(0, b"begin "), part(6, &large), part(0, b"begin ")] {
        outputs.append(id(), piece).await.unwrap();
    }
    outputs.append(id(), Part::Gap { from: after, to: after + 1000 }).await.unwrap();
    outputs.append(id(), part(after + 1000, b"end")).await.unwrap();
    assert_eq!(outputs.reach(id()).await.unwrap(), after + 1003);
    let late = tokio::spawn({
        let outputs = outputs.clone();
        async move { read(&outputs, 0).await }
    });
    outputs.close(id());
    let whole = [b"begin ".as_slice(), &large, b"end"].concat();
    let gaps = vec![(after, after + 1000)];
    assert_eq!(early.await.unwrap(), (whole.clone(), gaps.clone()));
    assert_eq!(late.await.unwrap(), (whole.clone(), gaps.clone()));
    assert_eq!(read(&outputs, 0).await, (whole.clone(), gaps.clone()), "after the end");
    let middle = 50_000;
    assert_eq!(read(&outputs, middle).await, (whole[50_000..].to_vec(), gaps), "from the middle of a piece");
    assert_eq!(read(&outputs, after + 500).await, (b"end".to_vec(), vec![(after + 500, after + 1000)]));
    assert_eq!(read(&outputs, after + 5000).await, (Vec::new(), Vec::new()), "from past the end");
}

#[tokio::test]
async fn one_who_stays_behind_reads_the_store() {
    let (_directory, outputs) = outputs().await;
    outputs.open(id(), 0);
    let mut slow = outputs.tail(id(), 0);
    // More than is kept in memory.
    let piece = vec![b'x'; 400_000];
    for number in 0..8 {
        outputs.append(id(), part(number * 400_000, &piece)).await.unwrap();
    }
    outputs.close(id());
    let mut seen = 0;
    while let Some(piece) = slow.next().await.unwrap() {
        let Piece::Bytes { position, bytes, .. } = piece else { unreachable!("nothing is missing") };
        assert_eq!(position, seen);
        seen += bytes.len() as u64;
    }
    assert_eq!(seen, 8 * 400_000);
}

#[tokio::test]
async fn a_server_that_takes_over_shows_what_was_stored_before() {
    let (_directory, outputs) = outputs().await;
    outputs.append(id(), part(0, b"before ")).await.unwrap();
    // Nobody had opened it here until now.
    outputs.open(id(), outputs.reach(id()).await.unwrap());
    let reader = tokio::spawn({
        let outputs = outputs.clone();
        async move { read(&outputs, 0).await.0 }
    });
    let reach = outputs.reach(id()).await.unwrap();
    outputs.append(id(), part(reach, b"after")).await.unwrap();
    outputs.close(id());
    assert_eq!(reader.await.unwrap(), b"before after");
}

#[tokio::test]
async fn what_is_damaged_is_not_shown_as_output() {
    let (directory, outputs) = outputs().await;
    outputs.append(id(), part(0, &vec![b'x'; 100_000])).await.unwrap();
    let path = directory.path().join(format!("blobs/executions/{}/output/{:020}", id(), 0));
    std::fs::write(path, b"\x01\x03\x00\x00\x00abc").unwrap();
    let mut tail = outputs.tail(id(), 0);
    assert!(matches!(tail.next().await, Err(Error::Damaged { from: 0, .. })));
}

#[tokio::test]
async fn a_reader_is_given_no_more_at_once_than_a_piece_and_no_character_in_two() {
    let (_directory, outputs) = outputs().await;
    outputs.open(id(), 0);
    // From three bytes each, with a byte in front: no multiple of a piece is between two of them.
    let text = format!("x{}", "\u{20ac}".repeat(100_000));
    let segments = vec![
        Segment { stream: Stream::Stdout, bytes: text.clone().into_bytes() },
        Segment { stream: Stream::Stderr, bytes: vec![0x80; 100_000] },
    ];
    outputs.append(id(), Part::Segments { from: 0, segments }).await.unwrap();
    let live = outputs.tail(id(), 0);
    outputs.close(id());
    for mut tail in [live, outputs.stored_tail(id(), 0)] {
        let (mut at, mut whole) = (0, [String::new(), String::new()]);
        while let Some(piece) = tail.next().await.unwrap() {
            assert!(piece.bytes() <= 32 * 1024);
            let Piece::Bytes { position, stream, bytes } = piece else { panic!("nothing is missing") };
            assert_eq!(position, at);
            at += bytes.len() as u64;
            assert_eq!(tail.position(), at);
            match stream {
                Stream::Stdout => whole[0].push_str(std::str::from_utf8(&bytes).unwrap()),
                // What is no text is cut anywhere.
                Stream::Stderr => whole[1].push_str(&"x".repeat(bytes.len())),
            }
        }
        assert!(whole[0] == text && whole[1].len() == 100_000);
    }
}

/// A log of `total` bytes, in pieces of both streams in turn, and the same in core's words.
async fn written(outputs: &Outputs, id: ExecutionId, total: u64) -> OutputLog {
    let mut log = OutputLog::keeping(ByteSize::from_bytes(EXCERPT_MOST));
    let mut at = 0;
    while at < total {
        let bytes: Vec<u8> = (at..total.min(at + 99_999)).map(|position| position.to_le_bytes()[1]).collect();
        let stream = if at.is_multiple_of(2) { Stream::Stdout } else { Stream::Stderr };
        log.append(stream, &bytes);
        let (from, segments) = (at, vec![Segment { stream, bytes }]);
        at += segments[0].bytes.len() as u64;
        outputs.append(id, Part::Segments { from, segments }).await.unwrap();
    }
    log
}

#[tokio::test]
async fn an_excerpt_is_what_a_log_of_its_size_would_have_kept() {
    let (_directory, outputs) = outputs().await;
    for (number, total) in
        (0..).zip([0, 5, EXCERPT_MOST - 1, EXCERPT_MOST, EXCERPT_MOST + 1, 3 * EXCERPT_MOST])
    {
        let id = ExecutionId::new(1, [number; 10]);
        let log = written(&outputs, id, total).await;
        let totals = [log.total_of(Stream::Stdout), log.total_of(Stream::Stderr)];
        // Whether it is known how much was written, or counted.
        for known in [totals, [0, 0]] {
            let excerpt = outputs.excerpt(id, known).await.unwrap();
            assert_eq!(excerpt.gap, log.gap(), "{total}");
            assert_eq!(excerpt.stdout, log.kept(Stream::Stdout), "{total}");
            assert_eq!(excerpt.stderr, log.kept(Stream::Stderr), "{total}");
        }
    }
}

#[tokio::test]
async fn an_excerpt_has_one_gap_where_the_log_has_one() {
    let (_directory, outputs) = outputs().await;
    let most = EXCERPT_MOST;
    // Before the head is full, after it, and into the tail.
    for (number, from, to, expected) in [
        (1, 10, 5 * most, (10, 5 * most)),
        (2, 10, 20, (10, 20)),
        (3, most, 2 * most, (head_of(most), 2 * most)),
        (4, 2 * most, 5 * most, (head_of(most), 5 * most)),
    ] {
        let id = ExecutionId::new(1, [number; 10]);
        let first = vec![b'a'; usize::try_from(from).unwrap()];
        outputs.append(id, part(0, &first)).await.unwrap();
        outputs.append(id, Part::Gap { from, to }).await.unwrap();
        let last = Segment { stream: Stream::Stdout, bytes: vec![b'z'; 1000] };
        outputs.append(id, Part::Segments { from: to, segments: vec![last] }).await.unwrap();
        let reach = to + 1000;
        let excerpt = outputs.excerpt(id, [reach, 0]).await.unwrap();
        assert_eq!(excerpt.gap.map(|gap| (gap.from, gap.to)), Some(expected), "{from} {to}");
        let Kept { head, tail, missing_bytes } = excerpt.stdout;
        assert_eq!((head.len() as u64, tail.len()), (expected.0, 1000));
        assert_eq!(missing_bytes, expected.1 - expected.0);
    }
}
