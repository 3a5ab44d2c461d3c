//! Entries to batches and questions.

use super::batch::{Batch, BatchPosition, EvalItem, SampleMeta};
use super::context::context_text;
use super::conversation::Entry;
use super::dataset::{Dataset, SampleInfo};
use super::encode::{Encoded, encode};
use super::error::{DataError, Place, Result};
use super::template::render;
use crate::config::data::Template;
use std::sync::Arc;

impl Dataset {
    /// Ids and labels of an entry, cut at the longest length.
    ///
    /// # Errors
    /// The template cannot hold it, or the tokenizer fails.
    pub fn encode(&self, i: usize, entry: &Entry) -> Result<Encoded> {
        let p = self.preparation();
        let tokenizer = &p.tokenizers.language;
        if entry.system.is_some() && p.template == Template::Plain {
            let problem = "it has a system message, for which the plain template has no place; take it out".to_owned();
            return Err(self.entry_error(i, entry, problem));
        }
        let rendered = render(&entry.turns, p.template, self.system(entry), tokenizer.end_text());
        let rendered = rendered.map_err(|problem| self.entry_error(i, entry, problem))?;
        let mut encoded = encode(&rendered, entry.image.is_some(), tokenizer)?;
        encoded.truncate(p.max_length, p.image_tokens);
        Ok(encoded)
    }

    /// The system message of an entry: its own, or that of all.
    fn system<'e>(&'e self, entry: &'e Entry) -> Option<&'e str> {
        entry.system.as_deref().or(self.preparation().system.as_deref())
    }

    fn entry_error(&self, i: usize, entry: &Entry, problem: String) -> DataError {
        let index = self.index(i);
        match self.file() {
            Some(file) => file.wrong(index, Some(entry.id.to_string()), problem),
            None => DataError::Entry {
                place: Place { entry: index, line: 1, id: Some(entry.id.to_string()) },
                problem,
                path: self.path().to_path_buf(),
            },
        }
    }

    pub(super) fn meta(&self, i: usize, entry: &Entry) -> SampleMeta {
        SampleMeta {
            id: Arc::clone(&entry.id),
            task: entry.task.clone(),
            index: self.index(i),
            split: self.split(),
            has_image: entry.image.is_some(),
        }
    }

    /// Prepares the samples at these places as one batch.
    ///
    /// # Errors
    /// An entry or image cannot be used; the message names the sample and the file.
    pub fn batch(&self, places: &[usize], at: BatchPosition) -> Result<Batch> {
        let p = self.preparation();
        let mut batch = Batch {
            at,
            samples: Vec::new(),
            pixels: Vec::with_capacity(places.len() * p.image.values()),
            image_size: p.image.size as usize,
            input_ids: Vec::new(),
            labels: Vec::new(),
            context_ids: Vec::new(),
            task_ids: Vec::new(),
        };
        for &i in places {
            let (i, entry, pixels) = self.sound(i)?;
            let context = p.tokenizers.text.ids(&context_text(&entry.turns, p.context_suffix))?;
            let encoded = self.encode(i, &entry)?;
            batch.pixels.extend(pixels);
            let task = self.tasks().number(entry.task.as_deref());
            batch.push(self.meta(i, &entry), encoded, context, task);
        }
        Ok(batch)
    }

    /// Prepares the first question of sample `i` for generation.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    pub fn eval_item(&self, i: usize) -> Result<EvalItem> {
        let p = self.preparation();
        let (i, entry, pixels) = self.sound(i)?;
        let question = &entry.turns[..1];
        Ok(EvalItem {
            prompt_ids: p.prompt_ids_under(self.system(&entry), &entry.turns[0].text, entry.image.is_some())?,
            context_ids: p.tokenizers.text.ids(&context_text(question, p.context_suffix))?,
            pixels,
            question: entry.question().to_owned(),
            answers: if entry.answers.is_empty() { vec![entry.answer().to_owned()] } else { entry.answers.clone() },
            meta: self.meta(i, &entry),
        })
    }

    /// What sample `i` is.
    ///
    /// # Errors
    /// The entry cannot be read.
    pub fn info(&self, i: usize) -> Result<SampleInfo> {
        let entry = self.entry(i)?;
        // Pictures that cannot be read are told elsewhere; of them no size is known.
        let dimensions = entry.image.as_ref().and_then(|name| self.dimensions(&entry.id, name).ok());
        Ok(SampleInfo {
            meta: self.meta(i, &entry),
            split: self.split(),
            image: entry.image.as_deref().map(|name| self.image_path(name)),
            dimensions,
            question: entry.question().to_owned(),
            answer: entry.answer().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::data::{Broken, ContextSuffix, DataConfig, Unlabelled};
    use crate::data::check::{CheckOptions, check};
    use crate::data::image::{CLIP_MEAN, CLIP_STD, ImageSpec};
    use crate::data::testing::{fixture, fixture_batch};
    use crate::data::{Preparation, Tokenizers};

    /// The fixture as the published code reads it.
    fn published() -> Dataset {
        let config = DataConfig {
            train: fixture("instruct.json"),
            images: Some(fixture("images")),
            context_suffix: ContextSuffix::End,
            ..DataConfig::default()
        };
        let tokenizers = Tokenizers::load(&fixture("llava"), &fixture("bert"), 64).unwrap();
        let aspect = config.image_aspect;
        let image = ImageSpec { size: 28, mean: CLIP_MEAN, std: CLIP_STD, aspect };
        Dataset::train(&config, Preparation::new(&config, tokenizers, image, 16)).unwrap()
    }

    #[test]
    fn the_whole_batch_equals_the_published_one() {
        let set = published();
        let batch = set.batch(&[0, 1, 2, 3, 4], BatchPosition::default()).unwrap();
        let expected = fixture_batch();
        let padded = batch.padded(set.preparation().tokenizers.language.pad());
        assert_eq!(padded.input_ids, expected.ids.concat());
        assert_eq!(padded.labels, expected.labels.concat());
        assert_eq!(padded.mask, expected.mask.concat());
        let worst = batch.pixels.iter().zip(&expected.pixels).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(batch.pixels.len() == expected.pixels.len() && worst < 1e-5, "{worst}");
        let tasks: Vec<_> = batch.samples.iter().map(|s| (s.index, s.has_image)).collect();
        assert_eq!(tasks, [(0, true), (1, true), (2, false), (3, true), (4, true)]);
        // captioning, grounding, region_captioning, text_only, vqa.
        assert_eq!(batch.task_ids, [0, 1, 3, 4, 2]);
        let report = check(&set, CheckOptions { decode_images: true, ..CheckOptions::default() }).unwrap();
        assert!(report.verdict(Unlabelled::Refuse, Broken::Refuse).is_ok());
        assert_eq!(report.labelled_tokens(), batch.labelled_tokens() as u64);
    }

    #[test]
    fn information_and_questions_of_a_sample() {
        let set = published();
        let info = set.info(3).unwrap();
        assert_eq!((info.dimensions, info.answer.as_str()), (Some((90, 50)), "HELLO"));
        assert_eq!(info.image.as_deref(), Some(&*fixture("images/3.png")));
        assert_eq!(info.question, "Read the word written in the image. Café 你好?");
        let item = set.eval_item(1).unwrap();
        assert_eq!(item.answers, ["[0.12, 0.34, 0.56, 0.78]"]);
        let language = &set.preparation().tokenizers.language;
        let said = language.decode(&item.prompt_ids.iter().filter_map(|&i| u32::try_from(i).ok()).collect::<Vec<_>>());
        assert!(said.unwrap().ends_with("describes: the green triangle. ASSISTANT:"));
        assert_eq!(set.preparation().prompt_ids(&item.question, true).unwrap(), item.prompt_ids);
        assert_eq!(set.preparation().context_ids(&item.question).unwrap(), item.context_ids);
    }
}
