//! Several devices that make a step together. Each has a copy of the model and of the optimiser's state; micro-batch `i` of
//! a step goes to member `i mod n`; gradients are summed over all members before the norm is taken, and every member then
//! makes the same update with the same numbers. So a run on several devices is the run on one, but for the order in which
//! gradients are added.
//!
//! The first member is the trainer itself, with its hooks, its data and its checkpoints; the others are threads that wait
//! for orders and know nothing of a run.

mod member;
mod sum;

use super::adamw::OwnedMoments;
use super::error::{At, TrainError};
use super::pass::{Job, Settled};
use super::step::StepModel;
use crate::config::train::Stage;
use crate::dist::Collective;
use crate::nn::ParamStore;
use member::{Member, Order, Reply};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

type Result<T> = std::result::Result<T, TrainError>;

/// candle walks the graph of a step recursively.
const STACK: usize = 64 << 20;

/// The other members, and the trainer's end of what joins them. Dropping it ends their threads.
#[derive(Debug)]
pub struct Team<B> {
    end: Box<dyn Collective>,
    others: Vec<Other<B>>,
}

/// A member's thread.
#[derive(Debug)]
struct Other<B> {
    /// `cuda:1`, for messages.
    device: String,
    orders: Option<Sender<Order<B>>>,
    replies: Receiver<Reply>,
    thread: Option<JoinHandle<()>>,
}

impl<B: Send + Sync + 'static> Team<B> {
    /// Starts a thread for each of `models`, copies of the trainer's own on other devices. `ends` join the trainer and them,
    /// in this order.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start<M>(models: Vec<M>, stage: &Stage, ends: Vec<Box<dyn Collective>>) -> std::io::Result<Self>
    where
        M: StepModel<Batch = B> + Send + 'static,
    {
        assert_eq!(ends.len(), models.len() + 1, "an end for the trainer and one for every other member");
        let mut ends = ends.into_iter();
        let end = ends.next().expect("counted above");
        let start = |(model, end): (M, _)| {
            let device = named(model.device());
            let ((orders, inbox), (outbox, replies)) = (channel(), channel());
            let stage = stage.clone();
            let serve = move || Member::new(model, &stage, end).serve(&inbox, &outbox);
            let thread = std::thread::Builder::new().name(device.clone()).stack_size(STACK).spawn(serve)?;
            Ok(Other { device, orders: Some(orders), replies, thread: Some(thread) })
        };
        Ok(Self { end, others: models.into_iter().zip(ends).map(start).collect::<std::io::Result<_>>()? })
    }
}

impl<B> Team<B> {
    /// How many there are, the trainer among them.
    #[must_use]
    pub fn size(&self) -> usize {
        self.others.len() + 1
    }

    /// Gives every other member its micro-batches; the trainer's own come back.
    pub(super) fn deal(&mut self, batches: &Arc<Vec<B>>, jobs: Vec<Job>, labelled: usize, at: &At) -> Result<Vec<Job>> {
        let size = self.size();
        let mut hands: Vec<Vec<Job>> = (0..size).map(|_| Vec::new()).collect();
        jobs.into_iter().for_each(|job| hands[job.micro % size].push(job));
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
        let mut filled = sum::filled(params);
        for other in &self.others {
            let Reply::Ran(theirs) = other.reply(at)? else { return Err(other.confused(at)) };
            filled.iter_mut().zip(theirs).for_each(|(filled, theirs)| *filled |= theirs);
        }
        let filled: Arc<[bool]> = filled.into();
        self.tell(at, || Order::Prepare(Arc::clone(&filled)))?;
        sum::prepare(params, &filled).map_err(|source| self.failed(at, source))?;
        // Everyone has what a sum takes: from here on nobody waits for one who gave up.
        for other in &self.others {
            let Reply::Ready = other.reply(at)? else { return Err(other.confused(at)) };
        }
        self.tell(at, || Order::Sum(Arc::clone(&filled)))?;
        sum::sum(params, &filled, self.end.as_ref()).map_err(|source| self.failed(at, source))
    }

    /// What the other members' passes gave.
    pub(super) fn settle(&mut self, at: &At) -> Result<Vec<Settled>> {
        let mut all = Vec::new();
        for other in &self.others {
            let Reply::Settled(mut theirs) = other.reply(at)? else { return Err(other.confused(at)) };
            all.append(&mut theirs);
        }
        Ok(all)
    }

    /// Has the others make the update that the trainer makes.
    pub(super) fn update(&mut self, share: f64, factor: f64, at: &At) -> Result<()> {
        self.tell(at, || Order::Update { share, factor })
    }

    /// Gives the others the optimiser's state of a checkpoint.
    pub(super) fn restore(&mut self, steps: u64, moments: &[OwnedMoments], at: &At) -> Result<()> {
        for other in &self.others {
            // One parameter after the other: the members' copies need not lie in the host's memory together.
            for one in moments {
                other.order(Order::Restore { steps, moments: one.clone() }, at)?;
                let Reply::Ready = other.reply(at)? else { return Err(other.confused(at)) };
            }
        }
        Ok(())
    }

    /// Whether every member's trained parameters have the same sums of squares as the trainer's, to the last bit.
    pub(super) fn check(&mut self, params: &ParamStore, at: &At) -> Result<()> {
        self.tell(at, || Order::Measure)?;
        let own = sum::measure(params).map_err(|source| self.failed(at, source))?;
        for other in &self.others {
            let Reply::Measured(theirs) = other.reply(at)? else { return Err(other.confused(at)) };
            if let Some((name, _)) =
                own.iter().zip(theirs).find(|((_, own), theirs)| own.to_bits() != theirs.1.to_bits())
            {
                let (parameter, device) = (name.0.clone(), other.device.clone());
                return Err(TrainError::MembersApart { at: at.clone(), device, parameter });
            }
        }
        Ok(())
    }

    fn tell(&self, at: &At, order: impl Fn() -> Order<B>) -> Result<()> {
        self.others.iter().try_for_each(|other| other.order(order(), at))
    }

    fn failed(&self, at: &At, source: candle_core::Error) -> TrainError {
        TrainError::Member { at: at.clone(), device: "the first device".into(), reason: source.to_string() }
    }
}

impl<B> Other<B> {
    fn order(&self, order: Order<B>, at: &At) -> Result<()> {
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        // A thread that is gone may have left word why.
        if sent { Ok(()) } else { Err(self.reply(at).err().unwrap_or_else(|| self.gone(at))) }
    }

    fn reply(&self, at: &At) -> Result<Reply> {
        match self.replies.recv() {
            Ok(Reply::Failed(error)) => Err(*error),
            Ok(Reply::Broken(reason)) => {
                Err(TrainError::Member { at: at.clone(), device: self.device.clone(), reason })
            }
            Ok(reply) => Ok(reply),
            Err(_) => Err(self.gone(at)),
        }
    }

    fn gone(&self, at: &At) -> TrainError {
        let reason = "its thread died; what it said last stands above".to_owned();
        TrainError::Member { at: at.clone(), device: self.device.clone(), reason }
    }

    fn confused(&self, at: &At) -> TrainError {
        let reason = "it answered something else than it was asked".to_owned();
        TrainError::Member { at: at.clone(), device: self.device.clone(), reason }
    }
}

impl<B> Drop for Team<B> {
    fn drop(&mut self) {
        // A member that waits for an order sees that none will come.
        self.others.iter_mut().for_each(|other| other.orders = None);
        // A panic was told on its thread and noticed by whoever waited for it.
        self.others.iter_mut().filter_map(|other| other.thread.take()).for_each(|thread| drop(thread.join()));
    }
}

fn named(device: &candle_core::Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}
