//! Files given, read back and found.

use sandkeep_core::code::ErrorCode;
use sandkeep_runtime::Driver;

use crate::support::{command, fresh, run, shell};

pub async fn given_files_are_there(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut spec = shell("cat a.txt deep/er/b.bin; echo more >> a.txt && echo new > deep/er/c");
    spec.files = vec![("a.txt".to_owned(), b"A".to_vec()), ("deep/er/b.bin".to_owned(), vec![0, 255])];
    let heard = run(sandbox.as_ref(), &spec).await;
    assert_eq!(heard.assert_succeeded().stdout, [b'A', 0, 255], "{}", heard.err());
}

pub async fn a_file_can_be_read_back(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    run(sandbox.as_ref(), &shell("head -c 3000000 /dev/urandom > big; sha256sum big > sum; : > empty"))
        .await
        .assert_succeeded();
    let big = sandbox.read_file("/workspace/big", 3_000_000).await.unwrap();
    assert_eq!(big.len(), 3_000_000);
    assert_eq!(sandbox.read_file("/workspace/empty", 0).await.unwrap(), b"");
    let problem = sandbox.read_file("/workspace/big", 2_999_999).await.unwrap_err();
    assert_eq!(problem.code, ErrorCode::FileUnreadable, "{problem}");
}

pub async fn what_is_no_plain_file_is_not_read(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    run(sandbox.as_ref(), &shell("ln -s /etc/passwd link; mkdir dir; mkfifo fifo")).await.assert_succeeded();
    for name in ["link", "dir", "fifo", "missing", "dir/missing"] {
        let problem = sandbox.read_file(&format!("/workspace/{name}"), 1 << 20).await.unwrap_err();
        assert_eq!(problem.code, ErrorCode::FileUnreadable, "{name}: {problem}");
    }
    run(sandbox.as_ref(), &command(&["true"])).await.assert_succeeded();
}

pub async fn new_and_changed_files_are_listed(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    run(sandbox.as_ref(), &shell("echo old > kept; echo old > changed")).await.assert_succeeded();
    let mut spec = shell("printf abc > new; echo more >> changed; ln -s /etc/passwd link; cat kept");
    spec.artifacts = true;
    let heard = run(sandbox.as_ref(), &spec).await;
    let mut found: Vec<_> =
        heard.assert_succeeded().ended().artifacts.iter().map(|a| (a.path.as_str(), a.size_bytes)).collect();
    found.sort_unstable();
    assert_eq!(found, [("changed", 9), ("new", 3)]);
    let new = heard.ended().artifacts.iter().find(|artifact| artifact.path == "new").unwrap();
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(new.sha256.as_deref(), Some(sha256));
    assert!(!heard.ended().artifacts_truncated);
}

pub async fn nothing_is_listed_unless_asked(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let heard = run(sandbox.as_ref(), &shell("echo new > new")).await;
    assert!(heard.assert_succeeded().ended().artifacts.is_empty());
}
