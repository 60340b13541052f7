//! The parts of heads: rules for each, and how they stand in bytes.

use super::{Error, Headers, MAX_HEADERS, MAX_NAME_BYTES, MAX_PATH_BYTES};
use crate::frame::MAX_HEAD_BYTES;

pub(super) fn check_path(path: &str) -> Result<(), Error> {
    if path.len() > MAX_PATH_BYTES {
        return Err(Error::TooLarge);
    }
    let fits = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(Error::Path) }
}

pub(super) fn check_status(status: u16) -> Result<(), Error> {
    if (100..=599).contains(&status) { Ok(()) } else { Err(Error::Status(status)) }
}

/// A token of RFC 9110 section 5.6.2 in lower case; a colon may stand in front, as in HTTP/2.
fn check_name(name: &str) -> Result<(), Error> {
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::TooLarge);
    }
    let token = name.strip_prefix(':').unwrap_or(name);
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !token.is_empty() && token.bytes().all(fits) { Ok(()) } else { Err(Error::Name) }
}

fn check_value(value: &str) -> Result<(), Error> {
    let bad = |byte: u8| (byte.is_ascii_control() && byte != b'\t') || byte == 0x7f;
    if value.bytes().any(bad) { Err(Error::Value) } else { Ok(()) }
}

pub(super) fn put_u16(out: &mut Vec<u8>, len: usize) -> Result<(), Error> {
    let len = u16::try_from(len).map_err(|_| Error::TooLarge)?;
    out.extend_from_slice(&len.to_le_bytes());
    Ok(())
}

pub(super) fn put_headers(out: &mut Vec<u8>, headers: &Headers) -> Result<(), Error> {
    let count = u8::try_from(headers.len()).ok().filter(|count| usize::from(*count) <= MAX_HEADERS);
    out.push(count.ok_or(Error::TooManyHeaders)?);
    for (name, value) in headers {
        check_name(name)?;
        check_value(value)?;
        out.push(u8::try_from(name.len()).map_err(|_| Error::TooLarge)?);
        out.extend_from_slice(name.as_bytes());
        put_u16(out, value.len())?;
        out.extend_from_slice(value.as_bytes());
    }
    if out.len() > MAX_HEAD_BYTES { Err(Error::TooLarge) } else { Ok(()) }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes([self.u8()?, self.u8()?]))
    }

    pub(super) fn text(&mut self, len: usize, otherwise: Error) -> Result<String, Error> {
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| otherwise)?;
        Ok(text.to_owned())
    }

    /// The headers, which must be the rest.
    pub(super) fn headers(&mut self) -> Result<Headers, Error> {
        let count = usize::from(self.u8()?);
        if count > MAX_HEADERS {
            return Err(Error::TooManyHeaders);
        }
        let mut headers = Headers::with_capacity(count);
        for _ in 0..count {
            let len = self.u8()?;
            let name = self.text(usize::from(len), Error::Name)?;
            check_name(&name)?;
            let len = self.u16()?;
            let value = self.text(usize::from(len), Error::Value)?;
            check_value(&value)?;
            headers.push((name, value));
        }
        if self.0.is_empty() { Ok(headers) } else { Err(Error::Trailing) }
    }
}
