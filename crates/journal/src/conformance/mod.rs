//! What every engine must do, as tests that take the engine as a parameter.
//!
//! An engine's tests implement [`Engine`] and call [`conformance_tests!`](crate::conformance_tests),
//! which makes one test of each case here. In reading order: [`cases`] (writing and reading),
//! [`keeping`] (removal, truncation, checkpoints), [`following`] (the log as it grows), [`model`] (random histories beside a simple
//! model).

pub mod cases;
pub mod following;
pub mod keeping;
pub mod model;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::journal::Journal;

/// An engine under test, with a log of its own that is empty at first.
pub trait Engine: Send {
    /// The journal as it is open now.
    fn journal(&self) -> Arc<dyn Journal>;

    /// Ends the journal in whatever way, and opens the same log again. Nobody uses the one before
    /// any more.
    fn restart(&mut self) -> BoxFuture<'_, ()>;

    /// Moves on the clock by which events get their time and grow old.
    fn advance(&self, by: Duration);
}

/// Makes a test of every case for the engine that the given expression makes; it is evaluated anew
/// for each.
#[macro_export]
macro_rules! conformance_tests {
    ($engine:expr) => {
        $crate::conformance_tests!(@ $engine, cases, [
            an_empty_log_has_nothing,
            events_are_read_as_they_were_written,
            a_stream_is_read_in_pages_in_both_directions,
            everything_is_read_by_table_and_space,
            a_page_is_bounded_by_bytes,
            a_writer_is_held_to_what_it_believes,
            a_batch_is_written_whole_or_not_at_all,
            several_appends_of_a_batch_follow_each_other,
            a_repeated_batch_is_recognised,
            a_repetition_is_recognised_whole_or_not_at_all,
            a_stream_is_of_one_kind,
            what_cannot_be_right_is_refused,
            batches_are_written_in_order,
            a_dropped_receipt_changes_nothing,
            nobody_sees_a_later_position_before_an_earlier_one,
            time_never_goes_back,
            everything_is_there_after_a_restart,
        ]);
        $crate::conformance_tests!(@ $engine, keeping, [
            work_goes_by_position,
            work_goes_by_range,
            work_goes_by_version,
            many_versions_go_at_once,
            a_long_range_goes_at_once,
            positions_and_versions_are_never_given_again,
            removals_belong_to_their_batch,
            a_stream_keeps_its_latest_events,
            a_stream_keeps_its_events_for_a_time,
            a_stream_is_truncated,
            what_was_cut_off_stays_cut_off,
            a_softly_deleted_stream_begins_anew,
            a_tombstone_is_for_ever,
            a_checkpoint_replaces_the_one_before,
            a_checkpoint_belongs_to_its_batch,
            a_checkpoint_is_not_ahead_of_its_stream,
        ]);
        $crate::conformance_tests!(@ $engine, following, [
            a_follower_catches_up_and_goes_on,
            a_follower_begins_where_it_is_told,
            a_follower_sees_its_part_of_the_log,
            a_slow_follower_misses_nothing,
            followers_see_everything_in_order,
            what_goes_is_not_followed,
            a_follower_ends_with_its_stream,
            a_follower_ends_with_its_journal,
        ]);

        #[test]
        fn random_histories_agree_with_the_model() {
            $crate::conformance::model::random_histories(|| $engine);
        }
    };
    (@ $engine:expr, $module:ident, [$($case:ident,)*]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut engine = $engine;
                $crate::conformance::$module::$case(&mut engine).await;
            }
        )*
    };
}
