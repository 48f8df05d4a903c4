//! A folder has one owner at a time: an advisory lock that the kernel drops with its holder.

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held for as long as it lives.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "held, never read")] File);

impl FolderLock {
    /// Takes the lock of `folder`, or gives `None` if somebody else holds it.
    pub fn take(folder: &Path) -> io::Result<Option<Self>> {
        std::fs::create_dir_all(folder)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lock, waiting up to ten seconds for an earlier process that is still ending.
    pub async fn wait(folder: &Path) -> io::Result<Self> {
        for _ in 0..100 {
            if let Some(lock) = Self::take(folder)? {
                return Ok(lock);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Err(io::Error::other("another process owns this folder"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_until_it_lets_go() {
        let dir = std::env::temp_dir().join(format!("tidegate-lock-{}", std::process::id()));
        let first = FolderLock::take(&dir).unwrap();
        assert!(first.is_some());
        assert!(FolderLock::take(&dir).unwrap().is_none());
        drop(first);
        assert!(FolderLock::take(&dir).unwrap().is_some());
        let _ = std::fs::remove_dir_all(&dir);
    }
}
