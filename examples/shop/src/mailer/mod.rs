//! The mailer. It speaks no AMQP: it is called for each message, and answers once the mail is sent. A
//! message may come again (this instance died before it answered, say), so what was sent is noted by
//! the event's id and not sent twice.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use crate::answer::Failure;
use crate::store::Store;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS mails (
        event    TEXT PRIMARY KEY,
        order_id INTEGER NOT NULL,
        to_name  TEXT NOT NULL,
        attempt  INTEGER NOT NULL,
        sent_by  TEXT NOT NULL
    ) STRICT;
";

/// A mail that was sent.
#[derive(Clone, Debug, Serialize)]
struct Mail {
    order_id: i64,
    to: String,
    attempt: i64,
    sent_by: String,
}

impl Mail {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            order_id: row.get(0)?,
            to: row.get(1)?,
            attempt: row.get(2)?,
            sent_by: row.get(3)?,
        })
    }
}

/// What the service keeps.
#[derive(Clone, Debug)]
pub(crate) struct Mailer {
    store: Store,
    instance: String,
    /// How long it takes to send a mail.
    pause: Duration,
    under_way: Arc<AtomicUsize>,
}

impl Mailer {
    /// Opens the service's database.
    pub(crate) async fn open(
        path: &Path,
        instance: String,
        pause: Duration,
    ) -> anyhow::Result<Self> {
        let (store, under_way) = (Store::open(path, SCHEMA).await?, Arc::default());
        Ok(Self { store, instance, pause, under_way })
    }
}

/// The service's routes.
pub(crate) fn router(mailer: Mailer) -> Router {
    Router::new()
        .route("/messages", post(placed))
        .route("/api/v1/mails", get(mails))
        .route("/api/v1/mails/under-way", get(under_way))
        .with_state(mailer)
}

/// What it needs to know of an order.
#[derive(Deserialize)]
struct Placed {
    id: i64,
    user_name: String,
}

/// An order was placed.
async fn placed(
    State(mailer): State<Mailer>,
    headers: HeaderMap,
    order: Result<Json<Placed>, JsonRejection>,
) -> Result<StatusCode, Failure> {
    let Json(order) = order?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(event) = header("ce-id").map(str::to_owned) else {
        return Err(Failure::invalid("ce-id", "must be the id of an event".to_owned()));
    };
    let attempt: i64 = header("amqp-attempt").and_then(|text| text.parse().ok()).unwrap_or(1);
    // A mail server takes its time.
    mailer.under_way.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(mailer.pause).await;
    mailer.under_way.fetch_sub(1, Ordering::Relaxed);
    let sent_by = mailer.instance;
    let sql = "INSERT INTO mails (event, order_id, to_name, attempt, sent_by)
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
    let sent = mailer.store.run(move |connection| {
        let row = params![event, order.id, order.user_name, attempt, sent_by];
        connection.prepare_cached(sql)?.execute(row)
    });
    sent.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many mails this instance is about to send.
async fn under_way(State(mailer): State<Mailer>) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "count": mailer.under_way.load(Ordering::Relaxed) }))
}

async fn mails(State(mailer): State<Mailer>) -> Result<Json<Vec<Mail>>, Failure> {
    let sql = "SELECT order_id, to_name, attempt, sent_by FROM mails ORDER BY order_id LIMIT 100";
    let rows = mailer.store.run(move |connection| {
        connection.prepare_cached(sql)?.query_map([], Mail::from_row)?.collect()
    });
    Ok(Json(rows.await?))
}
