//! From a path to the routes that it may take: a trie of segments, then regular expressions, then
//! the routes that say nothing about the path. What a lookup costs depends on the segments of the
//! path, not on the number of routes.

use regex::bytes::{Regex, RegexSet};

use super::decode;
use super::host::Map;
use super::table::{Caught, RouteId};
use crate::config::model::{PathPattern, Segment};

/// The routes of one host by their paths.
#[derive(Debug)]
pub(super) struct Paths {
    /// The first is the root.
    nodes: Vec<Node>,
    regexes: Vec<(Regex, Vec<RouteId>)>,
    /// Finds the few of many expressions that match in one pass.
    set: Option<RegexSet>,
    /// Routes without a condition on the path, and those that catch all of it.
    any: Vec<RouteId>,
}

type NodeId = usize;

/// A place in the trie: the segments so far.
#[derive(Debug, Default)]
struct Node {
    /// By decoded text.
    literals: Map<Box<[u8]>, NodeId>,
    parameter: Option<NodeId>,
    /// The routes whose template ends here.
    here: Vec<RouteId>,
    /// The routes whose template catches the rest from here.
    rest: Vec<RouteId>,
}

impl Default for Paths {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], regexes: Vec::new(), set: None, any: Vec::new() }
    }
}

impl Paths {
    /// The leaf of this pattern: routes there differ in their conditions only.
    pub(super) fn leaf(&mut self, pattern: &PathPattern) -> &mut Vec<RouteId> {
        match pattern {
            PathPattern::Any => &mut self.any,
            PathPattern::Template(segments) if matches!(segments[..], [Segment::Rest(_)]) => {
                &mut self.any
            }
            PathPattern::Template(segments) => self.template(segments),
            PathPattern::Regex(regex) => self.regex(regex),
        }
    }

    /// Puts every leaf in order, by a rank in which less is first, and prepares for lookups.
    pub(super) fn finish<K: Ord>(&mut self, rank: impl Fn(&RouteId) -> K) {
        let nodes = self.nodes.iter_mut().flat_map(|node| [&mut node.here, &mut node.rest]);
        let regexes = self.regexes.iter_mut().map(|(_, leaf)| leaf);
        for leaf in nodes.chain(regexes).chain([&mut self.any]) {
            leaf.sort_by_key(&rank);
            leaf.shrink_to_fit();
        }
        self.nodes.shrink_to_fit();
        if self.regexes.len() > 1 {
            // Together they may exceed the limit that each keeps; then they are tried one by one.
            self.set = RegexSet::new(self.regexes.iter().map(|(regex, _)| regex.as_str())).ok();
        }
    }

    fn template(&mut self, segments: &[Segment]) -> &mut Vec<RouteId> {
        let mut at = 0;
        for segment in segments {
            let next = self.nodes.len();
            let child = match segment {
                Segment::Rest(_) => return &mut self.nodes[at].rest,
                Segment::Parameter(_) => *self.nodes[at].parameter.get_or_insert(next),
                Segment::Literal(text) => {
                    let decoded = decode::segment(text.as_bytes()).into();
                    *self.nodes[at].literals.entry(decoded).or_insert(next)
                }
            };
            if child == next {
                self.nodes.push(Node::default());
            }
            at = child;
        }
        &mut self.nodes[at].here
    }

    fn regex(&mut self, regex: &Regex) -> &mut Vec<RouteId> {
        let known = self.regexes.iter().position(|(known, _)| known.as_str() == regex.as_str());
        let index = known.unwrap_or(self.regexes.len());
        if known.is_none() {
            self.regexes.push((regex.clone(), Vec::new()));
        }
        &mut self.regexes[index].1
    }
}

/// One walk over [`Paths`], most specific first.
pub(super) struct Walk<'a, F> {
    pub(super) path: &'a str,
    /// Whether a route is the one; called in order of precedence.
    pub(super) accept: F,
    pub(super) caught: Caught,
    /// What the walk has cost: nodes visited and routes asked.
    pub(super) steps: usize,
}

impl<F: FnMut(RouteId) -> bool> Walk<'_, F> {
    /// The first route that is accepted.
    pub(super) fn find(&mut self, paths: &Paths) -> Option<RouteId> {
        self.caught.clear();
        let is_path = self.path.starts_with('/');
        if is_path && let Some(found) = self.node(paths, 0, Some(1)) {
            return Some(found);
        }
        if !paths.regexes.is_empty()
            && let Some(found) = self.regexes(paths)
        {
            return Some(found);
        }
        // Of `*`, a call about the whole server, nothing can be caught.
        if is_path {
            self.caught.push(1, self.path.len());
        }
        self.leaf(&paths.any)
    }

    /// Goes on at a node with the segment that begins `at`; `None` is behind the last one.
    fn node(&mut self, paths: &Paths, node: NodeId, at: Option<usize>) -> Option<RouteId> {
        self.steps += 1;
        let node = &paths.nodes[node];
        let len = self.path.len();
        let Some(start) = at else {
            return self.leaf(&node.here).or_else(|| self.catching(&node.rest, len, len));
        };
        let rest = self.path.as_bytes().get(start..).unwrap_or_default();
        let slash = memchr::memchr(b'/', rest);
        let segment = &rest[..slash.unwrap_or(rest.len())];
        let end = start + segment.len();
        let next = slash.map(|_| end + 1);
        if !node.literals.is_empty()
            && let Some(child) = node.literals.get(&*decode::segment(segment))
            && let Some(found) = self.node(paths, *child, next)
        {
            return Some(found);
        }
        if let Some(child) = node.parameter
            && !segment.is_empty()
        {
            self.caught.push(start, end);
            if let Some(found) = self.node(paths, child, next) {
                return Some(found);
            }
            self.caught.pop();
        }
        self.catching(&node.rest, start, len)
    }

    fn catching(&mut self, leaf: &[RouteId], start: usize, end: usize) -> Option<RouteId> {
        if leaf.is_empty() {
            return None;
        }
        self.caught.push(start, end);
        let found = self.leaf(leaf);
        if found.is_none() {
            self.caught.pop();
        }
        found
    }

    fn regexes(&mut self, paths: &Paths) -> Option<RouteId> {
        let path = decode::unreserved(self.path.as_bytes());
        match &paths.set {
            Some(set) => {
                let matches = set.matches(&path);
                matches.into_iter().find_map(|index| self.leaf(&paths.regexes[index].1))
            }
            None => {
                let mut hits = paths.regexes.iter().filter(|(regex, _)| regex.is_match(&path));
                hits.find_map(|(_, leaf)| self.leaf(leaf))
            }
        }
    }

    fn leaf(&mut self, leaf: &[RouteId]) -> Option<RouteId> {
        for route in leaf {
            self.steps += 1;
            if (self.accept)(*route) {
                return Some(*route);
            }
        }
        None
    }
}
