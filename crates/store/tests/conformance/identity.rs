//! Principals, tokens, the audit log, settings and secrets.

use sandkeep_core::id::{AuditId, PrincipalId, ProjectId, SecretId, TokenId};
use sandkeep_store::executions::Before;
use sandkeep_store::principals::{self, Principal};
use sandkeep_store::secrets::{self, Secret};
use sandkeep_store::tokens::{self, Token};
use sandkeep_store::{Durability, Error, Guarded, Place, Store, audit, projects, settings};

use crate::{Bed, NOW, SECOND, both, durably, next, project_id};

both! { a_principal_has_one_role_in_a_project a_token_is_found_by_its_hash tokens_are_listed_by_project_and_owner
a_token_is_revoked_once last_use_never_goes_back old_tokens_are_forgotten the_log_is_newest_first
the_log_is_forgotten_in_batches a_setting_is_the_first_ones a_secret_has_one_value_per_version }

async fn principal(bed: &Bed, name: &str) -> PrincipalId {
    let (ms, random) = next();
    let id = PrincipalId::new(ms, random);
    let new = Principal { id, name: name.to_owned(), admin: false, created_us: NOW };
    durably!(bed.store, new, |tx, new| principals::create(tx, new)).unwrap();
    id
}

fn token(project_id: Option<ProjectId>, principal_id: PrincipalId) -> Token {
    let (ms, random) = next();
    let text = str::to_owned;
    Token {
        id: TokenId::new(ms, random),
        project_id,
        principal_id,
        name: text("ci"),
        format: text("sandkeep"),
        role: text("owner"),
        scopes: text("*"),
        created_us: NOW,
        expires_us: None,
        used_us: None,
        revoked_us: None,
    }
}

async fn keep(bed: &Bed, token: Token) -> sandkeep_store::Result<TokenId> {
    let id = token.id;
    let hash = id.to_string().into_bytes();
    durably!(bed.store, (token, hash), |tx, new| tokens::create(tx, &new.0, &new.1)).map(|()| id)
}

async fn get(bed: &Bed, id: TokenId) -> Token {
    tokens::get(&mut bed.store.reader().await.unwrap(), id).await.unwrap().unwrap()
}

async fn revoke(bed: &Bed, id: TokenId) -> Guarded {
    durably!(bed.store, id, |tx, id| tokens::revoke(tx, *id, NOW + 1)).unwrap()
}

fn entry(project_id: Option<ProjectId>, at_us: i64) -> audit::Entry {
    let (ms, random) = next();
    let text = str::to_owned;
    audit::Entry {
        id: AuditId::new(ms, random),
        at_us,
        project_id,
        principal_id: PrincipalId::new(ms, random),
        token_id: None,
        action: text("token.create"),
        resource: text("tk1"),
        request_id: text("r1"),
        detail: text("{}"),
    }
}

fn secret(bed: &Bed, id: SecretId, version: i64, value: &[u8]) -> Secret {
    Secret {
        id,
        project_id: bed.project_id,
        name: "API_KEY".to_owned(),
        version,
        key_id: vec![1; 16],
        wrapped_key: vec![2; 72],
        nonce: vec![0, 3, 0],
        ciphertext: value.to_vec(),
        created_us: NOW,
        updated_us: NOW + version,
    }
}

mod cases {
    use super::*;

    pub(super) async fn a_principal_has_one_role_in_a_project(bed: &Bed) {
        let id = principal(bed, "ada").await;
        for role in ["viewer", "owner"] {
            let input = (bed.project_id, id, role);
            durably!(bed.store, input, |tx, of| principals::set_member(tx, of.0, of.1, of.2)).unwrap();
        }
        let (ms, random) = next();
        let again = Principal {
            id: PrincipalId::new(ms, random),
            name: "ada".to_owned(),
            admin: true,
            created_us: NOW,
        };
        let taken = durably!(bed.store, again, |tx, new| principals::create(tx, new));
        assert!(matches!(taken, Err(Error::Taken { what: "principal" })), "{taken:?}");
        let mut reader = bed.store.reader().await.unwrap();
        let found = principals::memberships(&mut reader, id).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].project_id, found[0].role.as_str()), (bed.project_id, "owner"));
        assert!(!principals::get(&mut reader, id).await.unwrap().unwrap().admin);
        let mine = projects::list_of(&mut reader, id, "", 10).await.unwrap();
        assert_eq!(mine.iter().map(|project| project.id).collect::<Vec<_>>(), [bed.project_id]);
        drop(reader);
        let other = principal(bed, "bob").await;
        let mut reader = bed.store.reader().await.unwrap();
        assert!(projects::list_of(&mut reader, other, "", 10).await.unwrap().is_empty());
    }

    pub(super) async fn a_token_is_found_by_its_hash(bed: &Bed) {
        let owner = principal(bed, "ada").await;
        let new = Token { expires_us: Some(NOW + SECOND), ..token(Some(bed.project_id), owner) };
        keep(bed, new.clone()).await.unwrap();
        let mut reader = bed.store.reader().await.unwrap();
        let hash = new.id.to_string().into_bytes();
        assert_eq!(tokens::of_hash(&mut reader, &hash).await.unwrap(), Some(new.clone()));
        assert_eq!(tokens::of_hash(&mut reader, b"another").await.unwrap(), None);
        drop(reader);
        let same_text = (token(None, owner), hash);
        let taken = durably!(bed.store, same_text, |tx, new| tokens::create(tx, &new.0, &new.1));
        assert!(matches!(taken, Err(Error::Taken { what: "token" })), "{taken:?}");
        let nowhere = keep(bed, token(Some(project_id()), owner)).await;
        assert!(nowhere.is_err(), "a project that is not there owns nothing");
    }

    pub(super) async fn tokens_are_listed_by_project_and_owner(bed: &Bed) {
        let (ada, bob) = (principal(bed, "ada").await, principal(bed, "bob").await);
        let mut made = Vec::new();
        for owner in [ada, bob, ada] {
            made.push(keep(bed, token(Some(bed.project_id), owner)).await.unwrap());
            keep(bed, token(None, owner)).await.unwrap();
        }
        revoke(bed, made[2]).await;
        let list = async |project_id, of, limit| {
            let mut reader = bed.store.reader().await.unwrap();
            let found = tokens::list(&mut reader, project_id, of, &Before::nothing(), limit).await.unwrap();
            found.into_iter().map(|token| token.id).collect::<Vec<_>>()
        };
        assert_eq!(list(Some(bed.project_id), None, 10).await, [made[1], made[0]]);
        assert_eq!(list(Some(bed.project_id), Some(ada), 10).await, [made[0]]);
        assert_eq!(list(None, None, 10).await.len(), 3);
        assert_eq!(list(None, Some(bob), 10).await.len(), 1);
        assert_eq!(list(None, None, 2).await.len(), 2);
    }

    pub(super) async fn a_token_is_revoked_once(bed: &Bed) {
        let owner = principal(bed, "ada").await;
        let id = keep(bed, token(None, owner)).await.unwrap();
        assert_eq!(revoke(bed, id).await, Guarded::Updated);
        assert_eq!(revoke(bed, id).await, Guarded::Stale);
        assert_eq!(revoke(bed, token(None, owner).id).await, Guarded::Absent);
        assert_eq!(get(bed, id).await.revoked_us, Some(NOW + 1));
    }

    pub(super) async fn last_use_never_goes_back(bed: &Bed) {
        let owner = principal(bed, "ada").await;
        let id = keep(bed, token(None, owner)).await.unwrap();
        for (seen, expected) in [(5, 5), (9, 9), (7, 9)] {
            let write = bed.store.write(Durability::Relaxed, (id, seen), |tx, of| {
                Box::pin(async move { tokens::used(tx, of.0, of.1).await })
            });
            write.await.unwrap();
            assert_eq!(get(bed, id).await.used_us, Some(expected));
        }
    }

    pub(super) async fn old_tokens_are_forgotten(bed: &Bed) {
        let owner = principal(bed, "ada").await;
        let stays = keep(bed, Token { expires_us: Some(NOW + 2), ..token(None, owner) }).await.unwrap();
        keep(bed, Token { expires_us: Some(NOW + 1), ..token(None, owner) }).await.unwrap();
        let revoked = keep(bed, token(None, owner)).await.unwrap();
        revoke(bed, revoked).await;
        keep(bed, token(None, owner)).await.unwrap();
        for expected in [1, 1, 0] {
            let forgotten = durably!(bed.store, (), |tx, _input| tokens::forget(tx, NOW + 2, 1)).unwrap();
            assert_eq!(forgotten, expected);
        }
        get(bed, stays).await;
    }

    pub(super) async fn the_log_is_newest_first(bed: &Bed) {
        let entries =
            [entry(Some(bed.project_id), NOW), entry(None, NOW), entry(Some(bed.project_id), NOW + 1)];
        for entry in entries.clone() {
            durably!(bed.store, entry, |tx, entry| audit::add(tx, entry)).unwrap();
        }
        let mut reader = bed.store.reader().await.unwrap();
        let here = audit::list(&mut reader, Some(bed.project_id), &Before::nothing(), 10).await.unwrap();
        assert_eq!(here, [entries[2].clone(), entries[0].clone()]);
        let all = audit::list(&mut reader, None, &Before::nothing(), 2).await.unwrap();
        assert_eq!(all, [entries[2].clone(), entries[1].clone()]);
        let before = Before { created_us: all[1].at_us, id: all[1].id.to_string() };
        let rest = audit::list(&mut reader, None, &before, 10).await.unwrap();
        assert_eq!(rest, [entries[0].clone()]);
    }

    pub(super) async fn the_log_is_forgotten_in_batches(bed: &Bed) {
        for number in 0..5 {
            durably!(bed.store, entry(None, NOW + number), |tx, entry| audit::add(tx, entry)).unwrap();
        }
        for expected in [3, 1, 0] {
            let forgotten = durably!(bed.store, (), |tx, _input| audit::forget(tx, NOW + 4, 3)).unwrap();
            assert_eq!(forgotten, expected);
        }
    }

    pub(super) async fn a_setting_is_the_first_ones(bed: &Bed) {
        let beside = match bed.options.place {
            Place::Directory(_) => bed.store.clone(),
            Place::Postgres(_) => Store::open(&bed.options, NOW).await.unwrap(),
        };
        let writes = (0..10).map(|number| {
            let store = if number % 2 == 0 { bed.store.clone() } else { beside.clone() };
            let value = format!("key {number}");
            async move {
                durably!(store, value, |tx, value| settings::ensure(tx, "master_key", value, NOW)).unwrap()
            }
        });
        let mut answers = futures_util::future::join_all(writes).await;
        answers.dedup();
        assert_eq!(answers.len(), 1, "all use the key of the first: {answers:?}");
        let put = durably!(bed.store, (), |tx, _input| settings::put(tx, "master_key", "new", NOW));
        put.unwrap();
        let mut reader = bed.store.reader().await.unwrap();
        assert_eq!(settings::get(&mut reader, "master_key").await.unwrap().as_deref(), Some("new"));
        assert_eq!(settings::get(&mut reader, "another").await.unwrap(), None);
    }

    pub(super) async fn a_secret_has_one_value_per_version(bed: &Bed) {
        let (ms, random) = next();
        let id = SecretId::new(ms, random);
        let first = secret(bed, id, 1, b"\0one\xff");
        durably!(bed.store, first.clone(), |tx, new| secrets::create(tx, new)).unwrap();
        let taken = durably!(bed.store, first.clone(), |tx, new| secrets::create(tx, new));
        assert!(matches!(taken, Err(Error::Taken { what: "secret" })), "{taken:?}");
        let named = async || {
            let mut reader = bed.store.reader().await.unwrap();
            secrets::named(&mut reader, bed.project_id, "API_KEY").await.unwrap()
        };
        assert_eq!(named().await, Some(first));
        let replace = async |version, value: &'static [u8]| {
            let next = secret(bed, id, version, value);
            durably!(bed.store, next, |tx, next| secrets::replace(tx, next)).unwrap()
        };
        assert_eq!(replace(2, b"two").await, Guarded::Updated);
        assert_eq!(replace(2, b"another").await, Guarded::Stale);
        assert_eq!(named().await.unwrap(), secret(bed, id, 2, b"two"));
        let mut reader = bed.store.reader().await.unwrap();
        let labels = secrets::list(&mut reader, bed.project_id, "", 10).await.unwrap();
        assert_eq!((labels.len(), labels[0].version, labels[0].updated_us), (1, 2, NOW + 2));
        drop(reader);
        let delete = async || {
            durably!(bed.store, bed.project_id, |tx, of| secrets::delete(tx, *of, "API_KEY")).unwrap()
        };
        assert!(delete().await);
        assert!(!delete().await);
        assert_eq!(replace(3, b"three").await, Guarded::Absent);
    }
}
