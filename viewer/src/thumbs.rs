//! Pictures of samples: decoded behind the window, a bounded number held.

use crate::jobs::Spawner;
use egui::{ColorImage, TextureHandle, TextureOptions};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Pictures that are held.
const HELD: usize = 192;
/// Longer side of a picture in pixels.
const SIDE: u32 = 320;
/// Pictures that may wait; older wishes are dropped, since what they were for has scrolled away.
const WAITING: usize = 48;

/// A picture, or why there is none.
#[derive(Clone)]
pub(crate) enum Thumb {
    Waiting,
    Ready(TextureHandle),
    Failed(String),
}

type Decoded = (PathBuf, Result<ColorImage, String>);
type Queue = Arc<(Mutex<(VecDeque<PathBuf>, bool)>, Condvar)>;

/// All pictures.
pub(crate) struct Thumbs {
    held: BTreeMap<PathBuf, (u64, Thumb)>,
    used: u64,
    queue: Queue,
    decoded: Receiver<Decoded>,
    send: Sender<Decoded>,
    spawner: Spawner,
    started: bool,
}

impl std::fmt::Debug for Thumbs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Thumbs({} held)", self.held.len())
    }
}

fn decode(path: &Path) -> Result<ColorImage, String> {
    let mut reader = image::ImageReader::open(path)
        .and_then(image::ImageReader::with_guessed_format)
        .map_err(|e| format!("cannot open the picture ({e}): {}", path.display()))?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(256 << 20);
    reader.limits(limits);
    let decoded = reader.decode().map_err(|e| format!("cannot read the picture ({e}): {}", path.display()))?;
    let small = if decoded.width().max(decoded.height()) > SIDE { decoded.thumbnail(SIDE, SIDE) } else { decoded };
    let rgba = small.to_rgba8();
    Ok(ColorImage::from_rgba_unmultiplied([rgba.width() as usize, rgba.height() as usize], rgba.as_raw()))
}

impl Thumbs {
    pub(crate) fn new(spawner: Spawner) -> Self {
        #[expect(clippy::disallowed_methods, reason = "bounded by the queue of what is to be decoded")]
        let (send, decoded) = channel();
        Self { held: BTreeMap::new(), used: 0, queue: Queue::default(), decoded, send, spawner, started: false }
    }

    /// Takes in what was decoded since the last frame.
    pub(crate) fn receive(&mut self, ctx: &egui::Context) {
        while let Ok((path, result)) = self.decoded.try_recv() {
            let thumb = match result {
                Ok(image) => {
                    // Small pictures stay sharp when they are shown larger.
                    let options = if image.width() < 128 { TextureOptions::NEAREST } else { TextureOptions::LINEAR };
                    Thumb::Ready(ctx.load_texture(path.display().to_string(), image, options))
                }
                Err(why) => Thumb::Failed(why),
            };
            self.held.insert(path, (self.used, thumb));
        }
        while self.held.len() > HELD {
            let Some(oldest) = self.held.iter().min_by_key(|(_, (used, _))| *used).map(|(p, _)| p.clone()) else {
                break;
            };
            self.held.remove(&oldest);
        }
    }

    /// The picture at `path`; asked for if it is not there.
    pub(crate) fn get(&mut self, path: &Path) -> Thumb {
        self.used += 1;
        if let Some((used, thumb)) = self.held.get_mut(path) {
            *used = self.used;
            return thumb.clone();
        }
        match &self.spawner {
            #[cfg(test)]
            Spawner::AtOnce => drop(self.send.send((path.to_owned(), decode(path)))),
            Spawner::Threads(ctx) => {
                if !self.started {
                    self.started = true;
                    let (queue, send, ctx) = (Arc::clone(&self.queue), self.send.clone(), ctx.clone());
                    drop(std::thread::Builder::new().name("pictures".into()).spawn(move || serve(&queue, &send, &ctx)));
                }
                let mut waiting = self.queue.0.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.0.push_back(path.to_owned());
                let dropped = if waiting.0.len() > WAITING { waiting.0.pop_front() } else { None };
                drop(waiting);
                self.queue.1.notify_one();
                if let Some(dropped) = dropped {
                    self.held.remove(&dropped);
                }
            }
        }
        self.held.insert(path.to_owned(), (self.used, Thumb::Waiting));
        Thumb::Waiting
    }
}

impl Drop for Thumbs {
    fn drop(&mut self) {
        self.queue.0.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.queue.1.notify_all();
    }
}

/// Decodes the newest wish first until the window is closed.
fn serve(queue: &Queue, send: &Sender<Decoded>, ctx: &egui::Context) {
    loop {
        let mut waiting = queue.0.lock().unwrap_or_else(PoisonError::into_inner);
        let path = loop {
            if waiting.1 {
                return;
            }
            if let Some(path) = waiting.0.pop_back() {
                break path;
            }
            waiting = queue.1.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        };
        drop(waiting);
        let image = decode(&path);
        if send.send((path, image)).is_err() {
            return;
        }
        ctx.request_repaint();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_small_bounded_and_failures_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = |i: usize| folder.path().join(format!("{i}.png"));
        image::RgbImage::from_pixel(900, 300, image::Rgb([9, 8, 7])).save(path(0)).unwrap();
        image::RgbImage::from_pixel(8, 8, image::Rgb([9, 8, 7])).save(path(1)).unwrap();
        std::fs::write(path(2), "no picture").unwrap();
        let ctx = egui::Context::default();
        let mut thumbs = Thumbs::new(Spawner::AtOnce);
        for i in 0..4 {
            assert!(matches!(thumbs.get(&path(i)), Thumb::Waiting));
        }
        thumbs.receive(&ctx);
        let Thumb::Ready(large) = thumbs.get(&path(0)) else { panic!() };
        assert_eq!(large.size(), [320, 107]);
        let Thumb::Ready(small) = thumbs.get(&path(1)) else { panic!() };
        assert_eq!(small.size(), [8, 8]);
        for i in [2, 3] {
            let Thumb::Failed(why) = thumbs.get(&path(i)) else { panic!() };
            assert!(why.ends_with(&format!("{i}.png")), "{why}");
        }
        for i in 0..HELD {
            thumbs.get(&folder.path().join(format!("missing{i}")));
        }
        thumbs.receive(&ctx);
        assert!(thumbs.held.len() <= HELD && !thumbs.held.contains_key(&path(0)));
    }
}
