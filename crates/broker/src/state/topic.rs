//! Patterns of words with `*` for one word and `#` for any number: a trie, in which a key finds its
//! patterns without looking at the others.
//!
//! Nodes live in one list and name each other by place, so that a search can note which it has been at
//! with how many words left: it takes no longer than nodes times words, whatever the patterns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Patterns, each with things that are found by it.
#[derive(Clone, Debug)]
pub(crate) struct Topics<T> {
    nodes: Vec<Node<T>>,
    free: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Node<T> {
    words: HashMap<Arc<str>, usize, RandomState>,
    star: Option<usize>,
    hash: Option<usize>,
    found: Vec<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { words: HashMap::default(), star: None, hash: None, found: Vec::new() }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.found.is_empty() && self.words.is_empty() && self.star.is_none() && self.hash.is_none()
    }

    fn child(&self, word: &str) -> Option<usize> {
        match word {
            "*" => self.star,
            "#" => self.hash,
            word => self.words.get(word).copied(),
        }
    }
}

impl<T> Default for Topics<T> {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }
}

impl<T: PartialEq> Topics<T> {
    /// Has `thing` be found by `pattern`, once more if it is already.
    pub(crate) fn insert(&mut self, pattern: &str, thing: T) {
        let mut at = 0;
        for word in words(pattern) {
            at = match self.nodes[at].child(word) {
                Some(child) => child,
                None => self.add(at, word),
            };
        }
        self.nodes[at].found.push(thing);
    }

    /// Has `thing` no longer be found by `pattern`, or once less.
    pub(crate) fn remove(&mut self, pattern: &str, thing: &T) {
        let mut path = vec![(0, "")];
        for word in words(pattern) {
            let (at, _) = path[path.len() - 1];
            let Some(child) = self.nodes[at].child(word) else { return };
            path.push((child, word));
        }
        let (last, _) = path[path.len() - 1];
        let found = &mut self.nodes[last].found;
        if let Some(place) = found.iter().position(|there| there == thing) {
            found.swap_remove(place);
        }
        while let [.., (parent, _), (at, word)] = path[..]
            && self.nodes[at].is_empty()
        {
            let parent = &mut self.nodes[parent];
            match word {
                "*" => parent.star = None,
                "#" => parent.hash = None,
                word => {
                    parent.words.remove(word);
                }
            }
            self.free.push(at);
            path.pop();
        }
    }

    /// Calls `visit` with what is found by each pattern that `key` is like.
    pub(crate) fn find<'a>(&'a self, key: &str, mut visit: impl FnMut(&'a T)) {
        let words: Vec<&str> = words(key).collect();
        let mut seen = HashSet::new();
        let mut open = vec![(0, 0)];
        while let Some((at, place)) = open.pop() {
            if at != 0 && !seen.insert((at, place)) {
                continue;
            }
            let node = &self.nodes[at];
            match words.get(place) {
                None => node.found.iter().for_each(&mut visit),
                Some(word) => {
                    let word = node.words.get(*word).copied();
                    open.extend(word.into_iter().chain(node.star).map(|child| (child, place + 1)));
                }
            }
            open.extend(
                node.hash
                    .into_iter()
                    .flat_map(|child| (place..=words.len()).map(move |place| (child, place))),
            );
        }
    }

    fn add(&mut self, parent: usize, word: &str) -> usize {
        let child = match self.free.pop() {
            Some(free) => free,
            None => {
                self.nodes.push(Node::default());
                self.nodes.len() - 1
            }
        };
        let parent = &mut self.nodes[parent];
        match word {
            "*" => parent.star = Some(child),
            "#" => parent.hash = Some(child),
            word => {
                parent.words.insert(word.into(), child);
            }
        }
        child
    }
}

/// The words of a key or pattern. The empty one has none.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('.').filter(move |_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// The plain reading of the specification (AMQP 0-9-1 §3.1.3.3).
    fn is_like(pattern: &[&str], key: &[&str]) -> bool {
        match pattern {
            [] => key.is_empty(),
            ["#", rest @ ..] => (0..=key.len()).any(|skip| is_like(rest, &key[skip..])),
            ["*", rest @ ..] => !key.is_empty() && is_like(rest, &key[1..]),
            [word, rest @ ..] => key.first() == Some(word) && is_like(rest, &key[1..]),
        }
    }

    #[test]
    fn a_key_finds_the_patterns_that_it_is_like() {
        for seed in 0..400 {
            let mut luck = Rng::with_seed(seed);
            let mut text = |words: &[&str], most: usize| {
                let count = luck.usize(..=most);
                let words = (0..count).map(|_| words[luck.usize(..words.len())]);
                words.collect::<Vec<_>>().join(".")
            };
            let patterns: Vec<String> =
                (0..12).map(|_| text(&["a", "b", "*", "#", ""], 4)).collect();
            let keys: Vec<String> = (0..12).map(|_| text(&["a", "b", "c", ""], 5)).collect();
            let mut topics = Topics::default();
            for (number, pattern) in patterns.iter().enumerate() {
                topics.insert(pattern, number);
            }
            for gone in (0..=patterns.len()).rev() {
                for key in &keys {
                    let mut found = Vec::new();
                    topics.find(key, |number| found.push(*number));
                    found.sort_unstable();
                    let split = |text: &str| words(text).map(str::to_owned).collect::<Vec<_>>();
                    let key_words = split(key);
                    let key_words: Vec<&str> = key_words.iter().map(String::as_str).collect();
                    let like = |pattern: &String| {
                        let pattern = split(pattern);
                        is_like(&pattern.iter().map(String::as_str).collect::<Vec<_>>(), &key_words)
                    };
                    let expected: Vec<usize> =
                        (0..gone).filter(|number| like(&patterns[*number])).collect();
                    assert_eq!(found, expected, "seed {seed}: {key} in {patterns:?}");
                }
                if let Some(last) = gone.checked_sub(1) {
                    topics.remove(&patterns[last], &last);
                }
            }
            assert!(topics.nodes[0].is_empty());
            assert_eq!(topics.free.len() + 1, topics.nodes.len());
        }
    }

    #[test]
    fn many_hashes_take_no_for_ever() {
        let mut topics = Topics::default();
        topics.insert(&["#", "a"].repeat(20).join("."), 1);
        let mut found = 0;
        topics.find(&["a"; 127].join("."), |_| found += 1);
        assert_eq!(found, 1);
        topics.find(&["b"; 127].join("."), |_| found += 1);
        assert_eq!(found, 1);
    }
}
