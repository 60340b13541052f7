//! Projects: an administrator's to make, a member's to see, an owner's to rename.

use sandkeep_control::idempotency::Idempotent;
use sandkeep_core::code::ErrorCode;
use sandkeep_core::identity::{Asked, Name, Principal, Role, Scope};
use sandkeep_store::projects::Project;
use secrecy::ExposeSecret as _;

use crate::{Bed, both, code, text_of};

both! { an_administrator_makes_them members_see_theirs an_owner_renames_them a_request_has_one }

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

async fn create(bed: &Bed, by: &Principal, text: &str) -> Project {
    bed.projects.create(by, &name(text), None, "r1").await.unwrap()
}

async fn names(bed: &Bed, by: &Principal) -> Vec<String> {
    let found = bed.projects.list(by, "", 10).await.unwrap();
    found.into_iter().map(|project| project.name).collect()
}

mod cases {
    use super::*;

    pub(super) async fn an_administrator_makes_them(bed: &Bed) {
        let (admin, default) = bed.admin().await;
        let made = create(bed, &admin, "web").await;
        assert_eq!(bed.projects.get(&admin, made.id).await.unwrap(), made);
        let taken = bed.projects.create(&admin, &name("web"), None, "r2").await;
        assert_eq!(code(taken), Some(ErrorCode::NameTaken));
        let repeat = || Idempotent::new(&admin, default, "POST /api/v1/projects", "k", b"{}").unwrap();
        let first = bed.projects.create(&admin, &name("api"), Some(repeat()), "r3").await.unwrap();
        let again = bed.projects.create(&admin, &name("api"), Some(repeat()), "r4").await.unwrap();
        assert_eq!(first, again);
        assert_eq!(names(bed, &admin).await, ["api", "default", "web"]);
        let owner = bed.member("olga", made.id, Role::Owner).await;
        assert_eq!(code(bed.projects.create(&owner, &name("x"), None, "r").await), Some(ErrorCode::NotFound));
    }

    pub(super) async fn members_see_theirs(bed: &Bed) {
        let (admin, default) = bed.admin().await;
        let web = create(bed, &admin, "web").await;
        let viewer = bed.member("vera", web.id, Role::Viewer).await;
        assert_eq!(names(bed, &viewer).await, ["web"]);
        assert_eq!(code(bed.projects.get(&viewer, default).await), Some(ErrorCode::NotFound));
        // A token that is bound to one sees that one, whoever made it.
        let bound = bed.token(&admin, Asked { project: Some(web.id), ..Asked::default() }).await.unwrap();
        let bound = bed.who(bound.text.unwrap().expose_secret()).await.unwrap();
        assert_eq!(names(bed, &bound).await, ["web"]);
        assert_eq!(code(bed.projects.get(&bound, default).await), Some(ErrorCode::NotFound));
        let blind = Asked { scopes: Some(Scope::EventsRead.into()), ..Asked::default() };
        let blind = bed.token(&viewer, blind).await.unwrap();
        let blind = bed.who(blind.text.unwrap().expose_secret()).await.unwrap();
        assert_eq!(code(bed.projects.list(&blind, "", 10).await), Some(ErrorCode::Forbidden));
    }

    pub(super) async fn an_owner_renames_them(bed: &Bed) {
        let (admin, default) = bed.admin().await;
        let web = create(bed, &admin, "web").await;
        let owner = bed.member("olga", web.id, Role::Owner).await;
        let editor = bed.member("edda", web.id, Role::Editor).await;
        let rename = async |by: &Principal, id, to: &str| bed.projects.rename(by, id, &name(to), "r").await;
        let renamed = rename(&owner, web.id, "shop").await.unwrap();
        assert_eq!((renamed.name.as_str(), renamed.generation), ("shop", 2));
        assert_eq!(code(rename(&editor, web.id, "x").await), Some(ErrorCode::Forbidden));
        assert_eq!(code(rename(&owner, default, "x").await), Some(ErrorCode::NotFound));
        assert_eq!(code(rename(&admin, default, "x").await), Some(ErrorCode::InvalidValue));
        assert_eq!(code(rename(&owner, web.id, "default").await), Some(ErrorCode::NameTaken));
        assert_eq!(
            code(rename(&admin, sandkeep_control::ids::fresh(&bed.clock), "x").await),
            Some(ErrorCode::NotFound)
        );
        let at_once = (0..8).map(async |number| rename(&owner, web.id, &format!("n{number}")).await.unwrap());
        let at_once = futures_util::future::join_all(at_once).await;
        let last = at_once.iter().max_by_key(|project| project.generation).unwrap();
        assert_eq!((last.generation, &bed.projects.get(&owner, web.id).await.unwrap()), (10, last));
    }

    pub(super) async fn a_request_has_one(bed: &Bed) {
        let (admin, default) = bed.admin().await;
        let web = create(bed, &admin, "web").await;
        let admin = bed.who(&text_of(&bed.admin_file())).await.unwrap();
        let bound = bed.token(&admin, Asked { project: Some(web.id), ..Asked::default() }).await.unwrap();
        let bound = bed.who(bound.text.unwrap().expose_secret()).await.unwrap();
        let of = async |by: &Principal, named: Option<&str>| {
            bed.projects.of_request(by, named).await.map(|project| project.id)
        };
        assert_eq!(of(&admin, None).await, Ok(default));
        assert_eq!(of(&bound, None).await, Ok(web.id));
        assert_eq!(of(&admin, Some("web")).await, Ok(web.id));
        assert_eq!(of(&admin, Some(&web.id.to_string())).await, Ok(web.id));
        assert_eq!(code(of(&bound, Some("default")).await), Some(ErrorCode::NotFound));
        assert_eq!(of(&bound, Some("default")).await, of(&bound, Some("nowhere")).await);
    }
}
