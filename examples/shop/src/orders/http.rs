//! The orders over HTTP and JSON.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{Announcements, Order, Orders, UserDirectory};
use crate::answer::{Failure, Mistakes};

/// How many orders are listed at most, and unless asked otherwise.
const PAGE: u16 = 100;

/// The largest quantity of one item in an order.
const MAX_QUANTITY: u32 = 1000;

#[derive(Clone)]
struct Parts {
    orders: Orders,
    users: UserDirectory,
    announcements: Announcements,
}

pub(super) fn router(orders: Orders, users: UserDirectory, announcements: Announcements) -> Router {
    Router::new()
        .route("/api/v1/orders", get(list).post(add))
        .route("/api/v1/orders/{id}", get(one))
        .with_state(Parts { orders, users, announcements })
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: i64,
    limit: Option<u16>,
}

async fn list(
    State(parts): State<Parts>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Vec<Order>>, Failure> {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(PAGE).min(PAGE);
    Ok(Json(parts.orders.page(page.after, limit).await?))
}

async fn one(
    State(parts): State<Parts>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Order>, Failure> {
    let Path(id) = id?;
    Ok(Json(parts.orders.get(id).await?))
}

#[derive(Deserialize)]
struct NewOrder {
    user_id: Option<i64>,
    item: Option<String>,
    quantity: Option<u32>,
}

/// An order with its user's name, as `users` gave it.
#[derive(Serialize)]
struct PlacedOrder {
    #[serde(flatten)]
    order: Order,
    user_name: String,
}

async fn add(
    State(parts): State<Parts>,
    headers: HeaderMap,
    input: Result<Json<NewOrder>, JsonRejection>,
) -> Result<impl IntoResponse, Failure> {
    let Json(input) = input?;
    let mut mistakes = Mistakes::default();
    let item = mistakes.text("item", input.item.as_deref(), 200);
    let quantity = input.quantity.unwrap_or(1);
    if !(1..=MAX_QUANTITY).contains(&quantity) {
        mistakes.add("quantity", format!("must be from 1 to {MAX_QUANTITY}"));
    }
    if input.user_id.is_none() {
        mistakes.add("user_id", "must be the id of a user");
    }
    let user_id = mistakes.or(input.user_id.unwrap_or_default())?;

    let Some(buyer) = parts.users.find(user_id, &headers).await? else {
        return Err(Failure::invalid("user_id", format!("there is no user {user_id}")));
    };
    let order = parts.orders.add(user_id, item, quantity).await?;
    let place = format!("/api/v1/orders/{}", order.id);
    let placed = PlacedOrder { order, user_name: buyer.name };
    // The order stands, whether it could be announced or not: a shop that must not lose this writes both
    // in one transaction, and announces what is not announced yet.
    if let Err(error) = parts.announcements.placed(placed.order.id, &placed, &headers).await {
        tracing::warn!("order {} is not announced: {error:#}", placed.order.id);
    }
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(placed)))
}
