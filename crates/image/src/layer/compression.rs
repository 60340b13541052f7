//! The three ways in which layers are stored: plain, gzip and zstd.
//!
//! Which one it is, the first bytes say. Media types say it too, and tools get them wrong; what was unpacked is
//! checked by its digest either way.

use std::io::{self, BufRead as _, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::zstd::Zstd;
use crate::digest::Hashing;
use crate::error::Error;
use crate::limits::Limits;

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// Stored bytes, hashed and in pieces.
type Stored<R> = BufReader<Hashing<R>>;

enum Decoder<R> {
    Plain(Stored<R>),
    // Several members one after another are one stream, as other readers have it.
    Gzip(Box<MultiGzDecoder<Stored<R>>>),
    Zstd(Box<Zstd<Stored<R>>>),
}

/// The plain archive, for as long as it does not grow out of proportion.
pub(crate) struct Decompressed<R> {
    decoder: Decoder<R>,
    limits: Limits,
    given: u64,
}

impl<R: Read> Decompressed<R> {
    /// # Errors
    /// The first bytes cannot be read.
    pub(crate) fn open(stored: Hashing<R>, limits: Limits) -> io::Result<Self> {
        let mut stored = BufReader::with_capacity(BUFFER_BYTES, stored);
        let decoder = match stored.fill_buf()? {
            [0x1f, 0x8b, ..] => Decoder::Gzip(Box::new(MultiGzDecoder::new(stored))),
            // A frame, or one that is to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Decoder::Zstd(Box::new(Zstd::new(stored)))
            }
            _ => Decoder::Plain(stored),
        };
        Ok(Self { decoder, limits, given: 0 })
    }

    fn stored(&self) -> &Hashing<R> {
        match &self.decoder {
            Decoder::Plain(stored) => stored.get_ref(),
            Decoder::Gzip(decoder) => decoder.get_ref().get_ref(),
            Decoder::Zstd(decoder) => decoder.get_ref().get_ref(),
        }
    }

    /// The stored bytes that are left.
    pub(crate) fn into_inner(self) -> Hashing<R> {
        match self.decoder {
            Decoder::Plain(stored) => stored.into_inner(),
            Decoder::Gzip(decoder) => decoder.into_inner().into_inner(),
            Decoder::Zstd(decoder) => decoder.into_inner().into_inner(),
        }
    }

    fn in_proportion(&self) -> io::Result<()> {
        let stored = self.stored().count();
        let most = stored.saturating_mul(self.limits.ratio).max(self.limits.ratio_free_bytes);
        if self.given <= most {
            return Ok(());
        }
        let why = format!("grows to more than {} times its stored size", self.limits.ratio);
        Err(io::Error::other(Error::too_large("a layer", why)))
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = match &mut self.decoder {
            Decoder::Plain(stored) => stored.read(into)?,
            Decoder::Gzip(decoder) => decoder.read(into)?,
            Decoder::Zstd(decoder) => decoder.read(into)?,
        };
        self.given += got as u64;
        self.in_proportion()?;
        Ok(got)
    }
}
