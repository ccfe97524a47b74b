//! A registry alone, for trying clients against it: `cargo run --example registry -- 127.0.0.1:8500`.

use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_registry::{Config, Raw, Registry};

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| Raw::default().address);
    let mut report = Report::new();
    let raw = Raw { address, ..Raw::default() };
    let Some(config) = Config::check(&raw, &Path::root(), &mut report) else {
        return eprintln!("{:?}", report.findings());
    };
    match Registry::start(config, None, &Tasks::new()).await {
        Ok(registry) => {
            eprintln!("listening on {}", registry.address());
            std::future::pending().await
        }
        Err(error) => eprintln!("{error}"),
    }
}
