//! Long work behind the window: progress, cancel, and the result when it is there.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// How far a piece of work is; shared with the thread that does it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    thousandths: AtomicU32,
    cancelled: AtomicBool,
    doing: Mutex<String>,
}

impl Progress {
    /// Tells how far it is (0..=1) and what it does.
    pub(crate) fn at(&self, share: f64, doing: &str) {
        self.thousandths.store((share.clamp(0.0, 1.0) * 1000.0) as u32, Ordering::Relaxed);
        let mut said = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != doing {
            doing.clone_into(&mut said);
        }
    }

    /// Asks it to end.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it should end.
    pub(crate) fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Starts work: on threads, or at once for tests.
#[derive(Clone, Debug)]
pub(crate) enum Spawner {
    Threads(egui::Context),
    #[cfg(test)]
    AtOnce,
}

#[derive(Debug)]
struct Running<T> {
    progress: Arc<Progress>,
    result: Receiver<Option<T>>,
}

/// One piece of work at a time; a new one cancels the old.
#[derive(Debug)]
pub(crate) struct Work<T> {
    running: Option<Running<T>>,
}

impl<T> Default for Work<T> {
    fn default() -> Self {
        Self { running: None }
    }
}

impl<T: Send + 'static> Work<T> {
    /// Begins `work`; `None` from it means that it was cancelled.
    pub(crate) fn start(&mut self, spawner: &Spawner, work: impl FnOnce(&Progress) -> Option<T> + Send + 'static) {
        self.cancel();
        let progress = Arc::<Progress>::default();
        let (send, result) = sync_channel(1);
        match spawner {
            Spawner::Threads(ctx) => {
                let (ctx, progress) = (ctx.clone(), Arc::clone(&progress));
                // Where no thread is to be had, the sender is dropped and the work ends without a result.
                drop(std::thread::Builder::new().name("work".into()).spawn(move || {
                    drop(send.send(work(&progress)));
                    ctx.request_repaint();
                }));
            }
            #[cfg(test)]
            Spawner::AtOnce => drop(send.send(work(&progress))),
        }
        self.running = Some(Running { progress, result });
    }

    /// The result, once.
    pub(crate) fn poll(&mut self) -> Option<T> {
        match self.running.as_ref()?.result.try_recv() {
            Ok(result) => {
                self.running = None;
                result
            }
            Err(TryRecvError::Disconnected) => {
                self.running = None;
                None
            }
            Err(TryRecvError::Empty) => None,
        }
    }

    pub(crate) fn busy(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn cancel(&mut self) {
        if let Some(running) = self.running.take() {
            running.progress.cancel();
        }
    }

    /// How far it is, and what it does.
    pub(crate) fn progress(&self) -> Option<(f32, String)> {
        let progress = &self.running.as_ref()?.progress;
        let doing = progress.doing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some((progress.thousandths.load(Ordering::Relaxed) as f32 / 1000.0, doing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_piece_of_work_cancels_the_old() {
        let ctx = egui::Context::default();
        let spawner = Spawner::Threads(ctx);
        let mut work = Work::default();
        let (told, tells) = sync_channel(1);
        work.start(&spawner, move |p| {
            p.at(0.5, "waiting");
            while !p.cancelled() {
                std::thread::yield_now();
            }
            told.send(()).unwrap();
            None
        });
        work.start(&spawner, |_| Some(7));
        tells.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        let result = loop {
            if let Some(result) = work.poll() {
                break result;
            }
            assert!(work.busy());
        };
        assert_eq!(result, 7);
        assert!(!work.busy() && work.poll().is_none());
    }
}
