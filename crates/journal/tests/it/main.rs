//! The journal from outside: every engine by the same cases, and each engine's own.

mod sqlite;
