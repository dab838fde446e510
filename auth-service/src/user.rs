//! Users in the database.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AnyPool, FromRow, Row as _};
use store::{Migration, StoreError, deadline};
use uuid::Uuid;

use crate::Email;

pub(crate) const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    name: "users",
    sql: "CREATE TABLE users (
              id TEXT PRIMARY KEY,
              email TEXT NOT NULL UNIQUE,
              password_hash TEXT NOT NULL,
              admin BIGINT NOT NULL,
              created_at_ms BIGINT NOT NULL
          )",
}];

/// A user as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct User {
    /// UUIDv7, so users in the order of their ids are in the order of their creation.
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) admin: bool,
    pub(crate) created_at: Timestamp,
}

/// A user with what only the login needs.
pub(crate) struct Account {
    pub(crate) user: User,
    pub(crate) password_hash: String,
}

pub(crate) async fn by_email(pool: &AnyPool, email: &Email) -> Result<Option<Account>, StoreError> {
    let query = sqlx::query_as("SELECT * FROM users WHERE email = $1").bind(email.as_str());
    deadline(query.fetch_optional(pool)).await
}

/// Creates a user; `None` when the e-mail is taken, by a request at the same moment too.
pub(crate) async fn create(
    pool: &AnyPool,
    email: &Email,
    password_hash: &str,
    admin: bool,
) -> Result<Option<User>, StoreError> {
    let user = User {
        id: Uuid::now_v7().to_string(),
        email: email.as_str().to_owned(),
        admin,
        // To the millisecond, as it is stored.
        created_at: timestamp(Timestamp::now().as_millisecond())?,
    };
    // Without RETURNING: SQLite gives the row before it commits.
    let query = sqlx::query(
        "INSERT INTO users (id, email, password_hash, admin, created_at_ms)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (email) DO NOTHING",
    )
    .bind(user.id.clone())
    .bind(user.email.clone())
    .bind(password_hash)
    .bind(i64::from(admin))
    .bind(user.created_at.as_millisecond());
    let result = deadline(query.execute(pool)).await?;
    Ok((result.rows_affected() == 1).then_some(user))
}

/// Up to `limit` users in the order of their creation, from the one after the id `after`.
pub(crate) async fn page(
    pool: &AnyPool,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<User>, StoreError> {
    let query = sqlx::query_as("SELECT * FROM users WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(limit));
    deadline(query.fetch_all(pool)).await
}

impl FromRow<'_, AnyRow> for User {
    fn from_row(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            email: row.try_get("email")?,
            admin: row.try_get::<i64, _>("admin")? != 0,
            created_at: timestamp(row.try_get("created_at_ms")?)?,
        })
    }
}

impl FromRow<'_, AnyRow> for Account {
    fn from_row(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let password_hash = row.try_get("password_hash")?;
        Ok(Self {
            user: User::from_row(row)?,
            password_hash,
        })
    }
}

fn timestamp(ms: i64) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_millisecond(ms).map_err(|error| sqlx::Error::Decode(error.into()))
}
