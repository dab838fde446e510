//! The file of an SQLite database, made before SQLite would, so that only its owner can read it.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;

/// Creates the file (0600) and missing directories (0700); leaves what exists as it is. SQLite
/// gives its journal files the mode of the database.
pub(crate) fn create(path: &Path) -> anyhow::Result<()> {
    if let Some(directory) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("cannot create the directory {}", directory.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write the database file {}", path.display()))?;
    Ok(())
}
