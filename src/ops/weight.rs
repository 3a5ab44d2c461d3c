//! Parameters as operations see them: a value, a name, and, if it trains, the slot its gradient is added into.

use super::path;
use super::precision::wide;
use crate::kernels::{self, cuda};
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Storage, Tensor, WithDType, bail};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A parameter. Cloning shares value and gradient slot (tied embeddings are two clones of one weight).
#[derive(Clone)]
pub struct Weight {
    name: Arc<str>,
    tensor: Tensor,
    slot: Option<Arc<GradSlot>>,
    /// The value in bfloat16, kept on a card from the first product that asked for it; follows every change of the value.
    short: Arc<Mutex<Short>>,
}

/// A value in bfloat16.
#[derive(Debug, Default)]
struct Short {
    kept: Option<Tensor>,
    /// It is made anew at every use.
    unwanted: bool,
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_trainable() { "trainable" } else { "frozen" };
        write!(f, "Weight({} {:?} {state})", self.name, self.tensor.shape())
    }
}

impl Weight {
    /// A weight that never receives a gradient. `tensor` must be contiguous and untracked.
    #[must_use]
    pub fn frozen(name: impl Into<Arc<str>>, tensor: Tensor) -> Self {
        Self { name: name.into(), tensor, slot: None, short: Arc::default() }
    }

    /// A weight whose gradient is collected. The value is *copied*: training changes it in place.
    pub fn trainable(name: impl Into<Arc<str>>, tensor: &Tensor) -> Result<Self> {
        let tensor = tensor.contiguous()?.copy()?.detach();
        let slot = Arc::new(GradSlot::default());
        Ok(Self { name: name.into(), tensor, slot: Some(slot), short: Arc::default() })
    }

    /// A weight without values of its own, for tables of a model that is not to be run.
    #[must_use]
    pub fn planned(name: impl Into<Arc<str>>, tensor: Tensor, trains: bool) -> Self {
        Self { name: name.into(), tensor, slot: trains.then(Arc::default), short: Arc::default() }
    }

    /// Name in the checkpoint.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value, sharing storage with this weight: it changes when the optimiser steps. Copy it to keep it.
    #[must_use]
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Dimensions.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        self.tensor.dims()
    }

    /// Whether a gradient is collected.
    #[must_use]
    pub fn is_trainable(&self) -> bool {
        self.slot.is_some()
    }

    /// The slot of a trainable weight.
    #[must_use]
    pub fn slot(&self) -> Option<&Arc<GradSlot>> {
        self.slot.as_ref()
    }

    /// The value in `dtype`. On a card a bfloat16 copy is made once and then kept, if [`keep_copy`](Self::keep_copy) does not say
    /// otherwise; elsewhere every call casts.
    pub fn value_in(&self, dtype: DType) -> Result<Tensor> {
        if dtype != DType::BF16 || dtype == self.tensor.dtype() || super::device::engine_of(&self.tensor).is_none() {
            return self.tensor.to_dtype(dtype);
        }
        let mut short = self.lock_short();
        match &short.kept {
            Some(kept) => Ok(kept.clone()),
            None if short.unwanted => self.tensor.to_dtype(dtype),
            None => Ok(short.kept.insert(self.tensor.to_dtype(dtype)?).clone()),
        }
    }

    /// Whether a bfloat16 copy is to be kept on a card, as it is unless this says otherwise.
    pub fn keep_copy(&self, keep: bool) {
        *self.lock_short() = Short { kept: None, unwanted: !keep };
    }

    /// Forgets the bfloat16 copy: the value was changed in place by who does not write it.
    pub(crate) fn drop_copy(&self) {
        self.lock_short().kept = None;
    }

    fn lock_short(&self) -> MutexGuard<'_, Short> {
        self.short.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bfloat16 copy that is kept, if there is one: whoever changes the value in place must change it too.
    pub(crate) fn kept_copy(&self) -> Option<Tensor> {
        self.lock_short().kept.clone()
    }

    /// Changes the value in place (float32 on the CPU only).
    pub fn update_host(&self, change: impl FnMut(&mut [f32])) -> Result<()> {
        update_host(&self.tensor, change)
    }

    /// Whether [`update_host`](Self::update_host) and [`read_host`](Self::read_host) work on it.
    #[must_use]
    pub fn is_on_host(&self) -> bool {
        path::on_host(&self.tensor)
    }

    /// Overwrites the value in place, on any device; clones of this weight change with it.
    pub fn assign(&self, value: &Tensor) -> Result<()> {
        if value.dims() != self.dims() {
            bail!("{} {:?} cannot take a value of shape {:?}", self.name, self.dims(), value.dims());
        }
        self.tensor.flatten_all()?.slice_set(&value.flatten_all()?.contiguous()?, 0, 0)?;
        self.drop_copy();
        Ok(())
    }

    /// Reads the value (float32 on the CPU only).
    pub fn read_host<R>(&self, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
        read_f32(&self.tensor, read)
    }
}

/// Lends a contiguous float32 CPU tensor's numbers.
pub(crate) fn read_f32<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        _ if !path::hosts() => bail!("host numbers of a tensor that is elsewhere"),
        (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) => Ok(read(&data[start..end])),
        (Storage::Cpu(CpuStorage::F32(_)), None) => bail!("tensor {:?} is not contiguous", layout.shape()),
        _ => bail!("expected a float32 tensor on the CPU, got {:?} on {:?}", tensor.dtype(), tensor.device()),
    }
}

/// Lends a tensor's numbers as float32; those of one that is elsewhere, strided or of another type are copied first.
pub fn read_numbers<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    if path::on_host(tensor) && tensor.is_contiguous() {
        return read_f32(tensor, read);
    }
    let copy: Vec<f32> = tensor.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(read(&copy))
}

/// The numbers of tensors that lie on devices, read in one copy a device: every read waits for all that is queued there.
pub(crate) fn fetch<T: WithDType>(tensors: &[Tensor]) -> Result<Vec<Vec<T>>> {
    let mut found: Vec<Vec<T>> = vec![Vec::new(); tensors.len()];
    let mut left: Vec<usize> = (0..tensors.len()).collect();
    while let Some(first) = left.first().map(|first| tensors[*first].device()) {
        let (here, rest): (Vec<usize>, _) = left.into_iter().partition(|i| tensors[*i].device().same_device(first));
        let flat = |i: &usize| tensors[*i].detach().flatten_all()?.to_dtype(T::DTYPE);
        let all = Tensor::cat(&here.iter().map(flat).collect::<Result<Vec<_>>>()?, 0)?;
        let mut numbers = all.to_device(&Device::Cpu)?.to_vec1::<T>()?.into_iter();
        for i in here {
            found[i] = numbers.by_ref().take(tensors[i].elem_count()).collect();
        }
        left = rest;
    }
    Ok(found)
}

/// Lends the numbers of several contiguous float32 CPU tensors at once.
pub(crate) fn read_all_f32<R>(tensors: &[&Tensor], read: impl FnOnce(&[&[f32]]) -> R) -> Result<R> {
    let held: Vec<_> = tensors.iter().map(|t| t.storage_and_layout()).collect();
    let mut lent = Vec::with_capacity(held.len());
    for (storage, layout) in &held {
        match (&**storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) => lent.push(&data[start..end]),
            _ => bail!("expected contiguous float32 tensors on the CPU, got one of shape {:?}", layout.shape()),
        }
    }
    Ok(read(&lent))
}

/// [`read_all_f32`] for a known number of tensors.
pub(crate) fn lend<const N: usize, R>(tensors: [&Tensor; N], read: impl FnOnce([&[f32]; N]) -> R) -> Result<R> {
    read_all_f32(&tensors, |lent| read(lent.try_into().expect("as many slices as tensors")))
}

/// Changes a contiguous tensor's numbers in place (float32 on the CPU only).
pub(super) fn update_host(tensor: &Tensor, change: impl FnMut(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&HostUpdate(Mutex::new(change)))
}

struct HostUpdate<F>(Mutex<F>);

impl<F: FnMut(&mut [f32])> InplaceOp1 for HostUpdate<F> {
    fn name(&self) -> &'static str {
        "host-update"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        if !path::hosts() {
            bail!("in-place update of a tensor that is elsewhere");
        }
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("in-place update of a strided tensor") };
        let CpuStorage::F32(data) = storage else { bail!("in-place update of a tensor that is not float32") };
        let mut change = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut data[start..end]);
        Ok(())
    }
}

/// Where backward passes add one parameter's gradient: on the CPU a plain buffer, kept from step to step, elsewhere a
/// tensor on the parameter's device.
#[derive(Default)]
pub struct GradSlot(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    host: Vec<f32>,
    /// Whether `host` holds this step's numbers.
    host_filled: bool,
    device: Option<Tensor>,
    /// Whether nothing else holds the numbers of `device`: then they are changed in place.
    owns_device: bool,
}

/// A gradient that a slot lends for reading.
pub struct LentGradient<'s>(MutexGuard<'s, Slot>);

impl std::ops::Deref for LentGradient<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0.host
    }
}

impl fmt::Debug for LentGradient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LentGradient({})", self.0.host.len())
    }
}

impl GradSlot {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any gradient was added since the last [`clear`](Self::clear).
    #[must_use]
    pub fn is_filled(&self) -> bool {
        let slot = self.lock();
        slot.host_filled || slot.device.is_some()
    }

    /// Forgets the gradient; the buffer stays for the next step.
    pub fn clear(&self) {
        let mut slot = self.lock();
        slot.host_filled = false;
        slot.device = None;
    }

    /// Adds on the CPU: `write(buffer, add)` must *add* to the buffer when `add` is true and *overwrite* all of it when
    /// it is false (the buffer then holds an older step's numbers). `len` is the parameter's number of elements.
    pub fn accumulate_host(&self, len: usize, write: impl FnOnce(&mut [f32], bool)) {
        let mut slot = self.lock();
        let add = slot.host_filled;
        if slot.host.len() != len {
            slot.host = vec![0.0; len];
        }
        write(&mut slot.host, add);
        slot.host_filled = true;
    }

    /// Adds a gradient tensor, on any device. A sum is float32; where nothing is added to it, a gradient shorter than
    /// that is kept on its device as it came.
    pub fn accumulate(&self, grad: &Tensor) -> Result<()> {
        let grad = grad.detach();
        if grad.device().is_cpu() && path::hosts() {
            let wider = wide(&grad)?;
            if path::on_host(&wider) {
                let wider = wider.contiguous()?;
                return read_f32(&wider, |g| {
                    self.accumulate_host(g.len(), |buffer, add| kernels::accumulate(buffer, g, add));
                });
            }
        }
        let mut slot = self.lock();
        let Some(old) = slot.device.take() else {
            slot.device = Some(grad.contiguous()?);
            slot.owns_device = false;
            return Ok(());
        };
        let (sum, owns) = match super::device::engine_of(&old) {
            Some(engine) => {
                let sum = match (slot.owns_device, old.dtype()) {
                    (true, _) => old,
                    (false, DType::F32) => old.copy()?,
                    (false, _) => old.to_dtype(DType::F32)?,
                };
                cuda::accumulate(&engine, &sum, &grad.contiguous()?)?;
                (sum, true)
            }
            None => ((wide(&old)? + wide(&grad)?)?, false),
        };
        (slot.device, slot.owns_device) = (Some(sum), owns);
        Ok(())
    }

    /// Makes the gradient of the parameter `value` one that other members' may be added to in place: float32, contiguous,
    /// nobody else's; zeros if nothing was added.
    pub(crate) fn make_summable(&self, value: &Tensor) -> Result<()> {
        let mut slot = self.lock();
        if path::on_host(value) {
            if slot.device.is_some() {
                bail!("a parameter on the host has a gradient elsewhere");
            }
            if !slot.host_filled {
                slot.host.clear();
                slot.host.resize(value.elem_count(), 0.0);
                slot.host_filled = true;
            }
            return Ok(());
        }
        if slot.host_filled {
            bail!("a parameter on {:?} has a gradient on the host", value.device());
        }
        let sum = match slot.device.take() {
            None => value.zeros_like()?.to_dtype(DType::F32)?,
            Some(own) if own.dtype() != DType::F32 => own.to_dtype(DType::F32)?,
            Some(own) if slot.owns_device => own,
            Some(own) => own.copy()?,
        };
        (slot.device, slot.owns_device) = (Some(sum.contiguous()?), true);
        Ok(())
    }

    /// What [`make_summable`](Self::make_summable) left on a device, for changing in place.
    pub(crate) fn summable(&self) -> Option<Tensor> {
        let slot = self.lock();
        slot.device.clone().filter(|_| slot.owns_device)
    }

    /// Gives the gradient away where it is a tensor on a device, and forgets it.
    pub(crate) fn take_device(&self) -> Option<Tensor> {
        let mut slot = self.lock();
        if slot.host_filled { None } else { slot.device.take() }
    }

    /// Lends the gradient on the CPU for as long as the result lives, in which nothing else may touch this slot; `None` if
    /// nothing was added, or elsewhere.
    pub fn lend(&self) -> Option<LentGradient<'_>> {
        let slot = self.lock();
        (slot.host_filled && slot.device.is_none()).then_some(LentGradient(slot))
    }

    /// Lends the gradient on the CPU, for reading or scaling; `None` if nothing was added, or elsewhere.
    pub fn with_host<R>(&self, f: impl FnOnce(&mut [f32]) -> R) -> Option<R> {
        let mut slot = self.lock();
        (slot.host_filled && slot.device.is_none()).then(|| f(&mut slot.host))
    }

    /// The gradient as a tensor of shape `dims` (a copy, or the tensor it is held in); `None` if nothing was added.
    pub fn tensor(&self, dims: &[usize]) -> Result<Option<Tensor>> {
        let slot = self.lock();
        let host = || Tensor::from_slice(&slot.host, dims, &candle_core::Device::Cpu);
        match (&slot.device, slot.host_filled) {
            (None, false) => Ok(None),
            (None, true) => host().map(Some),
            (Some(t), false) => t.reshape(dims).map(Some),
            // One operation of the model added on the host, another on the device.
            (Some(t), true) => (wide(&t.reshape(dims)?)? + host()?.to_device(t.device())?).map(Some),
        }
    }
}
