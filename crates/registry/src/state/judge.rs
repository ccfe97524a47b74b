//! How many results in a row it takes before a probe is believed.

use super::model::{Status, Thresholds};

/// The running count of a probe's results.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    thresholds: Thresholds,
    successes: u32,
    failures: u32,
}

impl Judge {
    /// A judge that has seen nothing yet.
    #[must_use]
    pub const fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, successes: 0, failures: 0 }
    }

    /// Takes the next result. Returns the status to report, or `None` while it is too early to tell.
    pub fn judge(&mut self, result: Status) -> Option<Status> {
        let Thresholds {
            success_before_passing,
            failures_before_warning,
            failures_before_critical,
        } = self.thresholds;
        if result == Status::Critical {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            if self.failures >= failures_before_critical {
                Some(Status::Critical)
            } else if self.failures >= failures_before_warning {
                Some(Status::Warning)
            } else {
                None
            }
        } else {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            (self.successes >= success_before_passing).then_some(result)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Status::{Critical, Passing, Warning};
    use super::*;

    fn check(
        (success_before_passing, failures_before_warning, failures_before_critical): (
            u32,
            u32,
            u32,
        ),
        results: &[Status],
        expected: &[Option<Status>],
    ) {
        let thresholds = Thresholds {
            success_before_passing,
            failures_before_warning,
            failures_before_critical,
        };
        let mut judge = Judge::new(thresholds);
        let got: Vec<_> = results.iter().map(|result| judge.judge(*result)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn without_thresholds_each_result_is_believed() {
        let results = [Critical, Passing, Warning, Critical];
        check((0, 0, 0), &results, &results.map(Some));
    }

    #[test]
    fn results_in_a_row_are_counted_and_an_opposite_one_starts_anew() {
        check(
            (2, 1, 3),
            &[Passing, Passing, Critical, Passing, Critical, Critical, Critical, Passing, Passing],
            &[
                None,
                Some(Passing),
                Some(Warning),
                None,
                Some(Warning),
                Some(Warning),
                Some(Critical),
                None,
                Some(Passing),
            ],
        );
    }
}
