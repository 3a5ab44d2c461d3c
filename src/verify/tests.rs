use super::*;

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/covft-tiny")
}

#[test]
fn every_number_of_the_fixture_is_ours() {
    let report = verify(&fixture()).unwrap();
    let failed: Vec<_> = report.rows.iter().filter(|row| !row.pass).collect();
    assert!(report.passed(), "{failed:#?}");
    for method in METHODS {
        for what in ["vision features", "loss", "trainable parameters", "gradients"] {
            let what = format!("{method}: {what}");
            assert!(report.rows.iter().any(|row| row.what == what), "{what} was not compared");
        }
    }
}
