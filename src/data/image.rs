//! Pictures to pixels: square shape, bicubic resizing, normalisation.

use super::error::{DataError, Result};
use super::resample::{Axis, bicubic};
use crate::config::data::ImageAspect;
use image::RgbImage;
use serde::Deserialize;
use std::path::Path;

/// Channel means that CLIP was trained with.
pub const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Channel deviations that CLIP was trained with.
pub const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];
/// Channel means of `ImageNet` (`DINOv2`).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Channel deviations of `ImageNet` (`DINOv2`).
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// How a tower wants its images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageSpec {
    /// Side of the square in pixels.
    pub size: u32,
    /// Channel means, of values in 0..=1.
    pub mean: [f32; 3],
    /// Channel deviations.
    pub std: [f32; 3],
    /// How an image becomes square.
    pub aspect: ImageAspect,
}

#[derive(Deserialize)]
struct Preprocessor {
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

impl ImageSpec {
    /// Means and deviations of a checkpoint folder's `preprocessor_config.json`; `None` where the folder has none.
    ///
    /// # Errors
    /// The file cannot be read or lacks them.
    pub fn normalisation(folder: &Path) -> Result<Option<([f32; 3], [f32; 3])>> {
        let path = folder.join("preprocessor_config.json");
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = std::fs::read(&path).map_err(DataError::io("read the preprocessor", &path))?;
        let parsed: Preprocessor = serde_json::from_slice(&bytes).map_err(|e| DataError::File {
            line: e.line() as u64,
            problem: e.to_string(),
            path,
        })?;
        Ok(Some((parsed.image_mean, parsed.image_std)))
    }

    /// Number of values of one image, `3 * size * size`.
    #[must_use]
    pub fn values(&self) -> usize {
        3 * (self.size as usize).pow(2)
    }

    /// Square image of `size` pixels, not normalised. Neither the padded square nor the resized strip is ever made: a
    /// long thin picture needs no more memory than another one.
    #[must_use]
    pub fn square(&self, image: &RgbImage) -> RgbImage {
        let (w, h) = (image.width() as usize, image.height() as usize);
        let size = self.size as usize;
        let axis = |length: usize| match self.aspect {
            ImageAspect::Pad => {
                let side = w.max(h);
                Axis::padded(side, (side - length) / 2, length, size)
            }
            ImageAspect::Crop => {
                // Hugging Face's rule: the longer side is rounded down.
                let to = size * length / w.min(h);
                let start = (to - size) / 2;
                Axis::cropped(length, to, start..start + size)
            }
        };
        bicubic(image, &axis(w), &axis(h), self.mean_colour())
    }

    /// The colour that a picture is padded with (LLaVA: `int(mean * 255)`).
    #[must_use]
    pub fn mean_colour(&self) -> [u8; 3] {
        // In double precision, as Python computes it; the value is within 0..=255.
        self.mean.map(|m| (f64::from(m) * 255.0).clamp(0.0, 255.0) as u8)
    }

    /// The picture that stands for one that cannot be read: the mean colour.
    #[must_use]
    pub fn blank(&self) -> RgbImage {
        RgbImage::from_pixel(1, 1, image::Rgb(self.mean_colour()))
    }

    /// Normalised pixels `[3, size, size]`.
    #[must_use]
    pub fn pixels(&self, image: &RgbImage) -> Vec<f32> {
        let square = self.square(image);
        let plane = (self.size as usize).pow(2);
        let mut out = vec![0.0; self.values()];
        for (i, pixel) in square.pixels().enumerate() {
            for c in 0..3 {
                out[c * plane + i] = (f32::from(pixel.0[c]) / 255.0 - self.mean[c]) / self.std[c];
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::data::Exif;
    use crate::data::picture;
    use crate::data::testing::{fixture, fixture_batch, fixture_entries, images};
    use image::Rgb;

    const CLIP_28: ImageSpec = ImageSpec { size: 28, mean: CLIP_MEAN, std: CLIP_STD, aspect: ImageAspect::Pad };

    fn decode(path: &Path) -> std::result::Result<RgbImage, String> {
        picture::open(path, Exif::Ignore).map(|p| p.pixels)
    }

    /// Largest difference of 8-bit values, and the share of values that differ at all.
    fn difference(a: &RgbImage, b: &RgbImage) -> (u8, f64) {
        assert_eq!(a.dimensions(), b.dimensions());
        let pairs = || a.as_raw().iter().zip(b.as_raw());
        let unequal = pairs().filter(|(x, y)| x != y).count();
        (pairs().map(|(x, y)| x.abs_diff(*y)).max().unwrap(), unequal as f64 / a.as_raw().len() as f64)
    }

    #[test]
    fn pixels_equal_the_published_ones() {
        let expected = fixture_batch().pixels;
        assert_eq!(ImageSpec::normalisation(&fixture("clip")).unwrap(), Some((CLIP_MEAN, CLIP_STD)));
        for (i, entry) in fixture_entries().iter().enumerate() {
            let row = &expected[i * CLIP_28.values()..][..CLIP_28.values()];
            let Some(name) = &entry.image else {
                assert!(row.iter().all(|&v| v == 0.0));
                continue;
            };
            let pixels = CLIP_28.pixels(&decode(&fixture("images").join(&**name)).unwrap());
            let plane = CLIP_28.values() / 3;
            for (j, (a, b)) in pixels.iter().zip(row).enumerate() {
                let levels = (a - b).abs() * CLIP_STD[j / plane] * 255.0;
                assert!(levels <= 0.01, "{name}: value {j} is {levels} levels off");
            }
        }
    }

    #[test]
    fn every_kind_of_png_and_webp_equals_pillow() {
        let names = [
            "rgb.png",
            "rgba.png",
            "grey.png",
            "grey_alpha.png",
            "palette.png",
            "grey16.png",
            "rgb16.png",
            "lossless.webp",
        ];
        for name in names {
            for (aspect, kind) in [(ImageAspect::Pad, "pad"), (ImageAspect::Crop, "crop")] {
                let spec = ImageSpec { size: 24, aspect, ..CLIP_28 };
                let ours = spec.square(&decode(&images(name)).unwrap());
                let pillow = decode(&images(&format!("expected/{name}.{kind}.png"))).unwrap();
                let (worst, share) = difference(&ours, &pillow);
                assert!(worst == 0 && share == 0.0, "{name} {kind}: {worst} levels, {share} of the values differ");
            }
        }
    }

    #[test]
    fn every_kind_of_jpeg_equals_pillow() {
        for name in ["420.jpg", "444.jpg", "grey.jpg", "progressive.jpg", "rotated.jpg"] {
            for (aspect, kind) in [(ImageAspect::Pad, "pad"), (ImageAspect::Crop, "crop")] {
                let spec = ImageSpec { size: 24, aspect, ..CLIP_28 };
                let ours = spec.square(&decode(&images(name)).unwrap());
                let pillow = decode(&images(&format!("expected/{name}.{kind}.png"))).unwrap();
                let (worst, _) = difference(&ours, &pillow);
                assert_eq!(worst, 0, "{name} {kind}");
            }
        }
    }

    #[test]
    fn enlarging_equals_pillow_too() {
        let spec = ImageSpec { size: 100, ..CLIP_28 };
        let ours = spec.square(&decode(&images("rgb.png")).unwrap());
        assert_eq!(difference(&ours, &decode(&images("expected/rgb.png.large.png")).unwrap()).0, 0);
    }

    /// Pillow's way: the whole square, or the whole strip.
    fn the_long_way(spec: &ImageSpec, image: &RgbImage) -> RgbImage {
        let (w, h) = image.dimensions();
        let whole = |from: u32, to: u32| Axis::cropped(from as usize, to as usize, 0..to as usize);
        let resized =
            |image: &RgbImage, nw, nh| bicubic(image, &whole(image.width(), nw), &whole(image.height(), nh), [0; 3]);
        if spec.aspect == ImageAspect::Pad {
            let side = w.max(h);
            let mut square = RgbImage::from_pixel(side, side, Rgb(spec.mean_colour()));
            image::imageops::replace(&mut square, image, i64::from((side - w) / 2), i64::from((side - h) / 2));
            return resized(&square, spec.size, spec.size);
        }
        let (nw, nh) = (spec.size * w / w.min(h), spec.size * h / w.min(h));
        let strip = resized(image, nw, nh);
        image::imageops::crop_imm(&strip, (nw - spec.size) / 2, (nh - spec.size) / 2, spec.size, spec.size).to_image()
    }

    #[test]
    fn squares_equal_those_of_the_whole_square_and_the_whole_strip() {
        let noise = |x: u32, y: u32| Rgb([x * 37 + y * 11, x * y * 5, (x ^ y) * 29].map(|v| (v % 256) as u8));
        for (w, h) in [(1, 1), (1, 90), (90, 1), (2, 71), (64, 31), (31, 64), (120, 7), (13, 13), (9, 10)] {
            let image = RgbImage::from_fn(w, h, noise);
            for aspect in [ImageAspect::Pad, ImageAspect::Crop] {
                for size in [8, 24, 33] {
                    let spec = ImageSpec { size, aspect, ..CLIP_28 };
                    assert!(spec.square(&image) == the_long_way(&spec, &image), "{w} x {h} to {size}, {aspect:?}");
                }
            }
        }
    }

    #[test]
    fn a_picture_of_a_million_rows_is_squared() {
        let image = RgbImage::from_fn(1, 1 << 20, |_, y| Rgb([(y >> 12) as u8; 3]));
        for aspect in [ImageAspect::Pad, ImageAspect::Crop] {
            let spec = ImageSpec { size: 336, aspect, ..CLIP_28 };
            assert_eq!(spec.square(&image).dimensions(), (336, 336));
        }
    }

    #[test]
    fn a_blank_is_the_mean_colour_everywhere() {
        let blank = CLIP_28.square(&CLIP_28.blank());
        assert!(blank.pixels().all(|p| p.0 == CLIP_28.mean_colour()));
        assert!(CLIP_28.pixels(&blank).iter().all(|v| v.abs() < 0.02));
    }

    #[test]
    fn very_long_images_keep_their_centre() {
        let image = RgbImage::from_fn(300, 10, |x, _| Rgb([u8::try_from(x / 2).unwrap(); 3]));
        let spec = ImageSpec { size: 10, aspect: ImageAspect::Crop, ..CLIP_28 };
        let square = spec.square(&image);
        assert_eq!(square.get_pixel(0, 5).0[0], 72);
        assert_eq!(square.get_pixel(9, 5).0[0], 77);
    }
}
