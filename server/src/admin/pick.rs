//! One instance of a service, for a client that balances by itself: chosen by a policy, among those
//! that may get calls.
//!
//! What the gateway sees counts, where there is one: an instance that it has ejected is not chosen,
//! and its calls under way are what "least requests" goes by. Without one all instances have none.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::State as Shared;
use posthouse_base::problem::Problem;
use serde::{Deserialize, Serialize};
#[cfg(test)]
use utoipa::ToSchema;

use super::api::one_service;
use super::input::{Asked, Named};
use super::wire::Endpoint;
#[cfg(test)]
use super::wire::ProblemDetails;
use super::{Refusal, State};

/// Services whose turn is remembered. When there are more, all of them begin again.
const MAX_TURNS: usize = 10_000;

/// How an instance is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum Policy {
    /// Any, all with the same chance.
    Random,
    /// One after the other.
    RoundRobin,
    /// Any, with a chance by weight.
    Weighted,
    /// The one with the fewest calls under way for its weight; any of these.
    LeastRequests,
}

const POLICIES: [(&str, Policy); 4] = [
    ("random", Policy::Random),
    ("round-robin", Policy::RoundRobin),
    ("weighted", Policy::Weighted),
    ("least-requests", Policy::LeastRequests),
];

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct How {
    policy: Option<String>,
    tag: Option<String>,
}

/// The chosen instance.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Pick {
    /// Its service.
    service: String,
    /// How it was chosen.
    policy: Policy,
    /// How many it was chosen from.
    candidates: usize,
    /// The instance.
    endpoint: Endpoint,
}

/// Whose turn it is, by service and tag.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<(String, Option<String>), usize>>);

impl Turns {
    fn next(&self, service: &str, tag: Option<&str>) -> usize {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= MAX_TURNS {
            turns.clear();
        }
        let turn = turns.entry((service.to_owned(), tag.map(Into::into))).or_default();
        *turn = turn.wrapping_add(1);
        turn.wrapping_sub(1)
    }
}

/// Picks one instance of a service that may get calls, by a policy.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/services/{name}/pick",
    security(("token" = ["viewer"])),
    params(
        ("name" = String, Path, description = "The service's name"),
        ("policy" = Option<Policy>, Query, description = "How it is chosen; `random` if not said"),
        ("tag" = Option<String>, Query, description = "A tag that it must have"),
    ),
    responses(
        (status = 200, body = Pick),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json",
         description = "There is no such policy."),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json",
         description = "There is no such service, or no instance of it with that tag."),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json",
         description = "No instance may get calls now."),
    )
))]
pub(super) async fn pick(
    Shared(state): Shared<State>,
    Named(name): Named<String>,
    Asked(How { policy, tag }): Asked<How>,
) -> Result<Json<Pick>, Refusal> {
    let policy = read(policy.as_deref())?;
    let service = one_service(&state, &name).await?;
    let is_tagged = |endpoint: &Endpoint| {
        let tags = endpoint.registration.iter().flat_map(|known| &known.tags);
        tag.iter().all(|wanted| tags.clone().any(|tag| tag == wanted))
    };
    let mut candidates: Vec<Endpoint> = service.endpoints.into_iter().filter(is_tagged).collect();
    let tagged = tag.as_ref().map_or(String::new(), |tag| format!(" with the tag `{tag}`"));
    if candidates.is_empty() && tag.is_some() {
        let detail = format!("there is no instance of `{name}`{tagged}");
        return Err(Refusal(Problem::new(404, "Not Found").detail(detail).field("tag")));
    }
    candidates.retain(|endpoint| endpoint.healthy);
    let count = candidates.len();
    if count == 0 {
        let detail = format!("no instance of `{name}`{tagged} may get calls now");
        return Err(Refusal(Problem::new(503, "Service Unavailable").detail(detail)));
    }
    let chosen = match policy {
        Policy::Random => fastrand::usize(..count),
        Policy::RoundRobin => state.turns.next(&name, tag.as_deref()) % count,
        Policy::Weighted => weighted(&candidates, fastrand::f64()),
        Policy::LeastRequests => least(&candidates, fastrand::usize(..count)),
    };
    let endpoint = candidates.swap_remove(chosen);
    Ok(Json(Pick { service: name, policy, candidates: count, endpoint }))
}

fn read(policy: Option<&str>) -> Result<Policy, Refusal> {
    let Some(written) = policy else { return Ok(Policy::Random) };
    let known = POLICIES.iter().find(|(word, _)| *word == written);
    known.map(|(_, policy)| *policy).ok_or_else(|| {
        let words: Vec<&str> = POLICIES.iter().map(|(word, _)| *word).collect();
        let detail = format!("there is no policy `{written}`; there are {}", words.join(", "));
        Refusal(Problem::new(400, "Bad Request").detail(detail).field("policy"))
    })
}

/// The one at this part of all weights; if none has any, at this part of all.
fn weighted(candidates: &[Endpoint], at: f64) -> usize {
    let all: f64 = candidates.iter().map(|one| f64::from(one.weight)).sum();
    let weight = |one: &Endpoint| if all > 0.0 { f64::from(one.weight) } else { 1.0 };
    let all: f64 = candidates.iter().map(weight).sum();
    let mut left = at * all;
    let found = candidates.iter().position(|one| {
        left -= weight(one);
        left < 0.0
    });
    // Sums of parts may be less than the whole by a hair.
    found.unwrap_or(candidates.len() - 1)
}

/// The one with the fewest calls for its weight; among equals the first from `start` on.
fn least(candidates: &[Endpoint], start: usize) -> usize {
    let load = |at: &usize| {
        let one = &candidates[*at];
        let calls = one.live.as_ref().map_or(0, |live| live.in_flight);
        // With the call that it would get, so that weights count among those that have none.
        (f64::from(calls) + 1.0) / f64::from(one.weight.max(1))
    };
    let turned = (start..candidates.len()).chain(0..start);
    turned.min_by(|a, b| load(a).total_cmp(&load(b))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use posthouse_registry as registry;

    use super::*;

    fn candidates(weights: &[u32]) -> Vec<Endpoint> {
        let endpoint = |weight: &u32| {
            let known = registry::Endpoint {
                id: format!("i{weight}"),
                node: "n".into(),
                address: "10.0.0.1".into(),
                port: 80,
                weight_passing: *weight,
                weight_warning: 0,
                tags: Vec::new(),
                meta: [].into(),
                status: registry::Status::Passing,
                maintenance: false,
            };
            Endpoint::registered("web", &known)
        };
        weights.iter().map(endpoint).collect()
    }

    #[test]
    fn weights_are_shares_of_the_whole() {
        let some = candidates(&[1, 0, 3]);
        let chosen = [0.0, 0.24, 0.26, 0.999].map(|at| weighted(&some, at));
        assert_eq!(chosen, [0, 0, 2, 2]);
        assert_eq!(weighted(&candidates(&[0, 0]), 0.6), 1, "without weights all are the same");
    }

    #[test]
    fn the_fewest_calls_for_their_weight_win_and_equals_take_turns() {
        let equal = candidates(&[2, 2, 2]);
        assert_eq!([0, 1, 2].map(|start| least(&equal, start)), [0, 1, 2]);
        let one = candidates(&[1, 5, 1]);
        assert_eq!([0, 1, 2].map(|start| least(&one, start)), [1, 1, 1]);
    }

    #[test]
    fn turns_go_round_for_each_service_and_tag() {
        let turns = Turns::default();
        let taken = [None, Some("a"), None, None].map(|tag| turns.next("web", tag));
        assert_eq!(taken, [0, 0, 1, 2]);
        assert_eq!(turns.next("db", None), 0);
    }
}
