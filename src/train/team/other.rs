//! The trainer's view of another member: a thread that takes orders.

use super::member::{Order, Reply};
use crate::train::STACK;
use crate::train::error::{At, TrainError};
use candle_core::{Device, DeviceLocation};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

type Result<T> = std::result::Result<T, TrainError>;

/// Orders that may wait for a member, and answers for the trainer: more than it ever gives before it listens.
const WAITING: usize = 4;

/// A member's thread.
#[derive(Debug)]
pub(super) struct Other<B> {
    /// `cuda:1`, for messages.
    device: String,
    orders: Option<SyncSender<Order<B>>>,
    replies: Receiver<Reply>,
    thread: Option<JoinHandle<()>>,
}

impl<B: Send + Sync + 'static> Other<B> {
    pub(super) fn start(
        device: String,
        serve: impl FnOnce(Receiver<Order<B>>, SyncSender<Reply>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let ((orders, inbox), (outbox, replies)) = (sync_channel(WAITING), sync_channel(WAITING));
        let thread = std::thread::Builder::new().name(device.clone()).stack_size(STACK);
        let thread = thread.spawn(move || serve(inbox, outbox))?;
        Ok(Self { device, orders: Some(orders), replies, thread: Some(thread) })
    }
}

impl<B> Other<B> {
    pub(super) fn device(&self) -> &str {
        &self.device
    }

    pub(super) fn order(&self, order: Order<B>, at: &At) -> Result<()> {
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        // A thread that is gone may have left word why.
        if sent { Ok(()) } else { Err(self.reply(at).err().unwrap_or_else(|| self.gone(at))) }
    }

    pub(super) fn reply(&self, at: &At) -> Result<Reply> {
        match self.replies.recv() {
            Ok(Reply::Failed(error)) => Err(*error),
            Ok(Reply::Broken(reason)) => Err(self.says(at, reason)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(self.gone(at)),
        }
    }

    /// What it said without being asked, if that is an error.
    pub(super) fn complaint(&self, at: &At) -> Option<TrainError> {
        match self.replies.try_recv().ok()? {
            Reply::Failed(error) => Some(*error),
            Reply::Broken(reason) => Some(self.says(at, reason)),
            _ => None,
        }
    }

    /// It answered something else than it was asked.
    pub(super) fn confused(&self, at: &At) -> TrainError {
        self.says(at, "it answered something else than it was asked".to_owned())
    }

    fn gone(&self, at: &At) -> TrainError {
        self.says(at, "its thread died; what it said last stands above".to_owned())
    }

    fn says(&self, at: &At, reason: String) -> TrainError {
        TrainError::Member { at: at.clone(), device: self.device.clone(), reason }
    }
}

impl<B> Drop for Other<B> {
    fn drop(&mut self) {
        // A member that waits for an order sees that none will come.
        self.orders = None;
        // A panic was told on its thread, and noticed by whoever waited for an answer.
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}

pub(super) fn named(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".into(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}
