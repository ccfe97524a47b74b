//! What was confirmed to publishers, and what consumers saw and were done with, of a broker that is
//! killed again and again; and by that the judgement: what was confirmed is seen, what was settled
//! for good is not seen again, what comes twice says so, and the rest is in order.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A message, by who wrote it and which of theirs it is. No number is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Letter {
    /// Whose it is.
    pub publisher: u32,
    /// Which.
    pub number: u32,
}

/// Every so many messages one is large.
const LARGE: u32 = 97;
/// Every so many messages one is rejected where they are worked on.
const REJECTED: u32 = 5;

/// The queue of what is worked on, and the one of what was rejected there.
pub const JOBS: &str = "jobs";
/// Where rejected messages go.
pub const DEAD: &str = "dead";
/// Queues that each get a copy of the same messages.
pub const COPIES: [&str; 2] = ["first", "second"];

impl Letter {
    /// What its body is: it follows from the letter, so that another one's shows.
    #[must_use]
    pub fn body(self) -> Vec<u8> {
        let Self { publisher, number } = self;
        let mut random = fastrand::Rng::with_seed(u64::from(publisher) << 32 | u64::from(number));
        let size = if number % LARGE == 1 { 200_000 } else { random.usize(..3000) };
        let mut body = format!("{publisher} {number} ").into_bytes();
        let filler = random.u8(..);
        body.resize(body.len() + size, filler);
        body
    }

    /// The letter that a body is of.
    ///
    /// # Errors
    /// When it is nobody's, or not whole.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let mut words = body.split(|octet| *octet == b' ');
        let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
        let letter = number().zip(number());
        let letter = letter.map(|(publisher, number)| Self { publisher, number });
        letter
            .filter(|letter| letter.body() == body)
            .ok_or_else(|| format!("{} octets that are no message as it was sent", body.len()))
    }

    /// The queues that it goes to.
    #[must_use]
    pub fn queues(self) -> &'static [&'static str] {
        if self.is_copied() { &COPIES } else { &[JOBS] }
    }

    /// Whether it goes to several queues at once.
    #[must_use]
    pub const fn is_copied(self) -> bool {
        self.publisher.is_multiple_of(2)
    }

    /// Whether it is rejected in this queue.
    #[must_use]
    pub fn is_rejected_in(self, queue: &str) -> bool {
        queue == JOBS && self.number.is_multiple_of(REJECTED)
    }
}

/// What is known of one queue.
#[derive(Debug, Default)]
struct Queue {
    /// These have to be seen.
    due: BTreeSet<Letter>,
    seen: HashSet<Letter>,
    /// Settled, and the broker has said that this is durable.
    settled: HashSet<Letter>,
    /// By publisher, the last that was seen as new before the last crash, by any consumer,
    before: BTreeMap<u32, u32>,
    /// and since then, by consumer.
    since: BTreeMap<(usize, u32), u32>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Tally {
    queues: BTreeMap<String, Queue>,
    wrong: Vec<String>,
    /// How often publishers were blocked, and let go on again.
    pub blocks: (u64, u64),
    confirmed: u64,
    again: u64,
}

impl Tally {
    /// A publisher was told that the broker has it.
    pub fn confirm(&mut self, letter: Letter) {
        self.confirmed += 1;
        for queue in letter.queues() {
            self.queue(queue).due.insert(letter);
        }
    }

    /// A consumer got a message.
    pub fn see(&mut self, name: &str, consumer: usize, letter: Letter, redelivered: bool) {
        self.again += u64::from(redelivered);
        let queue = self.queue(name);
        let Letter { publisher, number } = letter;
        let mut wrong = Vec::new();
        if queue.settled.contains(&letter) {
            wrong.push("was settled for good");
        }
        if !queue.seen.insert(letter) && !redelivered {
            wrong.push("comes again as if it were new");
        }
        // What was rejected comes in the order in which it was.
        if !redelivered && name != DEAD {
            let before = queue.before.get(&publisher).copied();
            let last = queue.since.insert((consumer, publisher), number);
            if last.max(before).is_some_and(|last| last >= number) {
                wrong.push("comes after a later one");
            }
        }
        let wrong = wrong.into_iter().map(|what| format!("{letter:?} in {name:?} {what}"));
        self.wrong.extend(wrong.collect::<Vec<_>>());
    }

    /// The broker has said that these are settled, so that nothing can undo it.
    pub fn settle(&mut self, name: &str, letters: &[Letter]) {
        self.queue(name).settled.extend(letters);
        let rejected = letters.iter().copied().filter(|letter| letter.is_rejected_in(name));
        let rejected: Vec<Letter> = rejected.collect();
        self.queue(DEAD).due.extend(rejected);
    }

    /// Something happened that must not.
    pub fn blame(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// The broker is gone: whatever is new from now on was not seen by anybody.
    pub fn crash(&mut self) {
        for queue in self.queues.values_mut() {
            for ((_, publisher), number) in std::mem::take(&mut queue.since) {
                let last = queue.before.entry(publisher).or_default();
                *last = number.max(*last);
            }
        }
    }

    /// How much has happened.
    #[must_use]
    pub fn progress(&self) -> u64 {
        let seen: usize = self.queues.values().map(|queue| queue.seen.len()).sum();
        self.confirmed + u64::try_from(seen).unwrap_or(u64::MAX)
    }

    /// How many messages were confirmed, and how many deliveries were said to be no first ones.
    #[must_use]
    pub const fn figures(&self) -> (u64, u64) {
        (self.confirmed, self.again)
    }

    /// What has to be seen and was not, of all queues.
    #[must_use]
    pub fn missing(&self) -> Vec<(String, Letter)> {
        let missing = self.queues.iter().flat_map(|(name, queue)| {
            let unseen = queue.due.iter().filter(|letter| !queue.seen.contains(letter));
            unseen.map(|letter| (name.clone(), *letter))
        });
        missing.collect()
    }

    /// What has to be seen and is not settled, by queue.
    #[must_use]
    pub fn open(&self) -> BTreeSet<(String, Letter)> {
        let open = self.queues.iter().flat_map(|(name, queue)| {
            let open = queue.due.iter().filter(|letter| !queue.settled.contains(letter));
            open.map(|letter| (name.clone(), *letter))
        });
        open.collect()
    }

    /// Whether everything was as it must be so far; or else what was not.
    ///
    /// # Errors
    /// When something was not.
    pub fn judge(&self) -> Result<(), String> {
        let shown = &self.wrong[..self.wrong.len().min(20)];
        if shown.is_empty() { Ok(()) } else { Err(shown.join("\n")) }
    }

    fn queue(&mut self, name: &str) -> &mut Queue {
        if !self.queues.contains_key(name) {
            self.queues.insert(name.to_owned(), Queue::default());
        }
        self.queues.get_mut(name).expect("it was put there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Letter = Letter { publisher: 1, number: 5 };
    const TWO: Letter = Letter { publisher: 1, number: 6 };

    #[test]
    fn a_body_tells_its_letter_and_another_is_nobodys() {
        for number in 0..200 {
            let letter = Letter { publisher: 3, number };
            let mut body = letter.body();
            assert_eq!(Letter::read(&body), Ok(letter));
            body.push(0);
            assert!(Letter::read(&body).is_err());
        }
        assert!(Letter::read(b"").is_err());
    }

    #[test]
    fn what_was_confirmed_has_to_be_seen() {
        let mut tally = Tally::default();
        tally.confirm(ONE);
        assert_eq!(tally.missing(), [(JOBS.to_owned(), ONE)]);
        tally.see(JOBS, 0, ONE, false);
        assert_eq!(tally.missing(), []);
        tally.settle(JOBS, &[ONE]);
        assert_eq!(tally.missing(), [(DEAD.to_owned(), ONE)], "it was rejected");
        let copied = Letter { publisher: 2, number: 1 };
        tally.confirm(copied);
        tally.see(COPIES[0], 0, copied, false);
        assert!(tally.missing().contains(&(COPIES[1].to_owned(), copied)));
    }

    #[test]
    fn what_must_not_come_is_found_out() {
        let check = |does: &dyn Fn(&mut Tally), wrong: &str| {
            let mut tally = Tally::default();
            tally.see(JOBS, 0, TWO, false);
            assert_eq!(tally.judge(), Ok(()));
            does(&mut tally);
            match tally.judge() {
                Err(found) => assert!(!wrong.is_empty() && found.contains(wrong), "{found}"),
                Ok(()) => assert_eq!(wrong, ""),
            }
        };
        check(&|tally| tally.see(JOBS, 0, TWO, true), "");
        check(&|tally| tally.see(JOBS, 0, TWO, false), "as if it were new");
        check(&|tally| tally.see(JOBS, 0, ONE, false), "after a later one");
        check(&|tally| tally.see(JOBS, 0, ONE, true), "");
        check(&|tally| tally.see(JOBS, 1, ONE, false), "");
        let after = |tally: &mut Tally| {
            tally.crash();
            tally.see(JOBS, 1, ONE, false);
        };
        check(&after, "after a later one");
        let settled = |tally: &mut Tally| {
            tally.settle(JOBS, &[TWO]);
            tally.see(JOBS, 0, TWO, true);
        };
        check(&settled, "settled for good");
    }
}
