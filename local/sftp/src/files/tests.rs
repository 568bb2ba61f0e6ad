use std::{fs, os::unix::fs::symlink, path::Path};

use cap_std::ambient_authority;
use tempfile::TempDir;

use super::*;

/// A folder `outside` with a secret, and beside it the root with one file.
fn folders() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("outside")).unwrap();
    fs::create_dir_all(folder.path().join("root/in")).unwrap();
    fs::write(folder.path().join("outside/secret"), "secret").unwrap();
    fs::write(folder.path().join("root/in/a.csv"), "a,b\n").unwrap();
    folder
}

fn files(folder: &Path, faults: &[Fault]) -> Files {
    let root = Dir::open_ambient_dir(folder.join("root"), ambient_authority()).unwrap();
    Files::new(Arc::new(root), faults.to_vec(), CancellationToken::new(), Arc::default())
}

fn code<T>(answer: Answer<T>) -> StatusCode {
    answer.map_or_else(|status| status.status_code, |_| StatusCode::Ok)
}

/// Tries to read and to write a path, and tells the two codes.
async fn try_to_use(files: &mut Files, path: &str) -> (StatusCode, StatusCode) {
    let none = FileAttributes::empty;
    let read = files.open(1, path.to_owned(), OpenFlags::READ, none()).await;
    let write = files.open(2, path.to_owned(), OpenFlags::WRITE | OpenFlags::CREATE, none()).await;
    (code(read), code(write))
}

#[tokio::test]
async fn nothing_outside_of_the_root_can_be_reached() {
    let folder = folders();
    let root = folder.path().join("root");
    symlink("../../outside", root.join("in/relative")).unwrap();
    symlink(folder.path().join("outside"), root.join("in/absolute")).unwrap();
    symlink(folder.path().join("outside/secret"), root.join("in/file")).unwrap();
    symlink(folder.path().join("outside/new"), root.join("in/dangling")).unwrap();
    let mut files = files(folder.path(), &[]);
    for path in
        ["in/relative/secret", "in/absolute/secret", "in/file", "in/dangling", "/in/relative/new"]
    {
        let refused = (StatusCode::PermissionDenied, StatusCode::PermissionDenied);
        assert_eq!(try_to_use(&mut files, path).await, refused, "{path}");
    }
    let secret = folder.path().join("outside/secret");
    let missing = (StatusCode::NoSuchFile, StatusCode::NoSuchFile);
    for path in [secret.to_str().unwrap(), "../outside/secret", "/../../outside/secret"] {
        assert_eq!(try_to_use(&mut files, path).await, missing, "{path}");
    }
    let moved = files.rename(3, "in/a.csv".to_owned(), "in/absolute/stolen".to_owned()).await;
    assert_eq!(code(moved), StatusCode::PermissionDenied);
    let listed = files.opendir(4, "in/relative".to_owned()).await;
    assert_eq!(code(listed), StatusCode::PermissionDenied);
    let linked = files.symlink(5, "in/x".to_owned(), "/etc".to_owned()).await;
    assert_eq!(code(linked), StatusCode::OpUnsupported);
    let outside: Vec<_> = fs::read_dir(folder.path().join("outside"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(outside, ["secret"]);
}

#[tokio::test]
async fn a_link_inside_of_the_root_is_followed() {
    let folder = folders();
    symlink("a.csv", folder.path().join("root/in/latest.csv")).unwrap();
    let mut files = files(folder.path(), &[]);
    assert_eq!(try_to_use(&mut files, "/in/latest.csv").await, (StatusCode::Ok, StatusCode::Ok));
}

async fn write(files: &mut Files, path: &str, pieces: &[(u64, &[u8])]) -> Vec<StatusCode> {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let handle =
        files.open(1, path.to_owned(), flags, FileAttributes::empty()).await.unwrap().handle;
    let mut codes = vec![];
    for (offset, piece) in pieces {
        codes.push(code(files.write(2, handle.clone(), *offset, piece.to_vec()).await));
    }
    codes.push(code(files.close(3, handle).await));
    codes
}

#[tokio::test]
async fn pieces_may_arrive_in_any_order() {
    let folder = folders();
    let mut files = files(folder.path(), &[]);
    assert_eq!(write(&mut files, "in/x", &[(3, b"def"), (0, b"abc")]).await, [StatusCode::Ok; 3]);
    assert_eq!(fs::read_to_string(folder.path().join("root/in/x")).unwrap(), "abcdef");
    let handle = files
        .open(1, "in/x".to_owned(), OpenFlags::READ, FileAttributes::empty())
        .await
        .unwrap()
        .handle;
    assert_eq!(files.read(2, handle.clone(), 4, 100).await.unwrap().data, b"ef");
    assert_eq!(code(files.read(2, handle, 6, 100).await), StatusCode::Eof);
}

#[tokio::test]
async fn a_full_disk_takes_what_fits() {
    let folder = folders();
    let mut files = files(folder.path(), &[Fault::DiskFullAfterBytes(4)]);
    let codes = write(&mut files, "x", &[(0, b"abc"), (3, b"def")]).await;
    assert_eq!(codes, [StatusCode::Ok, StatusCode::Failure, StatusCode::Ok]);
    assert_eq!(fs::read_to_string(folder.path().join("root/x")).unwrap(), "abcd");
}

#[tokio::test]
async fn only_a_posix_rename_replaces_a_file() {
    let folder = folders();
    fs::write(folder.path().join("root/new"), "new").unwrap();
    let mut files = files(folder.path(), &[]);
    let plain = files.rename(1, "new".to_owned(), "in/a.csv".to_owned()).await;
    assert_eq!(code(plain), StatusCode::Failure);
    let mut data = Vec::new();
    for text in ["new", "in/a.csv"] {
        data.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        data.extend(text.as_bytes());
    }
    let posix = files.extended(2, "posix-rename@openssh.com".to_owned(), data).await;
    assert_eq!(code(posix), StatusCode::Ok);
    assert_eq!(fs::read_to_string(folder.path().join("root/in/a.csv")).unwrap(), "new");
}

#[tokio::test]
async fn a_client_can_not_open_handles_without_end() {
    let folder = folders();
    let mut files = files(folder.path(), &[]);
    for _ in 0..HANDLES_MAX {
        files.opendir(1, "/".to_owned()).await.unwrap();
    }
    assert_eq!(code(files.opendir(1, "/".to_owned()).await), StatusCode::Failure);
    files.close(1, "1".to_owned()).await.unwrap();
    assert_eq!(code(files.opendir(1, "/".to_owned()).await), StatusCode::Ok);
}
