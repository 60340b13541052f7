//! Whether sandboxes can be made here is asked without making one, unless the last could not be made.

use sandkeep_core::code::ErrorCode;
use sandkeep_core::sandbox::Profile;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::Driver;
use sandkeep_runtime::driver::Root;
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};

use crate::support::{block_on, sandbox_spec};

#[test]
fn one_is_made_when_it_is_not_known_and_only_then() {
    let parent = tempfile::tempdir().unwrap();
    let (path, away) = (parent.path().join("state"), parent.path().join("away"));
    let state = StateDirectory::open(&path).unwrap();
    let local = Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(8) });
    // One that cannot be made: it shows whether it was tried.
    let mut impossible = sandbox_spec();
    impossible.root = Root::Directory("/nowhere".to_owned());
    block_on(async {
        let tried = async || local.check(&impossible).await.map_err(|problem| problem.code);
        assert_eq!(tried().await, Err(ErrorCode::RootUnusable), "nothing is known yet");
        local.check(&sandbox_spec()).await.unwrap();
        assert_eq!(tried().await, Ok(()), "one was made just now");
        assert!(local.create(&impossible).await.is_err());
        assert_eq!(tried().await, Ok(()), "what was asked for is not the host's doing");

        std::fs::rename(&path, &away).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(tried().await, Err(ErrorCode::StateDirUnusable));
        let mut dev = sandbox_spec();
        dev.profile = Profile::Dev;
        assert!(local.create(&dev).await.is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&away, &path).unwrap();
        assert_eq!(tried().await, Err(ErrorCode::RootUnusable), "the last could not be made");
        local.check(&sandbox_spec()).await.unwrap();
        assert_eq!(tried().await, Ok(()));
    });
}
