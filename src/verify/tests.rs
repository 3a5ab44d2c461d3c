use super::*;
use crate::ops::testing::with_kernels;

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/covft-tiny")
}

#[test]
fn every_number_of_the_fixture_is_ours() {
    let report = verify(&fixture(), &Device::Cpu).unwrap();
    let failed: Vec<_> = report.rows.iter().filter(|row| !row.pass).collect();
    assert!(report.passed(), "{failed:#?}");
    let compared = |what: String| assert!(report.rows.iter().any(|row| row.what == what), "{what} was not compared");
    let steps = ["losses of the steps", "gradient norms", "learning rates", "parameters after training"];
    let first = ["vision features", "loss", "trainable parameters", "gradients", "drift by layer"];
    for method in METHODS {
        first.iter().chain(&steps).for_each(|what| compared(format!("{method}: {what}")));
    }
    for what in ["text vectors", "projected features", "layer 3 context", "layer 4 gate logits", "logits"] {
        compared(format!("context_moe_layernorm: {what}"));
    }
    for what in ["token ids", "labels", "attention mask", "context texts", "context ids", "pixels"] {
        compared(format!("data path: {what}"));
    }
    for what in ["lora: effective drift by layer", "llama-gqa: logits", "llama-gqa: gradients"] {
        compared(what.into());
    }
    for method in ["context_moe_layernorm", "fullft"] {
        compared(format!("{method}: inner products of samples' gradients, exact"));
        compared(format!("{method}: inner products of samples' gradients outside the sketches' 95 % intervals"));
        compared(format!("{method}: bias of the sketches, in standard errors of the mean over the seeds"));
    }
    compared("towers/dinov2: hidden states".into());
    let skipped: Vec<&str> = report.skipped.iter().filter_map(|s| s.split(':').next()).collect();
    assert_eq!(skipped, ["towers/dinov3", "towers/internvit", "towers/siglip"]);
}

/// Three experts, grouped queries, an image of 42 pixels.
#[test]
fn every_number_of_a_model_with_odd_sizes_is_ours() {
    let report = verify(&fixture().with_file_name("covft-odd"), &Device::Cpu).unwrap();
    let failed: Vec<_> = report.rows.iter().filter(|row| !row.pass).collect();
    assert!(report.passed(), "{failed:#?}");
    assert!(report.rows.len() > 20, "{:#?}", report.skipped);
}

/// A copy of the fixture with one number changed.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn one_wrong_number_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixture(), folder.path());
    for name in METHODS.iter().filter(|name| **name != "freeze") {
        std::fs::remove_file(folder.path().join(format!("expected/{name}.safetensors"))).unwrap();
    }
    std::fs::remove_dir_all(folder.path().join("towers")).unwrap();
    std::fs::remove_dir_all(folder.path().join("llama-gqa")).unwrap();
    let path = folder.path().join("expected/meta.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut meta: serde_json::Value = serde_json::from_str(&text).unwrap();
    let norm = meta["train"]["freeze"]["grad_norm"][3].as_f64().unwrap();
    meta["train"]["freeze"]["grad_norm"][3] = (norm * 1.001).into();
    meta["context_texts"][4] = "something else</s>".into();
    std::fs::write(&path, meta.to_string()).unwrap();
    let report = verify(folder.path(), &Device::Cpu).unwrap();
    let failed: Vec<&str> = report.rows.iter().filter(|row| !row.pass).map(|row| row.what.as_str()).collect();
    assert_eq!(failed, ["data path: context texts", "freeze: gradient norms"]);
    assert!(!report.passed());
    assert!(report.rows.iter().any(|row| row.note.contains("step 3")));
}

#[test]
fn a_folder_of_another_layout_is_an_error_that_ends_in_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let error = verify(folder.path(), &Device::Cpu).unwrap_err().to_string();
    assert!(error.ends_with("expected/meta.json"), "{error}");
}

/// Every number of the fixtures through the kernels for cards, emulated or on a card (`COVFT_TEST_DEVICE`).
#[test]
#[ignore = "runs the kernels for cards: scripts/cuda-emulate, scripts/gpu-check.sh"]
fn kernels_give_every_number_of_the_fixture() {
    check_kernels(&fixture());
}

#[test]
#[ignore = "runs the kernels for cards: scripts/cuda-emulate, scripts/gpu-check.sh"]
fn kernels_give_every_number_of_a_model_with_odd_sizes() {
    check_kernels(&fixture().with_file_name("covft-odd"));
}

fn check_kernels(folder: &Path) {
    let before = crate::kernels::cuda::launched();
    let report = with_kernels(|device| verify(folder, device));
    let report = report.expect("COVFT_TEST_DEVICE says where the kernels run").unwrap();
    let failed: Vec<_> = report.rows.iter().filter(|row| !row.pass).collect();
    assert!(report.passed(), "{failed:#?}");
    let report = with_kernels(|device| parity(folder, device)).unwrap().unwrap();
    report.rows.iter().for_each(|row| println!("{}: {:.1e}", row.what, row.max_rel));
    let failed: Vec<_> = report.rows.iter().filter(|row| !row.pass).collect();
    assert!(report.passed() && report.rows.len() % 2 == 0, "{failed:#?}");
    assert!(crate::kernels::cuda::launched() > before + 1000, "the kernels were not used");
}
