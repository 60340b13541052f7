//! What a guarded write found.

/// A write that names what it expects to find: the row's generation, or the token it acts under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// The row was as expected and is changed now.
    Updated,
    /// The row is there and has moved on; nothing was changed.
    Stale,
    /// There is no such row; nothing was changed.
    Absent,
}

impl Guarded {
    /// Of how many rows a guarded `UPDATE` changed, and whether the row is there at all.
    pub(crate) fn of(changed: u64, there: bool) -> Self {
        match (changed, there) {
            (0, false) => Self::Absent,
            (0, true) => Self::Stale,
            _ => Self::Updated,
        }
    }

    /// Whether it was changed.
    #[must_use]
    pub fn is_updated(self) -> bool {
        self == Self::Updated
    }
}
