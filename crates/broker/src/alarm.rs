//! Has publishers blocked while the journal cannot write, and before that, while little room is left
//! on its disk: those who consume can then still acknowledge, which makes room.

use std::sync::Arc;
use std::time::Duration;

use posthouse_journal::{Health, Journal, Room};
use tokio::time::{sleep, timeout};

use crate::service::Handle;
use crate::state::Command;

/// While something is written, room is looked at so often;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// so often when it would be short after so many times what is to stay free;
const WHILE_NEAR: Duration = Duration::from_millis(10);
const NEAR: u64 = 16;
/// and so often while it is short, since others may have made some.
const WHILE_SHORT: Duration = Duration::from_millis(250);

/// Tells the rules why nobody may publish, and when they may again; until the journal or the broker
/// ends.
pub(crate) async fn watch(handle: Handle, journal: Arc<dyn Journal>) {
    let limit = handle.shared.config.limits.disk_free.0;
    let mut head = journal.head();
    let (mut told, mut is_short) = (None, false);
    loop {
        let mut pause = BETWEEN_LOOKS;
        let health = head.borrow_and_update().health.clone();
        let why = match health {
            Health::Out(outage) => Some(Arc::<str>::from(format!("cannot write: {outage}"))),
            Health::Serving => {
                // A journal that cannot be asked says so by its health.
                let room = journal.room().await.ok().flatten();
                is_short = room.is_some_and(|room| is_low(room, limit, is_short));
                if room.is_some_and(|room| room.disk_bytes < limit.saturating_mul(NEAR)) {
                    pause = WHILE_NEAR;
                }
                is_short.then(|| Arc::from("low on disk"))
            }
        };
        if why != told {
            match &why {
                Some(why) => tracing::warn!("publishers are blocked: {why}"),
                None => tracing::info!("publishers may go on"),
            }
            told.clone_from(&why);
            if handle.shared.driver.tell(Command::Alarm(why)).await.is_err() {
                return;
            }
        }
        let changed = match is_short {
            true => timeout(WHILE_SHORT, head.changed()).await.unwrap_or(Ok(())),
            false => head.changed().await,
        };
        if changed.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

/// Whether so little room is left that it is kept for those who consume. Writing needs some on the disk
/// itself, however much there is within the file.
const fn is_low(room: Room, limit: u64, was_low: bool) -> bool {
    let limit = if was_low { limit.saturating_add(limit / 10) } else { limit };
    let Room { disk_bytes, spare_bytes } = room;
    disk_bytes < limit / 2 || disk_bytes.saturating_add(spare_bytes) < limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_on_the_disk_is_needed_and_room_in_the_file_helps() {
        let check = |disk_bytes, spare_bytes, was_low, low: bool| {
            let room = Room { disk_bytes, spare_bytes };
            assert_eq!(is_low(room, 100, was_low), low, "{room:?}, before: {was_low}");
        };
        check(100, 0, false, false);
        check(99, 0, false, true);
        check(50, 50, false, false);
        check(50, 49, false, true);
        check(49, 1000, false, true);
        check(109, 0, true, true);
        check(110, 0, true, false);
        check(54, 1000, true, true);
        assert!(!is_low(Room { disk_bytes: 0, spare_bytes: 0 }, 0, false), "0 is no limit");
    }
}
