//! Sizes from descriptions and recipes.

use super::*;
use crate::models::golden::{clip, path};

fn from_nothing() -> VisionConfig {
    VisionConfig {
        kind: Some(TowerKind::Dinov2),
        image_size: Some(28),
        patch_size: Some(7),
        width: Some(32),
        layers: Some(6),
        heads: Some(4),
        ffn: Some(64),
        ..VisionConfig::default()
    }
}

#[test]
fn weights_name_their_sizes() {
    let sizes = TowerSizes::resolve(&clip()).unwrap();
    assert_eq!((sizes.width, sizes.layers, sizes.heads, sizes.ffn), (32, 6, 4, 64));
    assert_eq!((sizes.activation, sizes.norm_eps), (Activation::QuickGelu, 1e-5));
    assert_eq!((sizes.used_layers(), sizes.patches(), sizes.position_rows), (5, 16, 17));
    assert_eq!(sizes.image_mean, CLIP_MEAN);
    let dino = VisionConfig { weights: Some(path("towers/dinov2")), image_size: Some(56), ..VisionConfig::default() };
    let sizes = TowerSizes::resolve(&dino).unwrap();
    assert_eq!((sizes.ffn, sizes.norm_eps, sizes.patches(), sizes.position_rows), (96, 1e-6, 64, 17));
    assert_eq!((sizes.activation, sizes.image_std), (Activation::Gelu, IMAGENET_STD));
}

#[test]
fn a_written_description_reads_back() {
    for config in [clip(), VisionConfig { weights: Some(path("towers/dinov2")), ..VisionConfig::default() }] {
        let sizes = TowerSizes::resolve(&config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), sizes.config_json().to_string()).unwrap();
        let again = VisionConfig { weights: Some(folder.path().to_owned()), ..VisionConfig::default() };
        assert_eq!(TowerSizes::resolve(&again).unwrap(), sizes);
    }
}

#[test]
fn selected_layers_count_from_both_ends() {
    let used = |select_layer| {
        TowerSizes::resolve(&VisionConfig { select_layer, ..from_nothing() }).map(|s| s.used_layers()).ok()
    };
    assert_eq!([used(-1), used(-2), used(-6), used(1), used(6)], [6, 5, 1, 1, 6].map(Some));
    assert_eq!([used(0), used(7), used(-7)], [None; 3]);
}

#[test]
fn what_does_not_fit_is_said() {
    let says = |config: VisionConfig| TowerSizes::resolve(&config).unwrap_err().to_string();
    assert!(says(VisionConfig { ffn: None, ..from_nothing() }).contains("`ffn`"));
    assert!(says(VisionConfig { heads: Some(5), ..from_nothing() }).contains("no multiple of heads 5"));
    assert!(says(VisionConfig { image_size: Some(30), ..from_nothing() }).contains("patch_size 7"));
    assert!(says(VisionConfig { patch_size: Some(0), ..from_nothing() }).contains("at least 1"));
    let wider = says(VisionConfig { width: Some(64), ..clip() });
    assert!(wider.contains("width = 64 contradicts 32") && wider.ends_with("clip/config.json"), "{wider}");
    assert!(says(VisionConfig { image_size: Some(56), ..clip() }).contains("image_size = 56 contradicts 28"));
    assert!(says(VisionConfig { kind: Some(TowerKind::Dinov2), ..clip() }).contains("kind = dinov2"));
    let other = VisionConfig { weights: Some(path("towers/siglip")), ..VisionConfig::default() };
    assert!(says(other).ends_with("towers/siglip/config.json"));
    let nowhere = VisionConfig { weights: Some("nowhere".into()), ..VisionConfig::default() };
    assert!(says(nowhere).ends_with("there is no such folder: nowhere"));
}
