//! The gate: what each role may, what a token leaves of it, and that nothing reaches into another project.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::{PrincipalId, ProjectId, TokenId};
use sandkeep_core::identity::token::{Format, RANDOM_BYTES};
use sandkeep_core::identity::{
    Action, Asked, Denied, Name, Principal, Resource, Role, Scope, Scopes, authorize,
};

fn project(number: u8) -> ProjectId {
    ProjectId::new(0, [number; 10])
}

fn principal(number: u8) -> PrincipalId {
    PrincipalId::new(0, [number; 10])
}

/// A member of project 1 with `role`, and a token that leaves all of it.
fn member(role: Role) -> Principal {
    Principal {
        id: principal(1),
        admin: false,
        roles: BTreeMap::from([(project(1), role)]),
        token_id: TokenId::new(0, [1; 10]),
        bound: None,
        at_most: Role::Owner,
        scopes: Scopes::All,
        expires_us: None,
    }
}

fn admin() -> Principal {
    Principal { admin: true, roles: BTreeMap::new(), ..member(Role::Viewer) }
}

/// What the roles viewer, operator, editor and owner may do in their project: said once more, by hand.
const MATRIX: &[(Action, [bool; 4])] = &[
    (Action::SandboxCreate, [false, true, true, true]),
    (Action::SandboxRead, [true, true, true, true]),
    (Action::SandboxUpdate, [false, true, true, true]),
    (Action::SandboxDelete, [false, true, true, true]),
    (Action::ExecutionCreate, [false, true, true, true]),
    (Action::ExecutionRead, [true, true, true, true]),
    (Action::ExecutionCancel, [false, true, true, true]),
    (Action::EventRead, [true, true, true, true]),
    (Action::ProjectCreate, [false, false, false, true]),
    (Action::ProjectRead, [true, true, true, true]),
    (Action::ProjectUpdate, [false, false, false, true]),
    (Action::TokenCreate, [true, true, true, true]),
    (Action::TokenRead, [true, true, true, true]),
    (Action::TokenRevoke, [true, true, true, true]),
    (Action::AuditRead, [false, false, false, true]),
    (Action::SecretRead, [false, false, true, true]),
    (Action::SecretWrite, [false, false, true, true]),
    (Action::SecretDelete, [false, false, true, true]),
    (Action::SecretUse, [false, false, true, true]),
];

#[test]
fn roles_may_what_the_table_says() {
    assert_eq!(MATRIX.iter().map(|row| row.0).collect::<Vec<_>>(), Action::ALL, "every action has its row");
    for (action, expected) in MATRIX {
        for (role, expected) in Role::ALL.into_iter().zip(expected) {
            let allowed = authorize(&member(role), *action, Resource::Project(project(1))).is_ok();
            assert_eq!(allowed, *expected, "{role}: {action}");
        }
    }
}

#[test]
fn texts_are_unique_and_come_back() {
    let mut texts: Vec<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), Action::ALL.len());
    for role in Role::ALL {
        assert_eq!(role.as_str().parse(), Ok(role));
    }
    for scope in Scope::ALL {
        assert_eq!(scope.as_str().parse(), Ok(*scope));
    }
    assert_eq!("root".parse::<Role>().unwrap_err().code, ErrorCode::InvalidValue);
    assert_eq!("sandboxes".parse::<Scope>().unwrap_err().code, ErrorCode::InvalidValue);
}

#[test]
fn what_is_denied_says_what_it_takes() {
    let check = |principal: &Principal, action, resource, code, says: &str| {
        let problem = Problem::from(authorize(principal, action, resource).unwrap_err());
        assert_eq!(problem.code, code, "{problem}");
        assert!(problem.to_string().contains(says), "{problem}");
    };
    let here = Resource::Project(project(1));
    let elsewhere = Resource::Project(project(2));
    let viewer = member(Role::Viewer);
    let reader = Principal { scopes: Scope::SandboxesRead.into(), ..member(Role::Owner) };
    check(&viewer, Action::SandboxCreate, here, ErrorCode::Forbidden, "operator");
    check(&reader, Action::SandboxCreate, here, ErrorCode::Forbidden, "sandboxes:write");
    check(&viewer, Action::SandboxRead, elsewhere, ErrorCode::NotFound, "no such");
    check(&viewer, Action::SandboxCreate, elsewhere, ErrorCode::NotFound, "no such");
    check(&reader, Action::SandboxCreate, elsewhere, ErrorCode::NotFound, "no such");
}

#[test]
fn the_server_is_its_administrators() {
    let create = |principal: &Principal| authorize(principal, Action::ProjectCreate, Resource::Server);
    assert_eq!(create(&admin()), Ok(()));
    assert_eq!(create(&member(Role::Owner)), Err(Denied::Hidden));
    assert_eq!(create(&Principal { bound: Some(project(1)), ..admin() }), Err(Denied::Hidden));
    let small = Principal { at_most: Role::Editor, ..admin() };
    assert!(matches!(create(&small), Err(Denied::Role { needs: Role::Owner, has: Role::Editor, .. })));
}

#[test]
fn tokens_are_their_owners_and_the_projects_owners() {
    let check = |by: &Principal, project, owner, expected: bool| {
        for action in [Action::TokenRead, Action::TokenRevoke] {
            let allowed = authorize(by, action, Resource::Token { project, owner }).is_ok();
            assert_eq!(allowed, expected, "{action} {project:?} {owner}");
        }
    };
    let (own, other) = (principal(1), principal(2));
    let (here, elsewhere) = (Some(project(1)), Some(project(2)));
    let bound = Principal { bound: here, ..member(Role::Owner) };
    for (by, project, owner, expected) in [
        (&member(Role::Viewer), here, own, true),
        (&member(Role::Viewer), None, own, true),
        (&member(Role::Editor), here, other, false),
        (&member(Role::Owner), here, other, true),
        (&member(Role::Owner), None, other, false),
        (&member(Role::Owner), elsewhere, own, false),
        (&bound, None, own, false),
        (&bound, here, other, true),
        (&admin(), None, other, true),
        (&admin(), elsewhere, other, true),
    ] {
        check(by, project, owner, expected);
    }
}

#[test]
fn more_than_one_has_is_refused() {
    let bound = Principal {
        bound: Some(project(1)),
        scopes: Scope::TokensWrite.into(),
        expires_us: Some(50),
        ..member(Role::Operator)
    };
    let same = || Asked { project: Some(project(1)), ..Asked::default() };
    let check = |asked: Asked, expected: Result<(), ErrorCode>| {
        assert_eq!(bound.grant(asked.clone(), 10).map(drop).map_err(|no| no.code), expected, "{asked:?}");
    };
    check(same(), Ok(()));
    check(Asked::default(), Err(ErrorCode::Forbidden));
    check(Asked { project: Some(project(2)), ..Asked::default() }, Err(ErrorCode::Forbidden));
    check(Asked { role: Some(Role::Viewer), ..same() }, Ok(()));
    check(Asked { role: Some(Role::Editor), ..same() }, Err(ErrorCode::Forbidden));
    check(Asked { scopes: Some(Scopes::All), ..same() }, Err(ErrorCode::Forbidden));
    check(Asked { scopes: Some(Scope::AuditRead.into()), ..same() }, Err(ErrorCode::Forbidden));
    check(Asked { expires_us: Some(50), ..same() }, Ok(()));
    check(Asked { expires_us: Some(51), ..same() }, Err(ErrorCode::Forbidden));
    check(Asked { expires_us: Some(10), ..same() }, Err(ErrorCode::InvalidValue));
}

#[test]
fn names_are_what_can_be_seen() {
    for good in ["a", "CI key 2", "é ü", &"x".repeat(64)] {
        assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
    }
    for bad in ["", " a", "a ", "a\tb", "a\u{a0}b", "a\u{1b}[31m", "a\nb", &"x".repeat(65)] {
        assert_eq!(bad.parse::<Name>().unwrap_err().code, ErrorCode::InvalidValue, "{bad:?}");
    }
}

#[test]
fn what_a_newer_release_stored_grants_nothing() {
    let stored = Scopes::stored("sandboxes:read robots:drive");
    assert_eq!(stored, Scope::SandboxesRead.into());
    assert_eq!(Scopes::stored(""), Scopes::Only(std::collections::BTreeSet::new()));
}

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(Role::ALL.to_vec())
}

fn any_scopes() -> impl Strategy<Value = Scopes> {
    prop_oneof![
        Just(Scopes::All),
        prop::sample::subsequence(Scope::ALL.to_vec(), 0..=Scope::ALL.len())
            .prop_map(|some| some.into_iter().collect())
    ]
}

prop_compose! {
    fn any_principal()(
        admin in any::<bool>(),
        roles in prop::collection::btree_map((0u8..4).prop_map(project), any_role(), 0..3),
        bound in prop::option::of((0u8..4).prop_map(project)),
        at_most in any_role(),
        scopes in any_scopes(),
    ) -> Principal {
        Principal { admin, roles, bound, at_most, scopes, ..member(Role::Viewer) }
    }
}

fn any_action() -> impl Strategy<Value = Action> {
    prop::sample::select(Action::ALL.to_vec())
}

fn any_resource() -> impl Strategy<Value = Resource> {
    let project = || (0u8..4).prop_map(project);
    prop_oneof![
        Just(Resource::Server),
        project().prop_map(Resource::Project),
        (prop::option::of(project()), (0u8..3).prop_map(principal))
            .prop_map(|(project, owner)| Resource::Token { project, owner }),
    ]
}

proptest! {
    /// Nobody reaches a project that they are no member of, or that their token is not for; and what they are told there
    /// is the same whatever they try.
    #[test]
    fn other_projects_are_hidden(who in any_principal(), action in any_action(), number in 0u8..4) {
        let there = project(number);
        let stranger = !who.admin && !who.roles.contains_key(&there);
        let bound_elsewhere = who.bound.is_some_and(|bound| bound != there);
        let answer = authorize(&who, action, Resource::Project(there));
        prop_assert_eq!(answer == Err(Denied::Hidden), stranger || bound_elsewhere);
    }

    /// A larger role may all that a smaller one may.
    #[test]
    fn roles_grow(who in any_principal(), small in any_role(), large in any_role(), action in any_action(), to in any_resource()) {
        let (small, large) = (small.min(large), small.max(large));
        let with = |at_most| authorize(&Principal { at_most, ..who.clone() }, action, to).is_ok();
        prop_assert!(!with(small) || with(large));
    }

    /// A token gives nothing that its owner has not, and fewer scopes or a binding give nothing more.
    #[test]
    fn a_token_only_takes_away(who in any_principal(), scopes in any_scopes(), bound in 0u8..4, action in any_action(), to in any_resource()) {
        let whole = Principal { at_most: Role::Owner, scopes: Scopes::All, bound: None, ..who.clone() };
        let narrowed = Principal { bound: Some(project(bound)), ..whole.clone() };
        for less in [&who, &narrowed, &Principal { scopes, ..whole.clone() }] {
            prop_assert!(authorize(less, action, to).is_err() || authorize(&whole, action, to).is_ok());
        }
    }

    /// "Within" is what it says: whatever the smaller lets through, the larger does.
    #[test]
    fn scopes_within_are_fewer(some in any_scopes(), others in any_scopes()) {
        let really = Scope::ALL.iter().all(|&scope| !some.has(scope) || others.has(scope));
        // All that there are today are not all: later releases add.
        let all_of_today = matches!((&some, &others), (Scopes::All, Scopes::Only(_)));
        prop_assert_eq!(some.are_within(&others), really && !all_of_today);
        prop_assert_eq!(Scopes::stored(&some.to_string()), some);
    }

    /// A token made with another one is good for nothing that that one is not, nor for longer.
    #[test]
    fn a_granted_token_is_no_more(
        who in any_principal(),
        ends in prop::option::of(1i64..10),
        project in prop::option::of((0u8..4).prop_map(project)),
        role in prop::option::of(any_role()),
        scopes in prop::option::of(any_scopes()),
        expires_us in prop::option::of(1i64..10),
        action in any_action(),
        to in any_resource(),
    ) {
        let who = Principal { expires_us: ends, ..who };
        let Ok(grant) = who.grant(Asked { project, role, scopes, expires_us }, 2) else { return Ok(()) };
        prop_assert!(grant.expires_us.is_none_or(|end_us| end_us > 2));
        prop_assert!(who.expires_us.is_none() || grant.expires_us.is_some_and(|end_us| Some(end_us) <= ends));
        let with_it = Principal { bound: grant.project, at_most: grant.at_most, scopes: grant.scopes, ..who.clone() };
        prop_assert!(authorize(&with_it, action, to).is_err() || authorize(&who, action, to).is_ok());
    }

    #[test]
    fn a_token_is_known_by_its_text(random in any::<[u8; RANDOM_BYTES]>()) {
        for format in [Format::Sandkeep, Format::E2b] {
            prop_assert_eq!(Format::of(&format.compose(&random)), Ok(format));
        }
    }

    /// One wrong digit, or two neighbours exchanged, is a mistyped token and not an unknown one.
    #[test]
    fn a_slip_is_noticed(random in any::<[u8; RANDOM_BYTES]>(), place in 3usize..61, digit in "[0-9a-v]") {
        let good = Format::Sandkeep.compose(&random);
        let mut wrong = good.clone();
        wrong.replace_range(place..=place, &digit);
        let mut swapped = good.clone().into_bytes();
        swapped.swap(place, place + 1);
        for text in [wrong, String::from_utf8(swapped).unwrap()] {
            prop_assert_eq!(Format::of(&text).is_ok(), text == good);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(sk_|e2b_)?.{0,70}") {
        let _ = Format::of(&text).is_ok();
        let _ = text.parse::<Name>().is_ok();
    }
}
