//! Registries that are broken or mean harm: each is refused by name, in bounded time, and nothing of it is left.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail like tests")]

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sandkeep_core::code::ErrorCode;
use serde_json::json;
use support::image::{Image, Tar, digest};
use support::server::{Asked, Files, Server, endless, respond};
use support::{Place, derived};

const NOW: Duration = Duration::ZERO;

fn is_blob(asked: &Asked) -> bool {
    asked.line.contains("/blobs/")
}

/// A registry whose blobs are answered like this.
fn blobs(answer: impl Fn(usize, &mut TcpStream) + Send + Sync + 'static) -> Server {
    Server::of(&derived("one"), move |asked, number, stream| {
        let is = is_blob(asked);
        if is {
            answer(number, stream);
        }
        is
    })
}

#[track_caller]
fn refused(server: &Server, code: ErrorCode, words: &str) {
    let began = Instant::now();
    Place::new().refused(&format!("{}/one:1", server.name), code, words);
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
}

#[test]
fn the_server_of_these_tests_serves() {
    let server = Server::of(&derived("one"), |_, _, _| false);
    assert_eq!(Place::new().ready(&format!("{}/one:1", server.name)), (2, 0));
}

#[test]
fn wrong_bytes_are_refused() {
    let server = blobs(|_, stream| respond(stream, "200 OK", &[], b"{}"));
    refused(&server, ErrorCode::RegistryInvalid, "something else than sha256:");
    // A manifest that is not what its tag was said to be.
    let server = Server::of(&derived("one"), |asked, _, stream| {
        let wanted = asked.line.starts_with("HEAD");
        if wanted {
            respond(stream, "200 OK", &[("docker-content-digest", &digest(b"other"))], b"");
        }
        wanted
    });
    refused(&server, ErrorCode::ImageUnknown, "has no");
    let server = Server::start(|asked, _, stream| {
        let header = [("docker-content-digest", digest(b"other"))].map(|(name, value)| (name, value));
        let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
        respond(stream, "200 OK", &headers, if asked.line.starts_with("HEAD") { b"" } else { b"{}" });
    });
    refused(&server, ErrorCode::RegistryInvalid, "something else than");
    let server = Server::start(|_, _, stream| {
        respond(stream, "200 OK", &[("docker-content-digest", "sha256:../..")], b"")
    });
    refused(&server, ErrorCode::RegistryInvalid, "a digest that is none");
    let server = Server::start(|asked, _, stream| {
        let text = format!("\x1b[2J{}", asked.line);
        respond(stream, "418 Teapot", &[], text.as_bytes());
    });
    refused(&server, ErrorCode::RegistryInvalid, "status 418");
}

#[test]
fn too_many_bytes_are_refused() {
    // A configuration, a manifest, and an error without an end.
    refused(
        &blobs(|_, stream| endless(stream, &[b' '; 65_536], NOW)),
        ErrorCode::RegistryInvalid,
        "sends more than",
    );
    let server = Server::start(|asked, _, stream| match asked.line.starts_with("HEAD") {
        true => respond(stream, "200 OK", &[], b""),
        false => endless(stream, &[b' '; 65_536], NOW),
    });
    refused(&server, ErrorCode::RegistryInvalid, "sends more than the 4194304 bytes");
    // A layer that is longer than was said; the configuration before it is fine.
    let image = derived("one");
    let config = digest(&image.document());
    let server = Server::of(&image, move |asked, _, stream| {
        let is = is_blob(asked) && !asked.line.ends_with(&config);
        if is {
            endless(stream, &[0; 65_536], NOW);
        }
        is
    });
    refused(&server, ErrorCode::RegistryInvalid, "sends more than");
    let server = Server::start(|_, _, stream| {
        let _gone = stream.write_all(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n");
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    refused(&server, ErrorCode::ImageUnknown, "has no");
}

#[test]
fn what_is_too_slow_is_given_up() {
    let hold = |stream: &mut TcpStream| {
        let mut byte = [0];
        // Until the other side has had enough.
        let _ended = std::io::Read::read(stream, &mut byte);
    };
    refused(&Server::start(move |_, _, stream| hold(stream)), ErrorCode::RegistryUnavailable, "too slow");
    refused(&blobs(move |_, stream| hold(stream)), ErrorCode::RegistryUnavailable, "too slow");
    // A byte now and then is no silence.
    let image = Image::of([Tar::new().file("large", vec![7; 1 << 20]).end()]);
    let config = digest(&image.document());
    let server = Server::of(&image, move |asked, _, stream| {
        let is = is_blob(asked) && !asked.line.ends_with(&config);
        if is {
            endless(stream, b"x", Duration::from_millis(100));
        }
        is
    });
    refused(&server, ErrorCode::RegistryUnavailable, "too slow");
    let server = Server::start(|_, _, stream| {
        while stream.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    refused(&server, ErrorCode::RegistryUnavailable, "");
}

#[test]
fn what_may_pass_is_tried_again() {
    for (status, header) in [
        ("500 Oops", ("x", "y")),
        ("503 Later", ("retry-after", "0")),
        ("429 Slow down", ("retry-after", "0")),
    ] {
        let server = Server::of(&derived("one"), move |_, number, stream| {
            let is = number % 2 == 0;
            if is {
                respond(stream, status, &[header], b"");
            }
            is
        });
        assert_eq!(Place::new().ready(&format!("{}/one:1", server.name)), (2, 0), "{status}");
        let server = Server::start(move |_, _, stream| respond(stream, status, &[header], b""));
        refused(&server, ErrorCode::RegistryUnavailable, &status[..3]);
        assert_eq!(server.asked.lock().unwrap().len(), 4, "{status}");
    }
    // A wish to be asked in a year is no reason to wait for a year; that it is bounded is seen from a second's wish.
    let server = Server::of(&derived("one"), |_, number, stream| {
        let is = number == 0;
        if is {
            respond(stream, "429 Slow down", &[("retry-after", "1")], b"");
        }
        is
    });
    let began = Instant::now();
    assert_eq!(Place::new().ready(&format!("{}/one:1", server.name)), (2, 0));
    assert!(began.elapsed() >= Duration::from_secs(1), "it was not waited");
}

#[test]
fn a_blob_that_breaks_off_begins_anew() {
    let image = derived("one");
    let config = digest(&image.document());
    let files = Files::of(&image);
    let broken = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |asked, _, stream| {
        let is = is_blob(asked) && !asked.line.ends_with(&config);
        if is && broken.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 {
            let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
        } else {
            files.answer(asked, stream);
        }
    });
    assert_eq!(Place::new().ready(&format!("{}/one:1", server.name)), (2, 0));
    let server = blobs(|_, stream| {
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    });
    refused(&server, ErrorCode::RegistryUnavailable, "breaks off");
}

#[test]
fn redirects_are_few() {
    let server = Server::start(|asked, _, stream| {
        let again = format!("{}x", asked.line.split_once(' ').unwrap().1);
        respond(stream, "307 Temporary Redirect", &[("location", &again)], b"");
    });
    refused(&server, ErrorCode::RegistryInvalid, "in circles");
    assert!(server.asked.lock().unwrap().len() <= 8);
}

#[test]
fn credentials_stay_where_they_belong() {
    let image = derived("one");
    let files = Files::of(&image);
    let other = Server::of(&image, |_, _, _| false);
    let to = other.name.clone();
    // It wants a password, and has its blobs elsewhere.
    let server = Server::start(move |asked, _, stream| {
        if !asked.headers.contains_key("authorization") {
            respond(stream, "401 Unauthorized", &[("www-authenticate", "Basic realm=\"x\"")], b"");
        } else if is_blob(asked) {
            let path = asked.line.split_once(' ').unwrap().1;
            respond(stream, "307 Temporary Redirect", &[("location", &format!("http://{to}{path}"))], b"");
        } else {
            files.answer(asked, stream);
        }
    });
    let place = Place::new();
    place.login(&server.name, "me", "secret");
    assert_eq!(place.ready(&format!("{}/one:1", server.name)), (2, 0));
    let asked = other.asked.lock().unwrap();
    assert!(
        asked.len() == 3 && asked.iter().all(|asked| !asked.headers.contains_key("authorization")),
        "{asked:?}"
    );
}

/// A registry with a token service beside it, which answers like this.
fn with_tokens(service: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> (Server, Server) {
    let service = Server::start(move |asked, _, stream| service(asked, stream));
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"tests\"", service.name);
    let files = Files::of(&derived("one"));
    let server = Server::start(move |asked, _, stream| match asked.headers.get("authorization") {
        Some(shown) if shown == "Bearer good" => files.answer(asked, stream),
        _ => respond(stream, "401 Unauthorized", &[("www-authenticate", &challenge)], b""),
    });
    (server, service)
}

#[test]
fn tokens_are_fetched_as_nobody_and_as_somebody() {
    let (server, service) = with_tokens(|_, stream| respond(stream, "200 OK", &[], br#"{"token": "good"}"#));
    assert_eq!(Place::new().ready(&format!("{}/one:1", server.name)), (2, 0));
    let asked = service.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "one token for all");
    assert!(asked[0].line.contains("scope=repository%3Aone%3Apull&service=tests"), "{asked:?}");
    assert!(!asked[0].headers.contains_key("authorization"));
    let (server, service) =
        with_tokens(|_, stream| respond(stream, "200 OK", &[], br#"{"access_token": "good"}"#));
    let place = Place::new();
    place.login(&server.name, "me", "secret");
    assert_eq!(place.ready(&format!("{}/one:1", server.name)), (2, 0));
    assert!(service.asked.lock().unwrap()[0].headers["authorization"].starts_with("Basic "));
    // A token from which others are made goes in a body, where no log has it.
    place.write(
        ".docker/config.json",
        &json!({"auths": {&server.name: {"identitytoken": "refresh"}}}).to_string(),
    );
    drop(place.pull(&format!("{}/one:1", server.name)).unwrap());
    assert!(service.asked.lock().unwrap()[1].line.starts_with("POST /token"));
    assert_eq!(service.asked_for("refresh"), 0);
}

#[test]
fn token_services_are_as_hostile_as_registries() {
    type Answer = fn(&Asked, &mut TcpStream);
    let cases: [(Answer, ErrorCode, &str); 6] = [
        (|_, stream| respond(stream, "200 OK", &[], b"{}"), ErrorCode::RegistryInvalid, "no token"),
        (
            |_, stream| respond(stream, "200 OK", &[], br#"{"token": "a\nb: c"}"#),
            ErrorCode::RegistryInvalid,
            "a token that is none",
        ),
        (
            |_, stream| respond(stream, "200 OK", &[], br#"{"token": "bad"}"#),
            ErrorCode::RegistryDenied,
            "docker login",
        ),
        (|_, stream| respond(stream, "401 No", &[], b""), ErrorCode::RegistryDenied, "docker login"),
        (|_, stream| endless(stream, &[b' '; 65_536], NOW), ErrorCode::RegistryInvalid, "sends more than"),
        (
            |_, stream| endless(stream, b" ", Duration::from_millis(200)),
            ErrorCode::RegistryUnavailable,
            "too slow",
        ),
    ];
    for (answer, code, words) in cases {
        refused(&with_tokens(answer).0, code, words);
    }
}

#[test]
fn what_is_for_other_machines_is_unsupported() {
    let image = derived("one");
    let mut files = Vec::new();
    let mut manifest = image.manifest(&mut files);
    let index = |platforms: &[(&str, &str)], manifest: &mut serde_json::Value| {
        let list: Vec<_> = platforms
            .iter()
            .map(|(os, architecture)| {
                manifest["platform"] = json!({"os": os, "architecture": architecture});
                manifest.clone()
            })
            .collect();
        serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": list})).unwrap()
    };
    let serve = |document: Vec<u8>| {
        let files = Files::of(&derived("one")).led_by(&document);
        Server::start(move |asked, _, stream| files.answer(asked, stream))
    };
    let host = support::image::host();
    let server = serve(index(&[("unknown", "unknown"), ("linux", "mips"), ("linux", host)], &mut manifest));
    assert_eq!(Place::new().ready(&format!("{}/one:1", server.name)), (2, 0));
    let server = serve(index(&[("linux", "mips"), ("windows", host)], &mut manifest));
    refused(&server, ErrorCode::ImageUnsupported, "is for linux/mips");
    refused(&serve(index(&[], &mut manifest)), ErrorCode::ImageUnsupported, "no platform");
    refused(
        &serve(br#"{"schemaVersion": 1, "fsLayers": []}"#.to_vec()),
        ErrorCode::ImageUnsupported,
        "not understood",
    );
    let mut two = manifest;
    two["config"] = json!({});
    two["manifests"] = json!([]);
    refused(&serve(serde_json::to_vec(&two).unwrap()), ErrorCode::ImageInvalid, "at once");
    refused(&serve(b"[".to_vec()), ErrorCode::ImageInvalid, "is not what it should be");
}

#[test]
fn an_image_that_cannot_be_unpacked_leaves_nothing() {
    let layers = [support::base(), Tar::new().file("../out", "x").end()];
    let server = Server::of(&Image::of(layers), |_, _, _| false);
    let place = Place::new();
    let pulled = place.pull(&format!("{}/one:1", server.name)).unwrap();
    let refused = place.store().ready(&pulled.source, &pulled.image, || ()).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ImageInvalid, "{refused}");
    drop(pulled);
    place.assert_empty();
}

#[test]
fn sizes_that_cannot_be_are_refused_before_they_are_fetched() {
    let image = derived("one");
    let (mut files, mut documents) = (Vec::new(), Vec::new());
    image.manifest(&mut files);
    let manifest: serde_json::Value = serde_json::from_slice(&files.last().unwrap().1).unwrap();
    for (place, size) in [("config", 1_u64 << 30), ("layers", 1 << 50), ("layers", u64::MAX)] {
        let mut manifest = manifest.clone();
        let of = if place == "config" { &mut manifest["config"] } else { &mut manifest["layers"][0] };
        of["size"] = json!(size);
        documents.push(serde_json::to_vec(&manifest).unwrap());
    }
    let mut many = manifest.clone();
    many["layers"] = json!(vec![manifest["layers"][0].clone(); 600]);
    documents.push(serde_json::to_vec(&many).unwrap());
    for document in documents {
        let files = Files::of(&image).led_by(&document);
        let server = Server::start(move |asked, _, stream| files.answer(asked, stream));
        refused(&server, ErrorCode::ImageTooLarge, "");
        assert!(server.asked_for("/blobs/") <= 1, "a layer was asked for");
    }
}
