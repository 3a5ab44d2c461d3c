//! Where a step's time goes, by part of the model, operation and direction, without a tool from outside.
//!
//! The clock belongs to the thread that [`profiled`] runs on, which is the one that walks the graph; elsewhere, and when
//! nobody asks, an operation pays one look at a thread-local. What lies between two operations (the tensor library's own
//! additions, sums of gradients, buffers that go) is booked as [`BETWEEN`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The name of time that no operation claims.
pub const BETWEEN: &str = "(between operations)";

/// Which way the step is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the inputs to the loss.
    Forward,
    /// From the loss to the gradients.
    Backward,
    /// After the gradients.
    Update,
}

/// What is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Part of the model.
    pub part: &'static str,
    /// Operation, or [`BETWEEN`].
    pub op: &'static str,
    /// Direction.
    pub direction: Direction,
}

/// Time and number of calls.
pub type Spent = BTreeMap<Entry, (Duration, usize)>;

struct Clock {
    since: Instant,
    part: &'static str,
    direction: Direction,
    spent: Spent,
}

impl Clock {
    /// Books the time since the last booking.
    fn book(&mut self, part: &'static str, op: &'static str, direction: Direction) {
        let now = Instant::now();
        let spent = self.spent.entry(Entry { part, op, direction }).or_default();
        spent.0 += now - self.since;
        spent.1 += 1;
        self.since = now;
    }
}

thread_local! {
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

fn with_clock(tick: impl FnOnce(&mut Clock)) {
    CLOCK.with_borrow_mut(|clock| clock.as_mut().map_or((), tick));
}

/// Runs `work` with the clock on and says where its time went.
pub fn profiled<R>(work: impl FnOnce() -> R) -> (R, Spent) {
    let clock = Clock { since: Instant::now(), part: "outside", direction: Direction::Forward, spent: BTreeMap::new() };
    CLOCK.set(Some(clock));
    let result = work();
    with_clock(|clock| clock.book(clock.part, BETWEEN, clock.direction));
    (result, CLOCK.take().map(|clock| clock.spent).unwrap_or_default())
}

/// From here on time belongs to `part`.
pub fn enter(part: &'static str, direction: Direction) {
    with_clock(|clock| {
        clock.book(clock.part, BETWEEN, clock.direction);
        (clock.part, clock.direction) = (part, direction);
    });
}

/// The part that an operation belongs to, for the way back.
pub(super) fn part() -> &'static str {
    let mut part = "";
    with_clock(|clock| part = clock.part);
    part
}

/// An operation begins.
pub(super) fn begin() {
    with_clock(|clock| clock.book(clock.part, BETWEEN, clock.direction));
}

/// The operation that began has its result.
pub(super) fn forward_done(op: &'static str) {
    with_clock(|clock| clock.book(clock.part, op, clock.direction));
}

/// The operation that began has its gradients.
pub(super) fn backward_done(part: &'static str, op: &'static str) {
    with_clock(|clock| clock.book(part, op, Direction::Backward));
}

#[cfg(test)]
mod tests {
    use super::super::testing::random;
    use super::super::{Ctx, Weight, linear, quick_gelu};
    use super::*;
    use candle_core::Device;

    #[test]
    fn operations_are_booked_both_ways_under_their_part() {
        let weight = Weight::trainable("w", &random(&[5, 3], 2)).unwrap();
        let ctx = Ctx::train(&Device::Cpu).unwrap();
        let step = || {
            enter("first", Direction::Forward);
            let y = linear(&ctx, &random(&[2, 4, 3], 1), &weight, None).unwrap();
            enter("second", Direction::Forward);
            let y = quick_gelu(&quick_gelu(&y).unwrap()).unwrap().sum_all().unwrap();
            enter("sums", Direction::Backward);
            y.backward().unwrap();
        };
        let ((), spent) = profiled(step);
        let calls = |part, op, direction| spent.get(&Entry { part, op, direction }).map_or(0, |s| s.1);
        for direction in [Direction::Forward, Direction::Backward] {
            assert_eq!(calls("first", "linear", direction), 1, "{spent:?}");
            assert_eq!(calls("second", "activation", direction), 2, "{spent:?}");
        }
        assert!(calls("sums", BETWEEN, Direction::Backward) > 0);
        // Off again: nothing is booked, nothing fails.
        step();
        assert!(CLOCK.take().is_none());
    }
}
