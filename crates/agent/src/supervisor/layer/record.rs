//! What a layer's directory says of itself: a few lines in a file of a fixed name.

use sandkeep_sandbox::idmap::{IdMap, Span, Writer};

/// First line, with the version of what follows.
const HEAD: &str = "sandkeep layer 1";

/// What a layer is kept as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file system in a file (root).
    Image {
        /// Size of the file that it was given.
        disk_bytes: u64,
        /// Inodes that were asked for.
        inodes: u64,
    },
    /// A plain directory whose files belong to these ids (everybody else).
    Files(IdMap),
}

/// How far a layer's directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing of a sandbox's is in it yet.
    Making,
    /// In use.
    Made,
    /// Some of it may be gone.
    Removing,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) state: State,
    pub(crate) kind: Kind,
}

impl Record {
    /// Its text.
    pub(crate) fn text(&self) -> String {
        let state = match self.state {
            State::Making => "making",
            State::Made => "made",
            State::Removing => "removing",
        };
        let kind = match &self.kind {
            Kind::Image { disk_bytes, inodes } => format!("image {disk_bytes} {inodes}"),
            Kind::Files(ids) => {
                format!("files\nuids {}\ngids {}", spans_text(&ids.uids), spans_text(&ids.gids))
            }
        };
        format!("{HEAD}\nstate {state}\nkind {kind}\n")
    }

    /// The record of that text; `None` for what is none, or one of a later version.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != HEAD {
            return None;
        }
        let state = match lines.next()?.strip_prefix("state ")? {
            "making" => State::Making,
            "made" => State::Made,
            "removing" => State::Removing,
            _ => return None,
        };
        let mut words = lines.next()?.strip_prefix("kind ")?.split(' ');
        let kind = match words.next()? {
            "image" => {
                Kind::Image { disk_bytes: words.next()?.parse().ok()?, inodes: words.next()?.parse().ok()? }
            }
            "files" => {
                let uids = spans(lines.next()?.strip_prefix("uids ")?)?;
                let gids = spans(lines.next()?.strip_prefix("gids ")?)?;
                let single = uids.len() == 1 && uids[0].count == 1;
                let writer = if single { Writer::Single } else { Writer::Helpers };
                Kind::Files(IdMap { uids, gids, writer })
            }
            _ => return None,
        };
        Some(Self { state, kind })
    }
}

fn spans_text(spans: &[Span]) -> String {
    let spans = spans.iter().map(|span| format!("{}:{}:{}", span.inside, span.outside, span.count));
    spans.collect::<Vec<_>>().join(" ")
}

fn spans(text: &str) -> Option<Vec<Span>> {
    let span = |word: &str| {
        let mut numbers = word.split(':').map_while(|number| number.parse().ok());
        Some(Span { inside: numbers.next()?, outside: numbers.next()?, count: numbers.next()? })
    };
    text.split(' ').map(span).collect::<Option<Vec<_>>>().filter(|spans| !spans.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_sandbox::idmap::Subordinate;

    #[test]
    fn what_is_written_is_read() {
        let lent = Subordinate { first: 100_000, count: 65_536 };
        let kinds = [
            Kind::Image { disk_bytes: 1 << 30, inodes: 65_536 },
            Kind::Files(IdMap::subordinate(1001, 1002, lent, lent)),
            Kind::Files(IdMap::single(1001, 1002, 1000)),
        ];
        for kind in kinds {
            for state in [State::Making, State::Made, State::Removing] {
                let record = Record { state, kind: kind.clone() };
                assert_eq!(Record::parse(&record.text()), Some(record));
            }
        }
    }

    #[test]
    fn what_is_no_record_is_not_read() {
        let whole = "sandkeep layer 1\nstate made\nkind image 1 2\n";
        assert!(Record::parse(whole).is_some());
        for text in [
            "",
            "sandkeep layer 2\nstate made\nkind image 1 2\n",
            "sandkeep layer 1\nstate odd\nkind image 1 2\n",
            "sandkeep layer 1\nstate made\nkind image 1\n",
            "sandkeep layer 1\nstate made\nkind files\nuids \ngids 0:1:1\n",
            "sandkeep layer 1\nstate made\nkind files\nuids 0:1\ngids 0:1:1\n",
        ] {
            assert_eq!(Record::parse(text), None, "{text:?}");
        }
    }
}
