//! Sums over the cards of one process, and numbers that one gives to all, by NCCL.

use super::memory::change;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::result::device::get_default_mem_pool;
use candle_core::cuda_backend::cudarc::driver::sys as driver;
use candle_core::cuda_backend::cudarc::nccl::result::{self, NcclError};
use candle_core::cuda_backend::cudarc::nccl::sys::{ncclComm_t, ncclDataType_t, ncclGetErrorString, ncclRedOp_t};
use candle_core::{CudaDevice, DType, Device, Error, Result, Tensor, bail};
use std::ffi::CStr;
use std::fmt;

/// One card's end.
pub struct Communicator {
    handle: ncclComm_t,
    card: CudaDevice,
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Communicator(cuda:{})", ordinal(&self.card))
    }
}

// SAFETY: a communicator may be used by any thread, one at a time; this one is neither cloned nor shared.
unsafe impl Send for Communicator {}

fn ordinal(card: &CudaDevice) -> usize {
    card.cuda_stream().context().ordinal()
}

fn failed(error: &NcclError) -> Error {
    // SAFETY: gives a string that lives as long as the library, for every code.
    let text = unsafe { CStr::from_ptr(ncclGetErrorString(error.0)) };
    Error::Msg(format!("NCCL: {}; set NCCL_DEBUG=WARN to hear more", text.to_string_lossy()))
}

/// Joins the cards; the ends in their order.
///
/// # Errors
/// A card that is named twice or is none; NCCL's.
pub fn communicators(devices: &[Device]) -> Result<Vec<Communicator>> {
    let mut cards: Vec<CudaDevice> = Vec::new();
    for device in devices {
        let Device::Cuda(card) = device else { bail!("{device:?} is no card") };
        if cards.iter().any(|other| ordinal(other) == ordinal(card)) {
            bail!("cuda:{} is named twice", ordinal(card));
        }
        cards.push(card.clone());
    }
    let_peers_read(&cards)?;
    let ordinals: Vec<i32> = cards.iter().map(|card| ordinal(card) as i32).collect();
    let mut handles: Vec<ncclComm_t> = vec![std::ptr::null_mut(); cards.len()];
    // SAFETY: both arrays have as many entries as are announced.
    unsafe { result::comm_init_all(handles.as_mut_ptr(), handles.len() as i32, ordinals.as_ptr()) }
        .map_err(|error| failed(&error))?;
    Ok(handles.into_iter().zip(cards).map(|(handle, card)| Communicator { handle, card }).collect())
}

/// Cards of one process read and write each other's tensors where the machine allows it. What a pool of memory gives away is
/// closed to other cards until it is told otherwise.
fn let_peers_read(cards: &[CudaDevice]) -> Result<()> {
    for card in cards {
        let stream = card.cuda_stream();
        let own = stream.context().cu_device();
        let mut open = Vec::new();
        for other in cards.iter().filter(|other| ordinal(other) != ordinal(card)) {
            let (peer, mut can) = (other.cuda_stream().context().cu_device(), 0);
            // SAFETY: both are open devices.
            unsafe { driver::cuDeviceCanAccessPeer(&raw mut can, peer, own) }.result().w()?;
            if can != 0 {
                // SAFETY: plain numbers, for which zero is a value.
                let mut access: driver::CUmemAccessDesc = unsafe { std::mem::zeroed() };
                access.location.type_ = driver::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
                // The device's number is the first of what the union holds.
                // SAFETY: an int lies at its beginning, or is all of it.
                unsafe { (&raw mut access.location).cast::<i32>().add(1).write(ordinal(other) as i32) };
                access.flags = driver::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
                open.push(access);
            }
        }
        if open.is_empty() {
            continue;
        }
        // SAFETY: the pool is the open device's; as many descriptions as are announced.
        unsafe {
            let pool = get_default_mem_pool(own).w()?;
            driver::cuMemPoolSetAccess(pool, open.as_ptr(), open.len()).result().w()?;
        }
    }
    Ok(())
}

/// What is done with a tensor.
#[derive(Clone, Copy)]
enum Kind {
    Sum,
    From(usize),
}

/// Queues what `work` asks for as one.
fn group(work: impl FnOnce() -> Result<()>) -> Result<()> {
    result::group_start().map_err(|error| failed(&error))?;
    let queued = work();
    // Also after an error: a group that stays open would swallow whatever comes next.
    let closed = result::group_end().map_err(|error| failed(&error));
    queued.and(closed.map(drop))
}

impl Communicator {
    /// Replaces contiguous float32 tensors on this card by their sums over all cards, in place and queued.
    ///
    /// # Errors
    /// Tensors of another kind; NCCL's.
    pub fn sum(&self, tensors: &[Tensor]) -> Result<()> {
        group(|| tensors.iter().try_for_each(|tensor| self.queue(tensor, Kind::Sum)))
    }

    /// Replaces such tensors by those of a card, which the number beside each tensor counts in the order of the team.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    pub fn spread(&self, tensors: &[(Tensor, usize)]) -> Result<()> {
        group(|| tensors.iter().try_for_each(|(tensor, from)| self.queue(tensor, Kind::From(*from))))
    }

    fn queue(&self, tensor: &Tensor, kind: Kind) -> Result<()> {
        let stream = self.card.cuda_stream();
        change(&[tensor], &mut |spans| {
            let span = spans[0];
            if span.dtype != DType::F32 || !tensor.device().same_device(&Device::Cuda(self.card.clone())) {
                bail!(
                    "{:?} on {:?} does not go between cuda:{} and others",
                    span.dtype,
                    tensor.device(),
                    ordinal(&self.card)
                );
            }
            let (here, stream) = (span.address as *mut std::ffi::c_void, stream.cu_stream().cast());
            let float = ncclDataType_t::ncclFloat32;
            // SAFETY: the span is lent for changing; all work on it is queued on the card's one stream, as this is.
            let code = unsafe {
                match kind {
                    Kind::Sum => {
                        result::all_reduce(here, here, span.len, float, ncclRedOp_t::ncclSum, self.handle, stream)
                    }
                    Kind::From(card) => {
                        result::broadcast(here, here, span.len, float, card as i32, self.handle, stream)
                    }
                }
            };
            code.map(drop).map_err(|error| failed(&error))
        })
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        // Nothing can be done about an error here. Aborting waits for nobody: another member may have failed.
        // SAFETY: the handle is open and not used again.
        drop(unsafe { result::comm_abort(self.handle) });
    }
}
