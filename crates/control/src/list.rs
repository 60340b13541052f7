//! Lists by filters that no index knows: rows are looked at newest first, a bounded number of them for each request. A page
//! may then have fewer items than asked for, or none, and still say that there may be more.

pub use sandkeep_store::executions::Before;

/// Rows that one request looks at.
pub const SEEN_MOST: u32 = 10_000;
/// Rows that are read together.
const AT_ONCE: u32 = 500;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Where to go on, if there may be more.
    pub more: Option<Before>,
}

/// A look through rows, newest first.
#[derive(Debug)]
pub(crate) struct Look<T> {
    items: Vec<T>,
    limit: usize,
    at: Before,
    seen: u32,
    /// Rows of the last reading that were not there, or are still to be told of.
    missing: u32,
    full: bool,
}

impl<T> Look<T> {
    /// For up to `limit` items from `before` on.
    pub(crate) fn new(before: Before, limit: u32) -> Self {
        Self { items: Vec::new(), limit: limit as usize, at: before, seen: 0, missing: 0, full: false }
    }

    /// From where to read how many rows; `None` when there is no need to.
    pub(crate) fn next(&mut self) -> Option<(Before, u32)> {
        // The reading before had fewer rows than it was to have: there are no more.
        if self.full || self.missing > 0 || self.seen >= SEEN_MOST {
            return None;
        }
        // At first a page and what begins the next; more only where most rows are not wanted.
        let page = u32::try_from(self.limit).unwrap_or(AT_ONCE).saturating_add(1);
        let most = if self.seen == 0 { page.min(AT_ONCE) } else { AT_ONCE };
        self.missing = most;
        Some((self.at.clone(), most))
    }

    /// One row, with its item if it is wanted.
    pub(crate) fn saw(&mut self, created_us: i64, id: String, item: Option<T>) {
        if self.full {
            return;
        }
        if item.is_some() && self.items.len() == self.limit {
            // One more than a page: it begins the next.
            self.full = true;
            return;
        }
        self.items.extend(item);
        self.at = Before { created_us, id };
        self.seen += 1;
        self.missing = self.missing.saturating_sub(1);
    }

    pub(crate) fn listed(self) -> Listed<T> {
        let more = self.full || self.missing == 0;
        Listed { items: self.items, more: more.then_some(self.at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows `count..0` of which every `every`th is wanted.
    fn page(count: u32, every: u32, before: Before, limit: u32) -> Listed<u32> {
        let mut look = Look::new(before, limit);
        while let Some((before, most)) = look.next() {
            let rows = (1..=count).rev().filter(|row| i64::from(*row) < before.created_us);
            for row in rows.take(most as usize) {
                look.saw(row.into(), row.to_string(), (row % every == 0).then_some(row));
            }
        }
        look.listed()
    }

    #[test]
    fn pages_have_every_wanted_row_once() {
        for (count, every, limit) in
            [(0, 1, 3), (1, 1, 1), (9, 1, 3), (10, 1, 3), (2000, 7, 10), (25_000, 12_000, 1)]
        {
            let (mut all, mut before, mut pages) = (Vec::new(), Before::nothing(), 0);
            loop {
                let listed = page(count, every, before, limit);
                assert!(listed.items.len() <= limit as usize);
                all.extend(listed.items);
                pages += 1;
                let Some(more) = listed.more else { break };
                before = more;
            }
            let expected: Vec<u32> = (1..=count).rev().filter(|row| row % every == 0).collect();
            assert_eq!(all, expected, "{count} rows, every {every}th, {limit} a page");
            assert!(pages <= expected.len() / limit as usize + 1 + (count / SEEN_MOST) as usize);
        }
    }
}
