//! The users over HTTP and JSON, and the greeting.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{User, Users};
use crate::answer::{Failure, Mistakes};

/// How many users are listed at most, and unless asked otherwise.
const PAGE: u16 = 100;

pub(super) fn router(users: Users) -> Router {
    Router::new()
        .route("/api/v1/users", get(list).post(add))
        .route("/api/v1/users/{id}", get(one))
        .route("/api/v2/users", get(list_with_next).post(add))
        .route("/api/v2/users/{id}", get(one))
        .route("/api/greet", get(greet))
        .with_state(users)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: i64,
    limit: Option<u16>,
}

async fn list(
    State(users): State<Users>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Vec<User>>, Failure> {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(PAGE).min(PAGE);
    Ok(Json(users.page(page.after, limit).await?))
}

/// The second version of the list says where the next page begins, which a bare list had no room for.
async fn list_with_next(
    State(users): State<Users>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(PAGE).min(PAGE);
    let users = users.page(page.after, limit).await?;
    let is_full = users.len() == usize::from(limit);
    let next = users.last().filter(|_| is_full).map(|user| user.id);
    Ok(Json(json!({ "users": users, "next": next })))
}

async fn one(
    State(users): State<Users>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<User>, Failure> {
    let Path(id) = id?;
    Ok(Json(users.get(id).await?))
}

#[derive(Deserialize)]
struct NewUser {
    name: Option<String>,
    email: Option<String>,
}

async fn add(
    State(users): State<Users>,
    uri: Uri,
    input: Result<Json<NewUser>, JsonRejection>,
) -> Result<impl IntoResponse, Failure> {
    let Json(input) = input?;
    let mut mistakes = Mistakes::default();
    let name = mistakes.text("name", input.name.as_deref(), 100);
    let email = mistakes.text("email", input.email.as_deref(), 254);
    if !looks_like_email(&email) {
        mistakes.add("email", "must be an address such as alice@shop.example");
    }
    let (name, email) = mistakes.or((name, email))?;
    let user = users.add(name, email).await?;
    let place = format!("{}/{}", uri.path(), user.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(user)))
}

/// Enough to catch slips; only a message sent there proves an address.
fn looks_like_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    !local.is_empty()
        && !domain.is_empty()
        && !domain.contains('@')
        && !text.contains(char::is_whitespace)
}

#[derive(Deserialize)]
struct Greeting {
    name: Option<String>,
}

async fn greet(greeting: Result<Query<Greeting>, QueryRejection>) -> Result<Json<Value>, Failure> {
    let Query(greeting) = greeting?;
    let name = greeting.name.filter(|name| !name.trim().is_empty());
    let name = name.as_deref().unwrap_or("World");
    Ok(Json(json!({ "message": format!("Hello, {name}!") })))
}
