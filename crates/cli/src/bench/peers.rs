//! What else could have been used: each peer runs `true` once per call, or says why it cannot be compared.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::floor::Floor;

/// Something to compare with.
#[derive(Debug)]
pub(crate) enum Peer {
    /// A plain process with its output piped and read.
    Spawn,
    /// The same of a static program that does nothing.
    SmallSpawn(PathBuf),
    /// The kernel's part of a sandbox like ours.
    Floor(Floor),
    /// The same with a static program in it.
    StaticFloor(Floor),
    Bubblewrap,
    Runc(Bundle),
    Docker {
        image: String,
    },
}

/// A bundle for runc in a directory of its own, removed with it.
#[derive(Debug)]
pub(crate) struct Bundle {
    directory: PathBuf,
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.directory);
    }
}

impl Peer {
    /// Its name in JSON; in tables with spaces.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Spawn => "bare_spawn",
            Self::SmallSpawn(_) => "small_spawn",
            Self::Floor(_) => "floor",
            Self::StaticFloor(_) => "floor_static",
            Self::Bubblewrap => "bwrap",
            Self::Runc(_) => "runc_run",
            Self::Docker { .. } => "docker_run",
        }
    }

    /// `true`, once.
    ///
    /// # Errors
    /// It could not be started, or failed: with what it said.
    pub(crate) fn once(&mut self) -> io::Result<Duration> {
        match self {
            Self::Spawn => timed(&mut command(TRUE, &[])),
            Self::SmallSpawn(path) => timed(&mut Command::new(path)),
            Self::Floor(floor) | Self::StaticFloor(floor) => floor.round(),
            Self::Bubblewrap => timed(&mut bubblewrap()),
            Self::Runc(bundle) => timed(&mut runc(bundle)),
            Self::Docker { image } => timed(&mut docker_run(image)),
        }
    }
}

/// Peers that can run here, tried once each, and the others with the reason why not.
pub(crate) fn all(floor: Option<&Path>, docker_image: &str) -> (Vec<Peer>, Vec<String>) {
    let mut candidates = vec![Ok(Peer::Spawn)];
    if let Some(path) = floor {
        candidates.push(Ok(Peer::SmallSpawn(path.with_file_name("floor-true"))));
        candidates.push(Floor::start(path, "/usr/bin/true").map(Peer::Floor));
        candidates.push(Floor::start(path, "static").map(Peer::StaticFloor));
    }
    candidates.push(Ok(Peer::Bubblewrap));
    candidates.push(bundle().map(Peer::Runc));
    candidates.push(Ok(Peer::Docker { image: docker_image.to_owned() }));
    let (mut here, mut absent) = (Vec::new(), Vec::new());
    if floor.is_none() {
        absent.push("floor: no program given (--floor; ./dev bench builds it)".to_owned());
    }
    for candidate in candidates {
        match candidate {
            Ok(mut peer) => match peer.once() {
                Ok(_) => here.push(peer),
                Err(error) => absent.push(format!("{}: {error}", peer.name())),
            },
            Err(error) => absent.push(error.to_string()),
        }
    }
    (here, absent)
}

/// An interpreter of Python that is started, does nothing and ends.
///
/// # Errors
/// It could not be started, or failed.
pub(crate) fn python(program: &Path) -> io::Result<Duration> {
    let mut command = Command::new(program);
    timed(command.args(["-I", "-c", "pass"]))
}

/// By its path, so that the length of somebody's `PATH` is not part of the reference.
const TRUE: &str = "/usr/bin/true";

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Runs it to its end, its output piped and read.
fn timed(command: &mut Command) -> io::Result<Duration> {
    command.stdin(Stdio::null());
    let begun = Instant::now();
    let output = command.output()?;
    let took = begun.elapsed();
    if output.status.success() { Ok(took) } else { Err(failed(&output)) }
}

fn failed(output: &Output) -> io::Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    io::Error::other(format!("{}: {first}", output.status))
}

/// Top-level places of programs: merged into /usr, or directories of their own.
const PLACES: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];

fn bubblewrap() -> Command {
    let mut command = command("bwrap", &["--unshare-all", "--ro-bind", "/usr", "/usr"]);
    for place in PLACES {
        match fs::read_link(place) {
            Ok(to) => drop(command.arg("--symlink").arg(to).arg(place)),
            Err(_) if Path::new(place).is_dir() => drop(command.args(["--ro-bind", place, place])),
            Err(_) => {}
        }
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "true"]);
    command
}

fn runc(bundle: &Bundle) -> Command {
    let name = format!("sandkeep-bench-{}", std::process::id());
    let mut command = command("runc", &["run", "--bundle"]);
    command.arg(&bundle.directory).arg(name);
    command
}

/// What `runc spec` writes, with `true` for a program and the host's /usr.
fn bundle() -> io::Result<Bundle> {
    let directory = std::env::temp_dir().join(format!("sandkeep-bench-runc-{}", std::process::id()));
    let bundle = Bundle { directory };
    let root = bundle.directory.join("rootfs");
    fs::create_dir_all(root.join("usr"))?;
    for place in PLACES {
        if let Ok(to) = fs::read_link(place) {
            std::os::unix::fs::symlink(to, root.join(&place[1..]))?;
        }
    }
    let spec = command("runc", &["spec"]).current_dir(&bundle.directory).stdin(Stdio::null()).output();
    let spec = spec.map_err(|error| io::Error::other(format!("runc run: {error}")))?;
    if !spec.status.success() {
        return Err(io::Error::other(format!("runc run: {}", failed(&spec))));
    }
    let path = bundle.directory.join("config.json");
    let changed = with_true(&fs::read_to_string(&path)?)
        .ok_or_else(|| io::Error::other("runc run: its spec has changed"))?;
    fs::write(&path, changed)?;
    Ok(bundle)
}

fn with_true(spec: &str) -> Option<String> {
    let mut config: serde_json::Value = serde_json::from_str(spec).ok()?;
    *config.pointer_mut("/process/terminal")? = false.into();
    *config.pointer_mut("/process/args")? = vec!["/usr/bin/true"].into();
    let usr = serde_json::json!({
        "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"],
    });
    config.pointer_mut("/mounts")?.as_array_mut()?.push(usr);
    Some(config.to_string())
}

fn docker_run(image: &str) -> Command {
    command("docker", &["run", "--rm", "--network", "none", image, "true"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runcs_own_spec_is_kept_but_for_the_program() {
        let spec = r#"{"process": {"terminal": true, "args": ["sh"], "cwd": "/"}, "mounts": [{"destination": "/proc"}]}"#;
        let config: serde_json::Value = serde_json::from_str(&with_true(spec).unwrap()).unwrap();
        assert_eq!(config["process"]["args"][0], "/usr/bin/true");
        assert_eq!(config["process"]["terminal"], false);
        assert_eq!(config["process"]["cwd"], "/");
        assert_eq!(config["mounts"][1]["source"], "/usr");
        assert_eq!(with_true("{}"), None);
    }

    #[test]
    fn a_failure_says_what_the_program_said() {
        let error = timed(&mut command("sh", &["-c", "echo why >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains('3'), "{error}");
        assert!(timed(&mut command("true", &[])).is_ok());
    }
}
