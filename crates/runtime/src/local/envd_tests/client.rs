//! A client of the envd services as its proxy sees it: heads, JSON or binary messages, envelopes.

use std::rc::Rc;
use std::time::Duration;

use buffa::Message;
use sandkeep_core::sandbox::Profile;
use sandkeep_protocol::envelope::{self, ConnectError, Decoder, Envelope};
use sandkeep_protocol::head::Head;
use sandkeep_protocol::process as envd;
use sandkeep_protocol::routes::{process as routes, supervisor as supervisor_routes};
use sandkeep_protocol::supervisor;
use serde_json::{Value, json};

use crate::driver::Sandbox as _;
use crate::local::connection::{Answer, Part};
use crate::local::handle::Handle;

/// A client of one sandbox.
#[derive(Debug, Clone)]
pub(super) struct Client {
    sandbox: Rc<Handle>,
    headers: Vec<(String, String)>,
}

impl Client {
    pub(super) fn new(sandbox: Handle) -> Self {
        Self { sandbox: Rc::new(sandbox), headers: Vec::new() }
    }

    pub(super) fn sandbox(&self) -> &Handle {
        &self.sandbox
    }

    /// The code's user as the sandbox numbers it: with a single id, profile `dev` has only root.
    pub(super) fn uid_inside(&self) -> &'static str {
        let only_root = self.sandbox.facts().id_count == 1 && self.sandbox.profile() == Profile::Dev;
        if only_root { "0" } else { "1000" }
    }

    /// The same client, sending one more header.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// The same client, acting as another user of the sandbox.
    pub(super) fn as_user(&self, name: &str) -> Self {
        let words = sandkeep_core::base64::encode(format!("{name}:").as_bytes());
        self.with("authorization", &format!("Basic {words}"))
    }

    fn head(&self, path: &str, content_type: &str) -> Head {
        let head = Head::new(path).with("content-type", content_type);
        self.headers.iter().fold(head, |head, (name, value)| head.with(name.clone(), value.clone()))
    }

    /// A unary call in JSON.
    pub(super) async fn ask(&self, path: &str, request: Value) -> Result<Value, ConnectError> {
        let body = request.to_string();
        let (status, answer) = self.unary(path, envelope::CONTENT_TYPE_JSON, body.as_bytes()).await;
        if status == 200 {
            return Ok(serde_json::from_slice(&answer).unwrap());
        }
        let error = ConnectError::from_json(status, &answer);
        assert_eq!(error.code.http_status(), status, "{error}");
        Err(error)
    }

    /// A unary call in binary messages.
    pub(super) async fn ask_binary<Q: Message, A: Message>(&self, path: &str, request: &Q) -> A {
        let body = request.encode_to_vec();
        let (status, answer) = self.unary(path, envelope::CONTENT_TYPE_PROTO, &body).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        A::decode_from_slice(&answer).unwrap()
    }

    async fn unary(&self, path: &str, content_type: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut answer = self.sandbox.connection().raw(&self.head(path, content_type)).unwrap();
        answer.send(body);
        answer.finish();
        answer.whole().await.unwrap()
    }

    /// A call with a stream of answers, in JSON.
    pub(super) fn stream(&self, path: &str, request: Value) -> Stream {
        let mut stream = self.open(path);
        stream.send(request);
        stream.finish();
        stream
    }

    /// A call whose messages are still to be sent.
    pub(super) fn open(&self, path: &str) -> Stream {
        let head = self.head(path, envelope::CONTENT_TYPE_STREAM_JSON);
        let answer = self.sandbox.connection().raw(&head).unwrap();
        Stream { answer, decoder: Decoder::new(1 << 24), bytes: Vec::new(), started: false, outcome: None }
    }

    /// Waits until the supervisor has dealt with all that it was told by now.
    pub(super) async fn until_passed_on(&self) {
        let _known: supervisor::ListResponse =
            self.ask_binary(supervisor_routes::LIST, &supervisor::ListRequest::default()).await;
    }

    /// Starts a process in JSON.
    pub(super) fn start(&self, request: Value) -> Stream {
        self.stream(routes::START, request)
    }

    /// Starts a line of the shell.
    pub(super) fn shell(&self, line: &str) -> Stream {
        self.start(shell(line))
    }

    /// Starts a process in binary messages; what it put out, and its end.
    pub(super) async fn run_binary(
        &self,
        request: &envd::StartRequest,
    ) -> (Vec<u8>, envd::process_event::EndEvent) {
        use envd::__buffa::oneof::process_event::{Event, data_event::Output};
        let head = self.head(routes::START, envelope::CONTENT_TYPE_STREAM_PROTO);
        let answer = self.sandbox.connection().raw(&head).unwrap();
        let mut stream = Stream {
            answer,
            decoder: Decoder::new(1 << 24),
            bytes: Vec::new(),
            started: false,
            outcome: None,
        };
        let mut body = Vec::new();
        envelope::encode_message(&mut body, &request.encode_to_vec());
        stream.answer.send(&body);
        stream.answer.finish();
        let (mut out, mut ended) = (Vec::new(), None);
        while let Some(message) = stream.message().await {
            let message = envd::StartResponse::decode_from_slice(&message).unwrap();
            match message.event.into_option().and_then(|event| event.event).unwrap() {
                Event::Data(data) => match data.output {
                    Some(Output::Stdout(bytes)) => out.extend(bytes),
                    other => panic!("unexpected output: {other:?}"),
                },
                Event::End(end) => ended = Some(*end),
                Event::Start(_) | Event::Keepalive(_) => {}
            }
        }
        (out, ended.unwrap())
    }
}

/// A request to start a line of the shell.
pub(super) fn shell(line: &str) -> Value {
    json!({"process": {"cmd": "/bin/sh", "args": ["-c", line]}, "stdin": false})
}

/// A stream of a call: what comes is decoded as far as it is asked for.
#[derive(Debug)]
pub(super) struct Stream {
    answer: Answer,
    decoder: Decoder,
    bytes: Vec<u8>,
    started: bool,
    outcome: Option<Result<(), ConnectError>>,
}

/// What a process said until its end.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) pid: u64,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) pty: Vec<u8>,
    pub(super) end: Option<Value>,
    pub(super) outcome: Option<Result<(), ConnectError>>,
}

impl Said {
    pub(super) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(super) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.pty).into_owned()
    }

    #[track_caller]
    pub(super) fn exit_code(&self) -> i64 {
        let end = self.end.as_ref().unwrap_or_else(|| panic!("no end was told: {self:?}"));
        // Zero is what JSON leaves out.
        end.get("exitCode").map_or(0, |code| code.as_i64().unwrap())
    }

    fn take(&mut self, event: &Value) {
        assert!(self.end.is_none(), "{event} came after the end");
        let bytes = |value: &Value| sandkeep_core::base64::decode(value.as_str().unwrap()).unwrap();
        if let Some(start) = event.get("start") {
            self.pid = start["pid"].as_u64().unwrap();
        } else if let Some(data) = event.get("data") {
            for (name, into) in
                [("stdout", &mut self.stdout), ("stderr", &mut self.stderr), ("pty", &mut self.pty)]
            {
                into.extend(data.get(name).map(bytes).unwrap_or_default());
            }
        } else if let Some(end) = event.get("end") {
            self.end = Some(end.clone());
        } else {
            assert!(event.get("keepalive").is_some(), "what is {event}?");
        }
    }
}

/// How long to wait for the next that a process says.
pub(super) const HEARING: Duration = Duration::from_secs(20);

impl Stream {
    /// One more message of ours.
    pub(super) fn send(&self, message: Value) {
        let mut body = Vec::new();
        envelope::encode_message(&mut body, message.to_string().as_bytes());
        self.answer.send(&body);
    }

    /// Ours are all sent.
    pub(super) fn finish(&mut self) {
        self.answer.finish();
    }

    /// The next message; `None` after the last, when [`Stream::outcome`] is there.
    pub(super) async fn next(&mut self) -> Option<Value> {
        let message = self.message().await?;
        Some(serde_json::from_slice(&message).unwrap())
    }

    async fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut rest = self.bytes.as_slice();
            let found = self.decoder.next(&mut rest).unwrap();
            self.bytes = rest.to_vec();
            match found {
                Some(Envelope::Message(message)) => return Some(message),
                Some(Envelope::End(outcome)) => {
                    self.outcome = Some(outcome);
                    return None;
                }
                None => {}
            }
            match self.answer.part().await.unwrap() {
                Part::Head(head) => assert_eq!(head.status, 200),
                Part::Data(bytes) => self.bytes.extend(bytes),
                Part::End | Part::Reset => panic!("the stream stopped without its end"),
            }
        }
    }

    /// Why the stream ended.
    pub(super) fn outcome(&self) -> Option<&Result<(), ConnectError>> {
        self.outcome.as_ref()
    }

    /// The next event of a process, whichever.
    pub(super) async fn event(&mut self) -> Option<Value> {
        let event = self.next().await?["event"].clone();
        assert!(self.started || event.get("start").is_some(), "{event} came before the start");
        self.started = true;
        Some(event)
    }

    /// Waits for the start; the pid.
    pub(super) async fn pid(&mut self) -> u64 {
        let event = self.event().await;
        let event = event.unwrap_or_else(|| panic!("it did not start: {:?}", self.outcome));
        event["start"]["pid"].as_u64().unwrap_or_else(|| panic!("not a start: {event}"))
    }

    /// Listens until `done` says so of all that was said.
    pub(super) async fn until(&mut self, said: &mut Said, mut done: impl FnMut(&Said) -> bool) {
        while !done(said) {
            match tokio::time::timeout(HEARING, self.event()).await {
                Ok(Some(event)) => said.take(&event),
                Ok(None) => panic!("it ended first: {said:?}, {:?}", self.outcome),
                Err(_) => panic!("never heard; until then: {said:?}, {}", said.screen()),
            }
        }
    }

    /// Listens to the end.
    pub(super) async fn rest(&mut self, mut said: Said) -> Said {
        while let Some(event) = self.event().await {
            said.take(&event);
        }
        said.outcome = self.outcome.clone();
        said
    }

    /// Listens from the start to the end, which must be a good one.
    pub(super) async fn all(mut self) -> Said {
        let said = self.rest(Said::default()).await;
        assert_eq!(said.outcome, Some(Ok(())), "{said:?}");
        said
    }

    /// The stream must end in an error before anything happens.
    pub(super) async fn refusal(mut self) -> ConnectError {
        let said = self.rest(Said::default()).await;
        assert!(said.pid == 0 && said.end.is_none(), "{said:?}");
        said.outcome.unwrap().unwrap_err()
    }
}
