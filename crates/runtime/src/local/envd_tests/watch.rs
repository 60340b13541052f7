//! Watching directories.

use sandkeep_core::sandbox::Profile::Strict;
use sandkeep_protocol::envelope::Code;
use sandkeep_protocol::filesystem as envd;
use sandkeep_protocol::routes::filesystem as routes;
use serde_json::{Value, json};

use super::client::{Client, HEARING, Stream};
use super::{children, eventually, none_is_left, with};

/// Events until one of this kind about `name`; the kinds and names of all of them.
async fn until(stream: &mut Stream, name: &str, kind: &str) -> Vec<(String, String)> {
    let mut heard = Vec::new();
    loop {
        let next = tokio::time::timeout(HEARING, stream.next()).await;
        let next = next.unwrap_or_else(|_| panic!("never heard {kind} {name}; until then: {heard:?}"));
        let message = next.unwrap_or_else(|| panic!("ended: {heard:?} {:?}", stream.outcome()));
        let event = named(&message["filesystem"]);
        heard.push(event.clone());
        if event == (name.to_owned(), kind.to_owned()) {
            return heard;
        }
    }
}

fn named(event: &Value) -> (String, String) {
    let kind = event["type"].as_str().unwrap_or_else(|| panic!("not an event: {event}"));
    (event["name"].as_str().unwrap().to_owned(), kind.strip_prefix("EVENT_TYPE_").unwrap().to_owned())
}

async fn watch(client: &Client, request: Value) -> Stream {
    let mut stream = client.stream(routes::WATCH_DIR, request);
    assert_eq!(stream.next().await, Some(json!({"start": {}})), "{:?}", stream.outcome());
    stream
}

fn of<'a>(events: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
    events.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
}

#[test]
fn what_happens_in_a_directory_is_told() {
    with(Strict, async |client| {
        client.sh("mkdir w w/sub; echo 1 >w/old").await;
        let mut stream = watch(&client, json!({"path": "w", "includeEntry": true})).await;
        client.sh("echo 2 >>w/old").await;
        assert_eq!(until(&mut stream, "old", "WRITE").await, of(&[("old", "WRITE")]));
        client.sh("chmod 600 w/old; mkdir w/new; mv w/old w/moved; rm w/moved; echo x >w/sub/unseen; rmdir w/new").await;
        let heard = until(&mut stream, "new", "REMOVE").await;
        let expect = [
            ("old", "CHMOD"),
            ("new", "CREATE"),
            ("old", "RENAME"),
            ("moved", "CREATE"),
            ("moved", "REMOVE"),
            ("new", "REMOVE"),
        ];
        assert_eq!(heard, of(&expect));
        client.sh("printf abc >w/described").await;
        let message = stream.next().await.unwrap();
        assert_eq!(named(&message["filesystem"]), ("described".to_owned(), "CREATE".to_owned()));
        assert_eq!(message["filesystem"]["entry"]["path"], "/home/user/w/described");
        assert_eq!(message["filesystem"]["entry"]["type"], "FILE_TYPE_FILE");
        client.sh("rm -r w").await;
        until(&mut stream, ".", "REMOVE").await;
        assert_eq!(stream.next().await, None, "nothing can happen there any more");
        assert_eq!(stream.outcome(), Some(&Ok(())));
    });
}

#[test]
fn all_below_is_told_where_it_is_asked_for() {
    with(Strict, async |client| {
        client.sh("mkdir -p w/a/b other/in").await;
        let mut stream = watch(&client, json!({"path": "w", "recursive": true})).await;
        client.sh("echo 1 >w/a/b/f").await;
        assert_eq!(until(&mut stream, "a/b/f", "WRITE").await[0], ("a/b/f".to_owned(), "CREATE".to_owned()));
        // A tree that is made at once is told whole, each thing once.
        client.sh("mkdir -p w/x/y/z; echo 1 >w/x/y/z/f; echo 1 >w/mark").await;
        let heard = until(&mut stream, "mark", "CREATE").await;
        for name in ["x", "x/y", "x/y/z", "x/y/z/f"] {
            let created =
                heard.iter().filter(|event| **event == (name.to_owned(), "CREATE".to_owned())).count();
            assert_eq!(created, 1, "{name}: {heard:?}");
        }
        until(&mut stream, "mark", "WRITE").await;
        // What moves within keeps being told, by its new name; what moves away is not told any more.
        client.sh("mv w/x w/moved").await;
        let heard = until(&mut stream, "moved/y/z/f", "CREATE").await;
        assert!(heard.contains(&("x".to_owned(), "RENAME".to_owned())), "{heard:?}");
        client.sh("echo 2 >>w/moved/y/z/f").await;
        assert_eq!(until(&mut stream, "moved/y/z/f", "WRITE").await, of(&[("moved/y/z/f", "WRITE")]));
        client.sh("mv w/moved other/in/; echo 3 >>other/in/moved/y/z/f; echo 1 >w/last").await;
        assert_eq!(
            until(&mut stream, "last", "WRITE").await,
            of(&[("moved", "RENAME"), ("last", "CREATE"), ("last", "WRITE")])
        );
        // A link leads nowhere.
        client.sh("ln -s ../other w/link; echo 1 >other/f; echo 1 >w/final").await;
        let heard = until(&mut stream, "final", "WRITE").await;
        assert_eq!(heard, of(&[("link", "CREATE"), ("final", "CREATE"), ("final", "WRITE")]));
    });
}

#[test]
fn a_watcher_keeps_events_until_they_are_asked_for() {
    with(Strict, async |client| {
        client.sh("mkdir w").await;
        let created =
            client.ask(routes::CREATE_WATCHER, json!({"path": "~/w", "recursive": true})).await.unwrap();
        let named_so = json!({"watcherId": created["watcherId"]});
        assert_eq!(client.ask(routes::GET_WATCHER_EVENTS, named_so.clone()).await, Ok(json!({})));
        let mut heard = Vec::new();
        for (line, kind) in [("mkdir w/d; >w/d/f", "CREATE"), ("echo 2 >>w/d/f", "WRITE")] {
            client.sh(line).await;
            while !heard.contains(&("d/f".to_owned(), kind.to_owned())) {
                let answer = client.ask(routes::GET_WATCHER_EVENTS, named_so.clone()).await.unwrap();
                heard.extend(answer["events"].as_array().into_iter().flatten().map(named));
            }
        }
        assert_eq!(heard, of(&[("d", "CREATE"), ("d/f", "CREATE"), ("d/f", "WRITE")]));
        let request =
            envd::RemoveWatcherRequest { watcher_id: created["watcherId"].as_str().unwrap().to_owned() };
        let _done: envd::RemoveWatcherResponse = client.ask_binary(routes::REMOVE_WATCHER, &request).await;
        for path in [routes::GET_WATCHER_EVENTS, routes::REMOVE_WATCHER] {
            assert_eq!(client.ask(path, named_so.clone()).await.unwrap_err().code, Code::NotFound);
        }
        none_is_left(&client).await;
    });
}

#[test]
fn events_that_are_lost_are_said_to_be() {
    with(Strict, async |client| {
        client.sh("mkdir w").await;
        let created = client.ask(routes::CREATE_WATCHER, json!({"path": "w"})).await.unwrap();
        let mut stream = watch(&client, json!({"path": "w"})).await;
        // More than every queue on the way holds; different ones, since the kernel joins equal ones.
        client
            .sh("python3 -c '
import os
for n in range(100000):
    open(\"w/\" + \"x\" * 200 + str(n % 100), \"w\").close()
    os.unlink(\"w/\" + \"x\" * 200 + str(n % 100))'")
            .await;
        let named_so = json!({"watcherId": created["watcherId"]});
        let (mut events, error) = loop {
            match client.ask(routes::GET_WATCHER_EVENTS, named_so.clone()).await {
                Ok(answer) => drop(answer),
                Err(error) => break (0, error),
            }
        };
        assert_eq!(error.code, Code::DataLoss, "{error}");
        while stream.next().await.is_some() {
            events += 1;
        }
        assert_eq!(
            stream.outcome().unwrap().as_ref().unwrap_err().code,
            Code::DataLoss,
            "after {events} events"
        );
        assert!(events > 100, "what came before is told");
    });
}

#[test]
fn what_cannot_be_watched_is_refused() {
    with(Strict, async |client| {
        client.sh("echo x >f; mkdir closed; chmod 0 closed; mkfifo p").await;
        for (path, expect) in [
            ("none", Code::NotFound),
            ("f", Code::InvalidArgument),
            ("p", Code::InvalidArgument),
            ("closed", Code::PermissionDenied),
            ("/proc/1/root", Code::PermissionDenied),
            ("~x/y", Code::InvalidArgument),
        ] {
            let mut stream = client.stream(routes::WATCH_DIR, json!({"path": path}));
            assert_eq!(stream.next().await, None, "{path}");
            assert_eq!(stream.outcome().unwrap().as_ref().unwrap_err().code, expect, "{path}");
            let error = client.ask(routes::CREATE_WATCHER, json!({"path": path})).await.unwrap_err();
            assert_eq!(error.code, expect, "{path}: {error}");
        }
        let error =
            client.as_user("root").ask(routes::CREATE_WATCHER, json!({"path": "/tmp"})).await.unwrap_err();
        assert_eq!(error.code, Code::PermissionDenied, "{error}");
        none_is_left(&client).await;
    });
}

#[test]
fn watches_are_kept_alive_end_in_time_and_are_bounded() {
    with(Strict, async |client| {
        let alive = client.with("keepalive-ping-interval", "1").with("connect-timeout-ms", "2500");
        let mut stream = watch(&alive, json!({"path": "/tmp"})).await;
        assert_eq!(stream.next().await, Some(json!({"keepalive": {}})));
        assert_eq!(stream.next().await, Some(json!({"keepalive": {}})));
        assert_eq!(stream.next().await, None);
        assert_eq!(stream.outcome().unwrap().as_ref().unwrap_err().code, Code::DeadlineExceeded);
        let mut open = Vec::new();
        for _ in 0..16 {
            open.push(watch(&client, json!({"path": "/tmp"})).await);
        }
        let error = client.ask(routes::CREATE_WATCHER, json!({"path": "/tmp"})).await.unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted, "{error}");
        drop(open);
        client.ask(routes::CREATE_WATCHER, json!({"path": "/tmp"})).await.unwrap();
        eventually(|| children(&client) == 1).await;
    });
}
