//! The index of stored output: in order, once, and where to go on.

use sandkeep_store::executions;
use sandkeep_store::output::{self, Chunk, Place};

use crate::{Bed, both, durably, execution_id};

both! { pieces_are_in_order_and_there_once }

mod cases {
    use super::*;

    pub(super) async fn pieces_are_in_order_and_there_once(bed: &Bed) {
        let (id, other) = (execution_id(), execution_id());
        let here = |from: u64, bytes: &[u8]| Chunk {
            from,
            to: from + bytes.len() as u64,
            place: Place::Here(bytes.to_vec()),
        };
        let all = [
            here(0, b"\x01begin\x00"),
            Chunk { from: 7, to: 4096, place: Place::Blob },
            Chunk { from: 4096, to: 1 << 40, place: Place::Gap },
            here(1 << 40, b"end"),
        ];
        for chunk in all.iter().chain(&all[..2]) {
            durably!(bed.store, (id, chunk.clone()), |tx, new| output::add(tx, new.0, &new.1)).unwrap();
        }
        durably!(bed.store, other, |tx, id| output::add(
            tx,
            *id,
            &Chunk { from: 0, to: 1, place: Place::Gap }
        ))
        .unwrap();
        let mut reader = bed.store.reader().await.unwrap();
        assert_eq!(output::from(&mut reader, id, 0, 10).await.unwrap(), all);
        assert_eq!(output::from(&mut reader, id, 6, 1).await.unwrap(), all[..1], "it holds position 6");
        assert_eq!(output::from(&mut reader, id, 7, 10).await.unwrap(), all[1..]);
        assert_eq!(output::reach(&mut reader, id).await.unwrap(), (1 << 40) + 3);
        assert_eq!(output::reach(&mut reader, execution_id()).await.unwrap(), 0);
        drop(reader);
        durably!(bed.store, id, |tx, id| executions::forget(tx, *id)).unwrap();
        let mut reader = bed.store.reader().await.unwrap();
        assert!(output::from(&mut reader, id, 0, 10).await.unwrap().is_empty());
        assert_eq!(output::reach(&mut reader, other).await.unwrap(), 1);
    }
}
