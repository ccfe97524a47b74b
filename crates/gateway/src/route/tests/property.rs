//! The table against the documented precedence, followed naively: every route is compared with
//! the call, and the first by an explicit key is taken.

use http::Method;
use percent_encoding::percent_decode_str;
use posthouse_base::config::Severity;
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use proptest::{collection::vec, option, sample::select, sample::subsequence};

use crate::config::model::{HostPattern, PathPattern, Route, Segment, ValuePattern};

use super::{Line, Outcome, Request, checked, table_of};

/// What decides between two routes that match; less is taken.
type Key = (Vec<usize>, (u8, Vec<u8>, usize), (bool, isize, isize), usize);

fn key(route: &Route, index: usize, routes: &[Route]) -> Key {
    let matching = &route.matching;
    let host = match &matching.host {
        HostPattern::Exact(_) => vec![0],
        HostPattern::Below(suffix) => vec![1, usize::MAX - suffix.len()],
        HostPattern::Any => vec![2],
    };
    let path = match &matching.path {
        PathPattern::Any => (2, vec![], 0),
        PathPattern::Template(segments) if matches!(segments[..], [Segment::Rest(_)]) => {
            (2, vec![], 0)
        }
        PathPattern::Template(segments) => {
            let kind = |segment: &Segment| match segment {
                Segment::Literal(_) => 0,
                Segment::Parameter(_) => 1,
                Segment::Rest(_) => 2,
            };
            (0, segments.iter().map(kind).collect(), 0)
        }
        PathPattern::Regex(regex) => {
            let same = |other: &Route| {
                other.matching.host == matching.host
                    && matches!(&other.matching.path, PathPattern::Regex(other) if other.as_str() == regex.as_str())
            };
            (1, vec![], routes.iter().position(same).unwrap())
        }
    };
    let count = |len: usize| -isize::try_from(len).unwrap();
    let conditions =
        (matching.methods.is_empty(), count(matching.headers.len()), count(matching.query.len()));
    (host, path, conditions, index)
}

fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    let host = host.to_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name == host,
        HostPattern::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
    }
}

fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    match pattern {
        PathPattern::Any => true,
        // The only escape in these requests is that of a letter.
        PathPattern::Regex(regex) => regex.is_match(&decoded(path)),
        PathPattern::Template(template) => {
            let Some(path) = path.strip_prefix('/') else { return false };
            let segments: Vec<&str> = path.split('/').collect();
            let rest = matches!(template.last(), Some(Segment::Rest(_)));
            let fixed = template.len() - usize::from(rest);
            (if rest { segments.len() >= fixed } else { segments.len() == fixed })
                && template.iter().zip(&segments).all(|(wanted, held)| match wanted {
                    Segment::Literal(text) => decoded(text) == decoded(held),
                    Segment::Parameter(_) => !held.is_empty(),
                    Segment::Rest(_) => true,
                })
        }
    }
}

fn conditions_hold(route: &Route, request: &Line) -> bool {
    fn holds(wanted: &ValuePattern, held: &[&str]) -> bool {
        match wanted {
            ValuePattern::Present => !held.is_empty(),
            ValuePattern::Exact(text) => held.contains(&text.as_str()),
            ValuePattern::Regex(regex) => held.iter().any(|held| regex.is_match(held.as_bytes())),
            ValuePattern::Not(unwanted) => !holds(unwanted, held),
        }
    }
    let of = |pairs: &'_ [(String, String)], name: &str| {
        let found = pairs.iter().filter(|(held, _)| held == name);
        found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let hold = |pairs: &[(String, String)], name: &str, wanted: &ValuePattern| {
        let values = of(pairs, name);
        holds(wanted, &values.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let Line { headers, query, .. } = request;
    route.matching.headers.iter().all(|(name, wanted)| hold(headers, name.as_str(), wanted))
        && route.matching.query.iter().all(|(name, wanted)| hold(query, name, wanted))
}

/// The index of the route that is taken, or the methods that would be.
fn naive(routes: &[Route], line: &Line, request: &Request) -> Result<usize, Vec<String>> {
    let matching: Vec<(usize, &Route)> = routes
        .iter()
        .enumerate()
        .filter(|(_, route)| {
            host_matches(&route.matching.host, &request.host)
                && path_matches(&route.matching.path, &request.path)
                && conditions_hold(route, line)
        })
        .collect();
    let takes = |route: &Route| {
        route.matching.methods.is_empty() || route.matching.methods.contains(&request.method)
    };
    let taken = matching
        .iter()
        .filter(|(_, route)| takes(route))
        .min_by_key(|(index, route)| key(route, *index, routes));
    let methods = || {
        let methods = matching.iter().flat_map(|(_, route)| &route.matching.methods);
        sorted(methods.map(Method::to_string).collect())
    };
    taken.map(|(index, _)| *index).ok_or_else(methods)
}

fn sorted(mut methods: Vec<String>) -> Vec<String> {
    methods.sort();
    methods.dedup();
    methods
}

fn pairs(
    all: &'static [(&'static str, &'static str)],
) -> impl Strategy<Value = Vec<(String, String)>> {
    subsequence(all, 0..=all.len().min(2)).prop_map(|pairs| {
        let mut pairs: Vec<_> =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        pairs.dedup_by(|(one, _), (other, _)| one == other);
        pairs
    })
}

fn template() -> impl Strategy<Value = String> {
    let segments = vec(select(vec!["a", "b", "{p}", ""]), 0..4);
    (segments, select(vec![None, Some("a"), Some("{*r}"), Some("{*r}")])).prop_map(
        |(segments, last)| {
            let mut path = String::new();
            for (index, segment) in segments.into_iter().chain(last).enumerate() {
                let segment = segment.replace("{p}", &format!("{{p{index}}}"));
                path.push('/');
                path.push_str(&segment);
            }
            if path.is_empty() { "/".into() } else { path }
        },
    )
}

fn any_path() -> impl Strategy<Value = Option<String>> {
    let regex = select(vec!["~^/a", "~b$", "~^/a/[ab]", "~/a/a/", "~."]);
    let template = template().boxed();
    proptest::prop_oneof![
        6 => template.prop_map(Some),
        2 => regex.prop_map(|regex| Some(regex.to_owned())),
        1 => proptest::strategy::Just(None),
    ]
}

fn route() -> impl Strategy<Value = Line> {
    let host = option::of(select(vec!["a.b", "*.b", "*.a.b", "c"]));
    let methods = subsequence(vec!["GET", "POST"], 0..=1);
    let headers = pairs(&[
        ("x", "1"),
        ("x", "*"),
        ("x", "~1"),
        ("x", "!"),
        ("x", "!~1"),
        ("y", "2"),
        ("y", "!2"),
    ]);
    let query = pairs(&[("q", "1"), ("q", "*"), ("q", "!1"), ("r", "2"), ("r", "!")]);
    (host, any_path(), methods, headers, query).prop_map(|(host, path, methods, headers, query)| {
        Line {
            host: host.map(str::to_owned),
            path,
            methods: methods.into_iter().map(str::to_owned).collect(),
            headers,
            query,
        }
    })
}

fn request() -> impl Strategy<Value = Line> {
    let host = select(vec!["a.b", "A.B.", "x.a.b", "y.x.a.b", "b", "c", "C", "", "d"]);
    let segments = vec(select(vec!["a", "b", "%61", "c", ""]), 1..5);
    let method = select(vec!["GET", "POST", "HEAD", "PUT"]);
    let headers = pairs(&[("x", "1"), ("x", "21"), ("y", "2")]);
    let query = pairs(&[("q", "1"), ("q", "3"), ("r", "2")]);
    (host, segments, method, headers, query).prop_map(|(host, segments, method, headers, query)| {
        Line {
            host: Some(host.to_owned()),
            path: Some(format!("/{}", segments.join("/"))),
            methods: vec![method.to_owned()],
            headers,
            query,
        }
    })
}

proptest! {
    #[test]
    fn the_documented_precedence_is_what_the_table_does(
        lines in vec(route(), 1..20),
        requests in vec(request(), 1..20),
    ) {
        let raw = lines.iter().enumerate().map(|(index, line)| line.raw(&index.to_string()));
        let (routes, report) = checked(raw.collect());
        let table = table_of(routes.clone());
        let hidden: Vec<usize> = report
            .findings()
            .iter()
            .map(|finding| {
                let path = finding.path.as_str();
                let index = path.strip_prefix("routes[").and_then(|rest| rest.split_once(']'));
                index.unwrap().0.parse().unwrap()
            })
            .collect();
        for line in &requests {
            let request = Request::new(line);
            let found = match table.find(&request.lookup()) {
                Outcome::Found(found) => Ok(found.route.index),
                Outcome::NotFound => Err(vec![]),
                Outcome::MethodNotAllowed { allow } => {
                    Err(sorted(allow.iter().map(Method::to_string).collect()))
                }
            };
            prop_assert_eq!(&found, &naive(&routes, line, &request), "{:?}", line);
            // What the check calls hidden is never found.
            prop_assert!(!found.is_ok_and(|index| hidden.contains(&index)), "{:?}", report);
        }
    }

    #[test]
    fn routes_that_mean_the_same_calls_are_errors(line in route(), other in route()) {
        let raw = [("0", &line), ("1", &other), ("2", &line)];
        let (_, report) = checked(raw.map(|(name, line)| line.raw(name)).into());
        let error = |finding: &posthouse_base::config::Finding| {
            finding.severity == Severity::Error && finding.path.as_str() == "routes[2].match"
        };
        prop_assert!(report.findings().iter().any(error), "{:?}", report);
    }
}
