//! Several devices that make a step together. Each has a copy of the model; micro-batch `i` of a step goes to member
//! `i mod n`; gradients are summed over all members before the norm is taken. Then every parameter is moved by one member,
//! which alone keeps the optimiser's state for it (ZeRO, stage 1), and given to the others. So a run on several devices is the
//! run on one, but for the order in which gradients are added.
//!
//! The first member is the trainer itself, with its hooks, its data and its checkpoints; the others are threads that wait
//! for orders and know nothing of a run.

mod exchange;
mod member;
mod moments;
mod other;

pub(super) use moments::Everyones;

use super::adamw::OwnedMoments;
use super::checkpoint::StartValues;
use super::error::{At, TrainError};
use super::pass::{Job, Settled};
use super::step::StepModel;
use crate::config::train::Stage;
use crate::dist::Collective;
use crate::nn::ParamStore;
use crate::ops::Moved;
use member::{Member, Order, Reply};
use other::Other;
use std::sync::Arc;

type Result<T> = std::result::Result<T, TrainError>;

/// The other members, and the trainer's end of what joins them. Dropping it ends their threads.
#[derive(Debug)]
pub struct Team<B> {
    end: Box<dyn Collective>,
    others: Vec<Other<B>>,
    /// Which member moves each trainable parameter, in the store's order.
    movers: Arc<[usize]>,
    /// Which of them have a gradient in this step.
    filled: Arc<[bool]>,
}

impl<B: Send + Sync + 'static> Team<B> {
    /// Starts a thread for each of `models`, copies of the trainer's own on other devices. `ends` join the trainer and them,
    /// in this order.
    ///
    /// # Errors
    /// A thread that cannot be started.
    ///
    /// # Panics
    /// If there are not as many ends as members, or is no other member.
    pub fn start<M>(models: Vec<M>, stage: &Stage, ends: Vec<Box<dyn Collective>>) -> std::io::Result<Self>
    where
        M: StepModel<Batch = B> + Send + 'static,
    {
        assert!(
            !models.is_empty() && ends.len() == models.len() + 1,
            "an end for the trainer and for every other member"
        );
        let movers: Arc<[usize]> = exchange::movers(models[0].params(), ends.len()).into();
        let mut ends = ends.into_iter();
        let end = ends.next().expect("counted above");
        let start = |((i, model), end): ((usize, M), _)| {
            let (device, stage, movers) = (other::named(model.device()), stage.clone(), Arc::clone(&movers));
            Other::start(device, move |orders, replies| {
                Member::new(model, &stage, end, i + 1, movers).serve(&orders, &replies);
            })
        };
        let others = models.into_iter().enumerate().zip(ends).map(start).collect::<std::io::Result<_>>()?;
        Ok(Self { end, others, movers, filled: Arc::default() })
    }
}

impl<B> Team<B> {
    /// How many there are, the trainer among them.
    #[must_use]
    pub fn size(&self) -> usize {
        self.others.len() + 1
    }

    /// Whether the trainer moves trainable parameter `i` itself.
    pub(super) fn trainer_moves(&self, i: usize) -> bool {
        self.movers[i] == 0
    }

    /// Tells the others where the stage began: what they measure updates against.
    pub(super) fn begin(&self, start: &StartValues, at: &At) -> Result<()> {
        self.tell(at, || Order::Begin(start.clone()))
    }

    /// Gives every other member its micro-batches; the trainer's own come back.
    pub(super) fn deal(&self, batches: &Arc<Vec<B>>, jobs: Vec<Job>, labelled: usize, at: &At) -> Result<Vec<Job>> {
        let mut hands: Vec<Vec<Job>> = (0..self.size()).map(|_| Vec::new()).collect();
        jobs.into_iter().for_each(|job| hands[job.member].push(job));
        let mut hands = hands.into_iter();
        let own = hands.next().unwrap_or_default();
        for (other, jobs) in self.others.iter().zip(hands) {
            other.order(Order::Run { batches: Arc::clone(batches), jobs, labelled, at: at.clone() }, at)?;
        }
        Ok(own)
    }

    /// When the trainer's own passes are over: waits for those of the others, and sums all gradients. What one member has no
    /// gradient for counts as zero there; what none has stays without.
    pub(super) fn sum(&mut self, params: &ParamStore, at: &At) -> Result<()> {
        let mut filled = exchange::filled(params);
        for other in &self.others {
            let Reply::Ran(theirs) = other.reply(at)? else { return Err(other.confused(at)) };
            filled.iter_mut().zip(theirs).for_each(|(filled, theirs)| *filled |= theirs);
        }
        self.filled = filled.into();
        self.tell(at, || Order::Prepare(Arc::clone(&self.filled)))?;
        exchange::prepare(params, &self.filled).map_err(|source| failed(at, &source))?;
        // Everyone has what a sum takes: from here on nobody waits for one who gave up.
        self.ready(at)?;
        self.tell(at, || Order::Sum)?;
        exchange::sum(params, &self.filled, self.end.as_ref()).map_err(|source| self.why(at, &source))
    }

    /// What the other members' passes gave.
    pub(super) fn settle(&self, at: &At) -> Result<Vec<Settled>> {
        let mut all = Vec::new();
        for other in &self.others {
            let Reply::Settled(mut theirs) = other.reply(at)? else { return Err(other.confused(at)) };
            all.append(&mut theirs);
        }
        Ok(all)
    }

    /// Has the others move their parameters, and measure it if `watch` says so: [`spread`](Self::spread) comes next, when the
    /// trainer has moved its own.
    pub(super) fn update(&self, share: f64, factor: f64, watch: bool, at: &At) -> Result<()> {
        self.tell(at, || Order::Update { share, factor, watch })
    }

    /// Gives every parameter that moved to all members; what the others measured.
    pub(super) fn spread(&self, params: &ParamStore, at: &At) -> Result<Vec<(Arc<str>, Moved)>> {
        let mut all = Vec::new();
        for other in &self.others {
            let Reply::Moved(mut theirs) = other.reply(at)? else { return Err(other.confused(at)) };
            all.append(&mut theirs);
        }
        self.tell(at, || Order::Spread)?;
        let spread = exchange::spread(params, &self.filled, &self.movers, 0, self.end.as_ref());
        spread.map_err(|source| self.why(at, &source))?;
        Ok(all)
    }

    /// Gives the others their part of the optimiser's state of a checkpoint.
    pub(super) fn restore(&self, steps: u64, params: &ParamStore, moments: &[OwnedMoments], at: &At) -> Result<()> {
        for (param, mover) in params.trainable().zip(self.movers.iter()) {
            let (Some(number), name) = (mover.checked_sub(1), param.weight.name()) else { continue };
            // One after the other: what lies on a member's device by then is not also in this memory.
            if let Some(one) = moments.iter().find(|one| one.0 == name) {
                self.others[number].order(Order::Restore(steps, one.clone()), at)?;
                let Reply::Ready = self.others[number].reply(at)? else { return Err(self.others[number].confused(at)) };
            }
        }
        // Who has nothing to restore counts all the same.
        self.tell(at, || Order::Restored(steps))?;
        self.ready(at)
    }

    /// Whether every member's parameters have the same sums of squares as the trainer's, to the last bit. All that was queued is
    /// done by then: a team can be dropped.
    pub(super) fn check(&self, params: &ParamStore, at: &At) -> Result<()> {
        self.tell(at, || Order::Measure)?;
        let own = exchange::measure(params).map_err(|source| failed(at, &source))?;
        for other in &self.others {
            let Reply::Measured(theirs) = other.reply(at)? else { return Err(other.confused(at)) };
            let apart = own.iter().zip(theirs).find(|((_, own), (_, theirs))| own.to_bits() != theirs.to_bits());
            if let Some(((name, _), _)) = apart {
                let (parameter, device) = (name.clone(), other.device().to_owned());
                return Err(TrainError::MembersApart { at: at.clone(), device, parameter });
            }
        }
        Ok(())
    }

    /// Why an exchange failed: what a member says of it, if one does.
    fn why(&self, at: &At, source: &candle_core::Error) -> TrainError {
        self.others.iter().find_map(|other| other.complaint(at)).unwrap_or_else(|| failed(at, source))
    }

    fn ready(&self, at: &At) -> Result<()> {
        for other in &self.others {
            let Reply::Ready = other.reply(at)? else { return Err(other.confused(at)) };
        }
        Ok(())
    }

    fn tell(&self, at: &At, order: impl Fn() -> Order<B>) -> Result<()> {
        self.others.iter().try_for_each(|other| other.order(order(), at))
    }
}

fn failed(at: &At, source: &candle_core::Error) -> TrainError {
    TrainError::Member { at: at.clone(), device: "the first device".into(), reason: source.to_string() }
}
