//! Every statement is one that both databases take, and returns the columns that its record is made of.

use crate::{Bed, both};

both! { all_prepare }

mod cases {
    use super::*;

    pub(super) async fn all_prepare(bed: &Bed) {
        let mut connection = bed.store.reader().await.unwrap();
        let mut count = 0;
        for statement in sandkeep_store::sql::ALL.iter().copied().flatten() {
            if statement.name.ends_with("::COPY") && connection.is_postgres() {
                continue; // only SQLite's file is copied
            }
            let mut found = connection.describe(statement).await.unwrap_or_else(|error| {
                panic!("{}: {error}: {:?}", statement.name, std::error::Error::source(&error))
            });
            if let Some(columns) = statement.columns {
                let mut wanted: Vec<_> = columns.iter().map(|&column| column.to_owned()).collect();
                found.sort();
                wanted.sort();
                assert_eq!(found, wanted, "{}", statement.name);
            }
            count += 1;
        }
        assert!(count > 40, "only {count} statements are listed");
    }
}
