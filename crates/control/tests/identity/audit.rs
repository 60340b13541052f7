//! Every change has its entry, in the transaction that made it.

use sandkeep_core::code::ErrorCode;
use sandkeep_core::identity::{Asked, Name, Role};
use sandkeep_store::executions::Before;
use secrecy::ExposeSecret as _;

use crate::{Bed, both, code};

both! { every_change_has_an_entry what_failed_has_none it_is_the_owners }

mod cases {
    use super::*;

    pub(super) async fn every_change_has_an_entry(bed: &Bed) {
        let (admin, project) = bed.admin().await;
        let secrets = bed.secrets().await;
        let name: Name = "API_KEY".parse().unwrap();
        let web = bed.projects.create(&admin, &"web".parse().unwrap(), None, "r1").await.unwrap();
        bed.projects.rename(&admin, web.id, &"shop".parse().unwrap(), "r2").await.unwrap();
        let token = bed.token(&admin, Asked { project: Some(project), ..Asked::default() }).await.unwrap();
        secrets.set(&admin, project, name.clone(), b"hunter2".to_vec().into(), "r3").await.unwrap();
        secrets.delete(&admin, project, name, "r4").await.unwrap();
        bed.tokens.revoke(&admin, token.token.id, "r5").await.unwrap();
        let log = bed.audit.list(&admin, None, &Before::nothing(), 20).await.unwrap();
        let found: Vec<_> =
            log.iter().rev().map(|entry| (entry.action.as_str(), entry.request_id.as_str())).collect();
        let expected = [
            ("token.create", "first start"),
            ("project.create", "r1"),
            ("project.update", "r2"),
            ("token.create", "r1"),
            ("secret.write", "r3"),
            ("secret.delete", "r4"),
            ("token.revoke", "r5"),
        ];
        assert_eq!(found, expected);
        assert!(log.iter().rev().skip(1).all(|entry| entry.token_id == Some(admin.token_id)));
        assert!(log.iter().all(|entry| entry.principal_id == admin.id));
        let text = token.text.unwrap();
        for entry in &log {
            assert!(entry.detail.starts_with('{'), "{entry:?}");
            assert!(
                !entry.detail.contains("hunter2") && !entry.detail.contains(text.expose_secret()),
                "{entry:?}"
            );
        }
    }

    pub(super) async fn what_failed_has_none(bed: &Bed) {
        let (admin, _) = bed.admin().await;
        let taken = bed.projects.create(&admin, &"default".parse().unwrap(), None, "r1").await;
        assert_eq!(code(taken), Some(ErrorCode::NameTaken));
        let nowhere = bed.tokens.revoke(&admin, sandkeep_control::ids::fresh(&bed.clock), "r2").await;
        assert_eq!(code(nowhere), Some(ErrorCode::NotFound));
        assert_eq!(bed.audit.list(&admin, None, &Before::nothing(), 20).await.unwrap().len(), 1);
    }

    pub(super) async fn it_is_the_owners(bed: &Bed) {
        let (admin, project) = bed.admin().await;
        let web = bed.projects.create(&admin, &"web".parse().unwrap(), None, "r1").await.unwrap();
        let owner = bed.member("olga", web.id, Role::Owner).await;
        let editor = bed.member("edda", web.id, Role::Editor).await;
        let here = bed.audit.list(&owner, Some(web.id), &Before::nothing(), 10).await.unwrap();
        assert_eq!(here.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(), ["project.create"]);
        let list = async |by, project| code(bed.audit.list(by, project, &Before::nothing(), 10).await);
        assert_eq!(list(&editor, Some(web.id)).await, Some(ErrorCode::Forbidden));
        assert_eq!(list(&owner, Some(project)).await, Some(ErrorCode::NotFound));
        assert_eq!(list(&owner, None).await, Some(ErrorCode::NotFound));
    }
}
