//! Tokens: shown once, good for no more than asked, gone when revoked.

use sandkeep_control::idempotency::Idempotent;
use sandkeep_control::identity::Identity;
use sandkeep_control::tokens::NewToken;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::ProjectId;
use sandkeep_core::identity::token::Format;
use sandkeep_core::identity::{Asked, Denied, Principal, Role, Scope};
use sandkeep_store::executions::Before;
use sandkeep_store::tokens as rows;
use secrecy::ExposeSecret as _;

use crate::{Bed, both, code, new_token, text_of};

both! { its_text_is_shown_once_and_kept_nowhere it_is_good_for_what_was_asked it_ends_when_its_time_has_come
a_revoked_one_is_refused_at_once others_tokens_are_hidden_or_the_owners the_same_request_makes_one
last_use_is_written_together what_was_never_a_token_is_said a_project_that_is_not_there_gets_none }

fn repeat(by: &Principal, project_id: ProjectId, key: &str, body: &[u8]) -> Option<Idempotent> {
    Some(Idempotent::new(by, project_id, "POST /api/v1/tokens", key, body).unwrap())
}

/// A slice of every file in the data directory.
fn kept(bed: &Bed, text: &str) -> Vec<std::ffi::OsString> {
    let entries = bed.path().read_dir().unwrap().map(Result::unwrap);
    let holds =
        |path| std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes());
    entries.filter(|entry| holds(entry.path())).map(|entry| entry.file_name()).collect()
}

mod cases {
    use super::*;

    pub(super) async fn its_text_is_shown_once_and_kept_nowhere(bed: &Bed) {
        let (admin, _) = bed.admin().await;
        for format in [Format::Sandkeep, Format::E2b] {
            let request = NewToken { format, ..new_token(Asked::default()) };
            let made = bed.tokens.create(&admin, request, None, "r1").await.unwrap();
            let text = made.text.as_ref().unwrap().expose_secret().to_owned();
            assert_eq!(Format::of(&text), Ok(format));
            assert_eq!(made.token.format, format.as_str());
            assert!(!format!("{made:?}").contains(&text));
            let who = bed.who(&text).await.unwrap();
            assert_eq!((who.id, who.token_id), (admin.id, made.token.id));
            assert_eq!(kept(bed, &text), [""; 0], "neither the text nor a part of it is in any file");
        }
        assert_eq!(kept(bed, &text_of(&bed.admin_file())), ["admin.key"], "the check finds what is there");
    }

    pub(super) async fn it_is_good_for_what_was_asked(bed: &Bed) {
        let (admin, project) = bed.admin().await;
        let asked = Asked {
            project: Some(project),
            role: Some(Role::Operator),
            scopes: Some([Scope::SandboxesRead, Scope::TokensWrite].into_iter().collect()),
            expires_us: Some(bed.clock.now_us() + 60_000_000),
        };
        let made = bed.token(&admin, asked.clone()).await.unwrap();
        let who = bed.who(made.text.unwrap().expose_secret()).await.unwrap();
        assert_eq!((who.bound, who.role_in(project)), (Some(project), Some(Role::Operator)));
        assert_eq!((Some(who.scopes.clone()), who.expires_us), (asked.scopes.clone(), asked.expires_us));
        // And what it makes is no more than that.
        let same = Asked { project: Some(project), ..Asked::default() };
        for more in [
            Asked::default(),
            Asked { role: Some(Role::Owner), ..same.clone() },
            Asked { scopes: Some(Scope::AuditRead.into()), ..same.clone() },
            Asked { expires_us: who.expires_us.map(|end_us| end_us + 1), ..same.clone() },
        ] {
            assert!(
                matches!(
                    code(bed.token(&who, more.clone()).await),
                    Some(ErrorCode::Forbidden | ErrorCode::NotFound)
                ),
                "{more:?}"
            );
        }
        let child = bed.token(&who, same).await.unwrap();
        assert_eq!((child.token.expires_us, child.token.scopes), (who.expires_us, who.scopes.to_string()));
        let reader =
            Asked { project: Some(project), scopes: Some(Scope::SandboxesRead.into()), ..Asked::default() };
        let reader = bed.token(&admin, reader).await.unwrap();
        let reader = bed.who(reader.text.unwrap().expose_secret()).await.unwrap();
        let refused = bed.token(&reader, Asked { project: Some(project), ..Asked::default() }).await;
        assert_eq!(code(refused), Some(ErrorCode::Forbidden));
    }

    pub(super) async fn it_ends_when_its_time_has_come(bed: &Bed) {
        let (admin, _) = bed.admin().await;
        let expires_us = Some(bed.clock.now_us() + 3_600_000_000);
        let made = bed.token(&admin, Asked { expires_us, ..Asked::default() }).await.unwrap();
        let text = made.text.unwrap();
        bed.who(text.expose_secret()).await.unwrap();
        bed.clock.shift(3_600_000_000);
        assert_eq!(
            code(bed.who(text.expose_secret()).await),
            Some(ErrorCode::TokenExpired),
            "found a moment ago"
        );
        let elsewhere = Identity::new(bed.store.clone(), bed.clock.clone());
        assert_eq!(code(elsewhere.authenticate(text.expose_secret()).await), Some(ErrorCode::TokenExpired));
        let past = Asked { expires_us: Some(bed.clock.now_us() - 1), ..Asked::default() };
        assert_eq!(code(bed.token(&admin, past).await), Some(ErrorCode::InvalidValue));
    }

    pub(super) async fn a_revoked_one_is_refused_at_once(bed: &Bed) {
        let (admin, _) = bed.admin().await;
        let made = bed.token(&admin, Asked::default()).await.unwrap();
        let (id, text) = (made.token.id, made.text.unwrap());
        bed.who(text.expose_secret()).await.unwrap();
        bed.tokens.revoke(&admin, id, "r2").await.unwrap();
        let refused = bed.who(text.expose_secret()).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unauthenticated);
        assert!(refused.message.contains("revoked"), "{refused}");
        bed.tokens.revoke(&admin, id, "r3").await.unwrap();
        let log = bed.audit.list(&admin, None, &Before::nothing(), 10).await.unwrap();
        let revoked: Vec<_> = log.iter().filter(|entry| entry.action == "token.revoke").collect();
        assert_eq!(revoked.len(), 1, "once, though it was asked for twice");
        assert_eq!((revoked[0].resource.clone(), revoked[0].request_id.as_str()), (id.to_string(), "r2"));
        let listed = bed.tokens.list(&admin, None, &Before::nothing(), 10).await.unwrap();
        assert!(listed.iter().all(|token| token.id != id) && !listed.is_empty());
    }

    pub(super) async fn others_tokens_are_hidden_or_the_owners(bed: &Bed) {
        let (admin, project) = bed.admin().await;
        let other = bed.projects.create(&admin, &"other".parse().unwrap(), None, "r1").await.unwrap().id;
        let admin = bed.who(&text_of(&bed.admin_file())).await.unwrap();
        let (viewer, owner) =
            (bed.member("vera", project, Role::Viewer).await, bed.member("olga", project, Role::Owner).await);
        let here = Asked { project: Some(project), ..Asked::default() };
        let viewers = bed.token(&viewer, here.clone()).await.unwrap().token.id;
        let owners = bed.token(&owner, here.clone()).await.unwrap().token.id;
        let elsewhere = Asked { project: Some(other), ..Asked::default() };
        let foreign = bed.token(&admin, elsewhere.clone()).await.unwrap().token.id;

        let list = async |by: &Principal, project| {
            let found = bed.tokens.list(by, project, &Before::nothing(), 10).await;
            found.map(|found| found.into_iter().map(|token| token.id).collect::<Vec<_>>())
        };
        assert_eq!(list(&viewer, Some(project)).await.unwrap(), [viewers]);
        assert_eq!(list(&owner, Some(project)).await.unwrap(), [owners, viewers]);
        assert_eq!(code(list(&owner, Some(other)).await), Some(ErrorCode::NotFound));
        assert_eq!(code(bed.token(&owner, elsewhere).await), Some(ErrorCode::NotFound));
        // One cannot tell a token elsewhere from one that is nowhere.
        let hidden: Problem = Denied::Hidden.into();
        for id in [foreign, sandkeep_control::ids::fresh(&bed.clock)] {
            assert_eq!(bed.tokens.revoke(&owner, id, "r").await, Err(hidden.clone()));
        }
        assert_eq!(code(bed.tokens.revoke(&viewer, owners, "r").await), Some(ErrorCode::Forbidden));
        bed.tokens.revoke(&owner, viewers, "r").await.unwrap();
        bed.tokens.revoke(&owner, owners, "r").await.unwrap();
    }

    pub(super) async fn the_same_request_makes_one(bed: &Bed) {
        let (admin, project) = bed.admin().await;
        let create = async |key: &str, body: &[u8]| {
            let repeat = repeat(&admin, project, key, body);
            bed.tokens.create(&admin, new_token(Asked::default()), repeat, "r1").await
        };
        let at_once = futures_util::future::join_all((0..8).map(|_| create("k", b"{}"))).await;
        let at_once: Vec<_> = at_once.into_iter().map(Result::unwrap).collect();
        assert!(at_once.iter().all(|made| made.token.id == at_once[0].token.id));
        assert_eq!(at_once.iter().filter(|made| made.text.is_some()).count(), 1, "the first is shown it");
        assert_eq!(code(create("k", b"{ }").await), Some(ErrorCode::IdempotencyKeyReused));
        create("another", b"{}").await.unwrap();
        let log = bed.audit.list(&admin, None, &Before::nothing(), 20).await.unwrap();
        assert_eq!(log.len(), 3, "the administrator's own, and two: {log:?}");
        bed.clock.shift(sandkeep_store::idempotency::KEPT_US + 1);
        assert_ne!(create("k", b"{}").await.unwrap().token.id, at_once[0].token.id);
        for bad in ["", "a b", "é", &"x".repeat(256)] {
            let refused = Idempotent::new(&admin, project, "POST /", bad, b"");
            assert_eq!(code(refused), Some(ErrorCode::InvalidValue), "{bad:?}");
        }
    }

    pub(super) async fn last_use_is_written_together(bed: &Bed) {
        let (admin, _) = bed.admin().await;
        let text = text_of(&bed.admin_file());
        for _ in 0..100 {
            bed.who(&text).await.unwrap();
        }
        let used = async || {
            let mut reader = bed.store.reader().await.unwrap();
            rows::get(&mut reader, admin.token_id).await.unwrap().unwrap().used_us
        };
        assert_eq!(used().await, None);
        assert_eq!(bed.identity.write_used().await.unwrap(), 1);
        assert!(used().await.is_some_and(|used_us| used_us <= bed.clock.now_us()));
        assert_eq!(bed.identity.write_used().await.unwrap(), 0, "an idle server writes nothing");
    }

    pub(super) async fn what_was_never_a_token_is_said(bed: &Bed) {
        bed.begin().await.unwrap();
        let good = text_of(&bed.admin_file());
        let digit = if good.ends_with('0') { "1" } else { "0" };
        let slip = format!("{}{digit}", &good[..good.len() - 1]);
        for (text, says) in [
            (String::new(), "not a token"),
            (slip, "mistyped"),
            (Format::Sandkeep.compose(&[1; 32]), "knows no such token"),
            (Format::E2b.compose(&[1; 32]), "knows no such token"),
        ] {
            let refused = bed.who(&text).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::Unauthenticated);
            assert!(refused.message.contains(says), "{refused}");
        }
    }

    pub(super) async fn a_project_that_is_not_there_gets_none(bed: &Bed) {
        let (admin, _) = bed.admin().await;
        let nowhere = Asked { project: Some(sandkeep_control::ids::fresh(&bed.clock)), ..Asked::default() };
        assert_eq!(code(bed.token(&admin, nowhere).await), Some(ErrorCode::NotFound));
    }
}
