//! As whom a call acts. Who may call at all was decided outside; here a caller names one of the sandbox's own users.

use sandkeep_core::base64;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_sandbox::idmap::USER_ID;

use crate::agent::Prepared;
use crate::calls::Incoming;
use sandkeep_sandbox::start::Identity;

/// A user of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) name: &'static str,
    pub(crate) home: &'static str,
}

const USER: Caller = Caller { uid: USER_ID, name: "user", home: "/home/user" };
const ROOT: Caller = Caller { uid: 0, name: "root", home: "/root" };

impl Caller {
    /// The user that the call's `Authorization: Basic` names, or `user`.
    ///
    /// # Errors
    /// `unauthenticated` for a user that there is not, `permission_denied` for root in profile `strict`.
    pub(crate) fn of(call: &Incoming, prepared: &Prepared) -> Result<Self, ConnectError> {
        named(call.header("authorization").unwrap_or_default(), prepared.is_dev())
    }

    pub(crate) fn identity(self, prepared: &Prepared) -> Identity {
        Identity { uid: self.uid, gid: self.uid, change: prepared.many_ids }
    }
}

/// Whether an `Authorization` header is one that names a user of the sandbox.
pub(super) fn names_user(authorization: &str) -> bool {
    basic(authorization).is_some()
}

fn basic(authorization: &str) -> Option<&str> {
    let (scheme, words) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then_some(words)
}

fn named(authorization: &str, dev: bool) -> Result<Caller, ConnectError> {
    let unknown = |text: String| ConnectError::new(Code::Unauthenticated, text);
    let Some(words) = basic(authorization) else { return Ok(USER) };
    let words = base64::decode(words.trim()).and_then(|words| String::from_utf8(words).ok());
    let words = words.ok_or_else(|| unknown("the authorization header cannot be read".to_owned()))?;
    match words.split(':').next().unwrap_or_default() {
        "" | "user" => Ok(USER),
        "root" if dev => Ok(ROOT),
        "root" => {
            let text = "there is a root only in sandboxes of profile dev";
            Err(ConnectError::new(Code::PermissionDenied, text))
        }
        other => Err(unknown(format!("invalid username: {other:?}; there are user and root"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_whom_the_header_names() {
        let check = |header: &str, dev, expect: Result<&str, Code>| {
            let got = named(header, dev).map(|caller| caller.name).map_err(|error| error.code);
            assert_eq!(got, expect, "{header}");
        };
        let basic = |words: &str| format!("Basic {}", base64::encode(words.as_bytes()));
        check("", false, Ok("user"));
        check("Bearer abc", false, Ok("user"));
        check(&basic(":"), false, Ok("user"));
        check(&basic("user:"), false, Ok("user"));
        check(&basic("user:pass:word"), true, Ok("user"));
        check(&basic("root:").replace("Basic", "bAsIc"), true, Ok("root"));
        check(&basic("root:"), false, Err(Code::PermissionDenied));
        check(&basic("nobody:"), true, Err(Code::Unauthenticated));
        check(&basic("0:"), true, Err(Code::Unauthenticated));
        check("Basic !!!", true, Err(Code::Unauthenticated));
    }
}
