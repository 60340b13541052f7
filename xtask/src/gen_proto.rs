//! `.proto` files to committed Rust, without `protoc`: protox compiles, buffa writes the messages, and the
//! paths of the methods are written here (buffa knows messages only).
//!
//! The services other clients speak get JSON as well; ours are binary only, which halves their code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use buffa_codegen::generated::descriptor::{FileDescriptorProto, FileDescriptorSet};
use buffa_codegen::{CodeGenConfig, IncludeMode, MapRepr, generate_module_tree};

/// What is compiled, and whether its messages can be read and written as proto-JSON.
const FILES: &[(&str, bool)] = &[
    ("process/process.proto", true),
    ("filesystem/filesystem.proto", true),
    ("sandkeep/supervisor/v1/supervisor.proto", false),
    ("sandkeep/agent/v1/agent.proto", false),
];

/// Name of a generated file to its text.
type Outputs = BTreeMap<String, String>;

/// Writes the generated files and removes those that no longer belong.
pub(crate) fn write() -> Result<()> {
    let outputs = generate()?;
    let dir = output_dir();
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for name in present(&dir)?.difference(&outputs.keys().cloned().collect()) {
        fs::remove_file(dir.join(name)).with_context(|| format!("remove stale {name}"))?;
    }
    for (name, text) in &outputs {
        fs::write(dir.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

/// Fails, naming the files, when the committed code differs from what the `.proto` files give.
pub(crate) fn check() -> Result<()> {
    let outputs = generate()?;
    let dir = output_dir();
    let mut names = present(&dir)?;
    names.extend(outputs.keys().cloned());
    let stale: Vec<&String> = names
        .iter()
        .filter(|name| fs::read_to_string(dir.join(name)).ok() != outputs.get(*name).cloned())
        .collect();
    if !stale.is_empty() {
        bail!("generated code is out of date: {stale:?}; run `cargo xtask gen-proto` and commit the result");
    }
    Ok(())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn output_dir() -> PathBuf {
    repository().join("crates/protocol/src/gen")
}

fn present(dir: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn generate() -> Result<Outputs> {
    let files = compile()?;
    let mut outputs = Outputs::new();
    let mut tree = Vec::new();
    for (proto, json) in FILES {
        let wanted = [(*proto).to_owned()];
        for file in buffa_codegen::generate(&files, &wanted, &config(*json))
            .with_context(|| format!("generate {proto}"))?
        {
            tree.push((file.name.clone(), file.package.clone()));
            outputs.insert(file.name, file.content);
        }
    }
    let tree = generate_module_tree(&tree, IncludeMode::Relative(""), false);
    outputs.insert("mod.rs".to_owned(), format!("{tree}\n{}", routes(&files)));
    Ok(outputs)
}

/// Compiles all files (and what they import), with comments kept for the generated documentation.
fn compile() -> Result<Vec<FileDescriptorProto>> {
    let include = repository().join("crates/protocol/proto");
    let mut compiler = protox::Compiler::new([&include])?;
    compiler.include_imports(true).include_source_info(true);
    for (proto, _) in FILES {
        compiler.open_file(proto).with_context(|| format!("compile {proto}"))?;
    }
    let bytes = compiler.encode_file_descriptor_set();
    let set: FileDescriptorSet = buffa_codegen::tooling_decode_options()
        .map_err(anyhow::Error::msg)?
        .decode_from_slice(&bytes)
        .context("read the descriptors that protox wrote")?;
    Ok(set.file)
}

/// Owned messages only, small: no borrowed views, no reflection, no setters, nothing kept of unknown fields.
/// Maps are ordered, so that equal messages have equal bytes.
fn config(json: bool) -> CodeGenConfig {
    let mut config = CodeGenConfig::default();
    config.generate_views = false;
    config.preserve_unknown_fields = false;
    config.generate_json = json;
    config.emit_register_fn = false;
    config.generate_with_setters = false;
    config.file_per_package = true;
    config.map_fields = vec![(".".to_owned(), MapRepr::BTreeMap)];
    config
}

/// A constant per method: its path, as it stands in the head of a stream and in a URL.
fn routes(files: &[FileDescriptorProto]) -> String {
    let mut out = String::from("/// Paths of all methods, `/package.Service/Method`.\npub mod routes {\n");
    for file in files {
        let package = file.package.as_deref().unwrap_or_default();
        for service in &file.service {
            let name = service.name.as_deref().unwrap_or_default();
            let _ = writeln!(
                out,
                "    /// Of the service `{package}.{name}`.\n    pub mod {} {{",
                screaming(name).to_lowercase()
            );
            for method in &service.method {
                let method_name = method.name.as_deref().unwrap_or_default();
                let shape = match (method.client_streaming, method.server_streaming) {
                    (Some(true), Some(true)) => "streams both ways",
                    (Some(true), _) => "streams requests",
                    (_, Some(true)) => "streams responses",
                    _ => "unary",
                };
                let constant = screaming(method_name);
                let _ = writeln!(out, "        /// {method_name}: {shape}.");
                let _ = writeln!(
                    out,
                    "        pub const {constant}: &str = \"/{package}.{name}/{method_name}\";"
                );
            }
            out.push_str("    }\n");
        }
    }
    out.push_str("}\n");
    out
}

/// `SendInput` to `SEND_INPUT`.
fn screaming(name: &str) -> String {
    let mut out = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_code_is_what_the_proto_files_give() {
        super::check().unwrap();
    }

    #[test]
    fn constants_are_named_after_methods() {
        for (method, constant) in [("List", "LIST"), ("SendInput", "SEND_INPUT"), ("ListDir", "LIST_DIR")] {
            assert_eq!(super::screaming(method), constant);
        }
    }
}
