//! What others do for the gateway. It knows only these traits; whoever starts it connects them.

use std::sync::Arc;

use crate::access::Recorder;
use crate::guard::{Identifier, Inspector, NoIdentifier, NoInspector};
use crate::limit::{NoQuotaStore, QuotaStore};

/// What others do for the gateway.
#[derive(Clone)]
pub struct Seams {
    /// Is told of each call that is over.
    pub recorder: Arc<dyn Recorder>,
    /// Says who calls.
    pub identifier: Arc<dyn Identifier>,
    /// Compares calls with the description of their API.
    pub inspector: Arc<dyn Inspector>,
    /// Keeps what was used of quotas.
    pub quotas: Arc<dyn QuotaStore>,
}

impl Seams {
    /// Only a recorder: nobody is known, nothing compared, and no quota outlives the gateway.
    #[must_use]
    pub fn new(recorder: Arc<dyn Recorder>) -> Self {
        let (identifier, inspector) = (Arc::new(NoIdentifier), Arc::new(NoInspector));
        Self { recorder, identifier, inspector, quotas: Arc::new(NoQuotaStore) }
    }
}
