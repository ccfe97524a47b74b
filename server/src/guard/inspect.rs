//! Calls compared with the description of their API: what the gateway shows, in the words of the
//! catalog.

use std::sync::Arc;

use posthouse_catalog as catalog;
use posthouse_catalog::openapi::Call;
use posthouse_gateway::guard::{Asked, Inspector, Violation};

/// Asks the catalog.
#[derive(Clone, Debug)]
pub(super) struct Comparer(pub(super) catalog::Handle);

impl Inspector for Comparer {
    fn wants_body(&self, api: &str, version: &str, asked: &Asked<'_>) -> bool {
        self.with(api, version, asked, |inspection, call| inspection.wants_body(call))
            .unwrap_or(false)
    }

    fn inspect(
        &self,
        api: &str,
        version: &str,
        asked: &Asked<'_>,
        body: Option<&[u8]>,
    ) -> Result<(), Violation> {
        let outcome =
            self.with(api, version, asked, |inspection, call| inspection.check(call, body));
        outcome.unwrap_or(Ok(())).map_err(|violation| Violation {
            pointer: violation.pointer,
            message: violation.message,
        })
    }
}

impl Comparer {
    /// `None` when calls of this version are not compared.
    fn with<T>(
        &self,
        api: &str,
        version: &str,
        asked: &Asked<'_>,
        ask: impl FnOnce(&catalog::Inspection, &Call<'_>) -> T,
    ) -> Option<T> {
        let standing: Arc<catalog::Standing> = self.0.standing();
        let inspection = standing.inspection(api, version)?;
        let target = asked.path_and_query;
        let split = target.iter().position(|byte| *byte == b'?');
        let (path, query) = match split {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };
        let headers = |wanted: &str, see: &mut dyn FnMut(&[u8])| {
            for (_, name, value) in asked.fields.iter() {
                if name.eq_ignore_ascii_case(wanted.as_bytes()) {
                    see(value);
                }
            }
        };
        Some(ask(inspection, &Call { method: asked.method, path, query, headers: &headers }))
    }
}
