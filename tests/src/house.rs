//! Posthouse as its users start it: the binary, a configuration file, a data folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Program, run_to_end};
use crate::wait::eventually;

/// A running Posthouse in a temporary folder of its own.
#[derive(Debug)]
pub struct House {
    program: Program,
    listeners: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    registry: Option<SocketAddr>,
    dns: Option<SocketAddr>,
    messages: Option<SocketAddr>,
    messages_tls: Option<SocketAddr>,
    messages_http: Option<SocketAddr>,
    messages_management: Option<SocketAddr>,
    folder: TempDir,
}

impl House {
    /// Starts `posthouse up` with this configuration and waits until it says which addresses it
    /// has. Use port 0 everywhere. A `data` folder is added unless the text names one; relative
    /// paths in the text start at [`House::folder`].
    pub async fn start(config: &str) -> Self {
        Self::start_in(new_folder(), config, &[]).await
    }

    /// Like [`House::start`], in a folder that holds more files than the configuration, and with
    /// more arguments.
    pub async fn start_in(folder: TempDir, config: &str, arguments: &[&str]) -> Self {
        let prepare = |command: &mut Command| {
            command.args(arguments);
        };
        Self::start_prepared(folder, config, prepare).await
    }

    /// Like [`House::start`], in a folder that may hold the data of one before, and by a command that
    /// is added to.
    pub async fn start_prepared(
        folder: TempDir,
        config: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        write_config(folder.path(), config);
        // What the last run wrote must not be taken for what this one writes.
        let _absent_is_fine = std::fs::remove_file(folder.path().join("data/addresses.json"));
        let mut command = command_in(folder.path());
        command.args(["up", "--config", "posthouse.yaml"]);
        prepare(&mut command);
        let program = Program::start("posthouse", command, folder.path());
        let listeners = Vec::new();
        let mut house = Self {
            program,
            listeners,
            admin: None,
            registry: None,
            dns: None,
            messages: None,
            messages_tls: None,
            messages_http: None,
            messages_management: None,
            folder,
        };
        house.read_addresses().await;
        house
    }

    /// Reads the addresses again, after a reload that changed the listeners.
    pub async fn read_addresses(&mut self) {
        let file = self.folder.path().join("data/addresses.json");
        let program = &mut self.program;
        let addresses: Value = eventually("the addresses of posthouse", || {
            let log = program.log();
            assert!(program.ended().is_none(), "posthouse ended:\n{log}");
            let read = std::fs::read(&file)
                .map_err(|error| error.to_string())
                .and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
            async move { read }
        })
        .await;
        let one = |value: &Value| {
            let text = value.as_str()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{text} is no address")))
        };
        let listeners = addresses["listeners"].as_array();
        self.listeners = listeners.into_iter().flatten().filter_map(one).collect();
        self.admin = one(&addresses["admin"]);
        self.registry = one(&addresses["registry"]);
        self.dns = one(&addresses["dns"]);
        self.messages = one(&addresses["messages"]);
        self.messages_tls = one(&addresses["messages_tls"]);
        self.messages_http = one(&addresses["messages_http"]);
        self.messages_management = one(&addresses["messages_management"]);
    }

    /// The first listener.
    #[must_use]
    pub fn gateway(&self) -> SocketAddr {
        self.listener(0)
    }

    /// A listener by its place in the configuration.
    #[must_use]
    pub fn listener(&self, index: usize) -> SocketAddr {
        self.listeners[index]
    }

    /// Where the admin API is.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("the configuration has an `admin` section")
    }

    /// Where the registry is.
    #[must_use]
    pub fn registry(&self) -> SocketAddr {
        self.registry.expect("the configuration has a `registry` section")
    }

    /// Where names are answered over DNS.
    #[must_use]
    pub fn dns(&self) -> SocketAddr {
        self.dns.expect("the configuration has a `registry` section")
    }

    /// Where messages are sent and taken over AMQP.
    #[must_use]
    pub fn messages(&self) -> SocketAddr {
        self.messages.expect("the configuration has a `messages` section")
    }

    /// The same over TLS.
    #[must_use]
    pub fn messages_tls(&self) -> SocketAddr {
        self.messages_tls.expect("the configuration has a section `messages.tls`")
    }

    /// Where messages are published over HTTP.
    #[must_use]
    pub fn messages_http(&self) -> SocketAddr {
        self.messages_http.expect("the configuration has a `messages.http` section")
    }

    /// Where RabbitMQ's management API is.
    #[must_use]
    pub fn messages_management(&self) -> SocketAddr {
        self.messages_management.expect("the configuration has a `messages.management` section")
    }

    /// The temporary folder: `posthouse.yaml`, `data/` and the logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the configuration file in one step, as editors do.
    pub fn write_config(&self, config: &str) {
        write_config(self.folder.path(), config);
    }

    /// Kills it at once, and leaves its folder.
    pub async fn kill(mut self) -> TempDir {
        self.program.kill().await;
        self.folder
    }

    /// The process.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Everything that it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Asks it to end (SIGTERM) and waits for it.
    pub async fn stop(&mut self) -> ExitStatus {
        self.program.stop().await
    }

    /// Stops it in the orderly way and starts it again on the same data with the same addresses'
    /// configuration.
    pub async fn restart(self) -> Self {
        self.restart_with(&[]).await
    }

    /// Like [`House::restart`], with more arguments. One that has been killed is only started.
    pub async fn restart_with(mut self, arguments: &[&str]) -> Self {
        if self.program.ended().is_none() {
            self.stop().await;
        }
        let Self { folder, program, .. } = self;
        drop(program);
        let config = std::fs::read_to_string(folder.path().join("posthouse.yaml"));
        let config = config.expect("the configuration is still there");
        Self::start_in(folder, &config, arguments).await
    }
}

/// Runs `posthouse ARGUMENTS` to its end in `folder`: status, standard output, standard error.
pub async fn posthouse(folder: &Path, arguments: &[&str]) -> (ExitStatus, String, String) {
    let mut command = command_in(folder);
    command.args(arguments);
    run_to_end(command).await
}

/// A command that runs the binary in `folder`.
#[must_use]
pub fn command_in(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(folder).env("NO_COLOR", "1").env_remove("RUST_LOG");
    command
}

/// A temporary folder for one test.
#[must_use]
pub fn new_folder() -> TempDir {
    tempfile::Builder::new().prefix("posthouse-test-").tempdir().expect("a temporary folder")
}

/// The binary under test: `POSTHOUSE_BIN`, or the one that `cargo build --profile fast` makes. It
/// is built when there is none; `cargo xtask test` always builds it first.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("POSTHOUSE_BIN") {
            return path.into();
        }
        let target = crate::target();
        let path = target.join("fast/posthouse");
        if !path.exists() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--quiet", "--profile", "fast", "--package", "posthouse"]);
            build.arg("--target-dir").arg(&target).current_dir(crate::workspace());
            let status = build.status().expect("cargo starts");
            assert!(status.success(), "posthouse cannot be built");
        }
        path
    })
}

fn write_config(folder: &Path, config: &str) {
    let names_data = config.lines().any(|line| line.starts_with("data:"));
    // At the end, so that the lines of the test's own text keep their numbers.
    let data = if names_data { "" } else { "\ndata: ./data\n" };
    let file = folder.join("posthouse.yaml");
    let new = folder.join("posthouse.yaml.new");
    std::fs::write(&new, format!("{config}{data}")).expect("a configuration file");
    std::fs::rename(new, file).expect("a configuration file");
}
