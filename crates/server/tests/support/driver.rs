//! The driver that a server in a test makes sandboxes by: the real one.

use std::sync::Arc;

use sandkeep_core::size::ByteSize;
use sandkeep_runtime::Driver;
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};

pub(crate) fn driver() -> Arc<dyn Driver> {
    let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
    Arc::new(Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(4) }))
}
