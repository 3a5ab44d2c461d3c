//! The runs of a study, each as the recipe of an ordinary run.

use super::base::BASE;
use super::error::StudyError;
use crate::config::Recipe;
use crate::config::model::VisionMethod;
use crate::config::study::StudyConfig;
use crate::config::train::StageConfig;
use covft_analyses::store::StudyRun;
use std::path::Path;

/// A run, and what trains it.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) run: StudyRun,
    pub(super) recipe: Recipe,
}

/// The runs of `recipe`'s study, in order; `path` is for messages.
pub(super) fn runs(recipe: &Recipe, path: &Path) -> Result<Vec<Planned>, StudyError> {
    let study = recipe.study.as_ref().ok_or(StudyError::NotAStudy)?;
    let index = studied(recipe)?;
    let planned = match study {
        StudyConfig::Conflict { pair, method, null, .. } => conflict(recipe, index, pair, method.as_ref(), *null),
        StudyConfig::Methods { methods, seeds, .. } => {
            let each = methods.iter().flat_map(|method| seeds.iter().map(move |seed| (method, *seed)));
            each.map(|(method, seed)| one_method(recipe, index, method, seed)).collect()
        }
    };
    planned.iter().try_for_each(|planned| planned.recipe.check(path))?;
    Ok(planned)
}

/// Index of the stage that the study is about.
pub(super) fn studied(recipe: &Recipe) -> Result<usize, StudyError> {
    recipe.study.as_ref().and_then(|study| study.stage_index(&recipe.stages)).ok_or(StudyError::NotAStudy)
}

/// The stages before the studied one as a run of their own, evaluated at its end like the runs; `None` without such.
pub(super) fn base(recipe: &Recipe) -> Result<Option<Recipe>, StudyError> {
    let index = studied(recipe)?;
    let mut base = shared(recipe, index, BASE);
    let studied = base.stages.remove(index);
    let Some(last) = base.stages.last_mut() else { return Ok(None) };
    last.eval_at_end = studied.eval_at_end;
    last.eval_samples = studied.eval_samples;
    last.generate_samples = studied.generate_samples;
    last.generate_at_end = studied.generate_at_end;
    Ok(Some(base))
}

/// Steps that a recipe names, as far as that can be said before its data is read.
pub(super) fn steps(stages: &[StageConfig]) -> u64 {
    stages.iter().filter_map(|stage| stage.steps).sum()
}

/// The recipe of a run of this name, whose base is kept.
fn shared(recipe: &Recipe, index: usize, name: &str) -> Recipe {
    let mut run = Recipe { study: None, name: name.to_owned(), ..recipe.clone() };
    for stage in &mut run.stages[..index] {
        stage.reuse = true;
    }
    run
}

fn one_method(recipe: &Recipe, index: usize, method: &VisionMethod, seed: u64) -> Planned {
    let label = format!("{}-seed{seed}", method.name());
    let mut run = shared(recipe, index, &label);
    let stage = &mut run.stages[index];
    stage.seed = Some(seed);
    stage.tuning.vision = method.clone();
    let tasks = stage.tasks.clone().unwrap_or_default();
    Planned { run: StudyRun { label, method: method.name().to_owned(), seed, tasks }, recipe: run }
}

/// Both sets in one order; with `null`, both in another order too.
fn conflict(
    recipe: &Recipe,
    index: usize,
    pair: &[Vec<String>; 2],
    method: Option<&VisionMethod>,
    null: bool,
) -> Vec<Planned> {
    let stage = &recipe.stages[index];
    let first = stage.order_seed.or(stage.seed).unwrap_or(recipe.seed);
    let seeds = if null { vec![first, first.wrapping_add(1)] } else { vec![first] };
    let [a, b] = pair;
    let mut planned = Vec::new();
    for seed in seeds {
        for (side, (tasks, with)) in [(a, b), (b, a)].into_iter().enumerate() {
            let twin = if a == b && side == 1 { "-twin" } else { "" };
            let order = if seed == first { String::new() } else { format!("-order{seed}") };
            let label = format!("{}{twin}{order}", tasks.join("+"));
            let mut run = shared(recipe, index, &label);
            let stage = &mut run.stages[index];
            (stage.tasks, stage.paired_with) = (Some(tasks.clone()), Some(with.clone()));
            // Only the order: new parameters begin alike in all runs, or their start would be most of the distance.
            stage.order_seed = Some(seed);
            if let Some(method) = method {
                stage.tuning.vision = method.clone();
            }
            // All runs save at the same steps, and the last but one is there until all have saved.
            stage.keep_best = false;
            stage.keep_last = stage.keep_last.max(2);
            let method = stage.tuning.vision.name().to_owned();
            planned.push(Planned { run: StudyRun { label, method, seed, tasks: tasks.clone() }, recipe: run });
        }
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(study: &str) -> Recipe {
        let text = format!("{}\n[study]\n{study}", include_str!("../../../tests/fixtures/tiny.toml"));
        Recipe::parse(&text, Path::new("tiny.toml"), &[]).unwrap()
    }

    #[test]
    fn a_conflict_study_swaps_the_lists_and_changes_nothing_else() {
        let recipe = read("kind = 'conflict'\nmethod = 'lora'\nnull = true");
        let runs = runs(&recipe, Path::new("x")).unwrap();
        let labels: Vec<&str> = runs.iter().map(|r| r.run.label.as_str()).collect();
        assert_eq!(
            labels,
            ["grounding", "region_captioning", "grounding-order4", "region_captioning-order4"],
            "the fixture's seed is 3"
        );
        let mut swapped = runs[1].recipe.clone();
        swapped.name.clone_from(&runs[0].recipe.name);
        let stage = &mut swapped.stages[1];
        std::mem::swap(&mut stage.tasks, &mut stage.paired_with);
        assert_eq!(swapped, runs[0].recipe);
        assert!(runs.iter().all(|r| r.run.method == "lora" && r.recipe.stages[0].reuse && r.recipe.study.is_none()));
        let same = read("kind = 'conflict'\npair = [['ocr'], ['ocr']]");
        let labels: Vec<String> =
            super::runs(&same, Path::new("x")).unwrap().into_iter().map(|r| r.run.label).collect();
        assert_eq!(labels, ["ocr", "ocr-twin"]);
    }

    #[test]
    fn a_methods_study_differs_in_method_and_seed_of_the_stage_alone() {
        let recipe = read("kind = 'methods'\nmethods = ['freeze', 'bitfit']\nseeds = [5, 6]");
        let runs = runs(&recipe, Path::new("x")).unwrap();
        assert_eq!(runs.len(), 4);
        assert_eq!(
            runs[3].run,
            StudyRun { label: "bitfit-seed6".into(), method: "bitfit".into(), seed: 6, tasks: vec![] }
        );
        assert_eq!(runs[3].recipe.stages[1].seed, Some(6));
        assert_eq!(runs[3].recipe.stages[0], runs[0].recipe.stages[0]);
        let base = base(&recipe).unwrap().unwrap();
        assert_eq!((base.stages.len(), base.stages[0].generate_samples), (1, Some(2)));
        // A warm-up of 0 steps is refused for covft, also where only the study asks for it.
        let cold = "kind = 'methods'\nmethods = ['covft']";
        let mut recipe = read(cold);
        (recipe.stages[1].warmup_ratio, recipe.stages[1].warmup_steps) = (None, Some(0));
        assert!(super::runs(&recipe, Path::new("x")).is_err());
    }
}
