//! An execution's output, to ours; and what to exit with.

use std::io::{self, Read as _};

use sandkeep_client::api::executions::{ExecutionEnd, OutputChunk};
use sandkeep_client::{Client, Stream};
use sandkeep_core::base64;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::execution::result::Encoding;
use sandkeep_core::execution::{End, Exit, exit};
use sandkeep_core::id::ExecutionId;
use sandkeep_core::output::{self, Gap};
use serde::de::DeserializeOwned;

use crate::out::{self, Stop};

/// The output of one execution from a position on.
#[derive(Debug)]
pub(crate) struct Follow(Stream);

impl Follow {
    pub(crate) fn new(client: &Client, id: &ExecutionId, after: u64) -> Self {
        Follow(Stream::new(
            client,
            &["executions", &id.to_string(), "stream"],
            &[("after", after.to_string())],
        ))
    }

    /// Writes what comes next; the end, when that is what came. Cancel-safe.
    ///
    /// # Errors
    /// The reader is gone, or what [`Stream::next`] says.
    pub(crate) async fn next(&mut self) -> Result<Option<ExecutionEnd>, Stop> {
        let message = self.0.next().await.map_err(Stop::Server)?;
        // The end is told before the server says that all was seen.
        let message = message.ok_or_else(|| Stop::Server(unread("its end is missing")))?;
        match message.event.as_str() {
            "output" => write(&read(&message.data)?)?,
            "gap" => {
                let Gap { from, to } = read(&message.data)?;
                out::note(&format!("{} bytes of output were not kept, from position {from}", to - from));
            }
            "end" => return read(&message.data).map(Some),
            _ => {}
        }
        Ok(None)
    }

    /// Writes all that comes, until its end.
    ///
    /// # Errors
    /// As [`Follow::next`].
    pub(crate) async fn until_end(&mut self) -> Result<ExecutionEnd, Stop> {
        loop {
            if let Some(end) = self.next().await? {
                return Ok(end);
            }
        }
    }
}

/// Writes a piece of output where it belongs.
///
/// # Errors
/// The reader is gone, or the piece is none.
pub(crate) fn write(chunk: &OutputChunk) -> Result<(), Stop> {
    let decoded;
    let bytes = match chunk.encoding {
        Encoding::Utf8 => chunk.data.as_bytes(),
        Encoding::Base64 => {
            decoded = base64::decode(&chunk.data).ok_or_else(|| Stop::Server(unread("it is not base64")))?;
            &decoded
        }
    };
    match chunk.stream {
        output::Stream::Stdout => out::bytes(bytes).map_err(Stop::from),
        output::Stream::Stderr => {
            out::error_bytes(bytes);
            Ok(())
        }
    }
}

/// What to exit with after `end`: as `sandkeep run` does.
///
/// # Errors
/// What the server says.
pub(crate) async fn exit_status(client: &Client, end: &ExecutionEnd) -> Result<u8, Stop> {
    let code = end.exit_code.map(Exit::Code).or_else(|| end.signal.map(Exit::Signal));
    let status = exit::exit_status(&End { state: end.status, limit: end.limit, exit: code });
    if status != exit::OURS || end.exit_code == Some(exit::OURS) {
        return Ok(status);
    }
    // Nothing ran, or it was lost: the execution says why.
    let answer = client.get(&["executions", &end.id.to_string()], &[]).await.map_err(Stop::Server)?;
    let error = &answer.value["error"];
    let Some(code) = error["name"].as_str().and_then(|name| name.parse::<ErrorCode>().ok()) else {
        out::note(&format!("the execution ended as {}", end.status));
        return Ok(status);
    };
    let problem = Problem::new(code, error["message"].as_str().unwrap_or_default());
    out::tell(&problem, false);
    Ok(exit::exit_status_of_problem(&problem))
}

/// Whether whoever reads our output has gone, which ends what we follow it for.
pub(crate) fn reader_is_gone(stop: &Stop) -> bool {
    matches!(stop, Stop::ReaderGone)
}

fn read<T: DeserializeOwned>(data: &str) -> Result<T, Stop> {
    serde_json::from_str(data).map_err(|error| Stop::Server(unread(&error.to_string())))
}

fn unread(why: &str) -> Problem {
    Problem::new(ErrorCode::ProtocolError, format!("an event of the stream cannot be understood: {why}"))
}

/// All of a standard input, at most as much as a request may have.
///
/// # Errors
/// `file_unreadable` or `body_too_large`.
pub(crate) fn input(mut from: impl io::Read) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = from.by_ref().take(MOST_INPUT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| {
        Problem::new(ErrorCode::FileUnreadable, format!("standard input cannot be read: {error}"))
    })?;
    if bytes.len() as u64 > MOST_INPUT_BYTES {
        let expected = "less, or fetch it inside the sandbox";
        return Err(
            Problem::new(ErrorCode::BodyTooLarge, "standard input is larger than 14 MiB").expecting(expected)
        );
    }
    Ok(bytes)
}

/// In base64 it is as large as the largest body that a server takes by default, 20 MiB, with room for the rest.
const MOST_INPUT_BYTES: u64 = 14 << 20;
