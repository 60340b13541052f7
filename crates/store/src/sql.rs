//! Statements by name.
//!
//! A statement is one text for both databases: placeholders `$1`, `$2`, …, the types TEXT, BIGINT, BOOLEAN and BYTEA
//! (SQLite takes any name for a type), `RETURNING`, `ON CONFLICT`. The few that must differ have a text for each. Every
//! module that has statements lists them in its `STATEMENTS`, and [`ALL`] lists the modules, so that a test can prepare
//! each one against both databases; that test is what a compile-time check would be, at the price of one test.

/// One statement, or the same thing said to each database in its own words.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    /// Its name in errors and metrics.
    pub name: &'static str,
    /// What SQLite gets.
    pub sqlite: &'static str,
    /// What PostgreSQL gets.
    pub postgres: &'static str,
    /// The columns that it returns, in any order, when a record is made of them.
    pub columns: Option<&'static [&'static str]>,
}

/// Declares the statements of a module, and the list of them:
///
/// ```ignore
/// statements! {
///     GET: Project = "SELECT id, name FROM projects WHERE id = $1";
///     CLAIM = { sqlite: "…", postgres: "… FOR UPDATE SKIP LOCKED" };
/// }
/// ```
///
/// With a record's name behind it, a statement has to return that record's columns.
macro_rules! statements {
    (@text $text:literal, $which:ident) => { $text };
    (@text { sqlite: $sqlite:literal, postgres: $postgres:literal }, sqlite) => { $sqlite };
    (@text { sqlite: $sqlite:literal, postgres: $postgres:literal }, postgres) => { $postgres };
    (@columns) => { None };
    (@columns $record:ident) => { Some(<$record as $crate::row::Record>::COLUMNS) };
    ($($(#[$doc:meta])* $name:ident $(: $record:ident)? = $text:tt;)+) => {
        $(
            $(#[$doc])*
            const $name: $crate::sql::Statement = $crate::sql::Statement {
                name: concat!(module_path!(), "::", stringify!($name)),
                sqlite: $crate::sql::statements!(@text $text, sqlite),
                postgres: $crate::sql::statements!(@text $text, postgres),
                columns: $crate::sql::statements!(@columns $($record)?),
            };
        )+
        /// Every statement of this module.
        pub(crate) const STATEMENTS: &[$crate::sql::Statement] = &[$($name),+];
    };
}
pub(crate) use statements;

/// Every statement of the store, by module.
pub const ALL: &[&[Statement]] = &[
    crate::audit::STATEMENTS,
    crate::events::STATEMENTS,
    crate::executions::STATEMENTS,
    crate::idempotency::STATEMENTS,
    crate::migrate::STATEMENTS,
    crate::output::STATEMENTS,
    crate::principals::STATEMENTS,
    crate::projects::STATEMENTS,
    crate::sandboxes::STATEMENTS,
    crate::secrets::STATEMENTS,
    crate::servers::STATEMENTS,
    crate::settings::STATEMENTS,
    crate::time::STATEMENTS,
    crate::tokens::STATEMENTS,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> impl Iterator<Item = (&'static str, String)> {
        let all = ALL.iter().copied().flatten();
        all.flat_map(|s| [(s.name, s.sqlite.to_lowercase()), (s.name, s.postgres.to_lowercase())])
    }

    /// Times are those of the caller, who asks with the one statement that does nothing else: see `docs/decisions/0010-clocks.md`.
    #[test]
    fn no_statement_asks_for_the_time() {
        for (name, text) in texts().filter(|(name, _)| *name != "sandkeep_store::time::NOW") {
            for word in
                ["now()", "current_timestamp", "datetime(", "strftime(", "unixepoch(", "clock_timestamp"]
            {
                assert!(!text.contains(word), "{name} has {word}");
            }
        }
    }

    #[test]
    fn no_statement_takes_every_column() {
        for (name, text) in texts() {
            assert!(
                !text.contains("select *"),
                "{name}: a column that a later release adds would come along"
            );
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ALL.iter().copied().flatten().map(|statement| statement.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
