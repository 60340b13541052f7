//! What a registry asks for when it says 401 (RFC 9110, and Docker's token service).

/// A way to show who one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token, which `realm` gives.
    Bearer { realm: String, service: Option<String> },
}

/// Longest header that is read.
const BYTES: usize = 8 * 1024;

impl Challenge {
    /// The first of `header` that is understood.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        if header.len() > BYTES {
            return None;
        }
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or_else(|| (header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        for (name, value) in Parameters(rest) {
            match name {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service })
    }
}

/// `name="value", name=value`; ends at what is neither.
struct Parameters<'a>(&'a str);

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a str, String);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.trim_start_matches([' ', ',', '\t']).split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find([',', ' ']).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
            Some(quoted) => unquote(quoted)?,
        };
        self.0 = rest;
        Some((name.trim(), value))
    }
}

fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        let cases = [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.x/token\",service=\"registry.x\",scope=\"repository:a:pull\"",
                bearer("https://auth.x/token", Some("registry.x")),
            ),
            ("bearer service=s, realm=https://a", bearer("https://a", Some("s"))),
            ("Bearer realm=\"a\\\"b\"", bearer("a\"b", None)),
            ("Bearer realm=\"open", None),
            ("Bearer service=\"s\"", None),
            ("Negotiate", None),
            ("", None),
        ];
        for (header, expected) in cases {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
        assert_eq!(Challenge::parse(&format!("Bearer realm={}", "x".repeat(BYTES))), None);
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in "((Bearer|Basic) )?[a-z]*[=\", \\\\a-zé]{0,40}|.{0,80}") {
            let _read = Challenge::parse(&header);
        }
    }
}
