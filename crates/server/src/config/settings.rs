//! What can be set: the one list.

use sandkeep_core::defaults::PYTHON_MODULES;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name, dotted as TOML nests it.
    pub key: &'static str,
    /// The value when nobody says otherwise; empty for none.
    pub default: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Never shown; may also come from a file, under the same key with `_file` behind it.
    pub secret: bool,
}

const fn setting(key: &'static str, default: &'static str, what: &'static str) -> Setting {
    Setting { key, default, what, secret: false }
}

const fn secret(key: &'static str, what: &'static str) -> Setting {
    Setting { key, default: "", what, secret: true }
}

/// Every setting of a server, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    // Its default depends on who runs the server: see `default_data_dir`.
    setting("data_dir", "", "keys, lock, output and, without database_url, the database"),
    secret("database_url", "PostgreSQL instead of SQLite in data_dir"),
    setting("listen", "127.0.0.1:8000", "where requests come in"),
    setting("insecure_listen", "false", "listen elsewhere than on loopback without TLS"),
    setting("insecure_no_auth", "false", "whoever reaches the server may use it; on loopback only"),
    setting("tls.cert_file", "", "certificate chain in PEM; read again when it changes"),
    setting("tls.key_file", "", "its key in PEM"),
    setting("trusted_proxies", "", "addresses or ranges whose X-Forwarded-For is believed"),
    setting("base_path", "", "in front of every path, like /sandkeep"),
    setting("cors.origins", "", "origins whose pages may call the API from a browser"),
    setting("metrics.listen", "", "a listener of its own for /metrics"),
    setting("log.format", "text", "text or json"),
    setting("log.level", "info", "which lines are written, like info or info,sqlx=warn"),
    // Code and event have 8 MiB each; text of JSON is longer than what it stands for.
    setting("limits.body", "20Mi", "largest body of a request"),
    setting("limits.bodies", "256Mi", "bodies that are being read, together"),
    setting("limits.header", "32Ki", "largest head of a request"),
    setting("limits.header_timeout", "10s", "for the head of a request, and for an idle connection"),
    setting("limits.body_timeout", "30s", "for the body of a request"),
    setting("limits.write_timeout", "30s", "for a peer to take any byte of an answer"),
    // Longer than any `?timeout_ms=` of a wait, which is five minutes.
    setting("limits.answer_timeout", "310s", "for the head of an answer"),
    setting("limits.requests", "512", "requests of the API at once"),
    setting("limits.connections", "4096", "connections at once"),
    // Half of the above: one caller alone leaves room for others.
    setting("limits.caller_requests", "256", "of one caller, requests at once; 0 for no bound"),
    setting(
        "limits.caller_open",
        "2048",
        "of one caller, requests with waits and streams at once; 0 for no bound",
    ),
    setting(
        "limits.caller_changes",
        "1000",
        "changes that one caller may ask for in a second; 0 for no bound",
    ),
    setting("limits.wrong_keys", "100", "wrong keys looked at in a second from one address; 0 for no bound"),
    setting("sandbox_life", "6h", "how long an ephemeral sandbox lives at most"),
    setting("keep.executions", "14d", "how long ended executions are kept, with their output"),
    setting("keep.sandboxes", "30d", "how long it is known of ended sandboxes what they were"),
    setting("keep.events", "30d", "how far back the feed of events reaches"),
    setting("keep.audit", "400d", "how long the audit log is kept"),
    setting("drain_timeout", "10s", "how long a shutdown waits for what is open"),
    setting("orphan_after", "10m", "how long sandboxes go on while no server is there"),
    setting("python.warm", "true", "run Python in forks of an interpreter that each sandbox keeps ready"),
    setting("python.modules", PYTHON_MODULES, "what that interpreter has imported"),
    setting("end_sandboxes", "false", "a shutdown ends all sandboxes, and leaves none to the next start"),
];
