//! What a call has of its limits, from when it is admitted until it is over: its places among those
//! under way, and what its bytes are charged to. All of it is given back when this is dropped, so
//! that no way a call may end forgets it: streams and tunnels included.

use std::sync::Arc;

use smallvec::SmallVec;

use super::rule::Rule;
use super::table::Hashed;
use super::tell::{Standing, write_standing};
use crate::http::head::{Fields, Known};

/// Bytes after which a call that is under way is charged for them.
const CHARGED_AT_ONCE: u64 = 64 << 10;

/// What how a call stands with one limit usually takes.
const STANDING: usize = 48;

/// What a call has of its limits.
#[derive(Default)]
pub(crate) struct Share {
    pub(super) held: SmallVec<[Held; 1]>,
    pub(super) metered: SmallVec<[(Arc<Rule>, Hashed); 1]>,
    charged: u64,
    /// What `RateLimit-Policy` says, so long, and behind it what `RateLimit` says.
    told: Vec<u8>,
    policy: usize,
    /// When a call that was refused is worth trying again, in seconds.
    wait: Option<u64>,
}

/// A place among the calls under way.
pub(super) struct Held {
    pub(super) rule: Arc<Rule>,
    pub(super) key: Hashed,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.rule.leave(self.key);
    }
}

impl Share {
    /// Adds what there are limits of. To be done before it is told how the call stands.
    pub(super) fn tell_policy(&mut self, told: &[u8]) {
        if self.told.is_empty() {
            self.told.reserve(told.len() + STANDING);
        } else if !told.is_empty() {
            self.told.extend_from_slice(b", ");
        }
        self.told.extend_from_slice(told);
        self.policy = self.told.len();
    }

    /// Adds how the call stands with one of them.
    pub(super) fn tell(&mut self, standing: Standing<'_>) {
        let is_first = self.told.len() == self.policy;
        write_standing(&mut self.told, is_first, standing);
    }

    /// Tells of the one limit that refuses, and gives back what the others gave.
    pub(super) fn refuse(&mut self, standing: Standing<'_>) {
        self.held.clear();
        self.metered.clear();
        self.told.truncate(self.policy);
        self.wait = Some(standing.reset);
        self.tell(standing);
    }

    /// Puts into an answer what the client may know of its limits.
    pub(crate) fn show(&self, fields: &mut Fields) {
        let (policy, standing) = self.told.split_at(self.policy);
        if !policy.is_empty() {
            fields.append_known(Known::RateLimitPolicy, policy);
        }
        if !standing.is_empty() {
            fields.append_known(Known::RateLimit, standing);
        }
        if let Some(wait) = self.wait {
            let mut number = itoa::Buffer::new();
            fields.append_known(Known::RetryAfter, number.format(wait).as_bytes());
        }
    }

    /// Whether bytes that a call has carried so far are to be charged now.
    pub(crate) fn is_due(&self, carried: u64) -> bool {
        !self.metered.is_empty() && carried >= self.charged.saturating_add(CHARGED_AT_ONCE)
    }

    /// Charges what a call has carried so far and was not charged for.
    pub(crate) fn charge(&mut self, carried: u64, nanos: u64) {
        let bytes = carried.saturating_sub(self.charged);
        if bytes == 0 {
            return;
        }
        self.charged = carried;
        for (rule, key) in &self.metered {
            rule.charge(*key, bytes, nanos);
        }
    }

    /// Whether its bytes are charged at all.
    pub(crate) fn is_metered(&self) -> bool {
        !self.metered.is_empty()
    }
}
