//! What is in the files.

use super::*;
use flate2::read::ZlibDecoder;
use std::fs;
use std::io::Read;

/// A PDF with its streams inflated.
fn inflated(pdf: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = pdf;
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|w| w == what);
    while let Some(at) = find(rest, b"stream\n") {
        text += &String::from_utf8_lossy(&rest[..at]);
        rest = &rest[at + 7..];
        let end = find(rest, b"\nendstream").unwrap();
        let mut plain = Vec::new();
        ZlibDecoder::new(&rest[..end]).read_to_end(&mut plain).unwrap();
        text += &String::from_utf8_lossy(&plain);
        rest = &rest[end + 10..];
    }
    text + &String::from_utf8_lossy(rest)
}

fn numbers_after<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = f64> + 'a {
    text.split(mark).skip(1).map(|s| s.split(['"', ' ', 'i']).next().unwrap().parse().unwrap())
}

#[test]
fn every_figure_at_every_venue() {
    let (root, plots) = plots();
    let out = kept(root.path().join("figures"));
    let mut faults = Vec::new();
    for venue in Venue::ALL {
        for plot in &plots {
            let id = plot.id();
            let svg = String::from_utf8(plot.draw(venue, Format::Svg).unwrap()).unwrap();
            let inches = numbers_after(&svg, "width=\"").next().unwrap();
            assert!(inches == venue.column() || inches == venue.full(), "{id} {venue}: {inches} in");
            // User units are points.
            let smallest = numbers_after(&svg, "font-size=\"").fold(f64::INFINITY, f64::min);
            assert!((7.0..100.0).contains(&smallest), "{id} {venue}: {smallest} pt");
            let pdf = inflated(&plot.draw(venue, Format::Pdf).unwrap());
            let before: Vec<&str> = pdf.split(" Tf").collect();
            let sizes =
                before[..before.len() - 1].iter().map(|s| s.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
            assert!(sizes.fold(f64::INFINITY, f64::min) >= 7.0, "{id} {venue}");
            assert!(!pdf.contains("/Type3") && pdf.contains("/FontFile2") && pdf.contains("/CIDFontType2"), "{id}");
            let (width, height) = plot.size(venue);
            assert!(pdf.contains(&format!("/MediaBox [0 0 {} ", width as f32)), "{id} {venue}: {width}");
            assert!((40.0..=venue.height() * 72.0).contains(&height), "{id} {venue}: {height} pt high");
            faults.extend(layout(plot, venue));
        }
    }
    faults.dedup();
    for venue in [Venue::Cvpr, Venue::Neurips] {
        for plot in &plots {
            let files = plot.save(venue, &Format::ALL, &out.join(venue.to_string()), &["plot".into()]).unwrap();
            assert_eq!(files.len(), 5);
            let csv = fs::read_to_string(&files[3]).unwrap();
            assert!(csv.lines().count() > if plot.id() == FigureId::Overhead { 3 } else { 15 }, "{}", plot.id());
            let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&files[4]).unwrap()).unwrap();
            assert_eq!(json["figure"].as_str(), Some(plot.id().name()));
            if !plot.name().starts_with("conflict") {
                assert_eq!(json["provenance"]["runs"][0]["seed"].as_u64(), Some(17));
                assert_eq!(json["provenance"]["runs"][0]["dataset_sha256"].as_str().map(str::len), Some(64));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Texts that leave the figure, and texts that cover each other.
pub(super) fn layout(plot: &Plot, venue: Venue) -> Vec<String> {
    let scene = plot.scene(venue);
    let mut faults = Vec::new();
    let mut boxes: Vec<(f64, f64, f64, f64, String)> = Vec::new();
    for item in &scene.items {
        let scene::Item::Text { text, at, size, up, .. } = item else { continue };
        let (width, high, deep) = (scene.fonts.width(text, *size), size * 0.7, size * 0.05);
        let [left, top, right, bottom] = if *up {
            [at.0 - high, at.1 - width, at.0 + deep, at.1]
        } else {
            [at.0, at.1 - high, at.0 + width, at.1 + deep]
        };
        let (w, h) = scene.size;
        if left < -0.01 || top < -0.01 || right > w + 0.01 || bottom > h + 0.01 {
            let place = format!("{left:.1}..{right:.1}, {top:.1}..{bottom:.1} of {w:.1} x {h:.1}");
            faults.push(format!("{} {venue}: `{text}` at {place}", plot.id()));
        }
        boxes.push((left, top, right, bottom, text.clone()));
    }
    for (i, a) in boxes.iter().enumerate() {
        for b in &boxes[..i] {
            if a.0 < b.2 - 0.3 && b.0 < a.2 - 0.3 && a.1 < b.3 - 0.3 && b.1 < a.3 - 0.3 {
                faults.push(format!("{} {venue}: `{}` covers `{}`", plot.id(), a.4, b.4));
            }
        }
    }
    faults
}

#[test]
fn same_numbers_same_bytes_and_again_from_the_sidecar_alone() {
    let (root, first) = plots();
    let (_other, second) = plots();
    let out = root.path().join("figures");
    for (a, b) in first.iter().zip(&second) {
        for format in Format::ALL {
            assert!(a.draw(Venue::Cvpr, format).unwrap() == b.draw(Venue::Cvpr, format).unwrap(), "{}", a.id());
        }
        let files = a.save(Venue::Cvpr, &[Format::Svg, Format::Pdf], &out, &["plot".into()]).unwrap();
        let (again, sidecar) = Plot::from_sidecar(&files[3]).unwrap();
        let once_more =
            again.save(Venue::Cvpr, &[Format::Svg, Format::Pdf], &out.join("again"), &sidecar.command).unwrap();
        for (x, y) in files.iter().zip(&once_more) {
            assert!(fs::read(x).unwrap() == fs::read(y).unwrap(), "{} differs", y.display());
        }
    }
    let path = out.join("drift.csv");
    let message = Plot::from_sidecar(&path).unwrap_err().to_string();
    assert!(message.contains("no sidecar") && message.ends_with("drift.csv"), "{message}");
}

#[test]
fn a_long_scatter_becomes_a_picture_inside_vector_axes() {
    let (_root, plots) = plots();
    let plot = plots.iter().find(|p| p.id() == FigureId::ContextClusters).unwrap();
    let svg = |data: serde_json::Value| {
        let figure: context_clusters::ContextClusters = serde_json::from_value(data).unwrap();
        let page = Page::new(Venue::Cvpr);
        let mut canvas = page.canvas(figure.size(&page));
        figure.draw(&mut canvas);
        String::from_utf8(svg::svg(&canvas.finish(), "x").unwrap()).unwrap()
    };
    let mut data: serde_json::Value = serde_json::from_str(&plot.json(Venue::Cvpr, &[]).unwrap()).unwrap();
    let mut data = data["data"].take();
    let few = svg(data.clone());
    assert!(!few.contains("<image"));
    let dots =
        (0..20_001_u64).map(|i| serde_json::json!([i.to_string(), i % 5, i % 5, made::noise(i), made::noise(2 * i)]));
    data["dots"] = dots.collect();
    let many = svg(data);
    assert!(many.contains("<image") && many.contains(">cluster<") && many.matches("<path").count() < 100);
    assert!(many.len() < 2_000_000, "{}", many.len());
}
