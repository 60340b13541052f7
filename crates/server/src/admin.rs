//! What is done to the books of a server from outside of it.

use std::path::PathBuf;

use sandkeep_control::clock::Clock;
use sandkeep_control::first_start;
use sandkeep_core::code::{ErrorCode, Problem};

use crate::config::Config;
use crate::serve::books;

/// Makes another key for the administrator of the server with these settings, puts it into the file of the one that was there, and
/// revokes that. The path of the file. Books in a data directory are only opened while no server has them.
///
/// # Errors
/// `not_found`: no server was ever started there; `data_dir_in_use`; what
/// [`Session::open`](sandkeep_control::session::Session::open) and [`first_start::reset_admin_key`] say.
pub async fn reset_admin_key(config: &Config) -> Result<PathBuf, Problem> {
    let books = books(config);
    if books.are_missing() {
        let message = format!("there is no database of a server in {}", config.data_dir.display());
        let expected = "the --data-dir or --database-url of a server that was started before";
        return Err(Problem::new(ErrorCode::NotFound, message).expecting(expected));
    }
    let clock = Clock::new();
    let store = books.open(&clock).await.map_err(|problem| {
        if problem.code != ErrorCode::DataDirInUse {
            return problem;
        }
        problem.expecting(
            "it again when the server is stopped, and start that afterwards: what runs in sandboxes goes on meanwhile",
        )
    })?;
    first_start::reset_admin_key(&store, &clock, &config.data_dir).await
}
