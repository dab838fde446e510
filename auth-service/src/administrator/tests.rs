//! First starts: alone, after a crash, and several at once.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use secrecy::SecretString;
use store::{Database, DatabaseUrl};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

struct Fixture {
    directory: TempDir,
    database: Database,
    hasher: Hasher,
    email: Email,
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/auth.db", directory.path().display());
        let database =
            Database::open(&DatabaseUrl::from(url.as_str()), "auth", user::SCHEMA).unwrap();
        database
            .prepare(&CancellationToken::new(), |_| async { Ok(()) })
            .await;
        let email = "admin@example.com".parse().unwrap();
        Self {
            directory,
            database,
            hasher: Hasher::new(),
            email,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn ensure(&self, file: &Path) -> anyhow::Result<()> {
        let pool = self.database.pool().unwrap().clone();
        ensure(pool, &self.hasher, &self.email, file).await
    }

    async fn is_password(&self, text: &str) -> bool {
        let password = Password::presented(SecretString::from(text)).unwrap();
        let pool = self.database.pool().unwrap();
        is_password_of(pool, &self.hasher, &self.email, password)
            .await
            .unwrap()
    }
}

fn write_private(path: &Path, text: &str) {
    assert!(private_file::create(path, text).unwrap());
}

#[tokio::test]
async fn the_first_start_writes_a_password_that_works_and_later_ones_change_nothing() {
    let fixture = Fixture::new().await;
    let file = fixture.path("new/password.txt");
    fixture.ensure(&file).await.unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.trim().len() * 6 >= 128, "at least 128 bits: {text}");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(fixture.is_password(text.trim()).await);

    fs::remove_file(&file).unwrap();
    fixture.ensure(&file).await.unwrap();
    assert!(!file.exists());
    assert!(fixture.is_password(text.trim()).await);
}

#[tokio::test]
async fn a_file_left_by_a_crash_is_used() {
    let fixture = Fixture::new().await;
    let file = fixture.path("password.txt");
    write_private(&file, "left by a crash\n");
    fixture.ensure(&file).await.unwrap();
    assert!(fixture.is_password("left by a crash").await);
    assert_eq!(fs::read_to_string(&file).unwrap(), "left by a crash\n");
}

#[tokio::test]
async fn a_file_that_others_can_read_or_that_is_too_short_makes_no_user() {
    let fixture = Fixture::new().await;
    let open = fixture.path("open.txt");
    write_private(&open, "readable by all\n");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let short = fixture.path("short.txt");
    write_private(&short, "short\n");
    for file in [&open, &short] {
        let error = format!("{:#}", fixture.ensure(file).await.unwrap_err());
        assert!(error.contains(&file.display().to_string()), "{error}");
        assert!(!error.contains("readable by all"), "{error}");
        let pool = fixture.database.pool().unwrap();
        assert!(
            user::by_email(pool, &fixture.email)
                .await
                .unwrap()
                .is_none()
        );
    }
}

#[tokio::test]
async fn instances_that_share_a_file_keep_it() {
    let fixture = Fixture::new().await;
    let file = fixture.path("password.txt");
    let (a, b, c) = tokio::join!(
        fixture.ensure(&file),
        fixture.ensure(&file),
        fixture.ensure(&file)
    );
    for result in [a, b, c] {
        result.unwrap();
    }
    let text = fs::read_to_string(&file).unwrap();
    assert!(fixture.is_password(text.trim()).await);
}

#[tokio::test]
async fn of_instances_with_their_own_files_one_keeps_its_file() {
    let fixture = Fixture::new().await;
    let files = [
        fixture.path("a/password.txt"),
        fixture.path("b/password.txt"),
    ];
    let (a, b) = tokio::join!(fixture.ensure(&files[0]), fixture.ensure(&files[1]));
    a.unwrap();
    b.unwrap();
    let mut kept = files.iter().filter(|file| file.exists());
    let text = fs::read_to_string(kept.next().unwrap()).unwrap();
    assert!(kept.next().is_none());
    assert!(fixture.is_password(text.trim()).await);
}
