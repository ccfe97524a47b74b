//! A RabbitMQ in a temporary folder of its own, on free ports, with its defaults: what clients of the
//! broker are shown beside ours, so that tests ask for the protocol and not for us.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::free_port;
use crate::house::new_folder;
use crate::program::Program;
use crate::wait::{ensure, eventually_within};

/// Where Debian has the script that does not change users first.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// It takes ten seconds on a machine that has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(150);

/// A running RabbitMQ, killed on drop.
#[derive(Debug)]
pub struct Rabbitmq {
    program: Program,
    /// Erlang's port mapper, which would otherwise be started by the first node and outlive it.
    _mapper: Program,
    address: SocketAddr,
    folder: TempDir,
}

impl Rabbitmq {
    /// Starts one and waits until it takes connections.
    pub async fn start() -> Self {
        assert!(Path::new(SERVER).exists(), "there is no RabbitMQ: run `cargo xtask setup`");
        Self::start_in(new_folder()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        let [mapper_port, port, distribution] = [free_port(), free_port(), free_port()];
        let path = folder.path();
        let mut mapper = Command::new("epmd");
        mapper.args(["-port", &mapper_port.to_string(), "-address", "127.0.0.1"]);
        let mapper = Program::start("epmd", mapper, path);
        // No plugins, no configuration but addresses; what lies in /etc is not looked at.
        std::fs::write(path.join("plugins"), "[].\n").expect("a file");
        std::fs::write(path.join("rabbitmq.conf"), "").expect("a file");
        let mut command = Command::new(SERVER);
        command
            // The script is then replaced by the server, so that it is the server that is killed.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("HOME", path)
            .env("ERL_EPMD_PORT", mapper_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", "test@localhost")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string());
        let inside = "-kernel inet_dist_use_interface {127,0,0,1}";
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", inside);
        for (name, file) in [
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
            ("RABBITMQ_CONF_ENV_FILE", "absent"),
            ("RABBITMQ_PID_FILE", "pid"),
        ] {
            command.env(name, path.join(file));
        }
        let mut program = Program::start("rabbitmq", command, path);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        eventually_within(PATIENCE, "RabbitMQ to take connections", || {
            let log = program.log();
            assert!(program.ended().is_none(), "RabbitMQ ended:\n{log}");
            let is_open = TcpStream::connect(address).is_ok();
            async move { ensure(is_open, || log) }
        })
        .await;
        Self { program, _mapper: mapper, address, folder }
    }

    /// Where AMQP is spoken.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops it in the orderly way and starts it again on the same data, on other ports.
    pub async fn restart(mut self) -> Self {
        self.program.stop().await;
        let Self { program, _mapper, folder, .. } = self;
        drop((program, _mapper));
        Self::start_in(folder).await
    }
}
