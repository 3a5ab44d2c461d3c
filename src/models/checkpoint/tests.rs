//! Reading, refusing and writing weights.

use super::{Chain, Empty, Renamed, Safetensors, StoreSource, write_folder, write_safetensors};
use crate::models::golden::{open, path};
use crate::nn::{Init, ParamBuilder, TensorSource};
use candle_core::{Device, Tensor};
use serde_json::json;
use std::fs;
use std::path::Path;

fn numbers(source: &dyn TensorSource, name: &str) -> Option<Vec<f32>> {
    source.get(name).unwrap().map(|t| t.flatten_all().unwrap().to_vec1().unwrap())
}

/// A safetensors file by hand.
fn raw(path: &Path, header: &str, data: &[u8]) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(data);
    fs::write(path, bytes).unwrap();
}

fn message(path: &Path) -> String {
    Safetensors::open(path).unwrap_err().to_string()
}

#[test]
fn half_precision_widens_exactly_and_integers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mixed.safetensors");
    let mut data = half::f16::from_f32(-1.5).to_le_bytes().to_vec();
    data.extend(half::bf16::from_f32(3.0).to_le_bytes());
    data.extend(0.1f64.to_le_bytes());
    data.extend(7i64.to_le_bytes());
    let header = json!({
        "a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
        "b": {"dtype": "BF16", "shape": [1, 1], "data_offsets": [2, 4]},
        "c": {"dtype": "F64", "shape": [], "data_offsets": [4, 12]},
        "d": {"dtype": "I64", "shape": [1], "data_offsets": [12, 20]},
    });
    raw(&file, &header.to_string(), &data);
    let source = Safetensors::open(&file).unwrap();
    assert_eq!(numbers(&source, "a"), Some(vec![-1.5]));
    assert_eq!(source.get("b").unwrap().unwrap().dims(), [1, 1]);
    assert_eq!(numbers(&source, "b"), Some(vec![3.0]));
    assert_eq!(numbers(&source, "c"), Some(vec![0.1]));
    let refused = source.get("d").unwrap_err().to_string();
    assert!(refused.contains("d holds I64") && refused.ends_with("mixed.safetensors"), "{refused}");
    assert!(source.get("e").unwrap().is_none());
    assert_eq!(source.names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}

#[test]
fn a_sharded_folder_reads_like_a_single_file() {
    let whole = open("llava");
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<&str> = whole.names().collect();
    let mut map = serde_json::Map::new();
    for (i, part) in names.chunks(names.len().div_ceil(3)).enumerate() {
        let shard = format!("model-0000{}-of-00003.safetensors", i + 1);
        let tensors: Vec<(&str, Tensor)> = part.iter().map(|n| (*n, whole.get(n).unwrap().unwrap())).collect();
        let tensors: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (*n, t)).collect();
        write_safetensors(&folder.path().join(&shard), &tensors).unwrap();
        map.extend(part.iter().map(|n| ((*n).to_owned(), json!(shard))));
    }
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({ "metadata": {}, "weight_map": map }).to_string()).unwrap();
    let sharded = Safetensors::open(folder.path()).unwrap();
    assert_eq!(sharded.names().count(), names.len());
    for name in names {
        assert_eq!(sharded.shape(name), whole.shape(name));
        assert_eq!(numbers(&sharded, name), numbers(&whole, name), "{name}");
    }
    fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).unwrap();
    assert!(message(folder.path()).ends_with("model-00002-of-00003.safetensors"));
}

#[test]
fn what_cannot_be_read_is_one_message_that_ends_in_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(message(&at("nothing")).ends_with("nothing"));
    assert!(message(folder.path()).contains("neither model.safetensors nor"));
    let good = fs::read(path("clip/model.safetensors")).unwrap();
    for (name, bytes, says) in [
        ("empty.safetensors", &[][..], "truncated, 0 of 8"),
        ("header.safetensors", &good[..100], "truncated, 100 of"),
        ("data.safetensors", &good[..good.len() - 1], "truncated"),
        ("text.safetensors", b"this is no safetensors file at all", "a header of"),
        ("longer.safetensors", &[&good[..], &[0; 3]].concat(), "3 bytes after the last tensor"),
    ] {
        fs::write(at(name), bytes).unwrap();
        let says_it = message(&at(name));
        assert!(says_it.contains(says) && says_it.ends_with(name), "{says_it}");
    }
    raw(&at("json.safetensors"), "{\"a\": 3}", &[]);
    assert!(message(&at("json.safetensors")).contains("header:"));
    let gap = json!({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}});
    raw(&at("shape.safetensors"), &gap.to_string(), &[0; 4]);
    assert!(message(&at("shape.safetensors")).ends_with("shape.safetensors"));
    fs::write(at("model.safetensors.index.json"), "{").unwrap();
    assert!(message(folder.path()).ends_with("model.safetensors.index.json"));
}

/// A file of float32 tensors, each of one number.
fn one_number_each(path: &Path, names: &[(&str, f32)]) {
    let tensors: Vec<(&str, Tensor)> =
        names.iter().map(|(name, value)| (*name, Tensor::new(&[*value], &Device::Cpu).unwrap())).collect();
    let tensors: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    write_safetensors(path, &tensors).unwrap();
}

#[test]
fn index_and_shards_follow_hugging_faces_rules() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let index = |map: serde_json::Value| {
        fs::write(at("model.safetensors.index.json"), json!({ "weight_map": map }).to_string()).unwrap();
    };
    one_number_each(&at("1.safetensors"), &[("a", 1.0), ("b", 1.0)]);
    one_number_each(&at("2.safetensors"), &[("b", 2.0), ("c", 2.0)]);
    // Of a tensor in two shards, the index says which counts.
    for (file, value) in [("1.safetensors", 1.0), ("2.safetensors", 2.0)] {
        index(json!({"a": "1.safetensors", "b": file, "c": "2.safetensors"}));
        let source = Safetensors::open(folder.path()).unwrap();
        assert_eq!(numbers(&source, "b"), Some(vec![value]));
        assert_eq!(source.names().count(), 3);
    }
    index(json!({"a": "1.safetensors", "c": "2.safetensors"}));
    assert!(message(folder.path()).contains("b is in "), "{}", message(folder.path()));
    index(json!({"a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors", "d": "2.safetensors"}));
    let lacking = message(folder.path());
    assert!(lacking.contains("d is here, and it is not") && lacking.ends_with("2.safetensors"), "{lacking}");
    index(json!({"a": "1.safetensors", "b": "3.safetensors"}));
    let missing = message(folder.path());
    assert!(missing.contains("names this shard, which is missing") && missing.ends_with("3.safetensors"), "{missing}");
    for out in ["../1.safetensors", "/etc/passwd", "sub/1.safetensors", "..", ""] {
        index(json!({ "a": out }));
        assert!(message(folder.path()).contains("no file of this folder"), "{out}: {}", message(folder.path()));
    }
    index(json!({}));
    assert!(message(folder.path()).contains("names no tensor"));
    // A whole file wins over the index beside it.
    one_number_each(&at("model.safetensors"), &[("a", 7.0)]);
    let whole = Safetensors::open(folder.path()).unwrap();
    assert_eq!((numbers(&whole, "a"), whole.names().count()), (Some(vec![7.0]), 1));
}

#[test]
fn folders_without_weights_are_told_as_what_they_are() {
    for (file, says) in [
        ("adapter_config.json", "PEFT adapter"),
        ("adapter_model.safetensors", "PEFT adapter"),
        ("pytorch_model.bin", "pytorch_model.bin is in a format that is not read"),
        ("model.gguf", "model.gguf is in a format"),
        ("flax_model.msgpack", "flax_model.msgpack is in a format"),
        ("consolidated.pth", "consolidated.pth is in a format"),
        ("model-00001-of-00002.safetensors", "no whole model"),
        ("notes.txt", "neither model.safetensors nor model.safetensors.index.json: "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(file), "x").unwrap();
        let found = message(folder.path());
        assert!(found.contains(says), "{found}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("snapshot")).unwrap();
    fs::write(folder.path().join("snapshot/config.json"), "{}").unwrap();
    assert!(message(folder.path()).contains("name the folder snapshot inside it"));
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1234\n";
    for name in ["model.safetensors.index.json", "model.safetensors"] {
        fs::write(folder.path().join(name), pointer).unwrap();
        assert!(message(folder.path()).contains("Git LFS pointer"), "{}", message(folder.path()));
    }
}

#[test]
fn types_of_few_bits_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (dtype, bytes) in [("I8", 1), ("F8_E4M3", 1), ("F8_E5M2", 1), ("U8", 1), ("BOOL", 1), ("I32", 4)] {
        let file = folder.path().join("few.safetensors");
        let header = json!({"a": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * bytes]}});
        raw(&file, &header.to_string(), &vec![0; 2 * bytes]);
        let source = Safetensors::open(&file).unwrap();
        let error = source.numbers("a").unwrap_err().to_string();
        assert!(error.contains("a holds ") && error.contains("quantised"), "{error}");
        assert_eq!(source.get("a").unwrap_err().to_string(), error);
    }
}

#[test]
fn names_are_translated_and_chained() {
    let renamed = Renamed::new(open("clip"), [("tower.", ""), ("tower.", "vision_model.")]);
    let direct = "tower.vision_model.pre_layrnorm.weight";
    assert!(renamed.contains(direct).unwrap());
    assert_eq!(numbers(&renamed, direct), numbers(&renamed, "tower.pre_layrnorm.weight"), "the second rule serves too");
    assert!(renamed.get("vision_model.pre_layrnorm.weight").unwrap().is_none(), "no rule, no tensor");
    assert!(renamed.get("tower.nothing").unwrap().is_none());
    let complete = Renamed::new(open("clip"), [("tower.", "")]).complete(|name| name.contains("lora"));
    assert!(complete.get("tower.q.lora_up.weight").unwrap().is_none());
    assert!(complete.get("projector.0.weight").unwrap().is_none());
    assert!(complete.dims("tower.nothing").is_err() && !complete.contains("tower.nothing").unwrap());
    assert_eq!(complete.dims(direct).unwrap(), Some(vec![32]));
    let lacking = complete.get("tower.nothing").unwrap_err().to_string();
    assert!(lacking.starts_with("the weights lack nothing") && lacking.ends_with("clip"), "{lacking}");
    // A later link may hold what a complete one lacks.
    let chain =
        Chain(vec![Box::new(complete), Box::new(Renamed::new(open("bert"), [("tower.nothing", "pooler.dense.bias")]))]);
    let pooler = open("bert").contains("pooler.dense.bias").unwrap();
    assert_eq!(chain.contains("tower.nothing").unwrap(), pooler);
    assert_eq!(chain.get("tower.nothing").is_ok(), pooler);
    assert!(numbers(&chain, direct).is_some());
    assert!(Empty.get("anything").unwrap().is_none());
}

#[cfg(unix)]
#[test]
fn a_link_to_nothing_is_told_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("../blobs/gone", dir.path().join("model.safetensors")).unwrap();
    let error = Safetensors::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("a link to ../blobs/gone, which is not there") && error.ends_with("model.safetensors"),
        "{error}"
    );
}

#[test]
fn a_written_folder_reads_back_and_replaces_the_old_one() {
    let trains = |name: &str, _: &crate::nn::Role| name == "a.weight";
    let pb = ParamBuilder::new(&Empty, &trains, 3, &Device::Cpu);
    pb.get(&[2, 3], "a.weight", Init::Normal(1.0)).unwrap();
    pb.get(&[5], "b", Init::Uniform(0.5)).unwrap();
    let params = pb.finish();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("checkpoint");
    for round in 0..2 {
        let files = [("tokenizer.json".to_owned(), vec![b'x'; round + 1])];
        write_folder(&folder, &params, &json!({ "round": round }), &files).unwrap();
        let read = Safetensors::open(&folder).unwrap();
        assert_eq!(read.names().collect::<Vec<_>>(), ["a.weight", "b"]);
        assert_eq!(read.shape("a.weight"), Some(&[2, 3][..]));
        let memory = StoreSource(&params);
        for name in ["a.weight", "b"] {
            assert_eq!(numbers(&read, name), numbers(&memory, name));
        }
        assert_eq!(fs::read(folder.join("tokenizer.json")).unwrap().len(), round + 1);
        assert!(fs::read_to_string(folder.join("config.json")).unwrap().contains(&format!("\"round\": {round}")));
        // The crate that defines the format reads it too.
        let bytes = fs::read(folder.join("model.safetensors")).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("b").unwrap().shape(), [5]);
        let left: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["checkpoint"], "nothing unfinished stays behind");
    }
}

#[test]
fn a_writer_that_fails_leaves_what_was_there() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("weights.safetensors");
    let one = Tensor::ones(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    write_safetensors(&file, &[("one", &one)]).unwrap();
    let before = fs::read(&file).unwrap();
    let broken = Tensor::ones(3, candle_core::DType::U8, &Device::Cpu).unwrap();
    // Occupying the temporary name with a folder stands for a disk that refuses.
    fs::create_dir(parent.path().join(".weights.safetensors.part")).unwrap();
    let failed = write_safetensors(&file, &[("two", &broken)]).unwrap_err().to_string();
    assert!(failed.contains("cannot write the weights"), "{failed}");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert!(write_safetensors(&parent.path().join("no/such/folder.safetensors"), &[("one", &one)]).is_err());
}
