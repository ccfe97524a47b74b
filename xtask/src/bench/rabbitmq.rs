//! A RabbitMQ of its own folder and ports, with its defaults: what the broker is measured beside.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::install::{self, Source};
use super::process::{Group, Launch};
use super::{house, machine, peers};

/// A RabbitMQ that takes connections, with the port mapper that Erlang wants.
pub(crate) struct Rabbitmq {
    pub(crate) group: Group,
    pub(crate) address: SocketAddr,
    /// Is to live as long.
    pub(crate) mapper: Group,
}

/// Where Debian has the script that does not change users first.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

impl Rabbitmq {
    /// Its program, installed if allowed.
    pub(crate) fn program(root: &Path, may_install: bool) -> anyhow::Result<PathBuf> {
        let source = Source::Debian { package: "rabbitmq-server" };
        install::require(root, "rabbitmq-server", source, may_install)?;
        Ok(PathBuf::from(SERVER))
    }

    pub(crate) fn version() -> String {
        let library = fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten().flatten();
        let names = library.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let versions: Vec<String> =
            names.filter_map(|name| Some(name.strip_prefix("rabbitmq_server-")?.into())).collect();
        let erlang = machine::version(Path::new("erl"), "-version");
        let server = versions.first().cloned().unwrap_or_else(|| "unknown".to_owned());
        format!("{server} on Erlang's machine {erlang}")
    }

    pub(crate) fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let [mapper_port, address, distribution] =
            [peers::free_address()?, peers::free_address()?, peers::free_address()?];
        let mapper_port = mapper_port.port().to_string();
        let mapper = port_mapper(&mapper_port, folder)?;
        // No plugins, no configuration but addresses; what lies in /etc is not looked at.
        fs::write(folder.join("plugins"), "[].\n")?;
        fs::write(folder.join("rabbitmq.conf"), "")?;
        let mut launch = Launch::new(program)
            .env("HOME", folder)
            .env("ERL_EPMD_PORT", mapper_port)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // The script is then replaced by the server, and its process is the one that is measured.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("RABBITMQ_NODENAME", "bench@localhost")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", address.port().to_string())
            .env("RABBITMQ_DIST_PORT", distribution.port().to_string())
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            );
        for (name, file) in [
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
            ("RABBITMQ_CONF_ENV_FILE", "absent"),
            ("RABBITMQ_PID_FILE", "pid"),
        ] {
            launch = launch.env(name, folder.join(file));
        }
        let mut group = launch.spawn(None, &folder.join("rabbitmq.log"))?;
        house::wait(&mut group, "take connections", || {
            TcpStream::connect(address).context("connect").map(drop)
        })?;
        Ok(Self { group, address, mapper })
    }
}

/// Erlang's port mapper, which would otherwise be started by the first node and outlive it.
fn port_mapper(port: &str, folder: &Path) -> anyhow::Result<Group> {
    let launch = Launch::new("epmd").args(["-port", port, "-address", "127.0.0.1"]);
    launch.spawn(None, &folder.join("epmd.log"))
}
