//! The algorithms, over indices of a [`Schedule`]. What an index stands for is the caller's: it says
//! who may be chosen and how loaded it is. `None` means that a bounded number of tries found nobody;
//! the caller then looks at all.

use fastrand::Rng;

use super::ring::Ring;
use super::schedule::Schedule;

/// Random tries after the first choice was not acceptable.
const TRIES: usize = 8;
/// Points of a ring that are walked before giving up.
const MAX_WALK: usize = 512;
/// Up to this many, `least` compares everyone.
const COMPARE_ALL: usize = 32;
/// Samples that `least` compares when there are more.
const SAMPLES: usize = 4;
/// One choice in this many disregards load, so that each has at least 1.5 % of its share whatever
/// its past: the only way to learn that a slow one has recovered.
const EXPLORE: u32 = 64;

/// What choosing by load needs to know about one that may be chosen; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Its cost now.
    pub now: f64,
    /// Its cost with one more call.
    pub then: f64,
    /// Has gone without a call for so long that its cost is hearsay: it is chosen.
    pub stale: bool,
}

/// The one whose turn it is, else someone by weight: the share of one that is out is spread over all
/// by their weights instead of falling to its neighbour.
pub fn in_turn(
    schedule: &Schedule,
    turn: usize,
    rng: &mut Rng,
    mut accept: impl FnMut(usize, &mut Rng) -> bool,
) -> Option<usize> {
    let first = schedule.turn(turn)?;
    if accept(first, rng) {
        return Some(first);
    }
    at_random(schedule, rng, accept)
}

/// Someone by weight.
pub fn at_random(
    schedule: &Schedule,
    rng: &mut Rng,
    mut accept: impl FnMut(usize, &mut Rng) -> bool,
) -> Option<usize> {
    for _ in 0..TRIES {
        let index = schedule.sample(rng)?;
        if accept(index, rng) {
            return Some(index);
        }
    }
    None
}

/// The least loaded of all `count` if they are few, else of some samples by weight. The one whose
/// turn it is keeps the call unless another, with it, would be no more loaded than it is without:
/// so weights hold without load as well, and a light one that idles does not overtake a heavy one.
pub fn least(
    schedule: &Schedule,
    count: usize,
    turn: usize,
    rng: &mut Rng,
    accept: impl FnMut(usize, &mut Rng) -> bool,
    load: impl Fn(usize) -> Option<Load>,
) -> Option<usize> {
    let first = in_turn(schedule, turn, rng, accept)?;
    if rng.u32(..EXPLORE) == 0 {
        return Some(first);
    }
    // One that was accepted without a load is on trial, and this is its one call.
    let Some(own) = load(first) else { return Some(first) };
    if own.stale {
        return Some(first);
    }
    let (mut chosen, mut best) = (first, own.now);
    let mut compare = |index: usize| {
        let Some(other) = load(index).filter(|_| index != first) else { return };
        let cost = if other.stale { f64::NEG_INFINITY } else { other.then };
        if cost < best || chosen == first && cost <= best {
            (chosen, best) = (index, cost);
        }
    };
    if count <= COMPARE_ALL {
        (0..count).for_each(&mut compare);
    } else {
        for _ in 1..SAMPLES {
            compare(schedule.sample(rng)?);
        }
    }
    Some(chosen)
}

/// The better of two samples by weight. A second one that is hardly better is not preferred: within
/// noise the weights decide.
pub fn better_of_two(
    schedule: &Schedule,
    rng: &mut Rng,
    mut accept: impl FnMut(usize, &mut Rng) -> bool,
    load: impl Fn(usize) -> Option<Load>,
) -> Option<usize> {
    let first = at_random(schedule, rng, &mut accept)?;
    if rng.u32(..EXPLORE) == 0 {
        return Some(first);
    }
    let Some(one) = load(first) else { return Some(first) };
    // Another one, if it is met at all: two of the same are no choice.
    let mut second = first;
    for _ in 0..TRIES {
        second = schedule.sample(rng)?;
        if second != first {
            break;
        }
    }
    let Some(other) = load(second) else { return Some(first) };
    let better = if one.stale == other.stale { other.then < one.now * 0.9 } else { other.stale };
    Some(if better && accept(second, rng) { second } else { first })
}

/// The first acceptable owner on the ring from a key onwards.
pub fn by_key(ring: &Ring, key: u64, mut accept: impl FnMut(usize) -> bool) -> Option<usize> {
    // Owners come up again and again: those of low index are asked once, and when all have been
    // asked there is no point in going on.
    let mut refused = 0_u128;
    for owner in ring.from(key).take(MAX_WALK) {
        let bit = 1_u128.checked_shl(u32::try_from(owner).unwrap_or(u32::MAX)).unwrap_or(0);
        if refused & bit != 0 {
            continue;
        }
        if accept(owner) {
            return Some(owner);
        }
        refused |= bit;
        if refused.count_ones() as usize >= ring.owners() {
            return None;
        }
    }
    None
}
