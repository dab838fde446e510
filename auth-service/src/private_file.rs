//! Files that only their owner can read.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use secrecy::SecretString;
use tempfile::NamedTempFile;

/// Far more than a key or a password needs.
const BYTES_MAX: u64 = 4096;

/// Creates the file with mode 0600, whole and on disk or not at all. Returns false, and leaves it
/// as it is, when there is one already.
pub(crate) fn create(path: &Path, contents: &str) -> anyhow::Result<bool> {
    create_in(directory(path), path, contents)
        .with_context(|| format!("cannot create {}", path.display()))
}

fn create_in(directory: &Path, path: &Path, contents: &str) -> anyhow::Result<bool> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    // Written under another name first: whoever finds the file finds it complete, after a crash
    // too. tempfile gives it the mode 0600.
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(contents.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(failed) => return Err(failed.error.into()),
    }
    File::open(directory)?.sync_all()?;
    Ok(true)
}

/// Reads the file without surrounding white space; `None` when there is none.
///
/// # Errors
/// When it cannot be read, or others than its owner could read it too.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<SecretString>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
    };
    let mode = file.metadata()?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "{0} can be read by others than its owner (mode {1:03o}): run chmod 600 {0}, and if they \
         may have read it, replace what it holds",
        path.display(),
        mode & 0o777
    );
    let mut text = String::new();
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(SecretString::from(text.trim())))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn creates_once_with_a_private_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/secret");
        assert!(read(&path).unwrap().is_none());
        assert!(create(&path, "first\n").unwrap());
        assert!(!create(&path, "second\n").unwrap());
        assert_eq!(read(&path).unwrap().unwrap().expose_secret(), "first");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let entries = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(entries, 1, "no temporary file is left");
    }

    #[test]
    fn of_many_at_once_one_creates_and_all_read_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let created = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let path = &path;
                    scope.spawn(move || {
                        let created = create(path, &format!("secret {number}")).unwrap();
                        let text = read(path).unwrap().unwrap();
                        (created, text.expose_secret().to_owned())
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(created.iter().filter(|(made, _)| *made).count(), 1);
        assert!(
            created.iter().all(|(_, text)| *text == created[0].1),
            "{created:?}"
        );
    }

    #[test]
    fn refuses_a_file_that_others_can_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "x").unwrap();
        for mode in [0o640, 0o604] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read(&path).is_ok());
    }
}
