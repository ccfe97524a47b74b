//! The page of metrics, in the text format that Prometheus and its kin read.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The media type of the page (OpenMetrics 1.0).
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes every metric as it is now.
///
/// # Errors
/// When a metric cannot be written, which is a fault in that metric.
pub fn render(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut page = String::new();
    encode(&mut page, registry)?;
    Ok(page)
}
