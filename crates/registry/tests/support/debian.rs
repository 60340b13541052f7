//! Debian's `docker-registry`, started for one test on a port of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::image::{Image, digest};

/// What it wants to know of those who ask.
#[derive(Default)]
pub struct With {
    /// Name and password: [`USER`] and [`PASSWORD`].
    pub auth: bool,
    pub tls: bool,
}

pub const USER: &str = "tester";
pub const PASSWORD: &str = "pass:word";
/// As `htpasswd -nbB tester pass:word` wrote it.
const HTPASSWD: &str = "tester:$2y$05$TcfwXo669JRb2wGf6.hZBeuTSr15waFjC71gUBTNCv/zDCeKehGKO\n";

pub struct Registry {
    process: Child,
    directory: tempfile::TempDir,
    /// Host and port.
    pub name: String,
    scheme: &'static str,
    auth: bool,
}

impl Registry {
    /// `None` where it is not installed.
    pub fn start(with: With) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:0\n",
            path("data")
        );
        if with.tls {
            let made =
                rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
            fs::write(path("cert.pem"), made.cert.pem()).unwrap();
            fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
            config += &format!("  tls: {{certificate: {}, key: {}}}\n", path("cert.pem"), path("key.pem"));
        }
        if with.auth {
            fs::write(path("htpasswd"), HTPASSWD).unwrap();
            config += &format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", path("htpasswd"));
        }
        fs::write(path("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.args(["serve", &path("config.yml")]).stdout(Stdio::null()).stderr(Stdio::piped());
        let Ok(mut process) = command.spawn() else {
            assert!(std::env::var_os("CI").is_none(), "docker-registry is installed where tests run");
            println!("SKIPPED a test: no docker-registry (apt-get install docker-registry)");
            return None;
        };
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it listened");
            if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                break rest.chars().take_while(char::is_ascii_digit).collect::<String>();
            }
        };
        // Or it would block when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let name = format!("127.0.0.1:{port}");
        Some(Self {
            process,
            directory,
            name,
            scheme: if with.tls { "https" } else { "http" },
            auth: with.auth,
        })
    }

    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// Pushes an image as REPOSITORY:TAG; the digest of its manifest.
    pub fn push(&self, image: &Image, repository: &str, tag: &str) -> String {
        let mut files = Vec::new();
        let descriptor = image.manifest(&mut files);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (manifest, blobs) = files.split_last().unwrap();
            for (_, bytes) in blobs {
                self.put_blob(repository, bytes).await;
            }
            let mut document: Value = serde_json::from_slice(&manifest.1).unwrap();
            document["mediaType"] = descriptor["mediaType"].clone();
            let bytes = serde_json::to_vec(&document).unwrap();
            let (url, kind) =
                (self.url(repository, &format!("manifests/{tag}")), descriptor["mediaType"].as_str());
            let answer = self.request("PUT", &url).header("content-type", kind.unwrap()).body(bytes.clone());
            assert_eq!(answer.send().await.unwrap().status(), 201);
            digest(&bytes)
        })
    }

    /// Where its bytes are, to be damaged.
    pub fn blob_on_disk(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.directory.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    fn url(&self, repository: &str, part: &str) -> String {
        format!("{}://{}/v2/{repository}/{part}", self.scheme, self.name)
    }

    async fn put_blob(&self, repository: &str, bytes: &[u8]) {
        let started = self.request("POST", &self.url(repository, "blobs/uploads/")).send().await.unwrap();
        let to = started.headers()["location"].to_str().unwrap();
        let to = format!("{to}{}digest={}", if to.contains('?') { "&" } else { "?" }, digest(bytes));
        let answer = self.request("PUT", &to).body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    }

    fn request(&self, method: &str, url: &str) -> reqwest::RequestBuilder {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder().no_proxy();
        if self.scheme == "https" {
            let pem = fs::read(self.certificate()).unwrap();
            http = http.tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]);
        } else {
            http = http.tls_certs_only([]);
        }
        let request = http.build().unwrap().request(method.parse().unwrap(), url);
        if self.auth { request.basic_auth(USER, Some(PASSWORD)) } else { request }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
