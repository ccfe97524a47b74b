//! The orders. Each belongs to a user, whom `users` is asked about by name through the gateway.

use std::path::Path;

use axum::Router;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;

use crate::answer::Failure;
use crate::store::Store;

mod announcement;
mod http;
mod user_directory;

pub(crate) use announcement::Announcements;
pub(crate) use user_directory::UserDirectory;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS orders (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        user_id    INTEGER NOT NULL,
        item       TEXT NOT NULL,
        quantity   INTEGER NOT NULL,
        created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    ) STRICT;
";

/// An order.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Order {
    id: i64,
    user_id: i64,
    item: String,
    quantity: u32,
    created_at: String,
}

impl Order {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            user_id: row.get(1)?,
            item: row.get(2)?,
            quantity: row.get(3)?,
            created_at: row.get(4)?,
        })
    }
}

/// What the service keeps.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    store: Store,
}

impl Orders {
    /// Opens the service's database.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { store: Store::open(path, SCHEMA).await? })
    }

    async fn get(&self, id: i64) -> Result<Order, Failure> {
        let sql = "SELECT id, user_id, item, quantity, created_at FROM orders WHERE id = ?1";
        let found = self.store.run(move |connection| {
            connection.prepare_cached(sql)?.query_row([id], Order::from_row).optional()
        });
        found.await?.ok_or(Failure::NotFound { what: "order", id })
    }

    /// Up to `limit` orders whose ids are above `after`.
    async fn page(&self, after: i64, limit: u16) -> anyhow::Result<Vec<Order>> {
        let sql = "SELECT id, user_id, item, quantity, created_at FROM orders
                   WHERE id > ?1 ORDER BY id LIMIT ?2";
        let rows = self.store.run(move |connection| {
            connection
                .prepare_cached(sql)?
                .query_map(params![after, limit], Order::from_row)?
                .collect()
        });
        rows.await
    }

    /// Adds an order whose fields and user have been checked.
    async fn add(&self, user_id: i64, item: String, quantity: u32) -> anyhow::Result<Order> {
        let sql = "INSERT INTO orders (user_id, item, quantity) VALUES (?1, ?2, ?3)
                   RETURNING id, user_id, item, quantity, created_at";
        let added = self.store.run(move |connection| {
            connection
                .prepare_cached(sql)?
                .query_row(params![user_id, item, quantity], Order::from_row)
        });
        added.await
    }
}

/// The service's routes.
pub(crate) fn router(orders: Orders, users: UserDirectory, announcements: Announcements) -> Router {
    http::router(orders, users, announcements)
}
