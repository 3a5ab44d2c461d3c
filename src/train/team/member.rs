//! A member's thread: a model, an optimiser, and orders.

use super::sum;
use crate::config::train::Stage;
use crate::dist::Collective;
use crate::models::covft::LayerRouting;
use crate::train::adamw::{AdamW, OwnedMoments};
use crate::train::error::{At, TrainError};
use crate::train::hook::StepTimes;
use crate::train::pass::{Job, Pass, Settled, Step};
use crate::train::readout::Readout;
use crate::train::step::StepModel;
use candle_core::{Device, Result as TensorResult, Tensor};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

/// What a member is told to do. The orders of a step come as they stand here.
pub(super) enum Order<B> {
    /// Run these micro-batches; answered with which parameters have a gradient.
    Run { batches: Arc<Vec<B>>, jobs: Vec<Job>, labelled: usize, at: At },
    /// Make the gradients of these parameters ready to be summed; answered.
    Prepare(Arc<[bool]>),
    /// Sum them; answered with what the passes gave.
    Sum(Arc<[bool]>),
    /// The optimiser's step. Not answered: what goes wrong is told with the next answer.
    Update { share: f64, factor: f64 },
    /// Take over a parameter's moments after so many steps; answered.
    Restore { steps: u64, moments: OwnedMoments },
    /// Answered with the sums of squares of what trains.
    Measure,
}

/// What a member answers.
pub(super) enum Reply {
    Ran(Vec<bool>),
    Ready,
    Settled(Vec<Settled>),
    Measured(Vec<(String, f64)>),
    /// A pass failed.
    Failed(Box<TrainError>),
    /// Anything else failed.
    Broken(String),
}

pub(super) struct Member<M: StepModel> {
    model: M,
    optimizer: AdamW,
    end: Box<dyn Collective>,
    queued: Option<Queued<M::Batch>>,
    /// What went wrong where nobody waited for an answer.
    broken: Option<String>,
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
    pub(super) fn new(model: M, stage: &Stage, end: Box<dyn Collective>) -> Self {
        model.params().clear_gradients();
        let optimizer = AdamW::new(model.params(), stage);
        Self { model, optimizer, end, queued: None, broken: None }
    }

    /// Until no more orders come, or one fails.
    pub(super) fn serve(mut self, orders: &Receiver<Order<M::Batch>>, replies: &Sender<Reply>) {
        for order in orders {
            let reply = match self.broken.take() {
                Some(reason) => Some(Reply::Broken(reason)),
                None => self.obey(order),
            };
            let ends = matches!(reply, Some(Reply::Failed(_) | Reply::Broken(_)));
            let heard = reply.is_none_or(|reply| replies.send(reply).is_ok());
            if ends || !heard {
                return;
            }
        }
    }

    fn obey(&mut self, order: Order<M::Batch>) -> Option<Reply> {
        let broken = |error: candle_core::Error| Reply::Broken(error.to_string());
        let params = self.model.params();
        match order {
            Order::Run { batches, jobs, labelled, at } => {
                Some(self.run(batches, &jobs, labelled, at).unwrap_or_else(|error| Reply::Failed(Box::new(error))))
            }
            Order::Prepare(filled) => Some(sum::prepare(params, &filled).map_or_else(broken, |()| Reply::Ready)),
            Order::Sum(filled) => Some(match sum::sum(params, &filled, self.end.as_ref()) {
                Ok(()) => self.settle().unwrap_or_else(|error| Reply::Failed(Box::new(error))),
                Err(error) => broken(error),
            }),
            Order::Update { share, factor } => {
                let updated = self.optimizer.step(share, factor);
                self.model.params().clear_gradients();
                self.broken = updated.err().map(|error| error.to_string());
                None
            }
            Order::Restore { steps, moments } => {
                Some(self.optimizer.restore(steps, vec![moments]).map_or_else(broken, |()| Reply::Ready))
            }
            Order::Measure => Some(sum::measure(params).map_or_else(broken, Reply::Measured)),
        }
    }

    fn run(&mut self, batches: Arc<Vec<M::Batch>>, jobs: &[Job], labelled: usize, at: At) -> Result<Reply, TrainError> {
        let (mut passes, mut readout) = (Vec::with_capacity(jobs.len()), Readout::default());
        let step = Step { batches: &batches, labelled, at: &at };
        for job in jobs {
            passes.push(Pass::run(&self.model, &step, job, &mut readout, &mut StepTimes::default())?);
        }
        self.queued = Some(Queued { batches, labelled, at, passes, readout });
        Ok(Reply::Ran(sum::filled(self.model.params())))
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
}

/// The hooks' tensors lie on one device or on the host.
fn on_host(routing: &LayerRouting) -> TensorResult<LayerRouting> {
    let here = |tensor: &Tensor| tensor.to_device(&Device::Cpu);
    let LayerRouting { layer, context, logits, weights } = routing;
    Ok(LayerRouting { layer: *layer, context: here(context)?, logits: here(logits)?, weights: here(weights)? })
}
