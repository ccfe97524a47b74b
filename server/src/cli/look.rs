//! `posthouse services|nodes|routes|reload|audit`: looking at a running house, and telling it to
//! reload, through its admin API.

use http::Method;

use super::api::{ask, cell, print_json, show, show_times};
use super::{Audit, Failure, Look, Output, Services, print};

pub(super) fn services(options: &Services) -> Result<(), Failure> {
    let Services { name, look, .. } = options;
    let Some(name) = name else {
        let answer = ask(look, Method::GET, "services")?;
        let columns = ["name", "origin", "instances", "healthy"];
        return show(look, &answer, "services", &columns);
    };
    let answer = ask(look, Method::GET, &format!("services/{name}"))?;
    let columns = [
        "address",
        "weight",
        "healthy",
        "live.state",
        "live.in_flight",
        "live.latency_us",
        "live.requests",
        "live.failures",
        "registration.id",
        "registration.status",
    ];
    show(look, &answer, "endpoints", &columns)
}

pub(crate) fn nodes(options: &Look) -> Result<(), Failure> {
    let answer = ask(options, Method::GET, "nodes")?;
    show(options, &answer, "nodes", &["name", "address"])
}

pub(crate) fn routes(options: &Look) -> Result<(), Failure> {
    let answer = ask(options, Method::GET, "routes")?;
    show(options, &answer, "routes", &["name", "host", "path", "methods", "action", "services"])
}

pub(crate) fn reload(options: &Look) -> Result<(), Failure> {
    let answer = ask(options, Method::POST, "reload")?;
    if options.output == Output::Json {
        return print_json(&answer);
    }
    let mut text = String::from("the configuration is in force\n");
    for section in answer["waiting_for_restart"].as_array().into_iter().flatten() {
        text += &format!("a change to {} takes effect at the next start\n", cell(section));
    }
    print(&text)
}

pub(crate) fn audit(options: &Audit) -> Result<(), Failure> {
    let Audit { limit, before, look } = options;
    let before = before.map(|number| format!("&before={number}")).unwrap_or_default();
    let answer = ask(look, Method::GET, &format!("audit?limit={limit}{before}"))?;
    let columns = ["number", "at", "who", "role", "from", "action", "status", "outcome"];
    show_times(look, answer, "entries", &columns)
}
