//! Secrets: sealed in the store, bound to their place, the editor's.

use sandkeep_core::code::ErrorCode;
use sandkeep_core::id::ProjectId;
use sandkeep_core::identity::{Name, Role};
use sandkeep_store::{Durability, secrets as rows};
use secrecy::ExposeSecret as _;

use crate::{Bed, both, code};

both! { a_value_comes_back_and_shows_nowhere roles_below_editor_see_none a_row_opens_in_its_place_alone
many_at_once_are_one_after_another }

fn name() -> Name {
    "API_KEY".parse().unwrap()
}

async fn row(bed: &Bed, project_id: ProjectId) -> rows::Secret {
    rows::named(&mut bed.store.reader().await.unwrap(), project_id, "API_KEY").await.unwrap().unwrap()
}

mod cases {
    use super::*;

    pub(super) async fn a_value_comes_back_and_shows_nowhere(bed: &Bed) {
        let (admin, project) = bed.admin().await;
        let secrets = bed.secrets().await;
        for (version, value) in [(1, "hunter2-hunter2"), (2, "correct-horse")] {
            let set = secrets.set(&admin, project, name(), value.as_bytes().to_vec().into(), "r1").await;
            assert_eq!(set, Ok(version));
            let opened = secrets.open(&admin, project, &name()).await.unwrap();
            assert_eq!(opened.expose_secret(), value.as_bytes());
            let row = row(bed, project).await;
            assert!(
                !row.ciphertext.windows(6).any(|window| value.as_bytes().windows(6).any(|of| of == window))
            );
        }
        let listed = secrets.list(&admin, project, "", 10).await.unwrap();
        assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].version), (1, "API_KEY", 2));
        secrets.delete(&admin, project, name(), "r2").await.unwrap();
        assert_eq!(code(secrets.open(&admin, project, &name()).await), Some(ErrorCode::NotFound));
        assert_eq!(code(secrets.delete(&admin, project, name(), "r3").await), Some(ErrorCode::NotFound));
        let long = vec![b'x'; sandkeep_control::secrets::VALUE_MOST_BYTES + 1];
        let refused = secrets.set(&admin, project, name(), long.into(), "r4").await;
        assert_eq!(code(refused), Some(ErrorCode::InvalidValue));
    }

    pub(super) async fn roles_below_editor_see_none(bed: &Bed) {
        let (admin, project) = bed.admin().await;
        let secrets = bed.secrets().await;
        secrets.set(&admin, project, name(), b"value".to_vec().into(), "r1").await.unwrap();
        for (role, expected) in [
            (Role::Viewer, Some(ErrorCode::Forbidden)),
            (Role::Operator, Some(ErrorCode::Forbidden)),
            (Role::Editor, None),
        ] {
            let who = bed.member(role.as_str(), project, role).await;
            assert_eq!(code(secrets.list(&who, project, "", 10).await), expected, "{role}");
            assert_eq!(code(secrets.open(&who, project, &name()).await), expected, "{role}");
            let set = secrets.set(&who, project, name(), b"other".to_vec().into(), "r").await;
            assert_eq!(code(set), expected, "{role}");
        }
        let other = bed.projects.create(&admin, &"other".parse().unwrap(), None, "r").await.unwrap();
        let stranger = bed.member("stranger", other.id, Role::Owner).await;
        assert_eq!(code(secrets.open(&stranger, project, &name()).await), Some(ErrorCode::NotFound));
    }

    /// Somebody who can write to the database, and has no master key, cannot make one project read another's secret.
    pub(super) async fn a_row_opens_in_its_place_alone(bed: &Bed) {
        let (admin, project) = bed.admin().await;
        let secrets = bed.secrets().await;
        secrets.set(&admin, project, name(), b"value".to_vec().into(), "r1").await.unwrap();
        let other = bed.projects.create(&admin, &"other".parse().unwrap(), None, "r").await.unwrap().id;
        let stolen = rows::Secret {
            id: sandkeep_control::ids::fresh(&bed.clock),
            project_id: other,
            ..row(bed, project).await
        };
        let write = bed.store.write(Durability::Durable, stolen, |tx, row| Box::pin(rows::create(tx, row)));
        write.await.unwrap();
        assert_eq!(code(secrets.open(&admin, other, &name()).await), Some(ErrorCode::SealBroken));
        secrets.open(&admin, project, &name()).await.unwrap();
        // An earlier value, put back, is noticed too.
        let earlier = row(bed, project).await;
        secrets.set(&admin, project, name(), b"newer".to_vec().into(), "r2").await.unwrap();
        let put_back = rows::Secret { version: 3, ..earlier };
        let write =
            bed.store.write(Durability::Durable, put_back, |tx, row| Box::pin(rows::replace(tx, row)));
        assert!(write.await.unwrap().is_updated());
        assert_eq!(code(secrets.open(&admin, project, &name()).await), Some(ErrorCode::SealBroken));
    }

    pub(super) async fn many_at_once_are_one_after_another(bed: &Bed) {
        let (admin, project) = bed.admin().await;
        let secrets = bed.secrets().await;
        let sets = (0..10).map(async |number| {
            let value = format!("value {number}").into_bytes();
            secrets.set(&admin, project, name(), value.into(), "r").await.unwrap()
        });
        let mut versions = futures_util::future::join_all(sets).await;
        versions.sort_unstable();
        assert_eq!(versions, (1..=10).collect::<Vec<_>>());
        secrets.open(&admin, project, &name()).await.unwrap();
    }
}
