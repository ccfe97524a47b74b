//! From a host to the paths that are routed under it, most specific first.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::path::Paths;
use crate::config::model::HostPattern;

/// Names come from the configuration, so nobody can make them collide: a fixed hash will do.
pub(super) type Map<K, V> = HashMap<K, V, FixedState>;

/// Every host of a table.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: Map<Box<[u8]>, Paths>,
    /// By suffix with its leading dot.
    below: Map<Box<[u8]>, Paths>,
    any: Paths,
}

impl Hosts {
    /// The paths under this pattern, made when there are none.
    pub(super) fn entry(&mut self, pattern: &HostPattern) -> &mut Paths {
        match pattern {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.as_bytes().into()).or_default(),
            HostPattern::Below(suffix) => self.below.entry(suffix.as_bytes().into()).or_default(),
        }
    }

    /// Every group of paths.
    pub(super) fn groups(&mut self) -> impl Iterator<Item = &mut Paths> {
        self.exact.values_mut().chain(self.below.values_mut()).chain([&mut self.any])
    }

    /// The first that `search` finds in the groups of paths that a host belongs to.
    pub(super) fn find<T>(
        &self,
        host: &str,
        mut search: impl FnMut(&Paths) -> Option<T>,
    ) -> Option<T> {
        if !self.exact.is_empty() || !self.below.is_empty() {
            let mut copy = SmallVec::new();
            let host = normal(host.as_bytes(), &mut copy);
            if let Some(found) = self.exact.get(host).and_then(&mut search) {
                return Some(found);
            }
            if !self.below.is_empty() {
                // The host itself is not below itself, so its first byte is never the dot.
                for dot in memchr::memchr_iter(b'.', host.get(1..).unwrap_or_default()) {
                    let suffix = &host[dot + 1..];
                    if let Some(found) = self.below.get(suffix).and_then(&mut search) {
                        return Some(found);
                    }
                }
            }
        }
        search(&self.any)
    }
}

/// In lower case without a final dot; copied, to the caller's stack, only if it is not so already.
fn normal<'a>(host: &'a [u8], copy: &'a mut SmallVec<[u8; 256]>) -> &'a [u8] {
    let host = host.strip_suffix(b".").unwrap_or(host);
    if !host.iter().any(u8::is_ascii_uppercase) {
        return host;
    }
    copy.extend(host.iter().map(u8::to_ascii_lowercase));
    copy
}
