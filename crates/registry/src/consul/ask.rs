//! What every request may carry: the query parameters that Consul knows, checked once.

use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::Value;

use super::App;
use super::duration;
use super::filter::Filter;
use super::reply::Fault;
use crate::metrics::Waited;
use crate::state::{Index, InstanceView, Node, State as Registry, Topic};

/// How long a blocking read waits when it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(5 * 60);

/// The longest wait; a longer one is shortened to it.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);

/// A wait is made longer by up to this part of it at random, so that watchers that began together
/// do not come back together.
const JITTER: u32 = 16;

/// A request's parameters.
#[derive(Debug)]
pub(crate) struct Ask {
    params: Vec<(String, String)>,
    /// Answer when the index has passed this.
    after: Option<Index>,
    wait: Duration,
}

impl FromRequestParts<App> for Ask {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Fault> {
        let ask = Self::parse(parts.uri.query().unwrap_or_default())?;
        let datacenter = ask.get("dc").unwrap_or_default();
        if !datacenter.is_empty() && datacenter != app.config().datacenter {
            return Err(Fault::internal("No path to datacenter"));
        }
        Ok(ask)
    }
}

impl Ask {
    fn parse(query: &str) -> Result<Self, Fault> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let params = pairs.map(|(key, value)| (decoded(key), decoded(value))).collect();
        let mut ask = Self { params, after: None, wait: DEFAULT_WAIT };
        if let Some(index) = ask.get("index").filter(|index| !index.is_empty()) {
            let index: u64 = index.parse().map_err(|_error| Fault::bad("Invalid index"))?;
            ask.after = (index > 0).then(|| Index::new(index));
        }
        if let Some(wait) = ask.get("wait").filter(|wait| !wait.is_empty()) {
            let wait = duration::parse(wait).ok_or_else(|| Fault::bad("Invalid wait time"))?;
            ask.wait = if wait.is_zero() { DEFAULT_WAIT } else { wait.min(MAX_WAIT) };
        }
        if ask.flag("stale") && ask.flag("consistent") {
            return Err(Fault::bad("?stale and ?consistent contradict each other"));
        }
        Ok(ask)
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a repeated parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.params.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is there, with any value but a clear no.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "0" | "f" | "F" | "false" | "False"))
    }

    /// Whether a node has all the metadata that is asked for.
    pub(crate) fn wants_node(&self, node: &Node) -> bool {
        self.all("node-meta").all(|wanted| {
            let (key, value) = wanted.split_once(':').unwrap_or((wanted, ""));
            node.meta.get(key).is_some_and(|meta| meta == value)
        })
    }

    /// Whether an instance has all the tags, and its node all the metadata, that are asked for.
    pub(crate) fn wants(&self, view: &InstanceView) -> bool {
        let tags = &view.instance.value.tags;
        // Tags are compared without regard to case, as Consul does.
        let mut wanted = self.all("tag").filter(|tag| !tag.is_empty());
        wanted.all(|wanted| tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted)))
            && self.wants_node(&view.node.value)
    }

    /// The request's filter, for elements that look like `sample`.
    pub(crate) fn filter(&self, sample: impl Serialize) -> Result<Selection, Fault> {
        let Some(text) = self.get("filter").filter(|text| !text.trim().is_empty()) else {
            return Ok(Selection(None));
        };
        let sample = serde_json::to_value(sample).unwrap_or(Value::Null);
        let filter = Filter::parse(text, &sample).map_err(|mistake| {
            Fault::bad(format!("Failed to create boolean expression evaluator: 1:{mistake}"))
        })?;
        Ok(Selection(Some(filter)))
    }

    /// Waits, if the request asks for it, until `topic` has changed since, its time is over, or the
    /// registry shuts down.
    pub(crate) async fn wait(&self, app: &App, topic: &Topic) -> Result<(), Fault> {
        if let Some(after) = self.after {
            let moved = |state: &Registry| {
                // An index from the future is from another life of the registry: what its owner
                // knows is no good, so it is told at once.
                state.index_of(topic) > after || after > state.index()
            };
            self.wait_until(app, topic, moved).await?;
        }
        Ok(())
    }

    /// Waits until `moved` holds, which is looked at whenever `topic` changes. What it looks at need
    /// not be durable yet; what is read and answered afterwards is.
    pub(crate) async fn wait_until(
        &self,
        app: &App,
        topic: &Topic,
        moved: impl Fn(&Registry) -> bool,
    ) -> Result<(), Fault> {
        let metrics = &app.shared().metrics;
        let moved = || moved(&app.state());
        if moved() {
            metrics.waited(Waited::Behind);
            return Ok(());
        }
        let watch = app.shared().watchers.watch(topic.clone());
        let watch = watch.inspect_err(|_full| metrics.limited("watchers"))?;
        let wait = self.wait + (self.wait / JITTER).mul_f64(fastrand::f64());
        let until = tokio::time::sleep(wait);
        let mut until = std::pin::pin!(until);
        loop {
            let mut woken = std::pin::pin!(watch.woken());
            woken.as_mut().enable();
            if moved() {
                metrics.waited(Waited::Woken);
                return Ok(());
            }
            tokio::select! {
                () = woken => {}
                () = app.closing() => return Ok(()),
                () = &mut until => {
                    metrics.waited(Waited::Elapsed);
                    return Ok(());
                }
            }
        }
    }
}

/// What a filter leaves.
#[derive(Debug)]
pub(crate) struct Selection(Option<Filter>);

impl Selection {
    /// Whether `element` is selected.
    pub(crate) fn selects(&self, element: &impl Serialize) -> bool {
        self.0.as_ref().is_none_or(|filter| {
            serde_json::to_value(element).is_ok_and(|element| filter.selects(&element))
        })
    }
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_forms_are() {
        let ask = Ask::parse("tag=a+b&tag=c%2Fd&passing&pretty=false&index=7&wait=1h").expect("ok");
        assert_eq!(ask.all("tag").collect::<Vec<_>>(), ["a b", "c/d"]);
        assert!(ask.flag("passing") && !ask.flag("pretty") && !ask.flag("stale"));
        assert_eq!((ask.after, ask.wait), (Some(Index::new(7)), MAX_WAIT));
        let ask = Ask::parse("index=0&wait=0s").expect("ok");
        assert_eq!((ask.after, ask.wait), (None, DEFAULT_WAIT));
        for bad in ["index=-1", "index=x", "wait=10", "stale&consistent"] {
            assert!(Ask::parse(bad).is_err(), "{bad}");
        }
    }
}
