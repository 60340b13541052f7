//! First start, tokens, projects, secrets, the audit log and what is forgotten, on SQLite and on a real PostgreSQL.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

#[path = "../../../store/tests/support/postgres.rs"]
mod postgres;

mod audit;
mod first_start;
mod projects;
mod retention;
mod secrets;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandkeep_control::audit::Audit;
use sandkeep_control::clock::Clock;
use sandkeep_control::first_start::{ADMIN_FILE, Begun, begin};
use sandkeep_control::identity::Identity;
use sandkeep_control::ids::fresh;
use sandkeep_control::projects::Projects;
use sandkeep_control::seal::Sealer;
use sandkeep_control::secrets::Secrets;
use sandkeep_control::tokens::{CreatedToken, NewToken, Tokens};
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::{PrincipalId, ProjectId};
use sandkeep_core::identity::token::Format;
use sandkeep_core::identity::{Asked, Principal, Role};
use sandkeep_store::{Durability, Options, Place, Store, principals};
use secrecy::ExposeSecret as _;

/// Both databases, for cases that are the same on each.
macro_rules! both {
    ($($(#[$doc:meta])* $name:ident)+) => {
        $(
            mod $name {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    super::cases::$name(&crate::Bed::sqlite().await).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    let Some(bed) = crate::Bed::postgres(stringify!($name)).await else { return };
                    super::cases::$name(&bed).await;
                }
            }
        )+
    };
}
pub(crate) use both;

/// An empty store, a data directory, and the services over them.
pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) identity: Identity,
    pub(crate) tokens: Tokens,
    pub(crate) projects: Projects,
    pub(crate) audit: Audit,
    directory: tempfile::TempDir,
}

impl Bed {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::open(Place::Directory(directory.path().to_owned()), directory).await
    }

    pub(crate) async fn postgres(name: &str) -> Option<Self> {
        let url = postgres::fresh_database(name).await?;
        Some(Self::open(Place::postgres(&url).unwrap(), tempfile::tempdir().unwrap()).await)
    }

    async fn open(place: Place, directory: tempfile::TempDir) -> Self {
        let (options, clock) = (Options { place, readers: 2 }, Clock::new());
        let store = Store::open(&options, clock.now_us()).await.unwrap();
        let identity = Identity::new(store.clone(), clock.clone());
        let tokens = Tokens::new(store.clone(), clock.clone(), identity.clone());
        let projects = Projects::new(store.clone(), clock.clone(), identity.clone());
        let audit = Audit::new(store.clone());
        Self { store, options, clock, identity, tokens, projects, audit, directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn admin_file(&self) -> PathBuf {
        self.path().join(ADMIN_FILE)
    }

    pub(crate) async fn begin(&self) -> Result<Begun, Problem> {
        begin(&self.store, &self.clock, self.path(), None).await
    }

    /// The administrator, after a first start.
    pub(crate) async fn admin(&self) -> (Arc<Principal>, ProjectId) {
        let begun = self.begin().await.unwrap();
        (self.who(&text_of(&self.admin_file())).await.unwrap(), begun.project_id)
    }

    /// Whom a token stands for.
    pub(crate) async fn who(&self, text: &str) -> Result<Arc<Principal>, Problem> {
        self.identity.authenticate(text).await
    }

    /// Another principal, with a role in a project, and a token for it that leaves all of that. As `Tokens` makes one for
    /// whoever asks alone, it is written down as that one would.
    pub(crate) async fn member(&self, name: &str, project_id: ProjectId, role: Role) -> Arc<Principal> {
        let id: PrincipalId = fresh(&self.clock);
        let new = principals::Principal { id, name: name.to_owned(), admin: false, created_us: 1 };
        let write =
            self.store.write(Durability::Durable, (new, project_id, role), |tx, (new, project_id, role)| {
                Box::pin(async move {
                    principals::create(tx, new).await?;
                    principals::set_member(tx, *project_id, new.id, role.as_str()).await
                })
            });
        write.await.unwrap();
        let before = Principal {
            id,
            admin: false,
            roles: [(project_id, role)].into(),
            token_id: fresh(&self.clock),
            bound: None,
            at_most: Role::Owner,
            scopes: sandkeep_core::identity::Scopes::All,
            expires_us: None,
        };
        let made = self.token(&before, Asked::default()).await.unwrap();
        self.who(made.text.unwrap().expose_secret()).await.unwrap()
    }

    pub(crate) async fn token(&self, by: &Principal, asked: Asked) -> Result<CreatedToken, Problem> {
        self.tokens.create(by, new_token(asked), None, "r1").await
    }

    /// The secrets of this installation.
    pub(crate) async fn secrets(&self) -> Secrets {
        let sealer = Sealer::new(self.begin().await.unwrap().master_key);
        Secrets::new(self.store.clone(), self.clock.clone(), sealer)
    }
}

pub(crate) fn new_token(asked: Asked) -> NewToken {
    NewToken { name: "ci".parse().unwrap(), asked, format: Format::Sandkeep }
}

pub(crate) fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

pub(crate) fn code<T>(result: Result<T, Problem>) -> Option<ErrorCode> {
    result.err().map(|problem| problem.code)
}
