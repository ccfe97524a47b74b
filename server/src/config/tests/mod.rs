//! The configuration as a whole: what is found, where, and what is suggested.

use super::*;

fn said(text: &str) -> String {
    check_text(text, "f", FilePath::new("/nowhere")).findings.to_text(false)
}

/// Every kind of mistake in one file, each with its line, its column and what was meant.
/// `UPDATE_GOLDEN=1` writes the file anew, to be read before it is committed.
#[test]
fn every_mistake_is_found_at_once() {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    let checked = check_text(&read("mistakes.yaml"), "shop.yaml", FilePath::new("/nowhere"));
    assert!(checked.config.is_none());
    let said = checked.findings.to_text(false);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(folder.join("mistakes.txt"), &said).expect("a golden file");
    }
    assert_eq!(said, read("mistakes.txt"));
}

#[test]
fn what_runs_without_a_file_is_right() {
    let checked = check_text(DEFAULTS, "(defaults)", FilePath::new(""));
    assert_eq!(checked.findings.to_text(false), "");
    let config = checked.config.expect("a configuration");
    assert!(config.admin.is_some() && config.registry.is_some());
    let gateway = config.gateway.expect("listeners");
    assert_eq!(gateway.listeners.len(), 1);
    assert_eq!(config.data, FilePath::new("./posthouse-data"));
}

#[test]
fn only_named_sections_are_on() {
    for (text, admin, registry, gateway) in [
        ("registry:\n", false, true, false),
        ("admin: {}\n", true, false, false),
        ("listeners: [ { address: 127.0.0.1:0 } ]\n", false, false, true),
    ] {
        let config = check_text(text, "f", FilePath::new("")).config.expect(text);
        let on = (config.admin.is_some(), config.registry.is_some(), config.gateway.is_some());
        assert_eq!(on, (admin, registry, gateway), "{text}");
    }
    assert!(said("").contains("nothing is on"));
    assert!(said("# only a comment\n").contains("nothing is on"));
}

#[test]
fn sections_of_later_versions_are_named_as_such() {
    for section in schema::LATER {
        let said = said(&format!("registry: {{}}\n{section}: {{}}\n"));
        let wanted = format!("f:2:1: error: {section}: the section `{section}` is not served by");
        assert!(said.starts_with(&wanted), "{said}");
    }
}

#[test]
fn a_mistake_is_told_where_it_stands_though_others_before_it_were_taken_out() {
    let text = "\
listeners: [ { address: 127.0.0.1:0 } ]
routes:
  - 5
  - match: { path: no-slash }
    service: users
";
    let said = said(text);
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("f:")).collect();
    assert!(lines[0].starts_with("f:3:5: error: routes[0]: expected a mapping"), "{said}");
    assert!(lines[1].starts_with("f:4:20: error: routes[1].match.path:"), "{said}");
    assert_eq!(lines.len(), 2, "{said}");
}

#[test]
fn a_route_of_the_file_that_takes_the_calls_of_an_api_is_told() {
    let text = "\
listeners: [ { address: 127.0.0.1:0 } ]
services: { orders: { instances: [ { address: 127.0.0.1:1 } ] } }
routes:
  - match: { path: \"/a/orders/{id}\" }
    service: orders
apis:
  orders:
    versions:
      v1:
        state: published
        select: { path: /a }
        service: orders
        routes: [ { match: { path: \"/orders/{id}\" } } ]
";
    let said = said(text);
    assert!(said.contains("warning: apis.orders.versions.v1"), "{said}");
    assert!(said.contains("the file's own route"), "{said}");
}

#[test]
fn what_follows_from_a_mistake_is_not_told_again() {
    // Without the unknown key the route has no action; saying so as well would only distract.
    let said = said("listeners: [ { address: 127.0.0.1:0 } ]\nroutes:\n  - servce: users\n");
    assert_eq!(
        said,
        "f:3:5: error: routes[0].servce: unknown key `servce`\n    help: did you mean `service`?\n"
    );
}

#[test]
fn beyond_loopback_a_token_is_needed() {
    let open = said("admin: { address: 0.0.0.0:8400 }\n");
    assert!(open.contains("f:1:1: error: admin.token: 0.0.0.0:8400 can be reached"), "{open}");
    let line = open.split_once("write `").and_then(|(_, rest)| rest.split_once("}`\n"));
    let (line, _) = line.expect("the line that mends it");
    // The line does what it says: all that is missing then is the variable.
    let mended = said(&format!("{line}}}\n"));
    assert!(mended.contains("`POSTHOUSE_ADMIN_TOKEN` is not set"), "{mended}");
    assert_eq!(mended.lines().count(), 2, "{mended}");

    let guarded = "admin: { address: 0.0.0.0:8400, token: a-long-enough-secret }\n";
    let config = check_text(guarded, "f", FilePath::new("")).config.expect("a configuration");
    let keys = config.admin.expect("an admin section").keys;
    assert!(keys[0].token.is("a-long-enough-secret") && keys[0].role == admin::Role::Admin);
    assert!(said("admin: { token: short }\n").contains("fewer than 16 characters"));
}

#[test]
fn tokens_have_names_roles_and_one_secret_each() {
    let digest = "a".repeat(64);
    let text = format!(
        "admin:\n  address: 0.0.0.0:8400\n  tokens:\n    - {{ name: ci, role: operator, sha256: \
         {digest} }}\n    - {{ name: ann, role: viewer, token: a-long-enough-secret }}\n"
    );
    let config = check_text(&text, "f", FilePath::new("")).config.expect("a configuration");
    let keys = config.admin.expect("an admin section").keys;
    let known: Vec<_> = keys.iter().map(|key| (&*key.name, key.role)).collect();
    assert_eq!(known, [("ci", admin::Role::Operator), ("ann", admin::Role::Viewer)]);
    assert!(keys[1].token.is("a-long-enough-secret"));

    for (wrong, said_of_it) in [
        (
            "{ name: a, role: boss, token: a-long-enough-secret }",
            "tokens[0].role: `boss` is none of",
        ),
        ("{ name: a, role: viewer }", "tokens[0]: there is no token"),
        ("{ name: a, role: viewer, sha256: 12ab }", "tokens[0].sha256: a SHA-256 digest has 64"),
        ("{ name: a, role: viewer, token: short }", "tokens[0].token: the token has fewer than 16"),
        ("{ name: '', role: viewer, token: a-long-enough-secret }", "tokens[0].name: a name has 1"),
    ] {
        let said = said(&format!("admin: {{ tokens: [ {wrong} ] }}\n"));
        assert!(said.contains(said_of_it) && said.matches("error").count() == 1, "{said}");
    }
    let twice = "{ name: a, role: viewer, token: a-long-enough-secret }";
    let said = said(&format!("admin: {{ tokens: [ {twice}, {twice} ] }}\n"));
    assert!(said.contains("tokens[1].name: there is another token named `a`"), "{said}");
}

#[test]
fn a_secret_that_was_filled_in_is_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), "hunter2").expect("a file");
    let text = "admin: { token: \"${file:secret}\" }\ngateway: { threads: \"${file:secret}\" }\n";
    let findings = check_text(text, "f", folder.path()).findings;
    let shown = format!("{} {findings:?}", findings.to_text(false));
    assert!(findings.has_errors() && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_shape_of_an_answer_for_programs_stays() {
    let findings = check_text("nonsense: 1\nregistry: {}\n", "f", FilePath::new("")).findings;
    let json = serde_json::to_value(&findings).expect("JSON");
    assert_eq!(
        json,
        serde_json::json!({
            "file": "f",
            "findings": [{
                "severity": "error",
                "line": 1,
                "column": 1,
                "path": "nonsense",
                "message": "unknown key `nonsense`",
                "help": "known here: `data`, `admin`, `registry`, `messages`, `grants`, \
                         `identity`, `consumers`, `apis`, `journal`, `listeners`, `services`, `routes`, \
                         `guard`, `plans`, `gateway`",
            }],
        })
    );
}

#[test]
fn the_schema_knows_every_section_and_no_other() {
    let schema = schema();
    let keys: Vec<&str> =
        schema["properties"].as_object().expect("properties").keys().map(String::as_str).collect();
    let known = [
        "data",
        "admin",
        "registry",
        "messages",
        "grants",
        "identity",
        "consumers",
        "apis",
        "journal",
        "listeners",
        "services",
        "routes",
        "guard",
        "plans",
        "gateway",
    ];
    assert_eq!(keys, known);
    assert_eq!(schema["additionalProperties"], false);
}
