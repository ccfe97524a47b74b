//! What asking who calls, and how often, adds to a call: each guard case against the open route of the
//! same proxy, on which the same bytes are sent and forwarded, turn by turn.

use clap::ValueEnum;

use super::gateway::Outcome;
use super::peers::Proxy;
use super::report::Table;
use super::stats::median;
use super::work::Case;

/// One row a proxy: CPU of the open route, and what each case takes beyond it: the median of the
/// turns' differences, with those between which half of them are. `None` when the open route was not
/// measured.
pub(super) fn table(cases: &[(Case, Vec<Outcome>)]) -> Option<Table> {
    let of = |case: Case, proxy: Proxy| {
        let (_, outcomes) = cases.iter().find(|(measured, _)| *measured == case)?;
        outcomes.iter().find(|outcome| outcome.proxy == proxy)
    };
    let asked = [
        (Case::GuardToken, "+ token"),
        (Case::GuardTokenLimit, "+ token, limit"),
        (Case::GuardTokenAnew, "+ token anew"),
        (Case::GuardKey, "+ key"),
        (Case::GuardKeyLimit, "+ key, limit"),
        (Case::GuardLimit, "+ key, limit of 100,000"),
    ];
    let mut heading = vec!["CPU µs/request", "open route"];
    heading.extend(asked.map(|(_, name)| name));
    let mut table = Table::new(&heading);
    let mut rows = 0;
    for proxy in Proxy::value_variants().iter().copied() {
        let Some(open) = of(Case::GuardOpen, proxy) else { continue };
        let Some(median_of_open) = open.median else { continue };
        let more = asked.map(|(case, _)| {
            let beyond = of(case, proxy).and_then(|outcome| outcome.beyond(open));
            beyond.map_or("-".to_owned(), spread)
        });
        let median_of_open = format!("{:.2}", median_of_open.cpu_us_per_request);
        let mut cells = vec![proxy.name().to_owned(), median_of_open];
        cells.extend(more);
        table.row(cells);
        rows += 1;
    }
    (rows > 0).then_some(table)
}

/// The median, with the quartiles.
fn spread(mut differences: Vec<f64>) -> String {
    differences.sort_by(f64::total_cmp);
    let quarter = differences.len() / 4;
    let (low, high) = (differences[quarter], differences[differences.len() - 1 - quarter]);
    format!("{:+.2} ({low:+.2} to {high:+.2})", median(differences))
}
