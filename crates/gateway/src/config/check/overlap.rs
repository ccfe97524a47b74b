//! Routes that hide each other: two that mean exactly the same calls, and those that can never be
//! reached because a route of higher precedence takes every call of theirs.
//!
//! By the precedence in [`crate::route`] a route is hidden only by one of the same host and path,
//! with conditions on the same names; or, when its path is a regular expression, by a template that
//! holds for whatever the expression begins with. So routes are compared within small groups, and
//! a file of ten thousand routes is checked without comparing all pairs.

use std::borrow::Cow;
use std::collections::HashMap;

use http::HeaderName;
use posthouse_base::config::{Path, Report};

use crate::config::model::{HostPattern, Match, PathPattern, Route, Segment, ValuePattern};
use crate::route::decoded_segment;

/// Notes every route that hides, or is hidden by, an other.
pub(super) fn report(routes: &[Route], all: &Path, report: &mut Report) {
    let mut hidden = Vec::new();
    let groups = grouped(routes);
    for ((host, place), members) in &groups {
        within(routes, members, &mut hidden);
        if let Place::Regex(text) = place {
            behind_templates(routes, &groups, host, text, members, &mut hidden);
        }
    }
    hidden.sort_unstable();
    hidden.dedup_by_key(|(later, _)| *later);
    for (later, first) in hidden {
        let (path, name) = (all.index(later).key("match"), &routes[first].name);
        if covers(&routes[later].matching, &routes[first].matching)
            && Place::of(&routes[later].matching) == Place::of(&routes[first].matching)
        {
            let message = format!(
                "`{}` and routes[{first}] `{name}` mean the same calls",
                routes[later].name
            );
            report.error(&path, message).help("take one away, or add a condition to one of them");
        } else {
            let message = format!(
                "`{}` can never be reached: routes[{first}] `{name}` takes every call of it",
                routes[later].name
            );
            report.warning(&path, message).help("see the order of precedence of routes");
        }
    }
}

type Groups<'a> = HashMap<(&'a HostPattern, Place<'a>), Vec<usize>>;

/// Where in a table a route stands: what matters of its path beside the names of parameters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place<'a> {
    Any,
    Template(Vec<Step<'a>>),
    Regex(&'a str),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step<'a> {
    Literal(Cow<'a, [u8]>),
    Parameter,
    Rest,
}

impl<'a> Place<'a> {
    fn of(matching: &'a Match) -> Self {
        match &matching.path {
            PathPattern::Any => Self::Any,
            PathPattern::Regex(regex) => Self::Regex(regex.as_str()),
            PathPattern::Template(segments) if matches!(segments[..], [Segment::Rest(_)]) => {
                Self::Any
            }
            PathPattern::Template(segments) => Self::Template(
                segments
                    .iter()
                    .map(|segment| match segment {
                        Segment::Literal(text) => Step::Literal(decoded_segment(text.as_bytes())),
                        Segment::Parameter(_) => Step::Parameter,
                        Segment::Rest(_) => Step::Rest,
                    })
                    .collect(),
            ),
        }
    }
}

fn grouped(routes: &[Route]) -> Groups<'_> {
    let mut groups = Groups::new();
    for (index, route) in routes.iter().enumerate() {
        let key = (&route.matching.host, Place::of(&route.matching));
        groups.entry(key).or_default().push(index);
    }
    groups
}

/// The routes of one place by the names that they have conditions on; in the order of the file.
type Names<'a> = (Vec<&'a HeaderName>, Vec<&'a str>);

#[derive(Default)]
struct Alike<'a> {
    /// Routes that ask for exact values only, by those values.
    exact: HashMap<Vec<&'a str>, Vec<usize>>,
    /// The others: they may hide routes with other values.
    loose: Vec<usize>,
}

/// Pairs of a hidden route and the one that hides it, in one place.
fn within(routes: &[Route], members: &[usize], hidden: &mut Vec<(usize, usize)>) {
    let mut groups: HashMap<Names<'_>, Alike<'_>> = HashMap::new();
    for later in members {
        let matching = &routes[*later].matching;
        let alike = groups.entry(names(matching)).or_default();
        let values = exact_values(matching);
        let exact = values.as_ref().and_then(|values| alike.exact.get(values));
        let mut earlier = exact.into_iter().flatten().chain(&alike.loose);
        let first = earlier.find(|first| {
            let outer = &routes[**first].matching;
            // Some methods go before none.
            outer.methods.is_empty() == matching.methods.is_empty() && covers(outer, matching)
        });
        if let Some(first) = first {
            hidden.push((*later, *first));
        }
        match values {
            Some(values) => alike.exact.entry(values).or_default().push(*later),
            None => alike.loose.push(*later),
        }
    }
}

/// The names that a route has conditions on, in an order of their own.
fn names(matching: &Match) -> Names<'_> {
    let mut headers: Vec<_> = matching.headers.iter().map(|(name, _)| name).collect();
    headers.sort_unstable_by_key(|name| name.as_str());
    let mut query: Vec<_> = matching.query.iter().map(|(name, _)| name.as_str()).collect();
    query.sort_unstable();
    (headers, query)
}

/// The values that a route asks for, in the order of [`names`], if all are exact.
fn exact_values(matching: &Match) -> Option<Vec<&str>> {
    let headers = matching.headers.iter().map(|(name, value)| (name.as_str(), value));
    let query = matching.query.iter().map(|(name, value)| (name.as_str(), value));
    let mut values = Vec::with_capacity(matching.headers.len() + matching.query.len());
    for mut conditions in [headers.collect::<Vec<_>>(), query.collect()] {
        conditions.sort_by_key(|(name, _)| *name);
        for (_, value) in conditions {
            let ValuePattern::Exact(value) = value else { return None };
            values.push(value.as_str());
        }
    }
    Some(values)
}

/// Pairs of a route with a regular expression and a template that takes its calls first.
fn behind_templates(
    routes: &[Route],
    groups: &Groups<'_>,
    host: &HostPattern,
    regex: &str,
    members: &[usize],
    hidden: &mut Vec<(usize, usize)>,
) {
    let mut steps = Vec::new();
    for segment in literal_segments(regex) {
        steps.push(Step::Literal(segment.into_bytes().into()));
        let mut template = steps.clone();
        template.push(Step::Rest);
        let Some(firsts) = groups.get(&(host, Place::Template(template))) else { continue };
        for later in members {
            let covering =
                |first: &&usize| covers(&routes[**first].matching, &routes[*later].matching);
            if let Some(first) = firsts.iter().find(covering) {
                hidden.push((*later, *first));
            }
        }
    }
}

/// The whole segments that everything begins with which matches the expression, as far as that is
/// plain to see.
fn literal_segments(regex: &str) -> Vec<String> {
    let Some(mut rest) = regex.strip_prefix("^/") else { return Vec::new() };
    if regex.contains(['|', '%']) {
        return Vec::new();
    }
    let mut text = String::new();
    loop {
        let mut chars = rest.chars();
        match chars.next() {
            Some('\\') => match chars.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => text.push(escaped),
                _ => break,
            },
            Some('?' | '*' | '{') => {
                // What stands before may be missing.
                text.pop();
                break;
            }
            None | Some('.' | '^' | '$' | '+' | '(' | ')' | '[' | ']' | '}') => break,
            Some(plain) => text.push(plain),
        }
        rest = chars.as_str();
    }
    let mut segments: Vec<String> = text.split('/').map(str::to_owned).collect();
    // The last one may go on.
    segments.pop();
    segments
}

/// Whether whatever fulfils the conditions of `inner`, host and path aside, fulfils `outer`'s.
fn covers(outer: &Match, inner: &Match) -> bool {
    let methods = outer.methods.is_empty()
        || (!inner.methods.is_empty()
            && inner.methods.iter().all(|method| outer.methods.contains(method)));
    methods
        && outer.headers.iter().all(|(name, value)| {
            inner.headers.iter().any(|(other, held)| name == other && implies(held, value))
        })
        && outer.query.iter().all(|(name, value)| {
            inner.query.iter().any(|(other, held)| name == other && implies(held, value))
        })
}

/// Whether every value that is as `narrow` says is as `wide` says too.
fn implies(narrow: &ValuePattern, wide: &ValuePattern) -> bool {
    match (narrow, wide) {
        (ValuePattern::Not(narrow), ValuePattern::Not(wide)) => implies(wide, narrow),
        (ValuePattern::Not(_), _) | (_, ValuePattern::Not(_)) => false,
        (_, ValuePattern::Present) => true,
        (ValuePattern::Exact(value), ValuePattern::Exact(wanted)) => value == wanted,
        (ValuePattern::Exact(value), ValuePattern::Regex(regex)) => {
            regex.is_match(value.as_bytes())
        }
        (ValuePattern::Regex(one), ValuePattern::Regex(other)) => one.as_str() == other.as_str(),
        _ => false,
    }
}
