//! Messages of the envd services in the codec that a call asks for: JSON, which all published clients speak, or binary.

use buffa::Message;
use sandkeep_protocol::envelope::{self, Code, ConnectError};
use sandkeep_protocol::mux::StreamId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::calls::Incoming;
use crate::link::Link;

/// How messages of a call are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Binary,
    Json,
}

impl Codec {
    /// The codec that a call asks for.
    pub(crate) fn of(call: &Incoming) -> Self {
        if call.content_type.split(';').next().unwrap_or_default().trim_end().ends_with("json") {
            Self::Json
        } else {
            Self::Binary
        }
    }

    pub(crate) fn encode<M: Message + Serialize>(self, message: &M) -> Vec<u8> {
        match self {
            Self::Binary => message.encode_to_vec(),
            // Strings, numbers, bytes and times within the years that have a form: nothing that JSON could not hold.
            Self::Json => serde_json::to_vec(message).expect("messages are JSON"),
        }
    }

    /// # Errors
    /// `invalid_argument` for what is not such a message.
    pub(crate) fn decode<M: Message + DeserializeOwned>(self, bytes: &[u8]) -> Result<M, ConnectError> {
        let read = match self {
            Self::Binary => M::decode_from_slice(bytes).map_err(|error| error.to_string()),
            Self::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        };
        read.map_err(|text| ConnectError::new(Code::InvalidArgument, format!("not a request: {text}")))
    }

    fn unary(self) -> &'static str {
        match self {
            Self::Binary => envelope::CONTENT_TYPE_PROTO,
            Self::Json => envelope::CONTENT_TYPE_JSON,
        }
    }

    fn streaming(self) -> &'static str {
        match self {
            Self::Binary => envelope::CONTENT_TYPE_STREAM_PROTO,
            Self::Json => envelope::CONTENT_TYPE_STREAM_JSON,
        }
    }

    /// Begins a streaming answer.
    pub(crate) fn begin(self, link: &mut Link, id: StreamId) {
        link.reply(id, 200, self.streaming());
    }

    /// Begins the answer to a unary call, which is one message without an envelope.
    pub(crate) fn begin_unary(self, link: &mut Link, id: StreamId) {
        link.reply(id, 200, self.unary());
    }

    /// One message of a streaming answer.
    pub(crate) fn push<M: Message + Serialize>(self, link: &mut Link, id: StreamId, message: &M) {
        let bytes = self.encode(message);
        link.send(id, &envelope::prefix(bytes.len()));
        link.send(id, &bytes);
    }
}

/// The request of a call whose body is complete.
///
/// # Errors
/// `invalid_argument` for what cannot be read.
pub(crate) fn read<M: Message + DeserializeOwned>(call: &Incoming) -> Result<M, ConnectError> {
    Codec::of(call).decode(&call.only_message()?)
}

/// Answers a unary call.
pub(crate) fn answer<M: Message + Serialize>(
    link: &mut Link,
    id: StreamId,
    call: &Incoming,
    outcome: Result<M, ConnectError>,
) {
    match outcome {
        Ok(message) => {
            let codec = Codec::of(call);
            codec.begin_unary(link, id);
            link.send(id, &codec.encode(&message));
            link.finish(id);
        }
        Err(error) => call.refuse(link, id, &error),
    }
}
