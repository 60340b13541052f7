use super::*;
use std::io::Write as _;

fn collect(sources: &Sources) -> Result<Config, Problem> {
    Config::of(&Values::collect(sources)?)
}

fn flags(pairs: &[(&'static str, &str)]) -> Sources {
    Sources {
        flags: pairs.iter().map(|(key, text)| (*key, (*text).to_owned())).collect(),
        ..Sources::default()
    }
}

fn file(text: &str) -> (tempfile::NamedTempFile, Sources) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    (file, sources)
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[track_caller]
fn refuses(sources: &Sources, says: &str) {
    let problem = collect(sources).expect_err(says);
    assert_eq!(problem.code, ErrorCode::ConfigInvalid, "{problem}");
    assert!(problem.to_string().contains(says), "{problem}");
}

#[test]
fn nothing_said_is_safe() {
    let config = collect(&Sources::default()).unwrap();
    assert_eq!(config.listen, "127.0.0.1:8000".parse().unwrap());
    assert!(!config.insecure_no_auth && config.tls.is_none() && config.metrics_listen.is_none());
    assert!(
        config.cors_origins.is_empty() && config.trusted_proxies.is_empty() && config.base_path.is_empty()
    );
    assert_eq!((config.limits.body, config.drain_timeout), (20 << 20, Duration::from_secs(10)));
    let waits = Duration::from_millis(300_000);
    assert!(config.limits.answer_timeout > waits, "a wait of five minutes is answered");
}

#[test]
fn the_nearest_source_wins_and_is_named() {
    let (_file, mut sources) =
        file("listen = \"127.0.0.1:1\"\nbase_path = \"/a\"\n[limits]\nbody = 1024\nrequests = 3\n");
    sources.environment =
        environment(&[("SANDKEEP_LISTEN", "127.0.0.1:2"), ("SANDKEEP_LIMITS_BODY", "2Ki"), ("PATH", "/")]);
    sources.flags = vec![("listen", "127.0.0.1:3".to_owned())];
    let values = Values::collect(&sources).unwrap();
    let origin = |key: &str| values.shown().find(|row| row.0.key == key).map(|row| (row.1.to_owned(), row.2));
    assert_eq!(origin("listen"), Some(("127.0.0.1:3".to_owned(), Origin::Flag)));
    assert_eq!(origin("limits.body"), Some(("2Ki".to_owned(), Origin::Environment)));
    assert_eq!(origin("base_path"), Some(("/a".to_owned(), Origin::File)));
    assert_eq!(origin("limits.requests"), Some(("3".to_owned(), Origin::File)));
    assert_eq!(origin("log.level"), Some(("info".to_owned(), Origin::Default)));
}

#[test]
fn what_is_unknown_is_refused_with_what_was_meant() {
    for (text, says) in [
        ("lisen = \"x\"", "`lisen` is not a setting; write listen"),
        ("[limits]\nbodie = 1", "`limits.bodie` is not a setting; write limits.bod"),
        ("[limit]\nbody = 1", "`limit` is not a setting"),
        ("listen = 1.5", "listen: is a float"),
        ("listen = [[1]]", "listen: is a array"),
        ("listen = \"x", "is not TOML"),
        ("base_path_file = \"/x\"", "`base_path_file` is not a setting"),
    ] {
        refuses(&file(text).1, says);
    }
    let sources = Sources { environment: environment(&[("SANDKEEP_LISTN", "x")]), ..Sources::default() };
    refuses(&sources, "SANDKEEP_LISTN: `listn` is not a setting; write listen");
    let missing = Sources { file: Some("/no/such/file".into()), ..Sources::default() };
    refuses(&missing, "/no/such/file cannot be read");
    let elsewhere = Sources {
        environment: environment(&[("SANDKEEP_URL", "x")]),
        not_settings: vec!["SANDKEEP_URL".to_owned()],
        ..Sources::default()
    };
    assert!(collect(&elsewhere).is_ok());
}

#[test]
fn every_value_is_read_or_refused_with_its_key() {
    let cases = [
        ("listen", "localhost:8000"),
        ("listen", ""),
        ("insecure_no_auth", "yes"),
        ("trusted_proxies", "10.0.0.0/8,x"),
        ("base_path", "keep"),
        ("base_path", "/a//b"),
        ("base_path", "/.."),
        ("base_path", "/{a}"),
        ("cors.origins", "*"),
        ("cors.origins", "https://a/b"),
        ("metrics.listen", "9000"),
        ("log.format", "xml"),
        ("log.level", "info,sqlx=loud"),
        ("limits.body", "12q"),
        ("limits.header", "1Ki"),
        ("limits.header_timeout", "10"),
        ("limits.body_timeout", "0s"),
        ("sandbox_life", "0s"),
        ("keep.executions", "40000d"),
        ("keep.executions", "23h"),
        ("keep.events", "30"),
        ("limits.answer_timeout", "2d"),
        ("limits.requests", "0"),
        ("limits.connections", "-1"),
        ("limits.caller_changes", "-1"),
        ("limits.wrong_keys", "off"),
        ("drain_timeout", "x"),
    ];
    for (key, text) in cases {
        refuses(&flags(&[(key, text)]), &format!("{key}: "));
    }
    refuses(&flags(&[("keep.sandboxes", "1h")]), "keep.sandboxes: `1h` is shorter than keep.executions");
    let config = collect(&flags(&[
        ("base_path", "/keep/"),
        ("cors.origins", "https://a.example, http://b:3000"),
        ("trusted_proxies", "10.0.0.0/8,::1"),
        ("log.level", "info,sqlx=warn"),
    ]));
    let config = config.unwrap();
    assert_eq!(
        (config.base_path.as_str(), config.cors_origins.len(), config.trusted_proxies.len()),
        ("/keep", 2, 2)
    );
}

#[test]
fn what_is_reached_from_elsewhere_is_encrypted_or_says_that_it_is_not() {
    let elsewhere = ("listen", "0.0.0.0:8000");
    let files = [("tls.cert_file", "c"), ("tls.key_file", "k")];
    refuses(&flags(&[elsewhere]), "nothing is encrypted");
    refuses(&flags(&[("listen", "[::]:8000")]), "nothing is encrypted");
    refuses(&flags(&[("metrics.listen", "0.0.0.0:9000")]), "is not encrypted");
    refuses(&flags(&files[..1]), "only one of certificate and key");
    refuses(
        &flags(&[elsewhere, ("insecure_listen", "true"), ("insecure_no_auth", "true")]),
        "insecure_no_auth is on",
    );
    refuses(&flags(&[elsewhere, files[0], files[1], ("insecure_no_auth", "true")]), "insecure_no_auth is on");
    assert!(collect(&flags(&[elsewhere, ("insecure_listen", "true")])).is_ok());
    assert!(collect(&flags(&[elsewhere, files[0], files[1]])).is_ok());
    assert!(collect(&flags(&[("insecure_no_auth", "true")])).is_ok());
    assert!(collect(&flags(&[("listen", "[::1]:0")])).is_ok());
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let (secret, _) = file("postgres://u:hunter2@h/d\n");
    let path = secret.path().display().to_string();
    let by_file =
        Sources { environment: environment(&[("SANDKEEP_DATABASE_URL_FILE", &path)]), ..Sources::default() };
    let (_file, by_toml) = file(&format!("database_url_file = {path:?}"));
    let by_flag = flags(&[("database_url", "postgres://u:hunter2@h/d")]);
    for sources in [by_file, by_toml, by_flag] {
        let values = Values::collect(&sources).unwrap();
        let config = Config::of(&values).unwrap();
        assert_eq!(config.database_url.as_ref().unwrap().reveal(), "postgres://u:hunter2@h/d");
        let shown: Vec<_> = values.shown().map(|row| row.1.to_owned()).collect();
        for text in [format!("{values:?}"), format!("{config:?}"), shown.join(" ")] {
            assert!(!text.contains("hunter2") && text.contains("(secret)"), "{text}");
        }
    }
}
