//! Where tests run kernels for cards: on the CPU, in the library that `scripts/cuda-emulation/build` compiles from the same
//! sources, or on a card.

use super::engine::{Arg, Grid};
use candle_core::{Device, Result, bail};
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::LazyLock;

/// Where the tensors of such tests lie, as `COVFT_TEST_DEVICE` says: the CPU with `emulated`, a card with `cuda:0` (or another
/// number), `None` where it says nothing.
///
/// # Panics
/// At any other value, or where that card cannot be opened.
pub(crate) fn test_device() -> Option<Device> {
    match std::env::var("COVFT_TEST_DEVICE").ok()?.as_str() {
        "emulated" => Some(Device::Cpu),
        name => Some(on_card(name)),
    }
}

#[cfg(feature = "cuda")]
fn on_card(name: &str) -> Device {
    static CARD: std::sync::OnceLock<Device> = std::sync::OnceLock::new();
    let number = name.strip_prefix("cuda:").and_then(|n| n.parse().ok()).expect("emulated or cuda:N");
    CARD.get_or_init(|| super::open(number).unwrap()).clone()
}

#[cfg(not(feature = "cuda"))]
fn on_card(name: &str) -> Device {
    panic!("COVFT_TEST_DEVICE={name}: this test was built without CUDA")
}

type Emulate = unsafe extern "C" fn(*const c_char, *const c_uint, c_uint, c_uint, *mut *mut c_void) -> c_int;

/// The library that this variable names.
const LIBRARY: &str = "COVFT_EMULATED_KERNELS";

static EMULATE: LazyLock<std::result::Result<Emulate, String>> = LazyLock::new(|| {
    let path = std::env::var(LIBRARY).map_err(|e| format!("{LIBRARY} does not name a library: {e}"))?;
    let name = CString::new(path.clone()).map_err(|e| e.to_string())?;
    // SAFETY: the name is a C string; the library is ours and has no initialisers that do harm.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return Err(format!("cannot load the emulated kernels: {path}"));
    }
    // SAFETY: the library is open.
    let symbol = unsafe { libc::dlsym(library, c"covft_emulate".as_ptr()) };
    if symbol.is_null() {
        return Err(format!("no covft_emulate in {path}"));
    }
    // SAFETY: scheduler.cpp defines it with this signature.
    Ok(unsafe { std::mem::transmute::<*mut c_void, Emulate>(symbol) })
});

/// Runs a kernel.
///
/// # Safety
/// As [`Engine::launch`](super::engine::Engine::launch).
pub(super) unsafe fn launch(entry: &str, grid: Grid, args: &[Arg]) -> Result<()> {
    let emulate = match &*EMULATE {
        Ok(emulate) => *emulate,
        Err(reason) => bail!("{reason}"),
    };
    let name = CString::new(entry).map_err(candle_core::Error::wrap)?;
    let mut values = args.to_vec();
    let mut addresses: Vec<*mut c_void> = (values.iter_mut())
        .map(|arg| match arg {
            Arg::Pointer(v) => std::ptr::from_mut(v).cast(),
            Arg::Int(v) => std::ptr::from_mut(v).cast(),
            Arg::Long(v) => std::ptr::from_mut(v).cast(),
            Arg::Float(v) => std::ptr::from_mut(v).cast(),
        })
        .collect();
    // SAFETY: the caller's for the arguments; name, grid and addresses outlive the call.
    let code =
        unsafe { emulate(name.as_ptr(), grid.blocks.as_ptr(), grid.threads, grid.shared, addresses.as_mut_ptr()) };
    if code == 0 { Ok(()) } else { bail!("there is no kernel {entry} in the library") }
}
