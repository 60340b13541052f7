//! Images made by the tests themselves: layers as tars with any headers, wrapped in each form that is read.
#![allow(dead_code, unreachable_pub, reason = "each user takes its part")]

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// `sha256:` and its digits.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar, entry by entry. Names go into it as they are.
#[derive(Debug, Clone, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    /// A header that can be anything.
    pub fn header(entry_type: EntryType, name: &[u8], link: &[u8], size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(entry_type);
        header.set_size(size);
        header.set_mode(if entry_type == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_cksum();
        header
    }

    pub fn raw(mut self, header: &Header, data: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn named(
        self,
        entry_type: EntryType,
        name: &str,
        link: &str,
        data: &[u8],
        mode: u32,
        owner: u64,
    ) -> Self {
        let mut tar = self;
        if name.len() > 100 {
            tar = tar.raw(
                &Self::header(EntryType::GNULongName, b"././@LongLink", b"", name.len() as u64 + 1),
                &[name.as_bytes(), b"\0"].concat(),
            );
        }
        if link.len() > 100 {
            tar = tar.raw(
                &Self::header(EntryType::GNULongLink, b"././@LongLink", b"", link.len() as u64 + 1),
                &[link.as_bytes(), b"\0"].concat(),
            );
        }
        let short = |text: &str| text.as_bytes()[..text.len().min(100)].to_vec();
        let mut header = Self::header(entry_type, &short(name), &short(link), data.len() as u64);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_cksum();
        tar.raw(&header, data)
    }

    pub fn dir(self, name: &str) -> Self {
        self.named(EntryType::Directory, name, "", b"", 0o755, 0)
    }

    pub fn dir_as(self, name: &str, mode: u32, owner: u64) -> Self {
        self.named(EntryType::Directory, name, "", b"", mode, owner)
    }

    pub fn file(self, name: &str, data: impl AsRef<[u8]>) -> Self {
        self.named(EntryType::Regular, name, "", data.as_ref(), 0o644, 0)
    }

    pub fn file_as(self, name: &str, data: impl AsRef<[u8]>, mode: u32, owner: u64) -> Self {
        self.named(EntryType::Regular, name, "", data.as_ref(), mode, owner)
    }

    pub fn program(self, name: &str, data: impl AsRef<[u8]>) -> Self {
        self.file_as(name, data, 0o755, 0)
    }

    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.named(EntryType::Symlink, name, to, b"", 0o777, 0)
    }

    pub fn link(self, name: &str, to: &str) -> Self {
        self.named(EntryType::Link, name, to, b"", 0o644, 0)
    }

    pub fn special(self, entry_type: EntryType, name: &str) -> Self {
        self.named(entry_type, name, "", b"", 0o666, 0)
    }

    /// A pax header of these records.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.raw(&Self::header(EntryType::XHeader, b"PaxHeaders/x", b"", data.len() as u64), &data)
    }

    /// The whole archive.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A layer as it is stored, its plain form, and the digest of that.
#[derive(Debug, Clone)]
struct Layer {
    stored: Vec<u8>,
    plain: Vec<u8>,
    diff_id: String,
}

/// An image to be: layers, and what the configuration says.
#[derive(Debug, Clone)]
pub struct Image {
    layers: Vec<Layer>,
    pub config: Value,
    pub architecture: String,
    pub name: String,
    pub media_type: String,
}

impl Image {
    /// Of plain layers, lowest first.
    pub fn of(layers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let layer = |plain: Vec<u8>| Layer { diff_id: digest(&plain), stored: plain.clone(), plain };
        Self {
            layers: layers.into_iter().map(layer).collect(),
            config: json!({}),
            architecture: host().to_owned(),
            name: "test:1".to_owned(),
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        }
    }

    pub fn compressed(mut self, how: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        for layer in &mut self.layers {
            layer.stored = how(&layer.plain);
        }
        self
    }

    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Says that the layers are something else than they are.
    pub fn stored_as(mut self, number: usize, bytes: Vec<u8>) -> Self {
        self.layers[number].stored = bytes;
        self
    }

    pub fn document(&self) -> Vec<u8> {
        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let document = json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        serde_json::to_vec(&document).unwrap()
    }

    /// Digest of the configuration.
    pub fn id(&self) -> String {
        digest(&self.document())
    }

    /// Files of a layout, index last.
    pub fn layout(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        let manifest = self.manifest(&mut files);
        files.push((
            "index.json".to_owned(),
            serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [manifest]})).unwrap(),
        ));
        files
    }

    /// Adds the blobs; the descriptor of the manifest.
    pub fn manifest(&self, files: &mut Vec<(String, Vec<u8>)>) -> Value {
        let mut layers = Vec::new();
        for layer in &self.layers {
            layers.push(blob(files, &self.media_type, &layer.stored));
        }
        let config = blob(files, "application/vnd.oci.image.config.v1+json", &self.document());
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        let mut descriptor = blob(
            files,
            "application/vnd.oci.image.manifest.v1+json",
            &serde_json::to_vec(&manifest).unwrap(),
        );
        descriptor["annotations"] = json!({"io.containerd.image.name": self.name});
        descriptor
    }

    /// Files as `docker save` wrote them before it wrote layouts.
    pub fn saved(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let mut layers = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            let name = format!("{number:064x}/layer.tar");
            files.push((name.clone(), layer.stored.clone()));
            layers.push(name);
        }
        let config = format!("{}.json", self.id().trim_start_matches("sha256:"));
        files.push((config.clone(), self.document()));
        let manifest = json!([{"Config": config, "RepoTags": [self.name], "Layers": layers}]);
        files.push(("manifest.json".to_owned(), serde_json::to_vec(&manifest).unwrap()));
        files
    }

    /// Files as `docker save` writes them now: a layout, with the old manifest beside it.
    pub fn saved_now(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = self.layout();
        let path = |bytes: &[u8]| format!("blobs/sha256/{}", digest(bytes).trim_start_matches("sha256:"));
        let layers: Vec<String> = self.layers.iter().map(|layer| path(&layer.stored)).collect();
        let manifest = json!([{"Config": path(&self.document()), "RepoTags": [self.name], "Layers": layers}]);
        files.push(("manifest.json".to_owned(), serde_json::to_vec(&manifest).unwrap()));
        files
    }
}

/// Adds a blob; its descriptor.
pub fn blob(files: &mut Vec<(String, Vec<u8>)>, media_type: &str, bytes: &[u8]) -> Value {
    let digest = digest(bytes);
    files.push((format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")), bytes.to_vec()));
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// Files as a tar.
pub fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    files.iter().fold(Tar::new(), |tar, (name, bytes)| tar.file(name, bytes)).end()
}

/// Files in a directory.
pub fn write(files: &[(String, Vec<u8>)], directory: &Path) {
    for (name, bytes) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// This host's architecture as images name it.
pub fn host() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}
