//! Messages as other clients write and read them, and ours against an older or newer self.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fmt::Debug;

use sandkeep_protocol::buffa::Message;
use sandkeep_protocol::filesystem::{
    CreateWatcherRequest, EntryInfo, FileType, GetWatcherEventsResponse, ListDirRequest, MoveRequest,
    WatchDirRequest, WatchDirResponse,
};
use sandkeep_protocol::process::{
    ConnectResponse, ProcessEvent, SendInputRequest, SendSignalRequest, Signal, StartRequest, StartResponse,
    StreamInputRequest, process_event, process_input, process_selector, stream_input_request,
};
use sandkeep_protocol::{agent, routes, supervisor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn read<M: DeserializeOwned>(value: Value) -> M {
    serde_json::from_str(&value.to_string()).unwrap()
}

/// The message reads as `value`, writes as `value`, and survives the binary form.
fn check<M>(value: Value) -> M
where
    M: Message + DeserializeOwned + Serialize + PartialEq + Debug,
{
    let message: M = read(value.clone());
    assert_eq!(serde_json::to_value(&message).unwrap(), value);
    assert_eq!(M::decode_from_slice(&message.encode_to_vec()).unwrap(), message);
    message
}

#[test]
fn a_start_as_the_clients_send_it() {
    let start: StartRequest = check(json!({
        "process": {
            "cmd": "/bin/bash", "args": ["-l", "-c", "echo $A"], "envs": {"A": "ü"}, "cwd": "/home/user",
        },
        "stdin": false,
    }));
    let process = start.process.as_option().unwrap();
    assert_eq!((process.cmd.as_str(), process.args.len()), ("/bin/bash", 3));
    assert_eq!(process.envs["A"], "ü");
    assert_eq!((start.stdin, start.tag), (Some(false), None));
}

#[test]
fn a_terminal_as_the_clients_send_it() {
    let start: StartRequest = check(json!({
        "process": {"cmd": "/bin/bash", "args": ["-i", "-l"], "envs": {"TERM": "xterm-256color"}},
        "pty": {"size": {"cols": 80, "rows": 24}},
        "tag": "shell",
    }));
    let size = start.pty.as_option().and_then(|pty| pty.size.as_option()).unwrap();
    assert_eq!((size.cols, size.rows), (80, 24));
}

#[test]
fn defaults_may_be_missing_or_null_and_unknown_fields_are_ignored() {
    assert_eq!(read::<StartRequest>(json!({})), StartRequest::default());
    let sloppy = json!({"process": {"cmd": "a", "args": null, "new": [1, {}]}, "pty": null, "later": true});
    let start: StartRequest = read(sloppy);
    assert_eq!(start.process.as_option().unwrap().cmd, "a");
    let by_proto_name: ListDirRequest = read(json!({"path": "/", "depth": "2"}));
    assert_eq!(by_proto_name.depth, 2);
}

#[test]
fn the_events_of_a_process() {
    check::<StartResponse>(json!({"event": {"start": {"pid": 42}}}));
    check::<StartResponse>(json!({"event": {"keepalive": {}}}));
    check::<StartResponse>(json!({"event": {"end": {"exited": true, "status": "exit status 0"}}}));
    let end =
        json!({"event": {"end": {"exitCode": -1, "status": "signal: killed", "error": "signal: killed"}}});
    check::<StartResponse>(end);
    let data: StartResponse = check(json!({"event": {"data": {"stdout": "aGkK/w=="}}}));
    let event = data.event.as_option().and_then(|event: &ProcessEvent| event.event.as_ref());
    let Some(process_event::Event::Data(data)) = event else {
        panic!("not data: {event:?}");
    };
    assert_eq!(data.output, Some(process_event::data_event::Output::Stdout(b"hi\n\xff".to_vec())));
}

#[test]
fn bytes_are_read_in_every_alphabet() {
    for text in ["+/8=", "-_8=", "-_8", "+/8"] {
        let input: SendInputRequest = read(json!({"process": {"pid": 1}, "input": {"stdin": text}}));
        let input = input.input.as_option().unwrap().input.clone();
        assert_eq!(input, Some(process_input::Input::Stdin(vec![0xfb, 0xff])), "{text}");
    }
}

#[test]
fn processes_are_selected_and_signalled_by_name() {
    let signal: SendSignalRequest = check(json!({"process": {"tag": "x"}, "signal": "SIGNAL_SIGKILL"}));
    assert_eq!(signal.signal.as_known(), Some(Signal::SIGNAL_SIGKILL));
    let selector = signal.process.as_option().unwrap().selector.clone();
    assert_eq!(selector, Some(process_selector::Selector::Tag("x".to_owned())));
    let by_number: SendSignalRequest = read(json!({"process": {"pid": 7}, "signal": 15}));
    assert_eq!(by_number.signal.as_known(), Some(Signal::SIGNAL_SIGTERM));
    let both = json!({"process": {"pid": 7, "tag": "x"}}).to_string();
    assert!(serde_json::from_str::<SendSignalRequest>(&both).is_err(), "one selector, not two");
}

#[test]
fn streamed_input_begins_with_its_process() {
    let start: StreamInputRequest = check(json!({"start": {"process": {"pid": 3}}}));
    assert!(matches!(start.event, Some(stream_input_request::Event::Start(_))));
    check::<StreamInputRequest>(json!({"data": {"input": {"pty": "YQ=="}}}));
    check::<StreamInputRequest>(json!({"keepalive": {}}));
}

#[test]
fn entries_of_a_file_system() {
    let entry = json!({
        "name": "a", "type": "FILE_TYPE_SYMLINK", "path": "/tmp/a", "size": "5000000000", "mode": 420,
        "permissions": "-rw-r--r--", "owner": "user", "group": "user",
        "modifiedTime": "2026-11-21T02:03:04.500Z", "symlinkTarget": "/etc", "metadata": {"k": "v"},
    });
    let info: EntryInfo = check(entry.clone());
    assert_eq!((info.size, info.r#type.as_known()), (5_000_000_000, Some(FileType::FILE_TYPE_SYMLINK)));
    let event = json!({"name": "a", "type": "EVENT_TYPE_CHMOD", "entry": entry});
    check::<GetWatcherEventsResponse>(json!({"events": [event]}));
}

#[test]
fn requests_about_files_as_the_clients_send_them() {
    check::<MoveRequest>(json!({"source": "a", "destination": "~/b"}));
    check::<ListDirRequest>(json!({"path": "/", "depth": 2}));
    let watch: WatchDirRequest = check(json!({"path": "w", "recursive": true, "includeEntry": true}));
    assert!(watch.include_entry && !watch.allow_network_mounts);
    let polled: CreateWatcherRequest = check(json!({"path": "w", "allowNetworkMounts": true}));
    assert!(polled.allow_network_mounts);
    // One reading serves both: their fields are the same, in both codecs.
    let bytes = CreateWatcherRequest { recursive: true, ..polled }.encode_to_vec();
    let read = WatchDirRequest::decode_from_slice(&bytes).unwrap();
    assert_eq!((read.path.as_str(), read.recursive, read.allow_network_mounts), ("w", true, true));
    check::<WatchDirResponse>(json!({"start": {}}));
    check::<WatchDirResponse>(json!({"keepalive": {}}));
    check::<WatchDirResponse>(json!({"filesystem": {"name": "d/f", "type": "EVENT_TYPE_WRITE"}}));
}

#[test]
fn an_answer_of_connect_has_the_form_of_one_of_start() {
    let said = json!({"event": {"data": {"pty": "aGk="}}});
    let start: StartResponse = check(said.clone());
    let connect: ConnectResponse = check(said);
    assert_eq!(start.encode_to_vec(), connect.encode_to_vec());
}

#[test]
fn an_admission_carries_what_its_process_is_held_by() {
    let admit = agent::AdmitRequest {
        execution_id: "process-1".into(),
        clone_into_group: true,
        deadline_boot_us: u64::MAX,
        ..Default::default()
    };
    assert_eq!(agent::AdmitRequest::decode_from_slice(&admit.encode_to_vec()).unwrap(), admit);
    assert_eq!(routes::agent::ADMIT, "/sandkeep.agent.v1.Agent/Admit");
}

#[test]
fn routes_are_the_urls_of_the_clients() {
    assert_eq!(routes::process::START, "/process.Process/Start");
    assert_eq!(routes::process::SEND_SIGNAL, "/process.Process/SendSignal");
    assert_eq!(routes::filesystem::GET_WATCHER_EVENTS, "/filesystem.Filesystem/GetWatcherEvents");
    assert_eq!(routes::supervisor::START, "/sandkeep.supervisor.v1.Supervisor/Start");
    assert_eq!(routes::agent::SPAWN, "/sandkeep.agent.v1.Agent/Spawn");
}

#[test]
fn falsy_values_are_told_from_absent_ones() {
    let absent = supervisor::End::default();
    let zero = supervisor::End { exit_code: Some(0), ..Default::default() };
    for end in [absent, zero] {
        assert_eq!(supervisor::End::decode_from_slice(&end.encode_to_vec()).unwrap(), end);
    }
    let code_zero = agent::Exited { how: Some(agent::exited::How::Code(0)), ..Default::default() };
    assert_eq!(agent::Exited::decode_from_slice(&code_zero.encode_to_vec()).unwrap(), code_zero);
}

#[test]
fn a_newer_peer_is_understood() {
    let request = agent::SignalRequest { execution_id: "ex1".into(), signal: 9, ..Default::default() };
    let mut bytes = request.encode_to_vec();
    // Field 900, length-delimited, 3 bytes; then an enum value that does not exist yet.
    bytes.extend([0xa2, 0x38, 3, 1, 2, 3]);
    assert_eq!(agent::SignalRequest::decode_from_slice(&bytes).unwrap(), request);
    let output = agent::Output::decode_from_slice(&[0x08, 77]).unwrap();
    assert_eq!(output.stream.as_known(), None);
}

#[test]
fn equal_messages_have_equal_bytes() {
    let env = |names: [&str; 3]| names.map(|name| (name.to_owned(), String::new())).into_iter().collect();
    let one = agent::SpawnRequest { env: env(["a", "b", "c"]), ..Default::default() };
    let two = agent::SpawnRequest { env: env(["c", "a", "b"]), ..Default::default() };
    assert_eq!(one.encode_to_vec(), two.encode_to_vec());
}
