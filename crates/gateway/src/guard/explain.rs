//! Each rule of a guard, its outcome for one call, and the one that decides; and how the call stands
//! with its limits. The rules are those by which calls are judged; here the others are told as well,
//! and nothing is counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use posthouse_base::time::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::facts::{self, Facts, condition};
use super::rules::{PERMISSIONS, Rule, allows_address, permits};
use super::seam::{Asked, ClientCertificate, Identity, Refusal, Verdict};
use super::settings::Guard;
use crate::cluster::Service;
use crate::config::model::Action;
use crate::http::head::Fields;
use crate::http::target::Target;
use crate::limit::{self, Left, Now, Policy};
use crate::proxy::leads_around;
use crate::route::{Lookup, Outcome, Route};
use crate::shared::{Shared, Snapshot};

/// What a guard says of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The route that the call takes; `None` when it takes none.
    pub route: Option<Arc<str>>,
    /// The version of an API that it belongs to, `NAME@VERSION`.
    pub api: Option<String>,
    /// Who calls, if that is known.
    pub identity: Option<Arc<Identity>>,
    /// Every rule in the order in which they are asked.
    pub rulings: Vec<Ruling>,
    /// Which of them decides; `None` when the call passes.
    pub decides: Option<usize>,
    /// Whether refusals are only logged.
    pub dry_run: bool,
    /// How it stands with its limits, when the guard lets it pass.
    pub limits: Vec<Left>,
    /// The status that the client would see when the gateway answers itself: the call does not pass, or
    /// its route redirects it or has an answer of its own. `None` when a service is to answer.
    pub status: Option<u16>,
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Its label.
    pub rule: &'static str,
    /// Whether it lets the call pass.
    pub passes: bool,
    /// Why.
    pub why: String,
}

/// What was found out about who calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Caller {
    /// This one.
    Known(Arc<Identity>),
    /// No credential was shown.
    Nobody,
    /// One that does not hold.
    Refused(Refusal),
    /// The credential covers a body, which an explanation does not have.
    NeedsBody,
}

/// Explains what a guard says of a call.
#[must_use]
pub fn explain(guard: &Guard, caller: &Caller, facts: &Facts<'_>) -> (Vec<Ruling>, Option<usize>) {
    let mut rulings = Vec::new();
    let mut say = |rule: Rule, passes: bool, why: String| {
        rulings.push(Ruling { rule: rule.label(), passes, why });
    };
    if !guard.allow.is_empty() || !guard.deny.is_empty() {
        let client = facts.asked.client.ip();
        let passes = allows_address(guard, client);
        let list = if passes { "may call" } else { "is denied, or not among those allowed" };
        say(Rule::Address, passes, format!("{client} {list}"));
    }
    if guard.denied {
        let why = "the route demands nothing of its callers and does not say that it is open";
        say(Rule::Deny, false, why.into());
    }
    if !guard.providers.is_empty() {
        let (passes, why) = known(guard, caller);
        say(Rule::Identity, passes, why);
    }
    for rule in PERMISSIONS {
        if let Some(why) = why(guard, rule, facts) {
            say(rule, permits(guard, rule, facts), why);
        }
    }
    let decides = rulings.iter().position(|ruling| !ruling.passes);
    (rulings, decides)
}

fn known(guard: &Guard, caller: &Caller) -> (bool, String) {
    let asked = guard.providers.join(", ");
    match caller {
        Caller::Known(identity) => {
            let consumer = identity.consumer.as_ref();
            let consumer = consumer.map_or(String::new(), |name| format!(", consumer `{name}`"));
            let (subject, provider) = (&identity.subject, &identity.provider);
            (true, format!("`{provider}` knows the caller as `{subject}`{consumer}"))
        }
        Caller::Nobody if guard.optional => (true, "nobody in particular may call".into()),
        Caller::Nobody => (false, format!("no credential for any of: {asked}")),
        Caller::Refused(Refusal::Invalid) => {
            (false, "the credential is wrong, unknown, expired or used again".into())
        }
        Caller::Refused(Refusal::Unavailable) => {
            (false, "it cannot be found out now whether the credential holds".into())
        }
        Caller::Refused(Refusal::Forbidden(_)) => (false, "an external authoriser refused".into()),
        Caller::NeedsBody => {
            (false, "the credential covers the body of the call, which is not given here".into())
        }
    }
}

/// What a permission wants and what there is; `None` when the guard does not ask.
fn why(guard: &Guard, rule: Rule, facts: &Facts<'_>) -> Option<String> {
    let list = |list: &[Box<str>]| if list.is_empty() { "none".into() } else { list.join(", ") };
    let held = |of: fn(&Identity) -> &[Box<str>]| {
        facts.identity.map_or("none".into(), |one| list(of(one)))
    };
    match rule {
        Rule::Scopes if !guard.scopes.is_empty() => {
            let held = held(|identity| &identity.scopes);
            Some(format!("wants all of: {}; the caller has: {held}", list(&guard.scopes)))
        }
        Rule::Roles if !guard.roles.is_empty() => {
            let held = held(|identity| &identity.roles);
            Some(format!("wants one of: {}; the caller has: {held}", list(&guard.roles)))
        }
        Rule::Consumers if !guard.consumers.is_empty() => {
            let consumer = facts.identity.and_then(|identity| identity.consumer.as_deref());
            let consumer = consumer.unwrap_or("none");
            Some(format!("wants one of: {}; the caller is: {consumer}", list(&guard.consumers)))
        }
        Rule::When => guard.when.as_ref().map(|when| match condition(when, facts) {
            Ok(holds) => format!("`{}` is {holds}", when.source()),
            Err(failure) => format!("`{}` has no value: {failure}", when.source()),
        }),
        _ => None,
    }
}

/// A call that is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its method.
    pub method: Method,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Where it goes.
    pub target: Target,
    /// Its header section.
    pub fields: Fields,
    /// Where it comes from.
    pub client: SocketAddr,
    /// The certificate that its connection would show.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// What the configuration in force says of a call.
pub(crate) async fn answer(shared: &Shared, mut question: Question) -> Explanation {
    let snapshot = shared.snapshot.load_full();
    if let Some(telling) = &snapshot.telling {
        telling.strip(&mut question.fields);
    }
    let lookup = question.lookup();
    let (route, guard) = match snapshot.routes.find(&lookup) {
        Outcome::Found(found) if leads_around(&snapshot, &lookup, found.route) => {
            let why = "read less exactly, the path comes under the guard of another route";
            return Explanation::refused(400, "path", why, Some(found.route));
        }
        Outcome::Found(found) => (found.route, snapshot.guard_of(found.route.index)),
        Outcome::NotFound => {
            return Explanation::refused(404, "route", "no route matches", None);
        }
        Outcome::MethodNotAllowed { .. } => {
            let why = "routes match the path, but not with this method";
            return Explanation::refused(405, "route", why, None);
        }
    };
    let mut explanation = Explanation::of(route);
    let Some(guard) = guard else {
        let facts = Facts { asked: question.asked(), identity: None, time: facts::now() };
        explanation.limit(shared, &snapshot, route, &facts);
        return explanation;
    };
    let caller = if guard.providers.is_empty() {
        Caller::Nobody
    } else {
        let asked = question.asked();
        let mut verdict = shared.seams.identifier.identify(&asked, &guard.providers);
        loop {
            verdict = match verdict {
                Verdict::Known(identity) => break Caller::Known(identity),
                Verdict::Nobody => break Caller::Nobody,
                Verdict::Refused(refusal) => break Caller::Refused(refusal),
                Verdict::WithBody(_) => break Caller::NeedsBody,
                Verdict::Later(later) => later.await,
            };
        }
    };
    let identity = match &caller {
        Caller::Known(identity) => Some(&**identity),
        _ => None,
    };
    let facts = Facts { asked: question.asked(), identity, time: facts::now() };
    (explanation.rulings, explanation.decides) = explain(guard, &caller, &facts);
    explanation.dry_run = guard.dry_run;
    let decides = explanation.decides.and_then(|index| explanation.rulings.get(index));
    let refused = decides.filter(|_| !guard.dry_run).map(|ruling| match &caller {
        _ if ruling.rule != Rule::Identity.label() => 403,
        Caller::Refused(Refusal::Unavailable) => 503,
        Caller::Refused(Refusal::Forbidden(Some(words))) => words.status.as_u16(),
        Caller::Refused(Refusal::Forbidden(None)) => 403,
        _ => 401,
    });
    if refused.is_some() {
        explanation.status = refused;
    } else {
        explanation.limit(shared, &snapshot, route, &facts);
    }
    if let Caller::Known(identity) = caller {
        explanation.identity = Some(identity);
    }
    explanation
}

impl ClientCertificate {
    /// The certificates of a PEM text, the client's own first; `None` when there are none in it, or one
    /// cannot be read. Nobody has verified them.
    #[must_use]
    pub fn from_pem(text: &str) -> Option<Self> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let chain: Vec<Box<[u8]>> = read.ok()?.iter().map(|der| der.as_ref().into()).collect();
        (!chain.is_empty()).then_some(Self { chain })
    }
}

impl Question {
    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            host: self.target.host(),
            path: self.target.path(),
            query: self.target.query(),
            method: &self.method,
            fields: &self.fields,
        }
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            method: &self.method,
            scheme: self.scheme,
            authority: self.target.authority().as_bytes(),
            path_and_query: self.target.path_and_query().as_bytes(),
            fields: &self.fields,
            client: self.client,
            certificate: self.certificate.as_ref(),
        }
    }
}

impl Explanation {
    /// Nothing is asked of callers yet.
    fn of(route: &Route<Arc<Service>>) -> Self {
        let api = route.config.api.as_ref();
        let status = match &route.config.action {
            Action::Forward { .. } => None,
            Action::Redirect(redirect) => Some(redirect.status.as_u16()),
            Action::Respond(respond) => Some(respond.status.as_u16()),
        };
        Self {
            route: Some(Arc::clone(&route.config.name)),
            api: api.map(|api| format!("{}@{}", api.name, api.version)),
            identity: None,
            rulings: Vec::new(),
            decides: None,
            dry_run: false,
            limits: Vec::new(),
            status,
        }
    }

    /// Adds how a call that the guard lets pass stands with its limits.
    fn limit(
        &mut self,
        shared: &Shared,
        snapshot: &Snapshot,
        route: &Route<Arc<Service>>,
        facts: &Facts<'_>,
    ) {
        let plan = facts.identity.and_then(|known| known.plan.as_deref());
        let policies = snapshot.limits.of(Some(route.index), plan);
        let policies: Vec<&Policy> = policies.into_iter().flatten().collect();
        let now = Now { nanos: shared.book.nanos(Instant::now()), time: Timestamp::now() };
        let caller = limit::Caller {
            identity: facts.identity,
            address: facts.asked.client.ip(),
            route: &route.config.name,
            value: &|program| facts::key(program, facts),
        };
        self.limits = limit::look(&policies, &caller, &shared.book, now);
        if self.limits.iter().any(|left| !left.passes) {
            self.status = Some(StatusCode::TOO_MANY_REQUESTS.as_u16());
        }
    }

    /// Refused before a guard is asked.
    fn refused(
        status: u16,
        rule: &'static str,
        why: &str,
        route: Option<&Arc<Route<Arc<Service>>>>,
    ) -> Self {
        let rulings = vec![Ruling { rule, passes: false, why: why.into() }];
        Self {
            route: route.map(|route| Arc::clone(&route.config.name)),
            api: None,
            identity: None,
            rulings,
            decides: Some(0),
            dry_run: false,
            limits: Vec::new(),
            status: Some(status),
        }
    }
}
