//! A member's thread: a model, its part of the optimiser, and orders.

use super::exchange;
use crate::config::train::Stage;
use crate::dist::Collective;
use crate::models::covft::LayerRouting;
use crate::ops::Moved;
use crate::train::adamw::{AdamW, OwnedMoments};
use crate::train::checkpoint::StartValues;
use crate::train::error::{At, TrainError};
use crate::train::hook::{FirstMoments, StepTimes};
use crate::train::pass::{Job, Pass, Settled, Step};
use crate::train::readout::Readout;
use crate::train::step::StepModel;
use candle_core::{Device, Error, Result as TensorResult, Tensor};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

/// What a member is told to do. The orders of a step come as they stand here, from `Run` on.
pub(super) enum Order<B> {
    /// The stage begins at these values, or began there. Not answered.
    Begin(StartValues),
    /// Take over a parameter's moments after so many steps; answered.
    Restore(u64, OwnedMoments),
    /// All there were are there; answered.
    Restored(u64),
    /// Run these micro-batches; answered with which parameters have a gradient.
    Run { batches: Arc<Vec<B>>, jobs: Vec<Job>, labelled: usize, at: At },
    /// Make the gradients of these parameters ready to be summed; answered.
    Prepare(Arc<[bool]>),
    /// Sum them; answered with what the passes gave.
    Sum,
    /// The optimiser's step over the member's own parameters; answered with what was measured.
    Update { share: f64, factor: f64, watch: bool },
    /// Give what moved and take what others moved. Answered only where it fails.
    Spread,
    /// Answered with the parameters' sums of squares.
    Measure,
    /// Answered with this parameter's moments: the first, or both.
    Moments { name: String, both: bool },
}

/// What a member answers.
pub(super) enum Reply {
    Ready,
    Ran(Vec<bool>),
    Settled(Vec<Settled>),
    Moved(Vec<(Arc<str>, Moved)>),
    Measured(Vec<(String, f64)>),
    Moments(Option<Vec<Vec<f32>>>),
    /// A pass failed.
    Failed(Box<TrainError>),
    /// Anything else failed.
    Broken(String),
}

pub(super) struct Member<M: StepModel> {
    model: M,
    optimizer: AdamW,
    start: StartValues,
    end: Box<dyn Collective>,
    number: usize,
    movers: Arc<[usize]>,
    filled: Arc<[bool]>,
    queued: Option<Queued<M::Batch>>,
}

/// The passes of a step, whose numbers wait.
struct Queued<B> {
    batches: Arc<Vec<B>>,
    labelled: usize,
    at: At,
    passes: Vec<Pass>,
    readout: Readout,
}

impl<M: StepModel> Member<M> {
    /// Member `number` of a team, which moves the parameters that `movers` says.
    pub(super) fn new(model: M, stage: &Stage, end: Box<dyn Collective>, number: usize, movers: Arc<[usize]>) -> Self {
        model.params().clear_gradients();
        let mut optimizer = AdamW::new(model.params(), stage);
        optimizer.keep_only(|i| movers[i] == number);
        let start = StartValues::default();
        Self { model, optimizer, start, end, number, movers, filled: Arc::default(), queued: None }
    }

    /// Until no more orders come, or one fails: whoever waits for this member's numbers then sees that it is gone.
    pub(super) fn serve(mut self, orders: &Receiver<Order<M::Batch>>, replies: &SyncSender<Reply>) {
        for order in orders {
            let reply = self.obey(order);
            let ends = matches!(reply, Some(Reply::Failed(_) | Reply::Broken(_)));
            let heard = reply.is_none_or(|reply| replies.send(reply).is_ok());
            if ends || !heard {
                return;
            }
        }
    }

    /// The answer, where one is waited for.
    fn obey(&mut self, order: Order<M::Batch>) -> Option<Reply> {
        let done = match order {
            Order::Begin(start) => {
                self.start = start;
                return None;
            }
            Order::Spread => {
                let (params, end) = (self.model.params(), self.end.as_ref());
                let spread = exchange::spread(params, &self.filled, &self.movers, self.number, end);
                return spread.err().map(|error| Reply::Broken(error.to_string()));
            }
            Order::Restore(steps, moments) => self.optimizer.restore(steps, vec![moments]).map(|()| Reply::Ready),
            Order::Restored(steps) => self.optimizer.restore(steps, Vec::new()).map(|()| Reply::Ready),
            Order::Run { batches, jobs, labelled, at } => {
                let ran = self.run(batches, &jobs, labelled, at);
                Ok(ran.unwrap_or_else(|error| Reply::Failed(Box::new(error))))
            }
            Order::Prepare(filled) => {
                self.filled = filled;
                exchange::prepare(self.model.params(), &self.filled).map(|()| Reply::Ready)
            }
            Order::Sum => exchange::sum(self.model.params(), &self.filled, self.end.as_ref())
                .map(|()| self.settle().unwrap_or_else(|error| Reply::Failed(Box::new(error)))),
            Order::Update { share, factor, watch } => {
                let moved = self.optimizer.step_measured(share, factor, watch.then_some(&self.start));
                self.model.params().clear_gradients();
                moved.map(Reply::Moved)
            }
            Order::Measure => exchange::measure(self.model.params()).map(Reply::Measured),
            Order::Moments { name, both } => self.moments(&name, both).map(Reply::Moments),
        };
        Some(done.unwrap_or_else(|error: Error| Reply::Broken(error.to_string())))
    }

    fn run(&mut self, batches: Arc<Vec<M::Batch>>, jobs: &[Job], labelled: usize, at: At) -> Result<Reply, TrainError> {
        let (mut passes, mut readout) = (Vec::with_capacity(jobs.len()), Readout::default());
        let step = Step { batches: &batches, labelled, at: &at };
        for job in jobs {
            passes.push(Pass::run(&self.model, &step, job, &mut readout, &mut StepTimes::default())?);
        }
        self.queued = Some(Queued { batches, labelled, at, passes, readout });
        Ok(Reply::Ran(exchange::filled(self.model.params())))
    }

    /// Reads what waits on the device: the one time in a step that this thread waits for it.
    fn settle(&mut self) -> Result<Reply, TrainError> {
        let Some(Queued { batches, labelled, at, passes, mut readout }) = self.queued.take() else {
            return Ok(Reply::Broken("no pass was queued".to_owned()));
        };
        let step = Step { batches: &batches, labelled, at: &at };
        let tensor = |source| TrainError::Tensor { stage: at.stage.clone(), source };
        readout.read().map_err(tensor)?;
        let mut settled = Vec::with_capacity(passes.len());
        for pass in passes {
            let mut pass = pass.settle(&step, &readout)?;
            pass.batch.routing = pass.batch.routing.iter().map(on_host).collect::<TensorResult<_>>().map_err(tensor)?;
            settled.push(pass);
        }
        Ok(Reply::Settled(settled))
    }

    fn moments(&self, name: &str, both: bool) -> TensorResult<Option<Vec<Vec<f32>>>> {
        if both {
            let moments = self.optimizer.moments_of(name)?;
            return Ok(moments.map(|both| both.map(Cow::into_owned).into()));
        }
        Ok(self.optimizer.first_moment(name)?.map(|first| vec![first.into_owned()]))
    }
}

/// The hooks' tensors lie on one device or on the host.
fn on_host(routing: &LayerRouting) -> TensorResult<LayerRouting> {
    let here = |tensor: &Tensor| tensor.to_device(&Device::Cpu);
    let LayerRouting { layer, context, logits, weights } = routing;
    Ok(LayerRouting { layer: *layer, context: here(context)?, logits: here(logits)?, weights: here(weights)? })
}
