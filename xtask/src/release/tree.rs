//! What is installed below a prefix, and the archive of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{output, root, write};

/// Where each shell looks for completions below a prefix.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/sandkeep"),
    ("zsh", "share/zsh/site-functions/_sandkeep"),
    ("fish", "share/fish/vendor_completions.d/sandkeep.fish"),
];
const DOCUMENTS: [&str; 5] = ["README.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "NOTICE"];

/// Makes it in `work`, with what `pages` says of itself.
pub(super) fn make(work: &Path, binary: &Path, pages: &Path) -> Result<PathBuf> {
    let tree = work.join("tree");
    let place = |name: &str| -> Result<PathBuf> {
        let path = tree.join(name);
        let above = path.parent().context("names are relative")?;
        fs::create_dir_all(above).with_context(|| format!("make {}", above.display()))?;
        Ok(path)
    };
    fs::copy(binary, place("bin/sandkeep")?).with_context(|| format!("copy {}", binary.display()))?;
    for (shell, name) in COMPLETIONS {
        write(&place(name)?, &output(Command::new(pages).args(["completions", shell]))?)?;
    }
    let manual = place("share/man/man1/sandkeep.1")?;
    output(Command::new(pages).arg("manual").args(manual.parent()))?;
    for name in DOCUMENTS {
        fs::copy(root().join(name), place(&format!("share/doc/sandkeep/{name}"))?)
            .with_context(|| format!("copy {name}"))?;
    }
    set_modes(&tree)?;
    Ok(tree)
}

/// What the umask of whoever builds says is no part of a release.
pub(super) fn set_modes(path: &Path) -> Result<()> {
    let is_program =
        |path: &Path| path.parent().is_some_and(|above| above.ends_with("bin") || above.ends_with("DEBIAN"));
    let mode = if path.is_dir() {
        for entry in fs::read_dir(path)? {
            set_modes(&entry?.path())?;
        }
        0o755
    } else if is_program(path) && !path.ends_with("control") {
        0o755
    } else {
        0o644
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("chmod {}", path.display()))
}

/// Writes all of `tree`, below a directory `name`, as a compressed tar.
pub(super) fn archive(tree: &Path, name: &str, to: &Path, epoch: u64) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--format=gnu",
        "--owner=root:0",
        "--group=root:0",
        "--numeric-owner",
    ])
    .arg(format!("--mtime=@{epoch}"))
    .arg(format!("--transform=s,^\\.,{name},"))
    .arg("--directory")
    .arg(tree)
    .arg(".");
    let mut tar = tar.stdout(Stdio::piped()).spawn().context("run tar")?;
    let written = tar.stdout.take().context("its output is a pipe")?;
    // Without -n it would write a name and a time.
    let file = fs::File::create(to).with_context(|| format!("make {}", to.display()))?;
    let gzip =
        Command::new("gzip").args(["-n", "-9"]).stdin(written).stdout(file).status().context("run gzip")?;
    ensure!(tar.wait()?.success() && gzip.success(), "{} was not written", to.display());
    Ok(())
}
