//! Who calls, translated: what the gateway asks, in the words of identity, and what identity answers,
//! in the words of the gateway. Neither knows the other.

use std::sync::Arc;

use http::HeaderName;
use posthouse_base::time::Timestamp;
use posthouse_gateway::guard::{self, Asked, Identifier, Verdict};
use posthouse_gateway::http::head;
use posthouse_identity as identity;
use posthouse_identity::{Credentials, Outcome};

/// Asks identity.
#[derive(Clone, Debug)]
pub(super) struct Gatekeeper(pub(super) identity::Handle);

impl Identifier for Gatekeeper {
    fn identify(&self, asked: &Asked<'_>, providers: &[Arc<str>]) -> Verdict {
        let shown = Shown(asked.fields);
        let chain = asked.certificate.map(|certificate| certificate.chain.as_slice());
        let credentials = Credentials {
            method: asked.method,
            scheme: asked.scheme,
            authority: asked.authority,
            path_and_query: asked.path_and_query,
            fields: &shown,
            client: asked.client,
            chain: chain.unwrap_or_default(),
            now: Timestamp::now(),
        };
        verdict(self.0.identify(&credentials, providers))
    }

    fn adds(&self) -> Vec<HeaderName> {
        self.0.added_headers()
    }

    fn conceal(&self, path_and_query: &[u8], providers: &[Arc<str>]) -> Option<Vec<u8>> {
        self.0.without_keys(path_and_query, providers)
    }

    fn mint(&self, who: &Arc<guard::Identity>, audience: &str) -> Option<Arc<[u8]>> {
        let about = identity::About {
            provider: &who.provider,
            subject: &who.subject,
            consumer: who.consumer.as_deref(),
            plan: who.plan.as_deref(),
            scopes: &who.scopes,
            roles: &who.roles,
        };
        self.0.mint(&about, who, audience, Timestamp::now())
    }
}

/// The gateway's header section, as identity looks at one.
struct Shown<'a>(&'a head::Fields);

impl identity::Fields for Shown<'_> {
    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s [u8], &'s [u8])) {
        for (_, name, value) in self.0.iter() {
            see(name, value);
        }
    }

    fn named<'s>(&'s self, name: &str, see: &mut dyn FnMut(&'s [u8])) {
        // Most names are known by one byte, and most fields are of another length or kind.
        self.0.all_named(name.as_bytes()).for_each(see);
    }
}

fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Known(identity) => Verdict::Known(known(&identity)),
        Outcome::Nobody => Verdict::Nobody,
        Outcome::Refused(refusal) => Verdict::Refused(refused(refusal)),
        Outcome::Later(later) => Verdict::Later(Box::pin(async move { verdict(later.await) })),
        Outcome::WithBody(judge) => Verdict::WithBody(Box::new(move |body| verdict(judge(body)))),
    }
}

/// Translated once for as long as identity remembers it.
fn known(identity: &identity::Identity) -> Arc<guard::Identity> {
    identity.translated.get_or(|| guard::Identity {
        provider: Arc::clone(&identity.provider),
        subject: Arc::clone(&identity.subject),
        consumer: identity.consumer.clone(),
        plan: identity.plan.clone(),
        key: identity.key.clone(),
        scopes: identity.scopes.clone(),
        roles: identity.roles.clone(),
        claims: identity.claims.clone(),
        fields: identity.fields.clone(),
    })
}

fn refused(refusal: identity::Refusal) -> guard::Refusal {
    match refusal {
        identity::Refusal::Invalid => guard::Refusal::Invalid,
        identity::Refusal::Unavailable => guard::Refusal::Unavailable,
        identity::Refusal::Forbidden(answer) => guard::Refusal::Forbidden(answer.map(|answer| {
            let identity::Answer { status, fields, body } = *answer;
            Box::new(guard::Answer { status, fields, body })
        })),
    }
}
