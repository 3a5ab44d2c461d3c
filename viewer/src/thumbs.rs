//! Pictures of samples: decoded behind the window, a bounded number held.

use crate::ReadPicture;
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

/// The folder of a run, and a picture of it.
type Wish = (PathBuf, PathBuf);
type Decoded = (Wish, Result<ColorImage, String>);
type Queue = Arc<(Mutex<(VecDeque<Wish>, bool)>, Condvar)>;

/// All pictures.
pub(crate) struct Thumbs {
    held: BTreeMap<Wish, (u64, Thumb)>,
    used: u64,
    queue: Queue,
    decoded: Receiver<Decoded>,
    send: Sender<Decoded>,
    spawner: Spawner,
    read: ReadPicture,
    started: bool,
}

impl std::fmt::Debug for Thumbs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Thumbs({} held)", self.held.len())
    }
}

fn small(read: ReadPicture, (run, path): &Wish) -> Result<ColorImage, String> {
    let pixels = read(run, path).map_err(|why| format!("{why}: {}", path.display()))?;
    let longer = pixels.width().max(pixels.height());
    let side = |s: u32| (f64::from(s) * f64::from(SIDE) / f64::from(longer)).round().max(1.0) as u32;
    let (width, height) = (side(pixels.width()), side(pixels.height()));
    let pixels = if longer > SIDE { image::imageops::thumbnail(&pixels, width, height) } else { pixels };
    Ok(ColorImage::from_rgb([pixels.width() as usize, pixels.height() as usize], pixels.as_raw()))
}

impl Thumbs {
    pub(crate) fn new(spawner: Spawner, read: ReadPicture) -> Self {
        #[expect(clippy::disallowed_methods, reason = "bounded by the queue of what is to be decoded")]
        let (send, decoded) = channel();
        Self { held: BTreeMap::new(), used: 0, queue: Queue::default(), decoded, send, spawner, read, started: false }
    }

    /// Takes in what was decoded since the last frame.
    pub(crate) fn receive(&mut self, ctx: &egui::Context) {
        while let Ok((wish, result)) = self.decoded.try_recv() {
            let thumb = match result {
                Ok(image) => {
                    // Small pictures stay sharp when they are shown larger.
                    let options = if image.width() < 128 { TextureOptions::NEAREST } else { TextureOptions::LINEAR };
                    Thumb::Ready(ctx.load_texture(wish.1.display().to_string(), image, options))
                }
                Err(why) => Thumb::Failed(why),
            };
            self.held.insert(wish, (self.used, thumb));
        }
        while self.held.len() > HELD {
            let Some(oldest) = self.held.iter().min_by_key(|(_, (used, _))| *used).map(|(p, _)| p.clone()) else {
                break;
            };
            self.held.remove(&oldest);
        }
    }

    /// The picture at `path` of the run in the folder `run`; asked for if it is not there.
    pub(crate) fn get(&mut self, run: &Path, path: &Path) -> Thumb {
        let wish = (run.to_owned(), path.to_owned());
        self.used += 1;
        if let Some((used, thumb)) = self.held.get_mut(&wish) {
            *used = self.used;
            return thumb.clone();
        }
        match &self.spawner {
            #[cfg(test)]
            Spawner::AtOnce => drop(self.send.send((wish.clone(), small(self.read, &wish)))),
            Spawner::Threads(ctx) => {
                if !self.started {
                    self.started = true;
                    let (queue, send, ctx, read) = (Arc::clone(&self.queue), self.send.clone(), ctx.clone(), self.read);
                    let work = move || serve(&queue, &send, &ctx, read);
                    drop(std::thread::Builder::new().name("pictures".into()).spawn(work));
                }
                let mut waiting = self.queue.0.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.0.push_back(wish.clone());
                let dropped = if waiting.0.len() > WAITING { waiting.0.pop_front() } else { None };
                drop(waiting);
                self.queue.1.notify_one();
                if let Some(dropped) = dropped {
                    self.held.remove(&dropped);
                }
            }
        }
        self.held.insert(wish, (self.used, Thumb::Waiting));
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
fn serve(queue: &Queue, send: &Sender<Decoded>, ctx: &egui::Context, read: ReadPicture) {
    loop {
        let mut waiting = queue.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wish = loop {
            if waiting.1 {
                return;
            }
            if let Some(wish) = waiting.0.pop_back() {
                break wish;
            }
            waiting = queue.1.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        };
        drop(waiting);
        let image = small(read, &wish);
        if send.send((wish, image)).is_err() {
            return;
        }
        ctx.request_repaint();
    }
}

/// Reads what the `image` crate reads, for windows without the trainer: never turned, and JPEG, PNG and WebP alone.
///
/// # Errors
/// The file is missing or no such picture.
pub fn read_plainly(_: &Path, path: &Path) -> Result<image::RgbImage, String> {
    let reader = image::ImageReader::open(path).and_then(image::ImageReader::with_guessed_format);
    let decoded = reader.map_err(|e| e.to_string())?.decode().map_err(|e| e.to_string())?;
    Ok(decoded.into_rgb8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_small_bounded_and_failures_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        let path = |i: usize| folder.path().join(format!("{i}.png"));
        image::RgbImage::from_pixel(900, 300, image::Rgb([9, 8, 7])).save(path(0)).unwrap();
        image::RgbImage::from_pixel(8, 8, image::Rgb([9, 8, 7])).save(path(1)).unwrap();
        std::fs::write(path(2), "no picture").unwrap();
        let ctx = egui::Context::default();
        let mut thumbs = Thumbs::new(Spawner::AtOnce, read_plainly);
        for i in 0..4 {
            assert!(matches!(thumbs.get(run, &path(i)), Thumb::Waiting));
        }
        thumbs.receive(&ctx);
        let Thumb::Ready(large) = thumbs.get(run, &path(0)) else { panic!() };
        assert_eq!(large.size(), [320, 107]);
        let Thumb::Ready(small) = thumbs.get(run, &path(1)) else { panic!() };
        assert_eq!(small.size(), [8, 8]);
        for i in [2, 3] {
            let Thumb::Failed(why) = thumbs.get(run, &path(i)) else { panic!() };
            assert!(why.ends_with(&format!("{i}.png")), "{why}");
        }
        for i in 0..HELD {
            thumbs.get(run, &folder.path().join(format!("missing{i}")));
        }
        thumbs.receive(&ctx);
        assert!(thumbs.held.len() <= HELD && !thumbs.held.contains_key(&(run.to_owned(), path(0))));
    }
}
