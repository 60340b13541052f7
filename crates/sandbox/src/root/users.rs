//! The names of a sandbox's users: `root` and `user`, also where an image has never heard of the second.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

use super::{Result, write};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const USER: &str = "user:x:1000:1000:user:/home/user:/bin/sh\n";
const USERS_GROUP: &str = "user:x:1000:\n";
/// The largest table that is looked at; those of images have a few kilobytes.
const MOST_BYTES: u64 = 1 << 20;

/// Adds the code's user to the tables of an image that has nobody with its id: programs ask for the name of whoever runs
/// them. To be called when the image is the root: a link in it then leads to nothing else.
pub(super) fn name_the_user() -> Result<()> {
    for (path, line) in [(PASSWD, USER), (GROUP, USERS_GROUP)] {
        if let Some(mut table) = read(path).filter(|table| !knows(table)) {
            if !table.is_empty() && !table.ends_with('\n') {
                table.push('\n');
            }
            write(path, table + line)?;
        }
    }
    Ok(())
}

/// Whether the id or the name is taken.
fn knows(table: &str) -> bool {
    table.lines().map(|line| line.split(':')).any(|mut fields| {
        let name = fields.next();
        name == Some("user") || fields.nth(1) == Some("1000")
    })
}

/// A table as far as it is a plain file of text; whatever else an image has there stays as it is.
fn read(path: &str) -> Option<String> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let about = file.metadata().ok()?;
    if !about.is_file() || about.len() > MOST_BYTES {
        return None;
    }
    let mut table = String::new();
    file.take(MOST_BYTES).read_to_string(&mut table).ok()?;
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_or_name_that_is_taken_is_known() {
        assert!(!knows("root:x:0:0:root:/root:/bin/bash\nann:x:1001:1000::/:/bin/sh\n"));
        assert!(knows("root:x:0:0::/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/sh"));
        assert!(knows("user:x:500:\n"));
        assert!(!knows("") && !knows("1000\n"));
    }
}
