//! Writing checkpoints: into a hidden folder, synced, then renamed.

use super::error::CheckpointError;
use super::read::{list, read_state};
use super::retention::{Kept, superfluous};
use super::{RunState, Snapshot, StartValues};
use crate::nn::ParamStore;
use crate::ops::Weight;
use crate::train::adamw::{SaveMoments, SavedMoments};
use crate::train::step::Saver;
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, CheckpointError>;

/// The folder `checkpoints/` of a run, for writing.
#[derive(Clone, Debug)]
pub struct CheckpointDir {
    dir: PathBuf,
    files: Vec<(String, Vec<u8>)>,
}

impl CheckpointDir {
    /// Opens or makes the folder, and finishes what a killed run left half done.
    ///
    /// # Errors
    /// A folder that cannot be made, listed or cleared.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(CheckpointError::io("make the folder", &dir))?;
        for entry in fs::read_dir(&dir).map_err(CheckpointError::io("list", &dir))? {
            let path = entry.map_err(CheckpointError::io("list", &dir))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            // Killed between the two renames of a replacement: the older one is whole, take it back.
            if let Some(step) = name.strip_prefix(OLD).filter(|step| !dir.join(step).exists()) {
                rename(&path, &dir.join(step))?;
            } else if [WRITING, OLD, DELETING].iter().any(|prefix| name.starts_with(prefix)) {
                fs::remove_dir_all(&path).map_err(CheckpointError::io("delete", &path))?;
            }
        }
        Ok(Self { dir, files: Vec::new() })
    }

    /// A further file of every checkpoint (`config.json`, the tokenizer: what other tools need to load it).
    #[must_use]
    pub fn with_file(mut self, name: impl Into<String>, content: Vec<u8>) -> Self {
        self.files.push((name.into(), content));
        self
    }

    /// Deletes the checkpoints after `global_step`: a run that goes on from an older one must not find them.
    ///
    /// # Errors
    /// A folder that cannot be deleted.
    pub fn drop_after(&self, global_step: u64) -> Result<()> {
        list(&self.dir)?.iter().filter(|(step, _)| *step > global_step).try_for_each(|(_, path)| self.delete(path))
    }

    /// The folder of a checkpoint.
    #[must_use]
    pub fn path_of(&self, global_step: u64) -> PathBuf {
        self.dir.join(folder(global_step))
    }

    fn write(&self, snapshot: &Snapshot<'_>) -> Result<()> {
        let name = folder(snapshot.state.global_step);
        let temporary = self.dir.join(format!("{WRITING}{name}"));
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(CheckpointError::io("delete", &temporary))?;
        }
        let written = self.write_files(&temporary, snapshot).and_then(|()| self.publish(&temporary, &name));
        if written.is_err() {
            // The first error is the one worth telling; what cannot be deleted now is deleted when the folder is opened.
            drop(fs::remove_dir_all(&temporary));
        }
        written
    }

    fn write_files(&self, folder: &Path, snapshot: &Snapshot<'_>) -> Result<()> {
        fs::create_dir(folder).map_err(CheckpointError::io("make the folder", folder))?;
        write_model(&folder.join("model.safetensors"), snapshot.params)?;
        write_optimizer(&folder.join("optimizer.safetensors"), snapshot.optimizer)?;
        write_start(&folder.join("start.safetensors"), snapshot.start)?;
        for (name, content) in &self.files {
            write_bytes(&folder.join(name), content)?;
        }
        write_state(&folder.join("state.json"), snapshot.state)?;
        sync(folder)
    }

    /// Gives a whole folder its name. One of that name is put aside first: rename cannot replace a folder with files.
    fn publish(&self, temporary: &Path, name: &str) -> Result<()> {
        let target = self.dir.join(name);
        let old = self.dir.join(format!("{OLD}{name}"));
        let replaces = target.exists();
        if replaces {
            rename(&target, &old)?;
        }
        rename(temporary, &target)?;
        sync(&self.dir)?;
        if replaces {
            fs::remove_dir_all(&old).map_err(CheckpointError::io("delete", &old))?;
        }
        Ok(())
    }

    fn prune(&self, snapshot: &Snapshot<'_>) -> Result<()> {
        let mut existing = Vec::new();
        for (global_step, path) in list(&self.dir)? {
            let RunState { stage_index, stage_finished, eval_loss, .. } = read_state(&path)?;
            existing.push(Kept { global_step, stage_index, stage_finished, eval_loss });
        }
        superfluous(&existing, snapshot.policy).into_iter().try_for_each(|step| self.delete(&self.path_of(step)))
    }

    /// Hides the folder first: a kill in mid-deletion leaves nothing that looks like a checkpoint.
    fn delete(&self, path: &Path) -> Result<()> {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let hidden = self.dir.join(format!("{DELETING}{name}"));
        rename(path, &hidden)?;
        fs::remove_dir_all(&hidden).map_err(CheckpointError::io("delete", &hidden))
    }
}

impl Saver for CheckpointDir {
    fn save(&mut self, snapshot: &Snapshot<'_>) -> Result<()> {
        self.write(snapshot)?;
        self.prune(snapshot)
    }
}

const WRITING: &str = ".writing-";
const OLD: &str = ".old-";
const DELETING: &str = ".deleting-";

fn folder(global_step: u64) -> String {
    format!("step-{global_step:06}")
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(CheckpointError::io("rename", from))
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(CheckpointError::io("sync", path))
}

fn write_bytes(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(CheckpointError::io("write", path))
}

fn write_state(path: &Path, state: &RunState) -> Result<()> {
    let json = serde_json::to_string_pretty(state)
        .map_err(|e| CheckpointError::State { reason: e.to_string(), path: path.to_owned() })?;
    write_bytes(path, format!("{json}\n").as_bytes())
}

fn write_model(path: &Path, params: &ParamStore) -> Result<()> {
    write_tensors(path, params.iter().map(|p| (p.weight.name(), p.weight.tensor())))
}

fn write_start(path: &Path, start: &StartValues) -> Result<()> {
    write_tensors(path, start.copies())
}

fn write_tensors<'a>(path: &Path, tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    let mut views = Vec::new();
    for (name, tensor) in tensors {
        let failed = |e| CheckpointError::Tensor { reason: format!("{name}: {e}"), path: path.to_owned() };
        let values = Values::of(tensor).map_err(failed)?;
        views.push((name.to_owned(), Floats { dims: tensor.dims(), values }));
    }
    write_safetensors(path, views)
}

fn write_optimizer(path: &Path, optimizer: &dyn SaveMoments) -> Result<()> {
    let mut views = Vec::new();
    for saved in optimizer.saved() {
        let failed = |e: candle_core::Error| CheckpointError::Tensor { reason: e.to_string(), path: path.to_owned() };
        let SavedMoments { name, dims, first, second } = saved.map_err(failed)?;
        for (kind, values) in [("first_moment", first), ("second_moment", second)] {
            views.push((format!("{kind}.{name}"), Floats { dims, values: Values::Numbers(values) }));
        }
    }
    write_safetensors(path, views)
}

/// `format: pt` is what PyTorch's loaders insist on.
fn write_safetensors(path: &Path, views: Vec<(String, Floats<'_>)>) -> Result<()> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|e| match e {
        safetensors::SafeTensorError::IoError(source) => CheckpointError::io("write", path)(source),
        other => CheckpointError::Tensor { reason: other.to_string(), path: path.to_owned() },
    })?;
    sync(path)
}

/// Numbers and their shape, for the writer, which asks for one tensor's bytes at a time.
struct Floats<'a> {
    dims: &'a [usize],
    values: Values<'a>,
}

enum Values<'a> {
    Numbers(Cow<'a, [f32]>),
    /// Float32 on the CPU and contiguous: it can lend its numbers.
    Host(Weight),
}

impl Values<'_> {
    fn of(tensor: &Tensor) -> candle_core::Result<Self> {
        let lender = Weight::frozen("", tensor.clone());
        if lender.read_host(|_| ()).is_ok() {
            return Ok(Self::Host(lender));
        }
        let host = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        host.flatten_all()?.to_vec1().map(|values| Self::Numbers(Cow::Owned(values)))
    }
}

impl View for Floats<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.dims
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Cow::Owned(match &self.values {
            Values::Numbers(values) => bytes(values),
            Values::Host(lender) => lender.read_host(bytes).expect("lent when the view was made"),
        })
    }

    fn data_len(&self) -> usize {
        self.dims.iter().product::<usize>() * size_of::<f32>()
    }
}
