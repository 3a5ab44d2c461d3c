//! A chain of operations as one node of the tensor library's graph, with a tape and a backward pass of its own; a segment
//! inside another one is an operation of its tape.
//!
//! For every edge of its graph the library fills a buffer with zeros and adds the gradient to it, and it frees nothing
//! before the whole backward pass is over. Inside a segment a first gradient is taken as it comes, only real sums are
//! added, and what an operation kept goes as soon as it was used.
//!
//! Operations find the open segment of their thread when they are recorded. Plain tensor operations are not seen by it: a
//! tensor that they made is no operand inside a segment, and that is an error, not a lost gradient; [`island`] is for where
//! they are wanted.

use super::checkpoint::seeded;
use super::ctx::Ctx;
use super::device;
use super::graph::{self, fits};
use super::path::on_host;
use super::profile;
use super::weight::{lend, read_f32, update_host};
use crate::kernels;
use candle_core::{Result, Tensor, TensorId, Var, bail};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// `(result, its gradient)` to the gradients of the inputs.
pub(super) type Backward = Box<dyn Fn(&Tensor, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync>;

struct Node {
    name: &'static str,
    part: &'static str,
    /// Which tensor, and whether a gradient is to reach it.
    inputs: Vec<(TensorId, bool)>,
    result: Tensor,
    backward: Backward,
}

#[derive(Default)]
struct Tape {
    /// Everything that came in or was made inside, and whether it leads to something that wants a gradient.
    known: HashMap<TensorId, bool>,
    nodes: Vec<Node>,
}

thread_local! {
    static OPEN: RefCell<Option<Tape>> = const { RefCell::new(None) };
}

/// Puts the segment around this one back, also when an operation fails.
struct Around(Option<Tape>);

impl Drop for Around {
    fn drop(&mut self) {
        OPEN.set(self.0.take());
    }
}

/// Runs `work` with `tape` open, and gives back what is on it then.
fn with<R>(tape: Option<Tape>, work: impl FnOnce() -> R) -> (R, Option<Tape>) {
    let around = Around(OPEN.replace(tape));
    let result = work();
    let tape = OPEN.take();
    drop(around);
    (result, tape)
}

/// Whether operations are recorded on a tape.
pub(super) fn is_open() -> bool {
    OPEN.with_borrow(Option::is_some)
}

/// Whether a gradient is to reach `x`: by the library's graph, or by the open tape.
pub(crate) fn is_tracked(x: &Tensor) -> bool {
    x.track_op() || OPEN.with_borrow(|tape| tape.as_ref().is_some_and(|t| t.known.get(&x.id()) == Some(&true)))
}

/// Refuses an operand that a plain tensor operation made inside the open segment.
pub(super) fn check(x: &Tensor) -> Result<()> {
    let stranger = |tape: &Tape| !tape.known.contains_key(&x.id()) && !x.is_variable();
    if OPEN.with_borrow(|tape| tape.as_ref().is_some_and(stranger)) {
        bail!("an operand comes neither from outside the segment nor from its operations");
    }
    Ok(())
}

/// Another tensor with the same numbers.
fn alias(x: &Tensor) -> Result<Tensor> {
    x.detach().unsqueeze(0)?.squeeze(0)
}

/// Puts an operation on the open tape. `result` is new.
pub(super) fn record(name: &'static str, inputs: &[&Tensor], result: Tensor, backward: Backward) -> Result<Tensor> {
    push(name, inputs, result, false, backward)
}

/// `wanted`: a gradient is wanted of it even if none is to reach its inputs.
fn push(
    name: &'static str,
    inputs: &[&Tensor],
    result: Tensor,
    mut wanted: bool,
    backward: Backward,
) -> Result<Tensor> {
    OPEN.with_borrow_mut(|open| {
        let Some(tape) = open else { bail!("{name}: no segment is open") };
        let mut edges = Vec::with_capacity(inputs.len());
        for input in inputs {
            // The anchor has no gradient of its own; it says that a weight wants one.
            let tracked = match tape.known.get(&input.id()) {
                Some(tracked) => *tracked,
                None if input.is_variable() => false,
                None => bail!("{name}: an operand comes neither from outside the segment nor from its operations"),
            };
            wanted |= tracked || input.is_variable();
            edges.push((input.id(), tracked));
        }
        tape.known.insert(result.id(), wanted);
        if wanted {
            tape.nodes.push(Node { name, part: profile::part(), inputs: edges, result: result.clone(), backward });
        }
        Ok(result)
    })
}

/// The same for a result that may be the numbers of an operand.
pub(super) fn carry(name: &'static str, input: &Tensor, result: &Tensor, backward: Backward) -> Result<Tensor> {
    record(name, &[input], alias(result)?, backward)
}

/// `chain(x)` as one node, and its by-product, which carries no gradient. Where operations have no form of ours, or nothing
/// is recorded, the chain just runs.
///
/// # Errors
/// The chain's; an operand or a result that a plain tensor operation made; a second backward pass.
pub fn segment<A>(ctx: &Ctx, x: &Tensor, chain: impl FnOnce(&Tensor) -> Result<(Tensor, A)>) -> Result<(Tensor, A)> {
    let ours = || fits(&[x]) || device::fits(&[x], &[]).is_some();
    let Some(anchor) = ctx.anchor().filter(|_| ours() && x.elem_count() > 0) else { return chain(x) };
    check(x)?;
    let (flows, inner) = (is_tracked(x), alias(x)?);
    let tape = Tape { known: HashMap::from([(inner.id(), flows)]), nodes: Vec::new() };
    let (result, tape) = with(Some(tape), || chain(&inner));
    let (y, by_product) = result?;
    let Some(Tape { known, nodes }) = tape else { bail!("the segment was closed inside itself") };
    match known.get(&y.id()) {
        Some(true) => {}
        Some(false) => return Ok((untracked(y), by_product)),
        None => bail!("a segment's result was made by a plain tensor operation: its gradient would be lost"),
    }
    let (from, to) = (inner.id(), y.id());
    let nodes = Mutex::new(Some(nodes));
    let y = graph::carry("segment", if flows { x } else { anchor }, y, move |grad| {
        let Some(nodes) = nodes.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("a segment went backward twice: it keeps nothing after the first time");
        };
        let dx = backward(nodes, to, grad, from)?;
        Ok(if flows { Some(dx.map_or_else(|| inner.zeros_like(), Ok)?) } else { None })
    })?;
    Ok((y, by_product))
}

/// `y`, to which no gradient goes, as an operand of the segment around the one that made it.
fn untracked(y: Tensor) -> Tensor {
    OPEN.with_borrow_mut(|open| {
        if let Some(tape) = open {
            tape.known.entry(y.id()).or_insert(false);
        }
    });
    y
}

/// Runs `work` outside of the open segment.
pub(super) fn outside<R>(work: impl FnOnce() -> R) -> R {
    with(None, work).0
}

/// Runs the nodes back from the gradient of `to`; the gradient of `from`.
fn backward(nodes: Vec<Node>, to: TensorId, grad: &Tensor, from: TensorId) -> Result<Option<Tensor>> {
    let mut grads = HashMap::from([(to, Sum::of(grad.clone()))]);
    // What an operation kept goes with its node.
    for node in nodes.into_iter().rev() {
        // A by-product, on which the result does not depend.
        let Some(grad) = grads.remove(&node.result.id()) else { continue };
        profile::begin();
        let own = (node.backward)(&node.result, &grad.tensor.contiguous()?)?;
        profile::backward_done(node.part, node.name);
        for ((id, tracked), grad) in node.inputs.iter().zip(own) {
            let (true, Some(grad)) = (tracked, grad) else { continue };
            let sum = match grads.remove(id) {
                Some(before) => before.plus(&grad)?,
                None => Sum::of(grad),
            };
            grads.insert(*id, sum);
        }
    }
    Ok(grads.remove(&from).map(|sum| sum.tensor))
}

/// A gradient, and whether it was made here, so that nothing else holds its numbers.
struct Sum {
    tensor: Tensor,
    owned: bool,
}

impl Sum {
    /// Of one operation, which may have handed on what it was given.
    fn of(tensor: Tensor) -> Self {
        Self { tensor, owned: false }
    }

    fn plus(self, more: &Tensor) -> Result<Self> {
        if !(self.owned && alike(&self.tensor, more)) {
            return Ok(Self { tensor: plus(&self.tensor, more)?, owned: true });
        }
        read_f32(more, |more| update_host(&self.tensor, |sum| kernels::accumulate(sum, more, true)))??;
        Ok(self)
    }
}

/// Whether kernels on the CPU can add them.
fn alike(x: &Tensor, y: &Tensor) -> bool {
    let here = |t: &Tensor| on_host(t) && t.is_contiguous();
    here(x) && here(y) && x.dims() == y.dims() && x.elem_count() > 0
}

/// `x + y`: the library adds on one thread.
fn plus(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if !alike(x, y) {
        return x + y;
    }
    graph::host(lend([x, y], |[x, y]| kernels::add_rows(x, y))?, x.dims())
}

/// `x + y`, of one shape: inside a segment on its tape.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if !is_open() {
        return x + y;
    }
    profile::begin();
    let sum = plus(x, y)?;
    profile::forward_done("add");
    record("add", &[x, y], sum, Box::new(|_, grad| Ok(vec![Some(grad.clone()), Some(grad.clone())])))
}

/// Plain tensor operations `work`, which inside a segment become one operation of its tape.
pub fn island(inputs: &[&Tensor], work: impl FnOnce(&[&Tensor]) -> Result<Tensor>) -> Result<Tensor> {
    if !is_open() {
        return work(inputs);
    }
    let mut shore = Vec::with_capacity(inputs.len());
    for input in inputs {
        let own = input.detach();
        shore.push(if is_tracked(input) { Var::from_tensor(&own)?.into_inner() } else { own });
    }
    let y = outside(|| work(&shore.iter().collect::<Vec<_>>()))?;
    // Weights inside may want a gradient where no input does.
    let (result, wanted) = (alias(&y)?, y.track_op());
    let back = move |_: &Tensor, grad: &Tensor| {
        let store = seeded(&y, grad)?.backward()?;
        Ok(shore.iter().map(|x| store.get(x).map(Tensor::detach)).collect())
    };
    push("plain", inputs, result, wanted, Box::new(back))
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
