//! The demonstration as a newcomer sees it.

use std::process::Stdio;

mod common;

#[test]
fn no_call_fails_and_nothing_stays_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = common::posthouse(folder.path());
    // What it leaves behind would be in here, and in its processes' command lines.
    command.env("TMPDIR", folder.path()).args(["demo", "--once", "--free-ports"]);
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = output.expect("posthouse starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    for part in [
        "GET /api/v1/users/1 → 200",
        "GET /api/v1/users/999 → 404",
        "Hello, Alice!",
        "POST /api/v1/orders → 201",
        "GetUser { id: 1 } → OK",
        "deprecation: @1790812800",
        "sunset: Wed, 30 Jun 2027 00:00:00 GMT",
        "rel=\"successor-version\"",
        "GET /api/v2/users → 401 Unauthorized\n      www-authenticate: Bearer\n      \
         urn:posthouse:problem:unauthenticated\n",
        "POST /api/v1/consumers/acme/keys → 201 Created, key acme/1: ",
        "with the key → 200 OK",
        "for the 4th time → 429 Too Many Requests",
        "urn:posthouse:problem:rate-limited",
        "acme's plan has 3 calls a minute",
        "mailer-1 has 3 messages and has acknowledged none",
        "mailer-2 was called again for each, and has sent 3 mails: none is lost",
        "no call failed",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    let left = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0, "something stayed in the temporary folder");
    let marker = folder.path().to_string_lossy().into_owned();
    let ours = std::fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(&marker))
    });
    assert_eq!(ours.collect::<Vec<_>>(), Vec::<String>::new());
}
