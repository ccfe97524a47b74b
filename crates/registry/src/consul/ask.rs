//! What every request may carry: the query parameters that Consul knows, checked once.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, Sleep};

use super::App;
use super::duration;
use super::filter::Filter;
use super::reply::Fault;
use crate::access::{Access, Grant, Kind};
use crate::metrics::Waited;
use crate::state::{CheckView, Index, InstanceView, Node, NodeName, State as Registry, Topic};

/// How long a blocking read waits when it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(5 * 60);

/// The longest wait; a longer one is shortened to it.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);

/// A wait is made longer by up to this part of it at random, so that watchers that began together
/// do not come back together.
const JITTER: u32 = 16;

pub(crate) const X_TOKEN: HeaderName = HeaderName::from_static("x-consul-token");

/// A request's parameters, and what its bearer may do.
#[derive(Debug)]
pub(crate) struct Ask {
    params: Vec<(String, String)>,
    /// Answer when the index has passed this.
    after: Option<Index>,
    wait: Duration,
    /// What its bearer may do.
    grant: Arc<Grant>,
    /// Whether something was left out of the answer because its bearer may not read it.
    is_filtered: AtomicBool,
    /// Whether the answer may come compressed.
    takes_gzip: bool,
}

impl FromRequestParts<App> for Ask {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Fault> {
        let headers = &parts.headers;
        let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let carried = Carried {
            token: header(X_TOKEN),
            authorization: header(AUTHORIZATION),
            takes_gzip: takes_gzip(
                headers
                    .get_all(ACCEPT_ENCODING)
                    .into_iter()
                    .filter_map(|value| value.to_str().ok()),
            ),
        };
        Self::new(app, parts.uri.query().unwrap_or_default(), &carried)
    }
}

/// What of a request's header matters to every read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried<'a> {
    /// `X-Consul-Token`.
    pub(crate) token: Option<&'a str>,
    /// `Authorization`.
    pub(crate) authorization: Option<&'a str>,
    /// What [`takes_gzip`] makes of `Accept-Encoding`.
    pub(crate) takes_gzip: bool,
}

impl Ask {
    /// What a request asks for.
    ///
    /// # Errors
    /// When its parameters make no sense, its token is not known, or it is for another datacenter.
    pub(crate) fn new(app: &App, query: &str, carried: &Carried<'_>) -> Result<Self, Fault> {
        let mut ask = Self::parse(query)?;
        let access = app.config().access();
        ask.grant = match ask.secret(carried) {
            None | Some("") => Arc::clone(access.anonymous()),
            Some(secret) => {
                let grant = access.bearer(secret).ok_or_else(|| Fault::forbidden("ACL not found"));
                Arc::clone(grant?)
            }
        };
        ask.takes_gzip = carried.takes_gzip;
        let datacenter = ask.get("dc").unwrap_or_default();
        if !datacenter.is_empty() && datacenter != app.config().datacenter {
            return Err(Fault::internal("No path to datacenter"));
        }
        Ok(ask)
    }

    fn parse(query: &str) -> Result<Self, Fault> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let params = pairs.map(|(key, value)| (decoded(key), decoded(value))).collect();
        let mut ask = Self {
            params,
            after: None,
            wait: DEFAULT_WAIT,
            grant: Arc::clone(Access::default().anonymous()),
            is_filtered: AtomicBool::new(false),
            takes_gzip: false,
        };
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

    /// The token that a request brings.
    fn secret<'a>(&'a self, carried: &Carried<'a>) -> Option<&'a str> {
        let bearer = || {
            let (scheme, secret) = carried.authorization?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
        };
        let by_name = self.get("token").filter(|token| !token.is_empty());
        by_name.or_else(|| carried.token.filter(|token| !token.is_empty())).or_else(bearer)
    }

    /// What the bearer of the request's token may do.
    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Whether the bearer may read something. If not, the answer says that it leaves something out.
    pub(crate) fn sees(&self, kind: Kind, name: &str) -> bool {
        let may = self.grant.may_read(kind, name);
        if !may {
            self.is_filtered.store(true, Ordering::Relaxed);
        }
        may
    }

    /// Whether the bearer may read a check of the catalog: its node, and the service it is about.
    pub(crate) fn sees_check(&self, view: &CheckView) -> bool {
        let service = view.instance.as_ref().map(|stored| stored.value.service.as_str());
        self.sees(Kind::Node, view.node.value.name.as_str())
            && service.is_none_or(|service| self.sees(Kind::Service, service))
    }

    /// Whether the bearer may read an instance of the catalog, and its node.
    pub(crate) fn sees_instance(&self, view: &InstanceView) -> bool {
        self.sees(Kind::Node, view.node.value.name.as_str())
            && self.sees(Kind::Service, view.instance.value.service.as_str())
    }

    /// Whether the answer may come compressed.
    pub(crate) const fn takes_gzip(&self) -> bool {
        self.takes_gzip
    }

    /// Whether something was left out.
    pub(crate) fn is_filtered(&self) -> bool {
        self.is_filtered.load(Ordering::Relaxed)
    }

    /// Refuses who may not read something.
    pub(crate) fn must_read(&self, kind: Kind, name: &str) -> Result<(), Fault> {
        if self.grant.may_read(kind, name) { Ok(()) } else { Err(self.denied(kind, "read", name)) }
    }

    /// Refuses who may not write something.
    pub(crate) fn must_write(&self, kind: Kind, name: &str) -> Result<(), Fault> {
        if self.grant.may_write(kind, name) {
            Ok(())
        } else {
            Err(self.denied(kind, "write", name))
        }
    }

    /// Refuses who may not write everything whose name begins with `prefix`.
    pub(crate) fn must_write_below(&self, kind: Kind, prefix: &str) -> Result<(), Fault> {
        let may = self.grant.may_write_below(kind, prefix);
        if may { Ok(()) } else { Err(self.denied(kind, "write", prefix)) }
    }

    fn denied(&self, kind: Kind, what: &str, name: &str) -> Fault {
        let lacks = format!("lacks permission '{}:{what}' on {name:?}", kind.as_str());
        Fault::forbidden(match self.grant.name() {
            Some(token) => format!("Permission denied: token {token:?} {lacks}"),
            None => format!(
                "Permission denied: anonymous token {lacks}. The anonymous token is used implicitly \
                 when a request does not specify a token."
            ),
        })
    }

    /// The names of all parameters.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.params.iter().map(|(key, _)| key.as_str())
    }

    /// Whether a parameter is there, whatever its value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The index that the answer should have passed.
    pub(crate) const fn after(&self) -> Option<Index> {
        self.after
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

    /// Whether an instance has all the tags, and its node all the metadata, that are asked for, and
    /// the bearer may read both. Nothing is of a peer: there are none.
    pub(crate) fn wants(&self, view: &InstanceView) -> bool {
        if self.get("peer").is_some_and(|peer| !peer.is_empty()) {
            return false;
        }
        let tags = &view.instance.value.tags;
        // Tags are compared without regard to case, as Consul does.
        let mut wanted = self.all("tag").filter(|tag| !tag.is_empty());
        wanted.all(|wanted| tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted)))
            && self.wants_node(&view.node.value)
            && self.sees_instance(view)
    }

    /// Puts what is on the node that `near` names first. Nothing is known of how far nodes are from
    /// each other; but from itself a node is not far.
    pub(crate) fn put_near_first<T>(
        &self,
        app: &App,
        list: &mut [T],
        node_of: impl Fn(&T) -> &NodeName,
    ) {
        let near = match self.get("near") {
            None | Some("" | "_ip") => return,
            Some("_agent") => app.own_name(),
            Some(name) => NodeName::from(name),
        };
        list.sort_by_key(|item| *node_of(item) != near);
    }

    /// The request's filter, for elements that look like `sample`.
    pub(crate) fn filter(&self, sample: impl FnOnce() -> Value) -> Result<Selection, Fault> {
        let Some(text) = self.get("filter").filter(|text| !text.trim().is_empty()) else {
            return Ok(Selection(None));
        };
        let filter = Filter::parse(text, &sample()).map_err(|mistake| {
            Fault::bad(format!("Failed to create boolean expression evaluator: 1:{mistake}"))
        })?;
        Ok(Selection(Some(filter)))
    }

    /// Waits, if the request asks for it, until `topic` has changed since, its time is over, or the
    /// registry shuts down.
    pub(crate) async fn wait(&self, app: &App, topic: &Topic) -> Result<(), Fault> {
        self.wait_by(app, topic, pin!(timer())).await
    }

    /// Waits as [`Ask::wait`] does, by a timer that is used again and again.
    pub(crate) async fn wait_by(
        &self,
        app: &App,
        topic: &Topic,
        until: Pin<&mut Sleep>,
    ) -> Result<(), Fault> {
        self.wait_for(app, topic, |state| state.index_of(topic), until).await
    }

    /// Waits as [`Ask::wait`] does, for something whose index may change whenever `topic` does.
    pub(crate) async fn wait_for(
        &self,
        app: &App,
        topic: &Topic,
        index_of: impl Fn(&Registry) -> Index,
        until: Pin<&mut Sleep>,
    ) -> Result<(), Fault> {
        if let Some(after) = self.after {
            let moved = |state: &Registry| {
                // An index from the future is from another life of the registry: what its owner
                // knows is no good, so it is told at once.
                index_of(state) > after || after > state.index()
            };
            self.wait_until(app, topic, moved, until).await?;
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
        mut until: Pin<&mut Sleep>,
    ) -> Result<(), Fault> {
        let metrics = &app.shared().metrics;
        let moved = || app.peek(&moved);
        if moved() || app.is_closing() {
            metrics.waited(Waited::Behind);
            return Ok(());
        }
        let watch = app.shared().watchers.watch(topic.clone());
        let mut watch = watch.inspect_err(|_full| metrics.limited("watchers"))?;
        let wait = self.wait + (self.wait / JITTER).mul_f64(fastrand::f64());
        until.as_mut().reset(Instant::now() + wait);
        let waited = loop {
            {
                let mut woken = pin!(watch.woken());
                woken.as_mut().enable();
                if moved() || app.is_closing() {
                    break Waited::Woken;
                }
                tokio::select! {
                    () = woken => {}
                    () = until.as_mut() => break Waited::Elapsed,
                }
            }
            if moved() || app.is_closing() {
                break Waited::Woken;
            }
            watch.rest();
        };
        metrics.waited(waited);
        Ok(())
    }
}

/// A timer for a wait, which sets it.
pub(crate) fn timer() -> Sleep {
    tokio::time::sleep(MAX_WAIT)
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

/// Whether one of these values of `Accept-Encoding` names gzip, and not with a weight of nothing
/// (RFC 9110, 12.5.3).
pub(crate) fn takes_gzip<'a>(values: impl IntoIterator<Item = &'a str>) -> bool {
    let mut codings = values.into_iter().flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().strip_prefix("q=").map(str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_none_or(|q| q.is_ok_and(|q| q > 0.0))
    })
}

fn decoded(text: &str) -> String {
    if !text.contains(['+', '%']) {
        return text.to_owned();
    }
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_by_who_names_it() {
        let takes = |value| takes_gzip([value]);
        for yes in ["gzip", "deflate, GZIP", "br;q=1.0, gzip;q=0.8", "gzip; q=0.001"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "identity", "gzip;q=0", "gzip; q=0.0", "x-gzip2", "gzip;q=x"] {
            assert!(!takes(no), "{no}");
        }
        assert!(!takes_gzip([]) && takes_gzip(["br", "gzip"]));
    }

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
