//! What exports write over, widen and make inert.

use super::*;
use crate::analysis::{ContextData, Selection};
use crate::store::{ContextRow, Manifest, PredictionRow, RecordWriter, RoutingRow, WriterOptions};
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float32Type};
use half::f16;

/// A run of one sample.
fn small() -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    Manifest::start(vec!["train".into()], 1, "cpu", "plain").write(&dir).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions::default()).unwrap();
    let (stage, layer) = ("instruct".to_owned(), "4".to_owned());
    let context = ContextRow {
        index: None,
        split: None,
        stage: stage.clone(),
        step: 0,
        sample: "=1+1".into(),
        layer: layer.clone(),
        depth: Some(4),
        tracked: false,
        vector: vec![f16::from_f32(0.1), f16::from_f32(-2.0)],
    };
    let routing = RoutingRow {
        index: None,
        split: None,
        stage: stage.clone(),
        step: 0,
        sample: "-2".into(),
        layer,
        depth: Some(4),
        tracked: false,
        logits: vec![-1.0, 1.0],
        weights: vec![0.1, 0.9],
        entropy: 0.1,
    };
    let prediction = PredictionRow {
        index: None,
        stage,
        step: 0,
        split: "val".into(),
        sample: "s".into(),
        task: Some("@task, \"x\"".into()),
        text: "=cmd()".into(),
        correct: Some(-0.1),
    };
    writer.push(&[context]).unwrap();
    writer.push(&[routing]).unwrap();
    writer.push(&[prediction]).unwrap();
    writer.finish().unwrap();
    (root, dir)
}

fn to(dir: &RunDir, format: Format, options: &ExportOptions, out: &Path) -> Result<Export> {
    export(dir, format, options, out, &mut |_, _, _| {})
}

#[test]
fn nothing_is_written_over_unless_that_is_asked_for() {
    let (root, dir) = small();
    for (format, name) in Format::ALL {
        let out = root.path().join(name);
        let made = to(&dir, format, &ExportOptions::default(), &out).unwrap();
        // The last file alone is there: told before the others are written.
        let last = made.files.last().unwrap().path.clone();
        made.files.iter().filter(|f| f.path != last).for_each(|f| fs::remove_file(&f.path).unwrap());
        fs::write(&last, "mine").unwrap();
        let error = to(&dir, format, &ExportOptions::default(), &out).unwrap_err().to_string();
        let wanted = format!("the file is there already; --force writes it anew: {}", last.display());
        assert_eq!(error, wanted, "{name}");
        assert_eq!((fs::read(&last).unwrap(), fs::read_dir(&out).unwrap().count()), (b"mine".to_vec(), 1), "{name}");
        to(&dir, format, &ExportOptions { force: true, ..ExportOptions::default() }, &out).unwrap();
        assert_ne!(fs::read(&last).unwrap(), b"mine", "{name}");
    }
}

#[test]
fn numbers_have_the_digits_of_the_record_and_formulas_are_inert_on_request() {
    let (root, dir) = small();
    let read = |spreadsheet: bool| {
        let out = root.path().join(spreadsheet.to_string());
        to(&dir, Format::Csv, &ExportOptions { spreadsheet, ..ExportOptions::default() }, &out).unwrap();
        ["contexts", "routing", "predictions"].map(|stream| {
            fs::read_to_string(out.join(format!("{stream}.csv"))).unwrap().lines().nth(1).unwrap().to_owned()
        })
    };
    let [contexts, routing, predictions] = read(false);
    assert!(contexts.contains(",=1+1,") && routing.ends_with("\"[-1, 1]\",\"[0.1, 0.9]\",0.1"), "{contexts} {routing}");
    assert!(predictions.contains("\"@task, \"\"x\"\"\",=cmd(),-0.1"), "{predictions}");
    let [contexts, routing, predictions] = read(true);
    assert!(contexts.contains(",'=1+1,") && routing.contains(",-2,"), "{contexts} {routing}");
    assert!(predictions.contains("\"'@task, \"\"x\"\"\",'=cmd(),-0.1"), "{predictions}");
}

#[test]
fn float16_is_widened_on_request() {
    let (root, dir) = small();
    let options = ExportOptions { float32: true, ..ExportOptions::default() };
    let out = root.path().join("wide");
    for format in [Format::Parquet, Format::Npz, Format::SafeTensors] {
        to(&dir, format, &options, &out).unwrap();
    }
    let file = fs::File::open(out.join("contexts.parquet")).unwrap();
    let batch = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let vectors = batch.column_by_name("vector").unwrap().as_fixed_size_list();
    assert_eq!(vectors.value_type(), DataType::Float32);
    assert_eq!(vectors.value(0).as_primitive::<Float32Type>().values()[..], [f16::from_f32(0.1).to_f32(), -2.0]);
    let holds = |name: &str, text: &str| {
        let bytes = fs::read(out.join(name)).unwrap();
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    };
    assert!(holds("contexts.npz", "'descr': '<f4'") && !holds("contexts.npz", "<f2"));
    assert!(holds("contexts.safetensors", "\"F32\"") && !holds("contexts.safetensors", "\"F16\""));
    let named = |streams: &[&str]| {
        let streams = streams.iter().map(|s| (*s).to_owned()).collect();
        let options = ExportOptions { streams, force: true, ..ExportOptions::default() };
        to(&dir, Format::SafeTensors, &options, &out).map_err(|e| e.to_string())
    };
    let error = named(&["predictions", "contexts"]).unwrap_err();
    assert!(error.contains("`predictions` has no vectors; of those asked for, `contexts` can"), "{error}");
    assert!(named(&["predictions"]).unwrap_err().contains("export as parquet or csv"));
    assert_eq!(named(&["contexts"]).unwrap().files.len(), 2);
    // Wider numbers are for other programs: in a run's records they are refused by name, not called absent.
    let part = fs::read_dir(dir.stream("contexts")).unwrap().next().unwrap().unwrap().path();
    fs::copy(out.join("contexts.parquet"), part).unwrap();
    let error = ContextData::load(&dir, &Selection::default()).unwrap_err().to_string();
    assert!(error.contains("`vector`") && error.contains("Float32") && error.contains("float16"), "{error}");
}
