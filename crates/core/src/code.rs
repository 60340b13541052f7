//! Errors by stable code.
//!
//! A [`Problem`] is what a person or a client is told: a code that never changes its meaning, what was
//! wrong with which value, and what would be right. Each code has a page under `docs/errors`, which is
//! also what `sandkeep explain CODE` prints, so the page is part of the program.
//!
//! Codes are for what the world may do. A broken promise of our own code is an assertion, or
//! [`ErrorCode::Internal`] where it must be survived.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserializer, Serialize};

/// Serialises a type by its `Display` and reads it by its `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'de, str> as ::serde::Deserialize<'de>>::deserialize(from)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

/// Declares the codes once: variant, text and page, so that none of the three can be forgotten.
macro_rules! codes {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// What kind of thing went wrong. The text of a code is stable: it may gain siblings, and never
        /// changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $text, "`: see its page under `docs/errors`.")] $variant,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the enum.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),+];

            /// The stable text: lower-case letters and underscores.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text),+ }
            }

            /// The page of the code: Markdown.
            pub const fn page(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => include_str!(concat!("../../../docs/errors/", $text, ".md"))),+
                }
            }
        }
    };
}

codes! {
    // What was asked for cannot be meant.
    InvalidSize = "invalid_size",
    InvalidDuration = "invalid_duration",
    InvalidCpu = "invalid_cpu",
    InvalidId = "invalid_id",
    InvalidValue = "invalid_value",
    UnknownLanguage = "unknown_language",
    UnknownCode = "unknown_code",
    LimitOutOfRange = "limit_out_of_range",
    HandlerUnsupported = "handler_unsupported",
    CodeTooLarge = "code_too_large",
    EventTooLarge = "event_too_large",
    EventNotJson = "event_not_json",
    EnvInvalid = "env_invalid",
    ConfigInvalid = "config_invalid",
    // What came over HTTP.
    InvalidBody = "invalid_body",
    InvalidQuery = "invalid_query",
    BodyTooLarge = "body_too_large",
    UnsupportedMediaType = "unsupported_media_type",
    NoSuchRoute = "no_such_route",
    MethodNotAllowed = "method_not_allowed",
    RequestTimeout = "request_timeout",
    AnswerTimeout = "answer_timeout",
    OriginRefused = "origin_refused",
    // Where a server would listen.
    ListenerUnusable = "listener_unusable",
    TlsUnusable = "tls_unusable",
    // What was named is not there, or cannot be used.
    NotFound = "not_found",
    NotRunnable = "not_runnable",
    FileUnreadable = "file_unreadable",
    InterpreterMissing = "interpreter_missing",
    MountRefused = "mount_refused",
    RootUnusable = "root_unusable",
    ImageUnknown = "image_unknown",
    ImageInvalid = "image_invalid",
    ImageUnsupported = "image_unsupported",
    ImageTooLarge = "image_too_large",
    ImageInUse = "image_in_use",
    RegistryDenied = "registry_denied",
    RegistryInvalid = "registry_invalid",
    RegistryUnavailable = "registry_unavailable",
    CredentialsUnusable = "credentials_unusable",
    OutputDirUnusable = "output_dir_unusable",
    LayerUnusable = "layer_unusable",
    LayerDamaged = "layer_damaged",
    LayerInUse = "layer_in_use",
    // Who may do what, and which request is which.
    Unauthenticated = "unauthenticated",
    TokenExpired = "token_expired",
    Forbidden = "forbidden",
    IdempotencyKeyReused = "idempotency_key_reused",
    TooManyRequests = "too_many_requests",
    // What a client finds.
    ServerUnreachable = "server_unreachable",
    // Keys that the server needs.
    MasterKeyMismatch = "master_key_mismatch",
    KeyFileUnusable = "key_file_unusable",
    SealBroken = "seal_broken",
    // What this host cannot do, or has no room for.
    HostRequired = "host_required",
    LayerToolsMissing = "layer_tools_missing",
    IsolationUnavailable = "isolation_unavailable",
    LimitNotEnforceable = "limit_not_enforceable",
    StateDirUnusable = "state_dir_unusable",
    ImageStoreUnusable = "image_store_unusable",
    TooManySandboxes = "too_many_sandboxes",
    NoSlot = "no_slot",
    // What the store says.
    NameTaken = "name_taken",
    EventsForgotten = "events_forgotten",
    Overloaded = "overloaded",
    StoreUnavailable = "store_unavailable",
    SchemaNewer = "schema_newer",
    DataDirInUse = "data_dir_in_use",
    DataDirUnusable = "data_dir_unusable",
    // What happened while it ran.
    SandboxFailed = "sandbox_failed",
    SandboxLost = "sandbox_lost",
    SandboxEnded = "sandbox_ended",
    LayerFull = "layer_full",
    ReturnValueInvalid = "return_value_invalid",
    AlreadyStarted = "already_started",
    StaleToken = "stale_token",
    ProtocolError = "protocol_error",
    Internal = "internal",
}

impl ErrorCode {
    /// Every code, in a fixed order.
    pub fn all() -> impl Iterator<Item = ErrorCode> {
        Self::ALL.iter().copied()
    }
}

/// The page that explains `code`, as Markdown; `None` when there is no such code.
pub fn explain(code: &str) -> Option<&'static str> {
    code.parse().ok().map(ErrorCode::page)
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorCode {
    type Err = Problem;

    /// Reads the stable text.
    ///
    /// # Errors
    /// `unknown_code`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::all().find(|code| code.as_str() == text).ok_or_else(|| {
            let expected = "a code as an error message starts with, like invalid_size";
            Problem::refused(ErrorCode::UnknownCode, text, "is not an error code", expected)
        })
    }
}

serde_as_text!(ErrorCode);

/// An error as it is told: a stable code, a message that is safe to show, and, where the cause is a
/// value, that value and what would have been right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The stable code.
    pub code: ErrorCode,
    /// What is wrong, as a sentence without its end. Holds no secret and no code of the user.
    pub message: String,
    /// The offending value, shortened and with control characters escaped.
    pub value: Option<String>,
    /// What would be right.
    pub expected: Option<String>,
}

/// Longest value that a message repeats, in characters; the rest becomes an ellipsis.
const SHOWN_VALUE_CHARS: usize = 80;

impl Problem {
    /// A problem with no particular value.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Problem { code, message: message.into(), value: None, expected: None }
    }

    /// A value that was refused: ``Problem::refused(InvalidSize, "12q", "is not a size", "512Mi")`` reads
    /// ``invalid_size: `12q` is not a size; write 512Mi``.
    pub fn refused(code: ErrorCode, value: &str, why: &str, expected: &str) -> Self {
        let value = shown(value);
        Problem {
            code,
            message: format!("`{value}` {why}"),
            value: Some(value),
            expected: Some(expected.to_owned()),
        }
    }

    /// The problem that `text` is the [`Display`](fmt::Display) of, for where only the text comes through. `None` when it
    /// is none.
    pub fn of_text(text: &str) -> Option<Self> {
        let (code, rest) = text.split_once(": ")?;
        let code = code.parse().ok()?;
        let (message, expected) = match rest.rsplit_once("; write ") {
            Some((message, expected)) => (message, Some(expected.to_owned())),
            None => (rest, None),
        };
        let quoted = message.strip_prefix('`').and_then(|rest| rest.split_once("` "));
        let value = quoted.map(|(value, _)| value.to_owned());
        Some(Problem { code, message: message.to_owned(), value, expected })
    }

    /// The same problem with where it was found in front: `--memory: …`.
    #[must_use]
    pub fn within(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// The same problem with what would be right.
    #[must_use]
    pub fn expecting(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.expected {
            Some(expected) => write!(f, "; write {expected}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// `value` as it may stand in a terminal or a log: no control characters, not long.
fn shown(value: &str) -> String {
    let mut shown = String::new();
    for character in value.chars().take(SHOWN_VALUE_CHARS) {
        match character {
            // What people type, and no danger to a terminal.
            '\'' | '"' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    if value.chars().nth(SHOWN_VALUE_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Reads a value that is written as an unsigned integer or as the text a person would type.
pub(crate) fn integer_or_text<'de, D, T>(
    from: D,
    expected: &'static str,
    of_integer: fn(u64) -> Result<T, Problem>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = Problem>,
{
    struct Either<T>(&'static str, fn(u64) -> Result<T, Problem>);

    impl<T: FromStr<Err = Problem>> Visitor<'_> for Either<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
            (self.1)(value).map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
            let value =
                u64::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))?;
            self.visit_u64(value)
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
            value.parse().map_err(E::custom)
        }
    }

    from.deserialize_any(Either(expected, of_integer))
}

/// An error with all its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
