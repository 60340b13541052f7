//! The Debian package: the same files below `/usr`, a unit for systemd that is not enabled, and what dpkg wants to know.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::elf::About;
use super::{VERSION, output, root, tree, write};

pub(super) fn make(work: &Path, tree: &Path, about: &About, place: &Path, epoch: u64) -> Result<()> {
    let package = work.join("deb");
    fs::create_dir_all(package.join("usr/lib/systemd/system"))?;
    fs::create_dir_all(package.join("DEBIAN"))?;
    output(Command::new("cp").arg("-rT").arg(tree).arg(package.join("usr")))?;
    tidy(&package.join("usr"))?;
    let service = package.join("usr/lib/systemd/system/sandkeep.service");
    fs::copy(root().join("packaging/sandkeep.service"), service).context("copy the unit")?;
    fs::copy(root().join("packaging/prerm"), package.join("DEBIAN/prerm")).context("copy prerm")?;
    let size = output(Command::new("du").args(["-sk", "--apparent-size"]).arg(package.join("usr")))?;
    write(&package.join("DEBIAN/control"), &control(about, size.split_whitespace().next().unwrap_or("0")))?;
    tree::set_modes(&package)?;
    let file = place.join(format!("sandkeep_{VERSION}_{}.deb", about.debian));
    // With xz the bytes would depend on how many processors there are.
    let mut build = Command::new("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", epoch.to_string()).args(["--root-owner-group", "-Zgzip", "--build"]);
    output(build.arg(&package).arg(&file))?;
    Ok(())
}

/// As Debian has it: manual pages compressed, and the licence under the name `copyright`.
fn tidy(usr: &Path) -> Result<()> {
    let documents = usr.join("share/doc/sandkeep");
    fs::rename(documents.join("LICENSE"), documents.join("copyright")).context("name the licence")?;
    fs::rename(usr.join("share/zsh/site-functions"), usr.join("share/zsh/vendor-completions"))?;
    for page in fs::read_dir(usr.join("share/man/man1"))? {
        output(Command::new("gzip").args(["-n", "-9"]).arg(page?.path()))?;
    }
    Ok(())
}

fn control(about: &About, kib: &str) -> String {
    format!(
        "\
Package: sandkeep
Version: {VERSION}
Architecture: {}
Maintainer: The Sandkeep authors <authors@sandkeep.invalid>
Installed-Size: {kib}
Depends: libc6 (>= {}), libgcc-s1
Recommends: uidmap
Suggests: python3, nodejs
Section: admin
Priority: optional
Description: runs code that nobody has reviewed
 Sandkeep runs code in a sandbox on this host, in milliseconds, and gives back
 output, files and a verdict. It uses what the kernel has, and says what this
 host's kernel cannot enforce.
",
        about.debian, about.glibc
    )
}
