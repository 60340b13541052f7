//! A first start makes what there has to be, once, whatever breaks off in between.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sandkeep_control::first_start::{ADMIN_FILE, begin, reset_admin_key};
use sandkeep_control::master_key::{FILE, Given};
use sandkeep_core::code::ErrorCode;
use sandkeep_core::identity::Role;
use sandkeep_core::identity::token::Format;
use sandkeep_store::executions::Before;
use sandkeep_store::{Place, Store};

use crate::{Bed, both, code, text_of};

both! { it_makes_everything_once what_broke_off_is_finished what_is_no_key_is_left_alone
another_master_key_is_refused a_lost_admin_key_is_replaced the_directory_is_made nothing_is_made_before_a_key_is_settled }

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn given(digit: char) -> Given {
    Given::Text(digit.to_string().repeat(64).into())
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

mod cases {
    use super::*;

    pub(super) async fn it_makes_everything_once(bed: &Bed) {
        let first = bed.begin().await.unwrap();
        let (admin_file, key_file) = (bed.admin_file(), bed.path().join(FILE));
        assert_eq!(first.made_admin_key.as_ref(), Some(&admin_file));
        assert_eq!(first.made_master_key.as_ref(), Some(&key_file));
        assert_eq!((mode(&admin_file), mode(&key_file)), (0o600, 0o600));
        let (text, key) = (text_of(&admin_file), text_of(&key_file));
        let again = bed.begin().await.unwrap();
        assert_eq!((again.made_admin_key, again.made_master_key), (None, None));
        assert_eq!((again.project_id, again.master_key.id()), (first.project_id, first.master_key.id()));
        assert_eq!((text_of(&admin_file), text_of(&key_file)), (text.clone(), key));
        let admin = bed.who(&text).await.unwrap();
        assert!(admin.admin);
        assert_eq!((admin.bound, admin.role_in(first.project_id)), (None, Some(Role::Owner)));
        let log = bed.audit.list(&admin, None, &Before::nothing(), 10).await.unwrap();
        assert_eq!(log.len(), 1, "{log:?}");
        assert_eq!((log[0].action.as_str(), log[0].token_id), ("token.create", None));
        // Somebody who threw the file away does not get another by starting again.
        std::fs::remove_file(&admin_file).unwrap();
        bed.begin().await.unwrap();
        assert!(!admin_file.exists());
    }

    /// The files were made and the store knows nothing of them yet: what the moment before each write leaves.
    pub(super) async fn what_broke_off_is_finished(bed: &Bed) {
        let text = Format::Sandkeep.compose(&[9; 32]);
        write(&bed.path().join(FILE), &"5".repeat(64));
        write(&bed.admin_file(), &text);
        write(&bed.path().join("admin.key.new"), "half a tok");
        let begun = bed.begin().await.unwrap();
        assert_eq!((begun.made_admin_key, begun.made_master_key), (None, None));
        assert_eq!(text_of(&bed.admin_file()), text, "never written over");
        assert!(bed.who(&text).await.unwrap().admin);
        assert!(!bed.path().join("admin.key.new").exists());
    }

    pub(super) async fn what_is_no_key_is_left_alone(bed: &Bed) {
        write(&bed.admin_file(), "my notes");
        let refused = bed.begin().await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::KeyFileUnusable);
        assert!(!refused.to_string().contains("my notes"), "{refused}");
        assert_eq!(text_of(&bed.admin_file()), "my notes");
        std::fs::remove_file(bed.admin_file()).unwrap();
        let begun = bed.begin().await.unwrap();
        assert_eq!(begun.made_admin_key, Some(bed.admin_file()), "the failed start made no administrator");
        std::fs::set_permissions(bed.path().join(FILE), PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(code(bed.begin().await), Some(ErrorCode::KeyFileUnusable));
    }

    pub(super) async fn another_master_key_is_refused(bed: &Bed) {
        let with = async |given: Option<&Given>| begin(&bed.store, &bed.clock, bed.path(), given).await;
        with(Some(&given('1'))).await.unwrap();
        assert!(!bed.path().join(FILE).exists(), "the one that was given is written down nowhere");
        assert_eq!(code(with(Some(&given('2'))).await), Some(ErrorCode::MasterKeyMismatch));
        let missing = with(None).await.unwrap_err();
        assert_eq!(missing.code, ErrorCode::MasterKeyMismatch);
        assert!(!bed.path().join(FILE).exists(), "no new key for what another one sealed");
        let file = bed.path().join("given");
        write(&file, &format!("{}\n", "1".repeat(64)));
        with(Some(&Given::File(file))).await.unwrap();
        let nowhere = Given::File("/nowhere/key".into());
        assert_eq!(code(with(Some(&nowhere)).await), Some(ErrorCode::KeyFileUnusable));
    }

    pub(super) async fn a_lost_admin_key_is_replaced(bed: &Bed) {
        let reset = async || reset_admin_key(&bed.store, &bed.clock, bed.path()).await;
        assert_eq!(code(reset().await), Some(ErrorCode::NotFound));
        assert!(!bed.admin_file().exists());
        bed.begin().await.unwrap();
        let mut texts = vec![text_of(&bed.admin_file())];
        for _ in 0..2 {
            assert_eq!(reset().await.unwrap(), bed.admin_file());
            texts.push(text_of(&bed.admin_file()));
        }
        assert_eq!(mode(&bed.admin_file()), 0o600);
        assert_eq!(code(bed.who(&texts[0]).await), Some(ErrorCode::Unauthenticated));
        assert_eq!(code(bed.who(&texts[1]).await), Some(ErrorCode::Unauthenticated));
        let admin = bed.who(&texts[2]).await.unwrap();
        let log = bed.audit.list(&admin, None, &Before::nothing(), 10).await.unwrap();
        let mut actions: Vec<_> = log.iter().map(|entry| entry.action.as_str()).collect();
        actions.sort_unstable();
        let (create, revoke) = ("token.create", "token.revoke");
        assert_eq!(actions, [create, create, create, revoke, revoke]);
    }

    pub(super) async fn the_directory_is_made(bed: &Bed) {
        let directory = bed.path().join("new/data");
        begin(&bed.store, &bed.clock, &directory, None).await.unwrap();
        assert_eq!(mode(&directory), 0o700);
        assert!(directory.join(FILE).exists() && directory.join(ADMIN_FILE).exists());
        let refused =
            begin(&bed.store, &bed.clock, Path::new("/proc/no/such/place"), None).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::DataDirUnusable);
        assert!(refused.message.contains("/proc/no/such/place"), "{refused}");
    }

    pub(super) async fn nothing_is_made_before_a_key_is_settled(bed: &Bed) {
        let bad = Given::Text("not a key".into());
        let refused = begin(&bed.store, &bed.clock, bed.path(), Some(&bad)).await;
        assert_eq!(code(refused), Some(ErrorCode::KeyFileUnusable));
        assert!(!bed.admin_file().exists() && !bed.path().join(FILE).exists());
        assert!(bed.begin().await.unwrap().made_admin_key.is_some());
    }
}

/// Servers of one database, each with a directory of its own, that start at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_servers_that_start_at_once_one_is_first() {
    for given in [Some(given('1')), None] {
        let Some(bed) = Bed::postgres("of_servers_that_start_at_once_one_is_first").await else { return };
        assert!(matches!(bed.options.place, Place::Postgres(_)));
        let directories: Vec<_> = (0..6).map(|_| tempfile::tempdir().unwrap()).collect();
        // Opened before any begins, so that all find the database empty.
        let opened = futures_util::future::join_all((0..6).map(|_| Store::open(&bed.options, 1))).await;
        let starts = directories.iter().zip(opened).map(async |(directory, store)| {
            begin(&store.unwrap(), &bed.clock, directory.path(), given.as_ref()).await
        });
        let begun = futures_util::future::join_all(starts).await;
        let has = |name: &str| {
            let there = directories.iter().filter(|directory| directory.path().join(name).exists());
            there.map(|directory| directory.path().join(name)).collect::<Vec<_>>()
        };
        let admin_files = has(ADMIN_FILE);
        assert_eq!(admin_files.len(), 1, "{begun:?}");
        assert!(bed.who(&text_of(&admin_files[0])).await.unwrap().admin);
        let refused = begun.into_iter().filter_map(code).collect::<Vec<_>>();
        if given.is_some() {
            assert_eq!((refused.as_slice(), has(FILE).len()), ([].as_slice(), 0));
        } else {
            assert_eq!(refused, [ErrorCode::MasterKeyMismatch; 5]);
            assert_eq!(has(FILE).len(), 1, "a key that seals nothing does not lie about");
        }
    }
}
