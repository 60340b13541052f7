//! What a binary needs of the machine it is to run on, as `readelf` reads it from it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::output;

/// The libraries that every Debian has, and no other: they belong to the C library and to the compiler.
const LIBRARIES: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-"];

#[derive(Debug)]
pub(super) struct About {
    /// As `uname -m` says it.
    pub(super) machine: &'static str,
    /// As Debian says it.
    pub(super) debian: &'static str,
    /// The lowest version of the GNU C library that has all that the binary takes from it.
    pub(super) glibc: String,
}

/// # Errors
/// It is none, or needs what a host may not have.
pub(super) fn about(binary: &Path) -> Result<About> {
    let read =
        |what: &str| output(Command::new("readelf").env("LC_ALL", "C").args([what, "--wide"]).arg(binary));
    let header = read("--file-header")?;
    let (machine, debian) = if header.contains("X86-64") {
        ("x86_64", "amd64")
    } else if header.contains("AArch64") {
        ("aarch64", "arm64")
    } else {
        bail!("{} is for neither x86-64 nor aarch64", binary.display())
    };
    for library in libraries(&read("--dynamic")?) {
        ensure!(
            LIBRARIES.iter().any(|known| library.starts_with(known)),
            "it needs {library}, which hosts may not have"
        );
    }
    let glibc = newest(&read("--version-info")?).context("it takes nothing from glibc")?;
    Ok(About { machine, debian, glibc })
}

/// `0x… (NEEDED) Shared library: [libc.so.6]`
fn libraries(dynamic: &str) -> impl Iterator<Item = &str> {
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    needed.filter_map(|line| line.split_once('[')?.1.split(']').next())
}

/// Of `Name: GLIBC_2.34` the highest version.
fn newest(versions: &str) -> Option<String> {
    let found = versions.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let parts: Option<Vec<u32>> = rest[..end].split('.').map(|part| part.parse().ok()).collect();
        parts
    });
    let newest = found.max()?;
    Some(newest.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let text = "Name: GLIBC_2.9  Flags: none\n Name: GLIBC_2.34  Flags\n Name: GLIBC_2.2.5\n Name: GCC_3.0 GLIBC_PRIVATE";
        assert_eq!(newest(text).as_deref(), Some("2.34"));
        assert_eq!(newest("Name: GCC_3.0"), None);
    }

    #[test]
    fn libraries_are_those_needed() {
        let text = " 0x1 (NEEDED)  Shared library: [libc.so.6]\n 0xe (SONAME) Library soname: [libx.so]";
        assert_eq!(libraries(text).collect::<Vec<_>>(), ["libc.so.6"]);
    }
}
