//! What can be signed of a request, and how it is written.

use sfv::{Item, Parser};

use super::super::component::{Component, Unsigned};
use super::{Request, at, structures};

/// The value of the component of this identifier.
pub(super) fn value(request: &Request, identifier: &str) -> Result<String, Unsigned> {
    let item: Item = Parser::new(identifier).parse().expect("an identifier");
    let mut written = Vec::new();
    Component::of(&item)?.write(&request.credentials(at(0)), &structures(), &mut written)?;
    Ok(String::from_utf8(written).expect("text"))
}

#[test]
fn what_is_not_understood_is_refused() {
    for identifier in [
        "\"@status\"",
        "\"@nonsense\"",
        "\"@signature-params\"",
        "\"@method\";req",
        "\"@method\";sf",
        "\"@query-param\"",
        "\"@query-param\";name=1",
        "\"@query-param\";name=\"a\";req",
        "\"date\";tr",
        "\"date\";req",
        "\"date\";unheard-of",
        "\"date\";sf=?0",
        "\"date\";key=1",
        "\"date\";bs;sf",
        "\"date\";sf;bs",
        "\"date\";bs;key=\"a\"",
        "\"Date\"",
        "\"da te\"",
        "\"\"",
        "1",
        "date",
        ":AAAA:",
    ] {
        let refused = value(&Request::with("X: y"), identifier);
        assert_eq!(refused, Err(Unsigned::Identifier), "{identifier}");
    }
}

#[test]
fn a_parameter_that_is_there_twice_cannot_be_signed() {
    let mut request = Request::with("X: y");
    for target in ["/a?id=1&id=2", "/a?id=1&%69d=2", "/a?id&id"] {
        request.target = target.into();
        let refused = value(&request, "\"@query-param\";name=\"id\"");
        assert_eq!(refused, Err(Unsigned::Missing), "{target}");
    }
}

#[test]
fn targets_are_written_as_they_came() {
    let mut request = Request::with("X: y");
    request.scheme = "http";
    for (authority, target, uri, path, query) in [
        ("Example.com:80", "/A%2f?x", "http://example.com/A%2f?x", "/A%2f", "?x"),
        ("example.com:443", "/", "http://example.com:443/", "/", "?"),
        ("example.com:8080", "/?", "http://example.com:8080/?", "/", "?"),
        ("[::1]:80", "/a/../b", "http://[::1]/a/../b", "/a/../b", "?"),
        ("example.com:180", "/", "http://example.com:180/", "/", "?"),
    ] {
        request.authority = authority.into();
        request.target = target.into();
        assert_eq!(value(&request, "\"@target-uri\"").as_deref(), Ok(uri));
        assert_eq!(value(&request, "\"@path\"").as_deref(), Ok(path));
        assert_eq!(value(&request, "\"@query\"").as_deref(), Ok(query));
        assert_eq!(value(&request, "\"@request-target\"").as_deref(), Ok(target));
    }
}

#[test]
fn the_configuration_names_components_as_people_do() {
    for (written, same) in [
        ("@method", "\"@method\""),
        ("Date", "\"date\""),
        ("content-digest", "\"content-digest\""),
        ("\"@query-param\";name=\"id\"", "\"@query-param\";name=\"id\""),
    ] {
        let item: Item = Parser::new(same).parse().expect("an identifier");
        assert_eq!(Component::from_config(written), Component::of(&item).ok(), "{written}");
    }
    for wrong in ["@status", "a b", "", "\"date\"x", "\"date", "@"] {
        assert_eq!(Component::from_config(wrong), None, "{wrong}");
    }
}
