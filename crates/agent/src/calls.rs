//! Calls over a link: the body of a request gathered, answers written in the form that was asked for.
//!
//! Unary calls carry one bare message, streaming calls envelopes. Both faces of the program answer calls of our
//! own packages this way, in binary messages.

use buffa::Message;
use sandkeep_protocol::buffa;
use sandkeep_protocol::envelope::{self, ConnectError};
use sandkeep_protocol::head::Head;
use sandkeep_protocol::mux::StreamId;

use crate::agent::envd::is_envd;
use crate::link::Link;

/// Most bytes of one request: code and event of 8 MiB each, input of 16 MiB, and room for the rest.
pub(crate) const MAX_REQUEST_BYTES: usize = 40 << 20;

/// A request that is arriving.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) path: String,
    /// As its head said, or binary.
    pub(crate) content_type: String,
    /// Whether bodies are envelopes.
    pub(crate) streaming: bool,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    max_bytes: usize,
}

/// Most bytes of one request to the envd services. Files do not come that way, so this is what arguments, an
/// environment or a piece of input may take.
pub(crate) const MAX_CLIENT_REQUEST_BYTES: usize = 4 << 20;

impl Incoming {
    /// From the head of a request.
    pub(crate) fn new(head: &Head) -> Self {
        let content_type = head
            .headers
            .iter()
            .find(|(name, _)| name == "content-type")
            .map_or("application/proto", |(_, value)| value.as_str());
        Self {
            path: head.path.clone(),
            streaming: content_type.starts_with("application/connect+"),
            content_type: content_type.to_owned(),
            headers: head.headers.clone(),
            body: Vec::new(),
            max_bytes: if is_envd(&head.path) { MAX_CLIENT_REQUEST_BYTES } else { MAX_REQUEST_BYTES },
        }
    }

    /// Takes a piece of the body; false when it grows past what a request may take.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> bool {
        if self.body.len() + bytes.len() > self.max_bytes {
            return false;
        }
        self.body.extend_from_slice(bytes);
        true
    }

    /// The answer to a request that was not taken whole.
    pub(crate) fn refuse_as_too_long(&self, link: &mut Link, id: StreamId) {
        let text = format!("the request is longer than {} bytes", self.max_bytes);
        self.refuse(link, id, &ConnectError::new(envelope::Code::ResourceExhausted, text));
    }

    /// Its head.
    pub(crate) fn head(&self) -> Head {
        Head { path: self.path.clone(), headers: self.headers.clone() }
    }

    /// What came of the body.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether the first message of a stream has come whole.
    pub(crate) fn has_message(&self) -> bool {
        let Some((prefix, rest)) = self.body.split_first_chunk::<{ envelope::PREFIX_BYTES }>() else {
            return false;
        };
        let [_, length @ ..] = *prefix;
        rest.len() as u64 >= u64::from(u32::from_be_bytes(length))
    }

    /// The request, once its body is complete.
    ///
    /// # Errors
    /// `invalid_argument` for what cannot be read.
    pub(crate) fn message<M: Message>(&self) -> Result<M, ConnectError> {
        let invalid = |text: String| ConnectError::new(envelope::Code::InvalidArgument, text);
        M::decode_from_slice(&self.only_message()?).map_err(|error| invalid(error.to_string()))
    }

    /// The bytes of the request's one message.
    ///
    /// # Errors
    /// `invalid_argument` when it holds none.
    pub(crate) fn only_message(&self) -> Result<Vec<u8>, ConnectError> {
        if self.streaming { self.single_envelope() } else { Ok(self.body.clone()) }
    }

    /// The value of the first header of that (lower-case) name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// How long the caller gives the call, in microseconds.
    ///
    /// # Errors
    /// `invalid_argument` for what is not a number of milliseconds as Connect has it, of ten digits at most.
    pub(crate) fn timeout_us(&self) -> Result<Option<u64>, ConnectError> {
        let Some(text) = self.header("connect-timeout-ms") else { return Ok(None) };
        let digits = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text.parse().ok().filter(|_| digits);
        let invalid = || {
            let text = format!("connect-timeout-ms is {text:?}, and not a number of milliseconds");
            ConnectError::new(envelope::Code::InvalidArgument, text)
        };
        let value: u64 = value.ok_or_else(invalid)?;
        // 0 is how the published clients say that there is none.
        Ok((value > 0).then_some(value * 1_000))
    }

    /// How often the caller wants to hear something on a stream, in microseconds.
    pub(crate) fn keepalive_us(&self) -> Option<u64> {
        let seconds: u64 = self.header("keepalive-ping-interval")?.parse().ok()?;
        (1..=86_400).contains(&seconds).then_some(seconds * 1_000_000)
    }

    fn single_envelope(&self) -> Result<Vec<u8>, ConnectError> {
        let invalid = |text: &str| ConnectError::new(envelope::Code::InvalidArgument, text);
        let mut decoder = envelope::Decoder::new(MAX_REQUEST_BYTES);
        match decoder.next(&mut self.body.as_slice()) {
            Ok(Some(envelope::Envelope::Message(bytes))) => Ok(bytes),
            Ok(_) => Err(invalid("the request holds no message")),
            Err(error) => Err(invalid(&error.to_string())),
        }
    }

    /// Begins a streaming answer.
    pub(crate) fn begin(&self, link: &mut Link, id: StreamId) {
        let json = self.content_type.starts_with(envelope::CONTENT_TYPE_STREAM_JSON);
        let form =
            if json { envelope::CONTENT_TYPE_STREAM_JSON } else { envelope::CONTENT_TYPE_STREAM_PROTO };
        link.reply(id, 200, form);
    }

    /// Answers a unary call.
    pub(crate) fn answer<M: Message>(&self, link: &mut Link, id: StreamId, outcome: Result<M, ConnectError>) {
        match outcome {
            Ok(message) => answer(link, id, &message),
            Err(error) => self.refuse(link, id, &error),
        }
    }

    /// Answers with an error, in the form that belongs to the kind of call.
    pub(crate) fn refuse(&self, link: &mut Link, id: StreamId, error: &ConnectError) {
        if self.streaming {
            self.begin(link, id);
            end(link, id, Err(error.clone()));
        } else {
            link.reply(id, error.code.http_status(), envelope::CONTENT_TYPE_JSON);
            link.send(id, &error.to_json());
            link.finish(id);
        }
    }
}

/// The answer to a unary call.
pub(crate) fn answer<M: Message>(link: &mut Link, id: StreamId, message: &M) {
    link.reply(id, 200, envelope::CONTENT_TYPE_PROTO);
    link.send(id, &message.encode_to_vec());
    link.finish(id);
}

/// One message of a streaming answer.
pub(crate) fn push<M: Message>(link: &mut Link, id: StreamId, message: &M) {
    let bytes = message.encode_to_vec();
    link.send(id, &envelope::prefix(bytes.len()));
    link.send(id, &bytes);
}

/// The end of a streaming answer.
pub(crate) fn end(link: &mut Link, id: StreamId, outcome: Result<(), ConnectError>) {
    let mut bytes = Vec::new();
    envelope::encode_end(&mut bytes, outcome);
    link.send(id, &bytes);
    link.finish(id);
}

/// Opens a streaming binary call with its only request.
pub(crate) fn call<M: Message>(
    link: &mut Link,
    path: &str,
    message: &M,
    descriptors: Vec<std::os::fd::OwnedFd>,
) -> Result<StreamId, sandkeep_protocol::mux::OpenError> {
    let mut head = Head::new(path);
    head.headers.push(("content-type".to_owned(), envelope::CONTENT_TYPE_STREAM_PROTO.to_owned()));
    let id = link.open(&head, descriptors)?;
    let bytes = message.encode_to_vec();
    link.send(id, &envelope::prefix(bytes.len()));
    link.send(id, &bytes);
    link.finish(id);
    Ok(id)
}

/// Opens a unary binary call.
///
/// # Errors
/// The stream cannot be opened.
pub(crate) fn call_unary<M: Message>(
    link: &mut Link,
    path: &str,
    message: &M,
) -> Result<StreamId, sandkeep_protocol::mux::OpenError> {
    let mut head = Head::new(path);
    head.headers.push(("content-type".to_owned(), envelope::CONTENT_TYPE_PROTO.to_owned()));
    let id = link.open(&head, Vec::new())?;
    link.send(id, &message.encode_to_vec());
    link.finish(id);
    Ok(id)
}
