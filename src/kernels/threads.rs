//! Which threads compute: the tensor library's own out of the way, the trainer's among the workers.

use std::sync::Once;

/// Makes the tensor library add gradients on the calling thread. Its own pool spins for a while after each addition and
/// so takes a core from the kernels here, which do all the heavy work (about a tenth of a training step on two cores).
/// `CANDLE_NUM_THREADS` in the environment wins. Also keeps the library's errors to their message
/// (`RUST_LIB_BACKTRACE`, which wins likewise).
///
/// Call it first thing in `main`. Once another thread runs, it changes nothing, because changing the environment would
/// not be sound any more; nor does it where the number of threads cannot be told.
pub fn quiet_tensor_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if !runs_alone() {
            return;
        }
        // Backtraces of the tensor library's errors are printed as part of their message: people want the message.
        for (name, value) in [("CANDLE_NUM_THREADS", "1"), ("RUST_LIB_BACKTRACE", "0")] {
            if std::env::var_os(name).is_none() {
                // SAFETY: this is the only thread, so nobody reads the environment meanwhile.
                unsafe { std::env::set_var(name, value) };
            }
        }
    });
}

/// Makes the calling thread one of the workers, in the place of one of them, so that a step's thousand small parallel
/// loops start on the thread that asks for them: handing each over to a sleeping pool and sleeping until it is done took
/// longer than many of them do. How work is cut does not depend on it, nor does any result.
///
/// With a single worker nothing changes, since other threads' work would have nobody to run on while this one waits; nor
/// once the pool exists.
pub fn compute_on_this_thread() {
    let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    if threads > 1 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global();
        if let Err(error) = pool {
            tracing::debug!("the trainer's thread stays outside the pool: {error}");
        }
    }
}

/// Whether the process has one thread only.
fn runs_alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_the_environment_alone_beside_other_threads() {
        // The test harness runs this on a thread of its own.
        assert!(!runs_alone());
        let before = std::env::var_os("CANDLE_NUM_THREADS");
        quiet_tensor_threads();
        assert_eq!(std::env::var_os("CANDLE_NUM_THREADS"), before);
    }
}
