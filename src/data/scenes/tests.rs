//! Tests of the built-in set.

use super::*;
use crate::config::data::Exif;
use crate::data::picture;
use crate::data::testing::scenes_dataset;
use crate::data::{BatchPosition, Dataset, IGNORE_LABEL, InstructFile, Tokenizers};
use std::collections::BTreeMap;

fn config(train: usize, val: usize) -> ScenesConfig {
    ScenesConfig { train, val, seed: 0 }
}

/// Question and answer of the samples of a task.
fn pairs(set: &SceneSet, task: &str) -> Vec<(String, String)> {
    let wanted = set.entries.iter().filter(|e| e.task.as_deref() == Some(task));
    wanted.map(|e| (e.question().to_owned(), e.answer().to_owned())).collect()
}

#[test]
fn the_committed_tokenizers_are_what_the_generator_makes() {
    let made = [vocabulary::language_tokenizer(), vocabulary::text_tokenizer()];
    if std::env::var_os("COVFT_BLESS").is_some() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/scenes");
        std::fs::write(folder.join("llm_tokenizer.json"), &made[0]).unwrap();
        std::fs::write(folder.join("text_tokenizer.json"), &made[1]).unwrap();
    }
    let advice = "assets/scenes differs; run the tests once with COVFT_BLESS=1 to write it anew";
    assert!(made[0] == LANGUAGE_TOKENIZER && made[1] == TEXT_TOKENIZER, "{advice}");
}

#[test]
fn every_text_survives_the_tokenizers() {
    let tokenizers = Tokenizers::scenes(512).unwrap();
    let (language, text) = (&tokenizers.language, &tokenizers.text);
    assert!(language.vocabulary() <= 1024 && text.vocabulary() <= 1024);
    assert_eq!((language.begin(), language.end_text()), (&[1][..], "</s>"));
    for entry in generate(&config(150, 0), Split::Train).entries {
        for turn in &entry.turns {
            let ids = language.ids(&turn.text).unwrap();
            assert!(!ids.contains(&0), "{:?} has unknown parts", turn.text);
            assert_eq!(language.decode(&ids).unwrap(), turn.text);
        }
        let unknown = text.ids(entry.question()).unwrap().contains(&1);
        assert!(!unknown, "{:?} has unknown words", entry.question());
    }
    // A word that the set lacks falls apart into letters.
    let ids = language.ids("A giraffe, 0.57").unwrap();
    assert_eq!(language.decode(&ids).unwrap(), "A giraffe, 0.57");
}

#[test]
fn answers_are_short() {
    let dataset = scenes_dataset(100, 0);
    let mut longest: BTreeMap<String, usize> = BTreeMap::new();
    let mut tokens = 0;
    for i in 0..dataset.len() {
        let batch = dataset.batch(&[i], BatchPosition::default()).unwrap();
        let task = dataset.task(i).unwrap().to_string();
        let entry = longest.entry(task).or_default();
        *entry = (*entry).max(batch.labelled_tokens());
        tokens += batch.input_ids[0].len();
    }
    let expected = [
        ("attribute", 2),
        ("captioning", 12),
        ("counting", 2),
        ("existence", 2),
        ("grounding", 6),
        ("ocr", 2),
        ("region_captioning", 3),
        ("relation", 2),
    ];
    assert_eq!(longest.iter().map(|(t, n)| (t.as_str(), *n)).collect::<Vec<_>>(), expected);
    let mean = tokens as f64 / dataset.len() as f64;
    assert!(mean < 26.0, "{mean} tokens a sample besides the image");
}

#[test]
fn the_same_seed_gives_the_same_set_and_splits_share_no_scene() {
    let (a, b) = (generate(&config(40, 20), Split::Train), generate(&config(40, 20), Split::Train));
    assert!(a.entries == b.entries && a.pictures == b.pictures);
    let longer = generate(&config(60, 20), Split::Train);
    assert_eq!(longer.entries[..a.entries.len()], a.entries, "a larger set begins with the smaller one");
    let other = generate(&ScenesConfig { seed: 1, ..config(40, 20) }, Split::Train);
    assert!(a.pictures.iter().zip(&other.pictures).all(|(x, y)| x.1 != y.1));
    let val = generate(&config(40, 20), Split::Val);
    assert_eq!(val.entries.len(), 160);
    let mut seen = BTreeSet::new();
    let train = draw(0, Split::Train, 1500, &mut seen);
    let val = draw(0, Split::Val, 300, &mut seen);
    assert_eq!((seen.len(), train.len() + val.len()), (1800, 1800));
}

#[test]
fn grounding_and_region_captioning_are_inverses() {
    let set = generate(&config(300, 0), Split::Train);
    for ((locate, answer), (name, phrase)) in pairs(&set, "grounding").iter().zip(pairs(&set, "region_captioning")) {
        assert_eq!(*locate, format!("Locate the {phrase}."));
        assert_eq!(name, format!("Name the object at {answer}."));
    }
}

#[test]
fn answers_are_balanced() {
    let set = generate(&config(2000, 0), Split::Train);
    let shares = |task: &str| {
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        for (_, answer) in pairs(&set, task) {
            *counts.entry(answer).or_default() += 1.0 / 2000.0;
        }
        counts
    };
    let within = |task: &str, low: f64, high: f64| {
        let shares = shares(task);
        assert!(shares.values().all(|s| (low..=high).contains(s)), "{task}: {shares:?}");
        shares.len()
    };
    assert_eq!(within("existence", 0.45, 0.55), 2);
    assert_eq!(within("relation", 0.12, 0.38), 4);
    assert_eq!(within("ocr", 0.05, 0.12), 12);
    assert_eq!(within("attribute", 0.03, 0.25), 10);
    let counting = shares("counting");
    assert_eq!(counting.len(), 4);
    assert!(counting["0"] < 0.45 && counting["1"] < 0.45 && counting["2"] > 0.1, "{counting:?}");
}

#[test]
fn answers_are_unambiguous() {
    // Each question asked of its own picture has one answer: phrases name one object, attributes single one out.
    for i in 0..1500 {
        let scene = Scene::draw(&mut world::stream(3, 0, i));
        let phrases: BTreeSet<_> = scene.objects.iter().map(world::Object::phrase).collect();
        assert_eq!(phrases.len(), scene.objects.len());
        let pairs = questions::ask(&scene, &mut world::stream(3, 2, i));
        let (question, answer) = &pairs[4];
        let words: Vec<&str> = question.trim_end_matches('?').split(' ').filter(|w| *w != "object").collect();
        let fitting: Vec<_> =
            scene.objects.iter().filter(|o| words[4..].iter().all(|w| o.phrase().contains(w))).collect();
        assert_eq!(fitting.len(), 1, "{question}");
        let described = format!("{} {}", world::SIZES[fitting[0].size].0, fitting[0].phrase());
        assert!(described.contains(answer.as_str()), "{question} {answer}");
    }
}

#[test]
fn the_written_set_is_the_built_in_one() {
    let dir = tempfile::tempdir().unwrap();
    write(&config(3, 2), dir.path()).unwrap();
    let file = InstructFile::open(&dir.path().join("instruct.json")).unwrap();
    let set = generate(&config(3, 2), Split::Train);
    let entries: Vec<Entry> = (0..file.len()).map(|i| file.entry(i).unwrap()).collect();
    assert_eq!(entries, set.entries);
    for (name, picture) in &set.pictures {
        let path = dir.path().join("images").join(&**name);
        assert!(picture::open(&path, Exif::Ignore).unwrap().pixels == *picture);
    }
    assert_eq!(InstructFile::open(&dir.path().join("instruct_val.json")).unwrap().len(), 16);
}

#[test]
fn the_held_out_part_shares_the_tasks_numbers() {
    let (train, val): (Dataset, Dataset) = (scenes_dataset(2, 0), scenes_dataset(2, 3));
    assert_eq!((val.len(), val.tasks()), (24, train.tasks()));
    let batch = val.batch(&[0, 7], BatchPosition::default()).unwrap();
    assert_eq!(batch.task_ids, [1, 5]);
    let label = |row: &Vec<i64>| row.iter().position(|&l| l != IGNORE_LABEL).unwrap();
    let item = val.eval_item(7).unwrap();
    assert_eq!(item.prompt_ids, batch.input_ids[1][..label(&batch.labels[1])]);
    assert_eq!((item.question.as_str(), item.answers.len()), ("What word is written?", 1));
    assert_eq!(val.subset(8).len(), 8);
    let tasks: BTreeSet<_> = (0..8).map(|i| val.subset(8).task(i)).collect();
    assert_eq!(tasks.len(), 8);
}
