//! What becomes of every tensor that a recipe's weights hold: it is read, left out for a reason that is known, or the
//! weights are refused. Nothing of a tuned checkpoint is lost on the way.

use super::covft::plain_ffn;
use super::mllm::{Mllm, TASK_HEAD_PREFIX};
use super::shapes::ModelShapes;
use super::source::{Link, links};
use super::towers::mixture_layers;
use super::tuning::{Added, is_optional};
use crate::config::model::{ModelConfig, Tuning};
use crate::nn::{ParamStore, Part, TensorSource};
use candle_core::{Result, bail};
use indexmap::IndexMap;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// What was taken out of one folder and what was not.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// `checkpoint`, or the part that the folder is for.
    pub part: String,
    /// The folder.
    pub folder: PathBuf,
    /// Tensors that the model takes.
    pub read: usize,
    /// Tensors left out, by the reason.
    pub unused: Vec<(&'static str, Vec<String>)>,
    /// What tuned it and what becomes of that.
    pub tuned: Vec<String>,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} tensors read", self.part, self.read)?;
        for (i, (reason, names)) in self.unused.iter().enumerate() {
            let what = match names.as_slice() {
                [name] => name.clone(),
                names => format!("{} tensors", names.len()),
            };
            write!(f, "{} {what} ({reason})", if i == 0 { "; not used:" } else { "," })?;
        }
        for line in &self.tuned {
            write!(f, "; {line}")?;
        }
        write!(f, ": {}", self.folder.display())
    }
}

/// Beginnings of names (`*`: parts of names) that a folder may hold and the model has no use for, with the reason.
type Leftovers = &'static [(&'static str, &'static str)];

const ANYWHERE: Leftovers = &[
    ("*.position_ids", "counts from 0"),
    ("*.rotary_emb.inv_freq", "made from rope_theta"),
    (TASK_HEAD_PREFIX, "the head of an earlier stage's tasks"),
];

const OF_VISION: Leftovers = &[
    ("text_model.", "the text tower of a whole CLIP"),
    ("text_projection.", "the text tower of a whole CLIP"),
    ("logit_scale", "of CLIP's own loss"),
    ("visual_projection.", "features do not pass it"),
    ("classifier.", "the head of a classifier"),
    ("model.layers.", "the language model"),
    ("model.embed_tokens.", "the language model"),
    ("model.norm.", "the language model"),
    ("lm_head.", "the language model"),
    ("language_model.", "the language model"),
    ("model.language_model.", "the language model"),
    ("model.mm_projector.", "the projector"),
    ("multi_modal_projector.", "the projector"),
    ("model.multi_modal_projector.", "the projector"),
    ("model.context_embedding_model.", "the text encoder"),
];

const OF_LANGUAGE: Leftovers = &[
    ("model.vision_tower.", "the vision tower"),
    ("vision_tower.", "the vision tower"),
    ("model.mm_projector.", "the projector"),
    ("multi_modal_projector.", "the projector"),
    ("model.multi_modal_projector.", "the projector"),
    ("model.context_embedding_model.", "the text encoder"),
];

const OF_TEXT: Leftovers = &[
    ("cls.", "heads of the pretraining tasks"),
    ("classifier.", "the head of a classifier"),
    ("qa_outputs.", "the head of a classifier"),
    ("model.vision_tower.", "the vision tower"),
    ("model.mm_projector.", "the projector"),
    ("model.layers.", "the language model"),
    ("model.embed_tokens.", "the language model"),
    ("model.norm.", "the language model"),
    ("lm_head.", "the language model"),
];

/// Accounts for every tensor of the folders that `config` names, for a model whose first stage is tuned by `tuning`.
/// Reads headers, no weights.
///
/// # Errors
/// Tensors that the model lacks, that have another shape or type, that nobody takes, or that a tuning method left and
/// the stage does not go on with.
pub fn account(config: &ModelConfig, tuning: &Tuning, tasks: usize) -> Result<Vec<Account>> {
    let links = links(config)?;
    let shapes = ModelShapes::resolve(config)?;
    let fates = links.iter().map(|link| fate(link, config, tuning, &shapes)).collect::<Result<Vec<_>>>()?;
    let sources = links.iter().map(|link| link.source(config.merge)).collect::<Result<_>>()?;
    let chain = super::checkpoint::Chain(sources);
    let (_, params) = Mllm::plan(config, tuning, &chain, tasks)?;
    whole(&params, &chain, &fates)?;
    let accounts = links.iter().zip(fates).map(|(link, fate)| of_link(link, &params, shapes.language.tied, fate));
    accounts.collect()
}

/// What becomes of a folder's tuning.
#[derive(Debug, Default)]
struct Fate {
    /// Parts that go on with it.
    kept: Vec<Part>,
    /// The mixture gives way to plain layers of the tower's own folder.
    replaced: bool,
    /// What is to be told.
    told: Vec<String>,
}

/// Whether the stage goes on with what tuned a folder's weights.
fn fate(link: &Link, config: &ModelConfig, tuning: &Tuning, shapes: &ModelShapes) -> Result<Fate> {
    let layers = mixture_layers(&shapes.vision, &tuning.vision)?;
    let (tuned, stored) = link.tuned()?;
    let parts = [
        (Part::Vision, &tuned.vision, tuned.vision.as_ref().is_some_and(|a| a.goes_on(&tuning.vision, &layers))),
        (
            Part::Language,
            &tuned.language,
            tuned.language.as_ref().is_some_and(|a| a.goes_on_in_language(&tuning.language)),
        ),
    ];
    let mut fate = Fate::default();
    for (part, added, goes_on) in parts {
        let Some(added) = added else { continue };
        match added {
            Added::Lora { .. } if config.merge => fate.told.push(format!("{part}: {added} merged into the weights")),
            _ if goes_on => {
                let alpha = matches!(added, Added::Lora { alpha: None, .. });
                let alpha = if alpha { "; the recipe's alpha is taken" } else { "" };
                fate.kept.push(part);
                fate.told.push(format!("{part}: goes on with {added}{alpha}"));
            }
            // Published checkpoints of CoVFT lend their other parts to other methods (as the method's own comparisons
            // do), where the recipe names a plain tower for the layers that they lack.
            Added::Mixture { .. } if !stored && link.part.is_none() && config.vision.weights.is_some() => {
                fate.replaced = true;
                fate.told.push(format!(
                    "warning: its {added} are NOT used, the plain layers in their place are those of model.vision.weights"
                ));
            }
            _ => return Err(lost(part, added, link, config, tuning)),
        }
    }
    Ok(fate)
}

/// The refusal of a stage that would lose what tuned a folder.
fn lost(part: Part, added: &Added, link: &Link, config: &ModelConfig, tuning: &Tuning) -> candle_core::Error {
    let merge = match added {
        Added::Lora { .. } => ", or model.merge = true to add the factors to the weights",
        _ if config.merge => "; model.merge = true cannot help: only LoRA can be merged",
        _ => " (it cannot be merged)",
    };
    candle_core::Error::Msg(format!(
        "the {part} weights were tuned by {added}, which the first stage's {} would lose; set tuning.{part} = {}{merge}: {}",
        written(part, tuning),
        added.as_written(),
        link.folder.display()
    ))
}

/// The stage's method as its recipe writes it.
fn written(part: Part, tuning: &Tuning) -> String {
    let json = if part == Part::Vision {
        serde_json::to_value(&tuning.vision)
    } else {
        serde_json::to_value(&tuning.language)
    };
    let Ok(serde_json::Value::Object(fields)) = json else { return part.to_string() };
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("tuning.{part} = {{ {} }}", fields.join(", "))
}

/// What a method added is there as a whole: a tensor that is missing must not be drawn anew.
fn whole(params: &ParamStore, source: &dyn TensorSource, fates: &[Fate]) -> Result<()> {
    for param in params.iter() {
        let name = param.weight.name();
        let added = is_optional(name) && !name.contains("mask_token");
        let kept = || fates.iter().any(|fate| fate.kept.contains(&param.role.part));
        if added && kept() && !source.contains(name)? {
            bail!("the weights lack {name}, of what tuned them: {}", source.describe());
        }
    }
    Ok(())
}

/// A file may hold a parameter under several of its names; then they must be the same numbers.
fn one_value(link: &Link, param: &str) -> Result<()> {
    let names: BTreeSet<String> = link.names_of(param).filter(|name| link.file.shape(name).is_some()).collect();
    let mut names = names.iter();
    let Some(first) = names.next() else { return Ok(()) };
    for other in names {
        let bits = |name| -> Result<Option<Vec<u32>>> {
            let values = link.file.read(name).map_err(super::checkpoint::CheckpointError::plain)?;
            Ok(values.map(|values| values.into_iter().map(f32::to_bits).collect()))
        };
        if bits(first)? != bits(other)? {
            bail!(
                "{first} and {other} both stand for {param} and hold other numbers; take one of them out: {}",
                link.folder.display()
            );
        }
    }
    Ok(())
}

fn of_link(link: &Link, params: &ParamStore, tied: bool, fate: Fate) -> Result<Account> {
    let taken = link.file.taken();
    for name in &taken {
        link.file.numbers(name).map_err(super::checkpoint::CheckpointError::plain)?;
    }
    // Names that answer for a parameter which another folder gave.
    let mut covered = BTreeSet::new();
    for param in params.iter() {
        one_value(link, param.weight.name())?;
        covered.extend(link.names_of(param.weight.name()));
        covered.extend(plain_ffn(param.weight.name()).iter().flat_map(|plain| link.names_of(plain)));
    }
    let own: Leftovers = match link.part {
        None | Some(Part::Projector) => &[],
        Some(Part::Vision) => OF_VISION,
        Some(Part::Language) => OF_LANGUAGE,
        Some(Part::Text) => OF_TEXT,
    };
    let mut unused: IndexMap<&'static str, Vec<String>> = IndexMap::new();
    let mut strange = Vec::new();
    for name in link.file.names().filter(|name| !taken.contains(*name)) {
        let known = own.iter().chain(ANYWHERE).find(|(pattern, _)| match pattern.strip_prefix('*') {
            Some(inside) => name.contains(inside),
            None => name.starts_with(pattern),
        });
        let reason = match known {
            Some((_, reason)) => Some(*reason),
            None if tied && name.ends_with("lm_head.weight") => Some("the head is the embedding table"),
            None if fate.replaced && is_optional(name) => Some("the mixture, which plain layers replace"),
            None if covered.contains(name) => Some("taken from the checkpoint or the experts instead"),
            None => None,
        };
        match reason {
            Some(reason) => unused.entry(reason).or_default().push(name.to_owned()),
            None => strange.push(name),
        }
    }
    if let Some(first) = strange.first() {
        let more = if strange.len() > 1 { format!(" and {} more", strange.len() - 1) } else { String::new() };
        bail!(
            "nothing in the model takes {first}{more}: the weights are of another model than config.json and the recipe \
             describe: {}",
            link.folder.display()
        );
    }
    let part = link.part.map_or_else(|| "checkpoint".to_owned(), |part| part.to_string());
    let unused = unused.into_iter().collect();
    Ok(Account { part, folder: link.folder.clone(), read: taken.len(), unused, tuned: fate.told })
}
