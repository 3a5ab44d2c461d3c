//! More classes than are told apart.

use super::run::{begin, click, says, window};
use crate::core::classes::Look;
use crate::core::scatter::ColorBy;
use covft_analyses::analysis::{ContextData, Selection};
use covft_analyses::figures::looks::{LOOKS, Looks, color};
use covft_analyses::store::{ContextRow, RoutingRow, RunDir, SampleRow};
use egui::ThemePreference;
use half::f16;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const TASKS: u64 = 200;
const EXPERTS: u64 = 12;

/// Six steps of one sample a task, but of every fiftieth task four.
fn many(root: &Path) -> RunDir {
    let dir = RunDir::create(root.join("many")).unwrap();
    let mut writer = begin(&dir, "2026-01-01");
    let stage = || "instruct".to_owned();
    for step in 0..6_u64 {
        let each = (0..TASKS).flat_map(|task| (0..if task % 50 == 7 { 4 } else { 1 }).map(move |k| (task, k)));
        for (task, k) in each {
            let id = format!("s{step}-{task}-{k}");
            let value = |j: u64| f16::from_f32(((task * 31 + step * 7 + k * 3 + j * 17) as f32).sin());
            writer
                .push(&[SampleRow {
                    index: None,
                    stage: stage(),
                    step,
                    sample: id.clone(),
                    micro: 0,
                    task: Some(format!("task {task:03}")),
                    has_image: false,
                    loss: Some(0.1),
                    tokens: 3,
                }])
                .unwrap();
            writer
                .push(&[ContextRow {
                    index: None,
                    split: None,
                    stage: stage(),
                    step,
                    sample: id.clone(),
                    layer: "0".into(),
                    depth: Some(0),
                    tracked: false,
                    vector: (0..8).map(value).collect(),
                }])
                .unwrap();
            let weight = |e: u64| if e == task % EXPERTS { 0.45 } else { 0.05 };
            writer
                .push(&[RoutingRow {
                    index: None,
                    split: None,
                    stage: stage(),
                    step,
                    sample: id,
                    layer: "0".into(),
                    depth: Some(0),
                    tracked: false,
                    logits: vec![0.0; EXPERTS as usize],
                    weights: (0..EXPERTS).map(weight).collect(),
                    entropy: 1.0,
                }])
                .unwrap();
        }
    }
    writer.finish().unwrap();
    dir
}

#[test]
fn the_largest_of_two_hundred_tasks_have_colours_of_their_own_which_stay() {
    let root = tempfile::tempdir().unwrap();
    let dir = many(root.path());
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    window.state_mut().state.notes.color = ColorBy::Task;
    window.run_steps(3);
    // By the rule of the figures, over the samples that they show.
    let data = ContextData::load(&dir, &Selection::default()).unwrap();
    let (tasks, of) = data.tasks();
    let mut counts = vec![0; tasks.len()];
    of.iter().for_each(|task| counts[*task] += 1);
    let looks = Looks::assign(&counts, None);
    let wanted: BTreeMap<&String, usize> = looks.own().iter().map(|t| (&tasks[*t], looks.of(*t).unwrap())).collect();
    assert!([7, 57, 107, 157].iter().all(|t| wanted.contains_key(&format!("task {t:03}"))), "the largest");
    for (theme, dark) in [(ThemePreference::Light, false), (ThemePreference::Dark, true)] {
        window.state_mut().layout.theme = theme;
        window.run_steps(3);
        for at in [None, Some(0), Some(5)] {
            window.state_mut().state.at = at;
            window.run_steps(3);
            let keys = &window.state().state.colors.keys;
            let colors: BTreeSet<[u8; 3]> = keys.iter().map(|key| key.color).collect();
            assert_eq!((keys.len(), colors.len()), (LOOKS, LOOKS), "no two lines of the legend look alike");
            let (others, own) = keys.split_last().unwrap();
            for key in own {
                assert_eq!(key.color, color(Some(wanted[&key.name]), dark), "{}", key.name);
            }
            assert_eq!((others.color, others.holds.len()), (color(None, dark), 191));
        }
    }
    window.state_mut().state.at = None;
    window.run_steps(3);
    let others = window.state().state.colors.keys.last().unwrap().clone();
    assert_eq!(others.name, "others (191 tasks)");
    click(&mut window, &format!("others (191 tasks) ({})", super::super::panels::thousands(others.points)));
    assert_eq!(window.state().state.selection.now().len(), others.points);
    assert!(says(&window, &format!("{} of 1,272 samples selected", super::super::panels::thousands(others.points))));
}

#[test]
fn twelve_experts_have_one_look_in_every_view() {
    let root = tempfile::tempdir().unwrap();
    let dir = many(root.path());
    let (mut window, _reader) = window(vec![dir.path().to_owned()]);
    window.state_mut().state.notes.color = ColorBy::Expert;
    window.run_steps(3);
    assert_eq!(window.state().state.colors.keys.last().unwrap().name, "others (3 experts)");
    let explorer = window.state_mut();
    let guard = explorer.source.look();
    let looks = explorer.state.expert_looks(&guard.main.data)["0"].clone();
    assert_eq!(looks.iter().filter(|look| **look == Look::Others).count(), 3);
    for (expert, look) in looks.iter().enumerate() {
        assert_eq!(explorer.state.colors.palette[expert], look.rgb(explorer.state.dark), "expert {expert}");
    }
}
