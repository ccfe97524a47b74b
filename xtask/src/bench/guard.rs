//! What asking who calls, and how often, adds to a call: each guard case against the open route of the
//! same proxy, on which the same bytes are sent and forwarded.

use clap::ValueEnum;

use super::gateway::Outcome;
use super::peers::Proxy;
use super::report::Table;
use super::work::Case;

/// One row a proxy: CPU of the open route, and what each case takes beyond it. `None` when the open
/// route was not measured.
pub(super) fn table(cases: &[(Case, Vec<Outcome>)]) -> Option<Table> {
    let cpu = |case: Case, proxy: Proxy| {
        let (_, outcomes) = cases.iter().find(|(measured, _)| *measured == case)?;
        let outcome = outcomes.iter().find(|outcome| outcome.proxy == proxy)?;
        Some(outcome.median?.cpu_us_per_request)
    };
    let asked = [
        (Case::GuardToken, "+ token"),
        (Case::GuardTokenLimit, "+ token, limit"),
        (Case::GuardTokenAnew, "+ token anew"),
        (Case::GuardKey, "+ key"),
        (Case::GuardLimit, "+ key, limit of 100,000"),
    ];
    let mut heading = vec!["CPU µs/request", "open route"];
    heading.extend(asked.map(|(_, name)| name));
    let mut table = Table::new(&heading);
    let mut rows = 0;
    for proxy in Proxy::value_variants().iter().copied() {
        let Some(open) = cpu(Case::GuardOpen, proxy) else { continue };
        let more = asked.map(|(case, _)| match cpu(case, proxy) {
            Some(all) => format!("{:+.2}", all - open),
            None => "-".to_owned(),
        });
        let mut cells = vec![proxy.name().to_owned(), format!("{open:.2}")];
        cells.extend(more);
        table.row(cells);
        rows += 1;
    }
    (rows > 0).then_some(table)
}
