//! `/users`, for administrators.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::json::Json;
use uuid::Uuid;

use crate::Email;
use crate::app::App;
use crate::error::{ApiError, Invalid};
use crate::password::Password;
use crate::routes::administrator::Administrator;
use crate::user;

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    email: String,
    password: SecretString,
    #[serde(default)]
    admin: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<Uuid>,
}

/// 201 with the user, or 409 when the e-mail is taken.
pub(crate) async fn create(
    State(app): State<App>,
    administrator: Administrator,
    Json(NewUser {
        email,
        password,
        admin,
    }): Json<NewUser>,
) -> Result<(StatusCode, axum::Json<Value>), ApiError> {
    let email: Email = email.parse()?;
    let password = Password::chosen(password)?;
    let pool = app.database.pool()?;
    let hash = app.hasher.hash(password).await?;
    let user = user::create(pool, &email, &hash, admin)
        .await?
        .ok_or(ApiError::EmailTaken)?;
    tracing::info!(
        user.id,
        user.admin,
        administrator.id = administrator.user_id,
        "user created"
    );
    let body = json!({"error": false, "message": "User created", "data": {"user": user}});
    Ok((StatusCode::CREATED, axum::Json(body)))
}

/// A page of users in the order of their creation; `next` is null on the last one.
pub(crate) async fn list(
    State(app): State<App>,
    _: Administrator,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<axum::Json<Value>, ApiError> {
    let Ok(Query(Page { limit, after })) = page else {
        return Err(
            Invalid("the query takes limit (a number) and after (the id of a user)").into(),
        );
    };
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Invalid("limit must be from 1 to 200").into());
    }
    // One more than asked for tells whether there is another page.
    let mut users = user::page(app.database.pool()?, after, limit + 1).await?;
    let more = users.len() > limit as usize;
    users.truncate(limit as usize);
    let next = users.last().filter(|_| more).map(|user| &user.id);
    Ok(axum::Json(
        json!({"error": false, "data": {"users": users, "next": next}}),
    ))
}
