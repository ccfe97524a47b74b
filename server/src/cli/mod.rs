//! The command line: what can be asked, and how the answer ends (0 done, 1 failed, 2 something for
//! the user to mend: arguments, configuration, an address in use).

mod address;
mod api;
pub(crate) mod apis;
pub(crate) mod backup;
mod changes;
pub(crate) mod check;
pub(crate) mod consumers;
mod file;
pub(crate) mod guard;
pub(crate) mod kv;
pub(crate) mod look;
pub(crate) mod managed;
pub(crate) mod messages;
pub(crate) mod plans;
mod progress;
pub(crate) mod restore;
pub(crate) mod schema;
pub(crate) mod services;
pub(crate) mod table;
mod yaml;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use posthouse_telemetry::logs;

use crate::config::{Config, DEFAULTS, Source};

/// One binary for everything that passes between microservices: calls, names and messages.
///
/// `posthouse up` runs it. Services register over the Consul HTTP API (127.0.0.1:8500), and are
/// called through the gateway (127.0.0.1:8080). `posthouse demo` shows all of it at work.
#[derive(Debug, Parser)]
#[command(name = "posthouse", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done; 1 failed; 2 something for you to mend: arguments, the \
configuration, an address in use."
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: Log,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run Posthouse until SIGTERM or Ctrl-C.
    ///
    /// Without a file everything runs on loopback: calls on 8080, names on 8500 and (DNS) 8600,
    /// messages on 5672 and (HTTP) 8672, admin on 8400.
    /// With a file the sections that it names are on. The addresses really listened on are written
    /// to DATA/addresses.json. SIGHUP and a changed file reload the configuration; one with
    /// mistakes is refused whole. A second SIGTERM or Ctrl-C ends at once.
    Up(Up),
    /// Find every mistake in a configuration file, with its line and what was probably meant.
    Check(Check),
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Show calls, balancing and failover with a sample shop in real processes.
    Demo(Demo),
    /// Run one instance of a service of the sample shop.
    #[command(hide = true)]
    DemoService(DemoService),
    /// List the services of a running Posthouse; with a name, the instances of that one. Or watch
    /// them.
    Services(Services),
    /// Read, change and watch the keys and values of a registry, Posthouse's or Consul's.
    Kv(kv::Kv),
    /// List the nodes in the registry of a running Posthouse.
    Nodes(Look),
    /// List the routes of a running Posthouse.
    Routes(Look),
    /// List the queues of a running Posthouse, or show one; declare, bind and remove them.
    Queues(messages::Queues),
    /// List the exchanges of a running Posthouse, or show one; declare, bind and remove them.
    Exchanges(messages::Exchanges),
    /// Publish a message, and wait until it is durable.
    Publish(messages::Publish),
    /// Print the messages of a queue, a line each, and take them out of it; or only look at them.
    ///
    /// A message that was taken is gone even if it is not printed (the connection breaks off, say):
    /// services speak AMQP, which has acknowledgements.
    Consume(messages::Consume),
    /// Remove the messages that wait in a queue.
    Purge(messages::Purge),
    /// List the connections of AMQP's clients to a running Posthouse, or close one.
    Connections(messages::Connections),
    /// Export what there is of messages in RabbitMQ's JSON, or take in what RabbitMQ has exported.
    Definitions(messages::Definitions),
    /// Move exchanges, queues, bindings and queued messages to a RabbitMQ, while both run.
    ///
    /// What a message was published with is kept, and each queue's order. A message leaves Posthouse once
    /// RabbitMQ has confirmed it: run it again after a failure; one may then be there twice, and none is
    /// lost. Users and permissions go by `posthouse definitions export`.
    Drain(messages::Drain),
    /// Ask a running Posthouse who may make a call, and why.
    Guard(guard::Guard),
    /// List the APIs of a running Posthouse and their versions; show, change, publish and retire them,
    /// and compare their descriptions.
    #[command(visible_alias = "api")]
    Apis(apis::Apis),
    /// List, show and change the plans that consumers have.
    Plans(plans::Plans),
    /// List, show and change who calls: customers, teams, other programs.
    Consumers(consumers::Consumers),
    /// List the API keys of a consumer; issue, rotate and revoke them.
    Keys(consumers::Keys),
    /// Print all APIs, plans and consumers that are managed over the admin API, without secrets, in the
    /// form of the configuration file. What the file declares is not among them.
    Export(managed::Export),
    /// Make the APIs, plans and consumers of a running Posthouse as they are in a file, all or none, and
    /// tell what differs.
    ///
    /// What the configuration file declares is left as it is there, and told. Keys of consumers stay.
    Apply(managed::Apply),
    /// Make a running Posthouse read its configuration again, and say how that went.
    Reload(Look),
    /// Show who changed what over the admin API or by the file, and when; the latest first.
    Audit(Audit),
    /// Back up the journal into a file, while Posthouse runs or not.
    ///
    /// The running Posthouse is asked over its admin API and goes on meanwhile. The file is in its
    /// place only once it is whole and its checksum is right.
    Backup(Backup),
    /// Restore the journal from a backup, or from a copy as it was at a time.
    ///
    /// Nothing is changed before all that is needed has been checked. A copy is what `journal: { copy:
    /// { folder: FOLDER } }` keeps up.
    Restore(Restore),
    /// Print completions for a shell, to be sourced by it.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// How the program says what it does.
#[derive(Clone, Debug, Args)]
pub(crate) struct Log {
    /// What is logged to standard error: a level, or more by target (`warn,posthouse_gateway=debug`)
    /// [default: info].
    #[arg(long = "log", value_name = "FILTER", env = "RUST_LOG", global = true)]
    #[arg(hide_env_values = true, help_heading = "Log")]
    filter: Option<String>,
    /// How it is logged.
    #[arg(long = "log-format", value_name = "FORMAT", default_value = "text", global = true)]
    #[arg(help_heading = "Log")]
    format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The configuration file (YAML).
    #[arg(short, long, value_name = "FILE", env = "POSTHOUSE_CONFIG")]
    config: Option<PathBuf>,
    /// Run only these parts of what the configuration names.
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
}

/// A part of the house that can run by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Listeners and routing.
    Gateway,
    /// Names and health.
    Registry,
    /// Queues and what is in them.
    Messages,
    /// Admin API and metrics.
    Admin,
}

impl Part {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Registry => "registry",
            Self::Messages => "messages",
            Self::Admin => "admin",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration file (YAML).
    file: PathBuf,
    /// How findings are shown.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// How a command shows its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Services {
    /// Show the instances of this service.
    name: Option<String>,
    #[command(flatten)]
    look: Look,
    #[command(subcommand)]
    pub(crate) command: Option<services::Command>,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write. One that is there is replaced.
    file: PathBuf,
    /// The data folder to back up; if a Posthouse uses it, that one is asked.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    file: Option<PathBuf>,
    /// The folder of a copy.
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
    /// The time, like 2026-11-21T08:15:00Z: the journal gets the last state before it that the copy
    /// has [default: the latest].
    #[arg(long, value_name = "TIME", requires = "from")]
    at: Option<String>,
    /// The data folder to restore into. No Posthouse may use it.
    #[arg(long, value_name = "FOLDER", default_value = "./posthouse-data")]
    data: PathBuf,
    /// Move a journal that is there aside.
    #[arg(long)]
    force: bool,
    /// How the answer is shown.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Look {
    /// The admin address of the running Posthouse.
    #[arg(
        long,
        value_name = "URL",
        env = "POSTHOUSE_ADMIN",
        default_value = "http://127.0.0.1:8400"
    )]
    admin: String,
    /// The admin token, when it asks for one; better given by the environment.
    #[arg(long, value_name = "TOKEN", env = "POSTHOUSE_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How the answer is shown.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// How many entries to show.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
    /// Only those before the entry of this number.
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after the demonstration, with status 0 if no call failed.
    #[arg(long)]
    pub(crate) once: bool,
    /// Take free ports instead of 8080, 8500, 8600, 8400, 5672 and 8672.
    #[arg(long)]
    pub(crate) free_ports: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoService {
    /// Which service.
    pub(crate) service: ShopService,
    /// Its id in the registry.
    #[arg(long)]
    pub(crate) instance: String,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) address: SocketAddr,
    /// The SQLite file of the service.
    #[arg(long)]
    pub(crate) database: PathBuf,
    /// The registry, as HOST:PORT.
    #[arg(long, default_value = "127.0.0.1:8500")]
    pub(crate) registry: String,
    /// The gateway, as HOST:PORT.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) gateway: String,
    /// Where messages are published over HTTP, as HOST:PORT.
    #[arg(long)]
    pub(crate) messages: Option<String>,
    /// How long the mailer takes for a mail, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub(crate) pause_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShopService {
    Users,
    Orders,
    Mailer,
}

impl Log {
    /// Sets up the log; `default` is the filter when the user names none.
    pub(crate) fn start(&self, default: &str) -> Result<(), Failure> {
        let format = match self.format {
            LogFormat::Text => logs::Format::Text,
            LogFormat::Json => logs::Format::Json,
        };
        let filter = self.filter.as_deref().unwrap_or(default);
        logs::start(filter, format).map_err(|error| Failure::setup(error.into()))
    }
}

/// The configuration that `up` is to run, or everything that is wrong with it.
pub(crate) fn configuration(options: &Up) -> Result<(Source, Config), Failure> {
    let source = match &options.config {
        Some(path) => Source::File(path.clone()),
        None => Source::Text { name: "(defaults)", text: DEFAULTS.into() },
    };
    let checked = check::read(&source)?;
    let colours = wants_colours(&io::stderr());
    let said = checked.findings.to_text(colours);
    // Nobody to tell it to is no reason to stop.
    let _unheard = io::stderr().write_all(said.as_bytes());
    match checked.config {
        Some(config) => Ok((source, config)),
        None => Err(Failure::setup(anyhow::anyhow!(check::summary(&checked.findings)))),
    }
}

/// Prints completions.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "posthouse", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("standard output")))
        }
        _ => Ok(()),
    }
}

/// Whether a stream is a terminal whose user has nothing against colours.
pub(crate) fn wants_colours(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// Something that the user can mend: arguments, the configuration, an address in use.
    pub(crate) fn setup(error: anyhow::Error) -> Self {
        Self { code: 2, error }
    }

    /// The same, with what it means for the user.
    pub(crate) fn context(self, said: &'static str) -> Self {
        Self { error: self.error.context(said), ..self }
    }

    /// Everything else.
    pub(crate) fn other(error: anyhow::Error) -> Self {
        Self { code: 1, error }
    }

    /// Says it in one line and gives the exit code.
    pub(crate) fn exit(self) -> ExitCode {
        let style = anstyle::AnsiColor::Red.on_default().bold();
        let style = if wants_colours(&io::stderr()) { style } else { anstyle::Style::new() };
        // Nobody to tell it to; the exit code still says it.
        let _unheard = writeln!(io::stderr(), "{style}error{style:#}: {:#}", self.error);
        ExitCode::from(self.code)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }
}
