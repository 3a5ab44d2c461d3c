//! Pictures of the window in three themes against those in `viewer/tests/pictures`.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p covft-viewer` writes them anew.

use super::run::{explorer, whole};
use super::soft::Soft;
use crate::actions::{Action, View};
use crate::app::Explorer;
use egui::{ColorImage, ThemePreference};
use egui_kittest::Harness;
use std::path::{Path, PathBuf};

const SIZE: [usize; 2] = [1000, 700];
/// Share of the pixels that may differ by more than [`APART`] in a channel.
const MAY_DIFFER: f64 = 0.002;
const APART: u8 = 24;

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(format!("{name}.png"))
}

/// Compares with the file, or writes it; what is wrong, if anything.
fn compare(name: &str, now: &ColorImage) -> Option<String> {
    let bytes: Vec<u8> = now.pixels.iter().flat_map(|p| p.to_array()[..3].to_vec()).collect();
    let size = (SIZE[0] as u32, SIZE[1] as u32);
    let image = image::RgbImage::from_raw(size.0, size.1, bytes).unwrap();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(place(name).parent().unwrap()).unwrap();
        let file = std::fs::File::create(place(name)).unwrap();
        let (best, adaptive) = (image::codecs::png::CompressionType::Best, image::codecs::png::FilterType::Adaptive);
        let encoder = image::codecs::png::PngEncoder::new_with_quality(file, best, adaptive);
        image.write_with_encoder(encoder).unwrap();
        return None;
    }
    let wanted =
        image::open(place(name)).unwrap_or_else(|e| panic!("{name}: {e}; make it with UPDATE_SNAPSHOTS=1")).to_rgb8();
    assert_eq!(wanted.dimensions(), size, "{name}");
    let apart = |(a, b): (&image::Rgb<u8>, &image::Rgb<u8>)| (0..3).any(|k| a[k].abs_diff(b[k]) > APART);
    let differ = wanted.pixels().zip(image.pixels()).filter(|p| apart(*p)).count();
    let share = differ as f64 / (SIZE[0] * SIZE[1]) as f64;
    if share <= MAY_DIFFER {
        return None;
    }
    let new = place(&format!("{name}.new"));
    image.save(&new).unwrap();
    Some(format!("{:.2} % of the pixels differ: {}", share * 100.0, new.display()))
}

fn picture(soft: &Soft, window: &mut Harness<'_, Explorer>) -> ColorImage {
    window.run_steps(4);
    soft.picture(&window.ctx, window.output(), SIZE)
}

#[test]
fn every_view_in_three_themes() {
    let root = tempfile::tempdir().unwrap();
    let dir = whole(root.path(), "run", "2026-01-02T00:00:00Z");
    let (explorer, mut reader) = explorer(vec![dir.path().to_owned()]);
    reader.tick();
    let soft = Soft::default();
    let builder = Harness::builder().with_size(egui::vec2(SIZE[0] as f32, SIZE[1] as f32)).renderer(soft.clone());
    let mut window = builder.build_ui_state(|ui, explorer: &mut Explorer| explorer.show(ui), explorer);
    let mut wrong = Vec::new();
    let themes = [
        ("light", ThemePreference::Light, false),
        ("dark", ThemePreference::Dark, false),
        ("contrast", ThemePreference::Dark, true),
    ];
    for (theme, preference, contrast) in themes {
        window.state_mut().layout.theme = preference;
        window.state_mut().layout.contrast = contrast;
        for view in View::ALL.into_iter().filter(|v| *v != View::Samples) {
            window.state_mut().act(Action::Show(view));
            let now = picture(&soft, &mut window);
            assert!(now.pixels.iter().any(|p| *p != now.pixels[0]), "something is drawn");
            wrong.extend(compare(&format!("{theme}-{view:?}").to_lowercase(), &now));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_picture_that_was_doctored_fails() {
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() || !place("light-clusters").exists() {
        return;
    }
    let wanted = image::open(place("light-clusters")).unwrap().to_rgb8();
    let mut pixels: Vec<egui::Color32> = wanted.pixels().map(|p| egui::Color32::from_rgb(p[0], p[1], p[2])).collect();
    assert_eq!(compare("light-clusters", &ColorImage::new(SIZE, pixels.clone())), None);
    pixels[..3000].fill(egui::Color32::RED);
    let wrong = compare("light-clusters", &ColorImage::new(SIZE, pixels)).unwrap();
    std::fs::remove_file(place("light-clusters.new")).unwrap();
    assert!(wrong.contains("0.4"), "{wrong}");
}
