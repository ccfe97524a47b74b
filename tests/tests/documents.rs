//! The examples in the documents, run as a reader would run them, against the shipped binary. How
//! a block is marked for this is told in CONTRIBUTING.md, under "Documents".

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use posthouse_tests::house::{command_in, new_folder, posthouse};
use posthouse_tests::program::{Program, run_to_end};
use posthouse_tests::wait::ensure;
use posthouse_tests::{environment, eventually, free_port, python, workspace};
use serde_json::Value;
use tempfile::TempDir;

/// What `posthouse up` runs by without a file, and so what a document without one means.
const DEFAULTS: &str = "\
listeners: [ { address: 127.0.0.1:8080, names: true } ]
admin: { address: 127.0.0.1:8400 }
registry: { address: 127.0.0.1:8500 }
";

/// Ports on which Posthouse listens in the documents; the test has it take free ones.
const ITS_OWN: std::ops::Range<u16> = 8000..9000;

/// Ports of the services in the documents; each is replaced by a free one, everywhere the same.
const SERVICES: std::ops::Range<u16> = 5000..6000;

/// Stands for any text in what a block is said to print.
const ANYTHING: char = '…';

#[tokio::test]
async fn the_readme_is_true() {
    run("README.md").await;
}

#[tokio::test]
async fn the_chinese_readme_is_true() {
    run("README.zh-CN.md").await;
}

#[tokio::test]
async fn the_guide_to_calls_is_true() {
    run("docs/calls.md").await;
}

#[tokio::test]
async fn the_guide_to_names_is_true() {
    run("docs/names.md").await;
}

#[tokio::test]
async fn the_guide_to_messages_is_true() {
    run("docs/messages.md").await;
}

#[tokio::test]
async fn the_guide_to_the_guard_is_true() {
    run("docs/guard.md").await;
}

#[tokio::test]
async fn the_guide_to_apis_is_true() {
    run("docs/apis.md").await;
}

#[tokio::test]
async fn the_guide_to_operating_is_true() {
    run("docs/operating.md").await;
}

#[tokio::test]
async fn the_guide_to_growing_is_true() {
    run("docs/grow.md").await;
}

/// The documents that have a test above.
const RUN: [&str; 9] = [
    "README.md",
    "README.zh-CN.md",
    "docs/calls.md",
    "docs/names.md",
    "docs/guard.md",
    "docs/apis.md",
    "docs/messages.md",
    "docs/operating.md",
    "docs/grow.md",
];

#[test]
fn every_marked_block_is_run_and_every_configuration_is_marked() {
    let mut wrong = Vec::new();
    for name in documents() {
        for Block { line, language, mark, .. } in blocks(&name) {
            if mark.is_some() && !RUN.contains(&name.as_str()) {
                wrong.push(format!("{name}:{line} is marked, but {name} has no test"));
            }
            if mark.is_none() && language == "yaml" {
                wrong.push(format!("{name}:{line} is a configuration that nobody checks"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_link_leads_to_a_file() {
    let mut links = 0;
    let mut dead = Vec::new();
    for name in documents() {
        let text = std::fs::read_to_string(workspace().join(&name)).expect("a document");
        let folder = workspace().join(&name).parent().expect("its folder").to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let path = target.0.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                links += 1;
                if !folder.join(path).exists() {
                    dead.push(format!("{name} leads to {path}, which is not there"));
                }
            }
        }
    }
    assert!(links > 10, "the links were not found: {links}");
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

#[test]
fn every_path_that_is_named_is_there() {
    let tops = ["bench/", "crates/", "docs/", "examples/", "fuzz/", "server/", "tests/", "xtask/"];
    let mut named = 0;
    let mut gone = Vec::new();
    for name in documents() {
        let text = std::fs::read_to_string(workspace().join(&name)).expect("a document");
        let words = text.split('`').filter(|word| tops.iter().any(|top| word.starts_with(top)));
        for path in words.filter(|word| !word.contains(['*', ' ', '\n'])) {
            named += 1;
            if !workspace().join(path).exists() {
                gone.push(format!("{name} names {path}, which is not there"));
            }
        }
    }
    assert!(named > 30, "the paths were not found: {named}");
    assert!(gone.is_empty(), "{}", gone.join("\n"));
}

/// Every Markdown file of the root and of `docs/`, by its path from the root.
fn documents() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["", "docs/"] {
        let entries = std::fs::read_dir(workspace().join(folder)).expect("a folder");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        found.extend(
            names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}{name}")),
        );
    }
    found
}

/// A fenced block.
#[derive(Debug)]
struct Block {
    line: usize,
    language: String,
    mark: Option<String>,
    text: String,
}

fn blocks(name: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(workspace().join(name)).expect("a document");
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (line, content) in (1..).zip(text.lines()) {
        match (&mut open, content.strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(content);
                block.text.push('\n');
            }
            (None, Some(info)) => {
                let (language, mark) = info.split_once(' ').unwrap_or((info, ""));
                let mark = Some(mark.trim().to_owned()).filter(|mark| !mark.is_empty());
                open = Some(Block { line, language: language.into(), mark, text: String::new() });
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{name}: the last block has no end: {open:?}");
    found
}

async fn run(name: &'static str) {
    let blocks = blocks(name);
    let mut reader = Reader::new(name);
    let mut blocks = blocks.iter().peekable();
    let mut marked = 0;
    while let Some(block) = blocks.next() {
        let Some(mark) = &block.mark else { continue };
        let prints = blocks.next_if(|next| next.mark.as_deref() == Some("prints"));
        marked += 1;
        match mark.split_once(' ') {
            Some(("file", file)) => reader.write(file, &block.text),
            None if mark == "config" => reader.configure(block).await,
            None if mark == "service" => reader.serve(block).await,
            None if mark == "run" => reader.once(block, prints).await,
            None if mark == "eventually" => reader.until(block, prints).await,
            _ => panic!("{name}:{}: no block is marked `{mark}`", block.line),
        }
    }
    assert!(marked > 0, "{name} has no block that is run");
}

/// One who follows a document from top to bottom, in a folder of its own.
struct Reader {
    name: &'static str,
    house: Option<Program>,
    services: Vec<Program>,
    /// From ports in the document to those that are used.
    ports: BTreeMap<u16, u16>,
    folder: TempDir,
}

impl Reader {
    fn new(name: &'static str) -> Self {
        let folder = new_folder();
        // The certificate that the documents tell to make.
        let names = ["shop.example".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        std::fs::write(folder.path().join("shop.pem"), made.cert.pem()).expect("a file");
        let key = made.signing_key.serialize_pem();
        std::fs::write(folder.path().join("shop.key"), key).expect("a file");
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).expect("a folder");
        std::os::unix::fs::symlink(posthouse_tests::house::binary(), bin.join("posthouse"))
            .expect("a link");
        let mut reader =
            Self { name, house: None, services: Vec::new(), ports: BTreeMap::new(), folder };
        reader.write("posthouse.yaml", DEFAULTS);
        reader
    }

    /// Writes a file with free ports for services, and 0 for Posthouse's own.
    fn write(&mut self, file: &str, text: &str) {
        let text = self.replaced(text, |_| Some(0));
        std::fs::write(self.folder.path().join(file), text).expect("a file");
    }

    /// A configuration that must be free of mistakes, and that the next blocks run by.
    async fn configure(&mut self, block: &Block) {
        self.house = None;
        self.write("posthouse.yaml", &block.text);
        let checked = posthouse(self.folder.path(), &["check", "posthouse.yaml"]).await;
        let place = self.place(block);
        let fine = checked.1 == "posthouse.yaml is fine\n";
        assert!(fine, "{place}: {}{}", checked.1, checked.2);
        self.note_its_ports(&block.text);
    }

    /// Programs that go on running, one a line.
    async fn serve(&mut self, block: &Block) {
        for line in block.text.lines().map(|line| line.trim_end().trim_end_matches('&')) {
            let line = self.replaced(line, |_| None);
            let mut command = self.shell();
            command.args(["-c", &format!("exec {line}")]);
            let number = self.services.len();
            let log = self.folder.path();
            self.services.push(Program::start(&format!("service-{number}"), command, log));
            for port in numbers(&line).filter(|port| self.ports.values().any(|used| used == port)) {
                eventually(&format!("`{line}` to listen"), || {
                    tokio::net::TcpStream::connect(("127.0.0.1", port))
                })
                .await;
            }
        }
    }

    async fn once(&mut self, block: &Block, prints: Option<&Block>) {
        self.start().await;
        let text = self.replaced(&block.text, |_| None);
        let (ended_well, said) = self.execute(block, &text).await;
        let place = self.place(block);
        assert!(ended_well, "{place} failed and printed:\n{said}");
        if let Some(prints) = prints {
            let expected = self.replaced(&prints.text, |_| None);
            assert!(is_like(&expected, &said), "{place} printed:\n{said}instead of:\n{expected}");
        }
    }

    async fn until(&mut self, block: &Block, prints: Option<&Block>) {
        self.start().await;
        let place = self.place(block);
        let prints = prints.unwrap_or_else(|| panic!("{place}: until it prints what?"));
        let text = self.replaced(&block.text, |_| None);
        let expected = self.replaced(&prints.text, |_| None);
        eventually(&format!("{place} to print\n{expected}"), || async {
            let (_, said) = self.execute(block, &text).await;
            ensure(is_like(&expected, &said), || format!("it printed:\n{said}"))
        })
        .await;
    }

    /// Runs a block to its end: whether it ended well, and all that it printed.
    async fn execute(&self, block: &Block, text: &str) -> (bool, String) {
        let mut command = match block.language.as_str() {
            "sh" => {
                let mut shell = self.shell();
                shell.args(["-c", &format!("exec 2>&1\n{text}")]);
                shell
            }
            "python" => python::script(&self.script("block.py", text), self.path(), self.path()),
            "js" => {
                let mut node = Command::new("node");
                node.arg(self.script("block.mjs", text));
                node
            }
            other => panic!("{}: nothing runs {other}", self.place(block)),
        };
        self.surround(&mut command);
        let (status, out, errors) = run_to_end(command).await;
        (status.success(), out + &errors)
    }

    /// Starts Posthouse by the configuration of the moment, unless it runs.
    async fn start(&mut self) {
        if self.house.is_some() {
            return;
        }
        if self.ports.keys().all(|port| !ITS_OWN.contains(port)) {
            self.note_its_ports(DEFAULTS);
        }
        let file = self.path().join("posthouse-data/addresses.json");
        let _absent_is_fine = std::fs::remove_file(&file);
        let mut command = command_in(self.path());
        command.args(["up", "--config", "posthouse.yaml"]);
        let mut house = Program::start("posthouse", command, self.path());
        let addresses: Value = eventually("the addresses of posthouse", || {
            assert!(house.ended().is_none(), "posthouse ended:\n{}", house.log());
            let text = std::fs::read_to_string(&file).map_err(|error| error.to_string());
            std::future::ready(
                text.and_then(|text| serde_json::from_str(&text).map_err(|e| e.to_string())),
            )
        })
        .await;
        self.house = Some(house);
        let port = |address: &Value| {
            let text = address.as_str().unwrap_or_else(|| panic!("no address in {addresses}"));
            text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).expect("a port")
        };
        let mut listeners = addresses["listeners"].as_array().into_iter().flatten();
        for (written, used) in self.ports.range_mut(ITS_OWN) {
            *used = match written {
                8400 => port(&addresses["admin"]),
                8500 => port(&addresses["registry"]),
                8600 => port(&addresses["dns"]),
                8672 => port(&addresses["messages_http"]),
                _ => port(listeners.next().expect("as many listeners as the file has")),
            };
        }
        // It is on with the registry, whether a document writes it or not.
        if addresses["dns"].is_string() {
            self.ports.insert(8600, port(&addresses["dns"]));
        }
    }

    /// Notes which ports a configuration gives to Posthouse. They are in ascending order in every
    /// document, which is what relates them to the listeners.
    fn note_its_ports(&mut self, text: &str) {
        self.ports.retain(|port, _| !ITS_OWN.contains(port));
        self.ports
            .extend(numbers(text).filter(|port| ITS_OWN.contains(port)).map(|port| (port, 0)));
    }

    /// Text with free ports for services, and for Posthouse's own those that `own` says or the
    /// ones that it has.
    fn replaced(&mut self, text: &str, own: impl Fn(u16) -> Option<u16>) -> String {
        replace_numbers(text, |port| {
            if SERVICES.contains(&port) {
                return Some(*self.ports.entry(port).or_insert_with(free_port));
            }
            if !ITS_OWN.contains(&port) {
                return None;
            }
            let used = own(port).or_else(|| self.ports.get(&port).copied());
            assert!(used.is_some(), "{}: Posthouse does not listen on {port}", self.name);
            used
        })
    }

    fn shell(&self) -> Command {
        let mut shell = Command::new("bash");
        self.surround(&mut shell);
        shell
    }

    fn surround(&self, command: &mut Command) {
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.path().join("bin");
        command
            .current_dir(self.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("NODE_PATH", environment("POSTHOUSE_TEST_NODE", "test-node").join("node_modules"))
            .env("NO_COLOR", "1");
        if let Some(admin) = self.ports.get(&8400) {
            command.env("POSTHOUSE_ADMIN", format!("http://127.0.0.1:{admin}"));
        }
        if let Some(registry) = self.ports.get(&8500) {
            command.env("POSTHOUSE_REGISTRY", format!("http://127.0.0.1:{registry}"));
        }
    }

    fn script(&self, file: &str, text: &str) -> PathBuf {
        let file = self.path().join(file);
        std::fs::write(&file, text).expect("a script");
        file
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn place(&self, block: &Block) -> String {
        format!("{}:{}", self.name, block.line)
    }
}

/// The numbers of four and five digits that a text has, which no letter or digit touches.
fn numbers(text: &str) -> impl Iterator<Item = u16> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() >= 4)
        .filter_map(|word| word.parse().ok())
}

fn replace_numbers(text: &str, mut with: impl FnMut(u16) -> Option<u16>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let is_word = rest.starts_with(|c: char| c.is_ascii_alphanumeric());
        let end = rest.find(|c: char| c.is_ascii_alphanumeric() != is_word).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        match piece.parse().ok().filter(|_| is_word && piece.len() == 4).and_then(&mut with) {
            Some(number) => out.push_str(&number.to_string()),
            None => out.push_str(piece),
        }
        rest = after;
    }
    out
}

/// Whether `text` is what `pattern` says; [`ANYTHING`] in it stands for any text. White space at
/// the ends of lines and of the whole does not count.
fn is_like(pattern: &str, text: &str) -> bool {
    let trimmed = |text: &str| {
        let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
        lines.join("\n")
    };
    let (pattern, text) = (trimmed(pattern), trimmed(text));
    let pieces: Vec<&str> = pattern.split(ANYTHING).collect();
    let [first, middle @ .., last] = &pieces[..] else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for piece in middle {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn a_pattern_holds_for_the_whole_text() {
    assert!(is_like("a…c\n", "a b c"));
    assert!(is_like("one\n…\nfour", "one \ntwo\nthree\nfour\n"));
    assert!(is_like("…", "") && is_like("same", "same\n"));
    assert!(!is_like("a…c", "a b c d") && !is_like("same", "same\nsame"));
    assert!(!is_like("a…a", "a"), "both ends are there");
}

#[test]
fn only_whole_numbers_are_replaced() {
    let used = |port| (port == 5001).then_some(23_456);
    let text = "127.0.0.1:5001 15001 5001ms 端口5001，";
    assert_eq!(replace_numbers(text, used), "127.0.0.1:23456 15001 5001ms 端口23456，");
}
