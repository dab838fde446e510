//! The first administrator, who creates all other users.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use sqlx::AnyPool;

use crate::hasher::Hasher;
use crate::password::Password;
use crate::{Email, private_file, user};

/// Makes the administrator unless the user exists, with the password in `file`, which is generated
/// unless the file exists.
///
/// The file comes first: a crash in between leaves a password without a user, which the next start
/// uses, and never a user whose password nobody knows.
pub(crate) async fn ensure(
    pool: AnyPool,
    hasher: &Hasher,
    email: &Email,
    file: &Path,
) -> anyhow::Result<()> {
    if user::by_email(&pool, email).await?.is_some() {
        return Ok(());
    }
    let generated = private_file::create(file, &generate()?)?;
    let password =
        private_file::read(file)?.context("the administrator's password file vanished")?;
    let password = Password::chosen(password).with_context(|| file.display().to_string())?;
    let hash = hasher.hash(password.clone()).await?;
    if let Some(user) = user::create(&pool, email, &hash, true).await? {
        tracing::info!(user.id, file = %file.display(), "administrator created; the file holds the password");
        return Ok(());
    }
    // Another instance was faster, with this file if it shares our disk, else with its own.
    if generated && !is_password_of(&pool, hasher, email, password).await? {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}

async fn is_password_of(
    pool: &AnyPool,
    hasher: &Hasher,
    email: &Email,
    password: Password,
) -> anyhow::Result<bool> {
    let stored = user::by_email(pool, email)
        .await?
        .map(|account| account.password_hash);
    Ok(hasher.verify(password, stored).await?)
}

/// 192 random bits, as one line.
fn generate() -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 24]);
    aws_lc_rs::rand::fill(&mut bytes[..])
        .map_err(|_| anyhow!("no random numbers from the operating system"))?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..]) + "\n"))
}

#[cfg(test)]
mod tests;
