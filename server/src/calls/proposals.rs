//! What routes services bring: by keys (`posthouse/routes/SERVICE/NAME`, a route as in the file) and by
//! tags (`posthouse.route=HOST/PATH`). Every change is handed on to who puts routes in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthouse_registry::{Change, Handle};
use serde_json::json;

use super::granted::{Proposals, Source};
use crate::control::Control;

/// Where routes are among the keys.
const FOLDER: &str = "posthouse/routes/";

/// How a tag begins that is a route.
const TAG: &str = "posthouse.route=";

/// How long to wait for further changes: a service that comes up brings several things at once.
const SETTLING: Duration = Duration::from_millis(50);

/// Follows what services bring for as long as the house stands.
pub(crate) async fn follow(control: Arc<Control>, names: Handle) {
    let mut services = names.follow();
    let mut keys = names.keys(FOLDER);
    let mut brought = Brought::default();
    loop {
        let changed = tokio::select! {
            change = services.next() => brought.take_tags(&change),
            pairs = keys.next() => brought.take_keys(pairs),
        };
        if !changed {
            continue;
        }
        let settled = tokio::time::sleep(SETTLING);
        let mut settled = std::pin::pin!(settled);
        loop {
            tokio::select! {
                () = &mut settled => break,
                change = services.next() => drop(brought.take_tags(&change)),
                pairs = keys.next() => drop(brought.take_keys(pairs)),
            }
        }
        control.propose_routes(brought.all()).await;
    }
}

/// What is brought now, by where it comes from.
#[derive(Debug, Default)]
struct Brought {
    keys: Proposals,
    tags: BTreeMap<Arc<str>, Proposals>,
}

impl Brought {
    /// Takes over the tags of a service. Returns whether its routes have changed.
    fn take_tags(&mut self, change: &Change) -> bool {
        let tags = change.instances.iter().flat_map(|instance| &instance.tags);
        let routes: BTreeSet<&str> = tags.filter_map(|tag| tag.strip_prefix(TAG)).collect();
        let proposals: Proposals = routes
            .into_iter()
            .map(|written| {
                let service = change.service.to_string();
                let text = of_tag(&service, written);
                (Source { service, name: written.to_owned() }, text)
            })
            .collect();
        let before = if proposals.is_empty() {
            self.tags.remove(&change.service).unwrap_or_default()
        } else {
            let now = proposals.clone();
            self.tags.insert(Arc::clone(&change.service), now).unwrap_or_default()
        };
        before != proposals
    }

    /// Takes over all keys. Returns whether routes have changed.
    fn take_keys(&mut self, pairs: Vec<(String, Bytes)>) -> bool {
        let proposals: Proposals = pairs
            .into_iter()
            .filter_map(|(key, value)| {
                let (service, name) = key.strip_prefix(FOLDER)?.split_once('/')?;
                // What is no text is no route either, and refused as that.
                let text = String::from_utf8_lossy(&value).into_owned();
                let source = Source { service: service.to_owned(), name: name.to_owned() };
                (!name.is_empty()).then_some((source, text))
            })
            .collect();
        let changed = proposals != self.keys;
        self.keys = proposals;
        changed
    }

    fn all(&self) -> Proposals {
        let tags = self.tags.values().flatten();
        tags.chain(&self.keys).map(|(source, text)| (source.clone(), text.clone())).collect()
    }
}

/// The route that a tag means: every method of a path, for a host.
fn of_tag(service: &str, written: &str) -> String {
    let (host, path) = match written.find('/') {
        Some(at) => written.split_at(at),
        None => (written, "/{*rest}"),
    };
    json!({ "match": { "host": host, "path": path }, "service": service }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_host_and_a_path() {
        let read = |written| serde_json::from_str::<serde_json::Value>(&of_tag("users", written));
        let route =
            |host, path| json!({ "match": { "host": host, "path": path }, "service": "users" });
        let whole = read("shop.example/api/{*rest}").expect("JSON");
        assert_eq!(whole, route("shop.example", "/api/{*rest}"));
        assert_eq!(read("a.example").expect("JSON"), route("a.example", "/{*rest}"));
    }

    #[test]
    fn keys_are_by_service_and_name() {
        let mut brought = Brought::default();
        let pair = |key: &str| (key.to_owned(), Bytes::from_static(b"{}"));
        let keys = ["posthouse/routes/users/a/b", "posthouse/routes/users/", "posthouse/routes/x"];
        assert!(brought.take_keys(keys.map(pair).to_vec()));
        let all = brought.all();
        let source = Source { service: "users".into(), name: "a/b".into() };
        assert_eq!(all.keys().collect::<Vec<_>>(), [&source]);
        assert!(!brought.take_keys(keys.map(pair).to_vec()), "nothing has changed");
        assert!(brought.take_keys(Vec::new()) && brought.all().is_empty());
    }
}
