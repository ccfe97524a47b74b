//! The users: who they are, over HTTP and gRPC on one port.

use std::path::Path;

use axum::Router;
use rusqlite::{ErrorCode, OptionalExtension as _, Row, params};
use serde::Serialize;

use crate::answer::Failure;
use crate::store::Store;

mod grpc;
mod http;

/// The table and, in an empty one, the first users.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS users (
        id    INTEGER PRIMARY KEY AUTOINCREMENT,
        name  TEXT NOT NULL,
        email TEXT NOT NULL UNIQUE
    ) STRICT;
    INSERT INTO users (name, email)
    SELECT column1, column2 FROM (
        VALUES ('Alice', 'alice@shop.example'),
               ('Bob', 'bob@shop.example'),
               ('Chen', 'chen@shop.example')
    ) WHERE NOT EXISTS (SELECT 1 FROM users);
";

/// A user.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct User {
    id: i64,
    name: String,
    email: String,
}

impl User {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, name: row.get(1)?, email: row.get(2)? })
    }
}

/// Everything the service does, whatever the protocol.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    store: Store,
}

impl Users {
    /// Opens the service's database.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { store: Store::open(path, SCHEMA).await? })
    }

    /// One user.
    async fn get(&self, id: i64) -> Result<User, Failure> {
        let found = self.store.run(move |connection| {
            connection
                .prepare_cached("SELECT id, name, email FROM users WHERE id = ?1")?
                .query_row([id], User::from_row)
                .optional()
        });
        found.await?.ok_or(Failure::NotFound { what: "user", id })
    }

    /// Up to `limit` users whose ids are above `after`.
    async fn page(&self, after: i64, limit: u16) -> anyhow::Result<Vec<User>> {
        let sql = "SELECT id, name, email FROM users WHERE id > ?1 ORDER BY id LIMIT ?2";
        let rows = self.store.run(move |connection| {
            connection
                .prepare_cached(sql)?
                .query_map(params![after, limit], User::from_row)?
                .collect()
        });
        rows.await
    }

    /// Adds a user whose fields have been checked. An address is one person's only.
    async fn add(&self, name: String, email: String) -> Result<User, Failure> {
        let sql = "INSERT INTO users (name, email) VALUES (?1, ?2) RETURNING id, name, email";
        let taken = format!("there is a user with the address {email} already");
        let added = self.store.run(move |connection| {
            let added =
                connection.prepare_cached(sql)?.query_row(params![name, email], User::from_row);
            match added {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    Ok(None)
                }
                other => other.map(Some),
            }
        });
        added.await?.ok_or(Failure::Conflict(taken))
    }
}

/// Both interfaces on one router.
pub(crate) fn router(users: Users) -> Router {
    http::router(users.clone()).merge(grpc::router(users))
}
