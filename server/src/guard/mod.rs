//! What stands behind the gateway's guard and limits: who calls, and what was used of quotas.

pub(crate) mod quotas;
