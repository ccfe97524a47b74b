//! Consumers as providers see them: what a proved name stands for. Who keeps them is behind a trait,
//! so that tokens can be tested without a state.

use std::sync::Arc;

/// What a provider needs to know of a consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consumer {
    /// Its plan.
    pub(crate) plan: Option<Arc<str>>,
    /// What it is.
    pub(crate) roles: Vec<Box<str>>,
}

/// Finds consumers. Asked on the path of a call: it must not wait.
pub(crate) trait Directory: Send + Sync + 'static {
    /// Grows with every change, so that what was derived from a consumer can be known to be old.
    fn version(&self) -> u64;

    /// The consumer of this name.
    fn find(&self, name: &str) -> Option<Consumer>;
}

/// No consumers.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoConsumers;

#[cfg(test)]
impl Directory for NoConsumers {
    fn version(&self) -> u64 {
        0
    }

    fn find(&self, _: &str) -> Option<Consumer> {
        None
    }
}
