use super::*;
use crate::config::data::Exif;
use crate::data::picture::open;
use crate::data::testing::images;

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(images(name)).unwrap()
}

/// A file with an EXIF block that holds a whole smaller JPEG, end marker and all.
fn with_thumbnail(jpeg: &[u8], small: &[u8]) -> Vec<u8> {
    let mut body = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    body.extend(small);
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &body, &jpeg[2..]].concat()
}

#[test]
fn edges_of_halved_chroma_are_pillows() {
    // 46 x 38 pixels, whose colours change fast towards the lower and right edge.
    let ours = open(&images("edges.jpg"), Exif::Ignore).unwrap().pixels;
    assert!(ours == open(&images("expected/edges.jpg.png"), Exif::Ignore).unwrap().pixels);
}

#[test]
fn the_end_of_a_thumbnail_is_not_the_files() {
    for name in ["420.jpg", "progressive.jpg"] {
        let plain = bytes(name);
        let whole = with_thumbnail(&plain, &bytes("grey.jpg"));
        let (pixels, seen) = decode(&whole).unwrap();
        assert!(pixels == decode(&plain).unwrap().0, "{name}");
        assert_eq!(seen.exif.unwrap()[..4], *b"II*\0");
        let body = whole.len() - plain.len();
        for kept in [body + 100, body + plain.len() / 2, whole.len() - 30] {
            assert_eq!(decode(&whole[..kept]).unwrap_err(), "the file is cut off", "{name} cut at {kept}");
        }
    }
}

#[test]
fn damaged_tables_and_headers_are_named() {
    let good = bytes("420.jpg");
    let place = |marker: u8| good.windows(2).position(|w| w == [0xFF, marker]).unwrap();
    let problem = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        decode(&bad).unwrap_err()
    };
    assert_eq!(problem(place(0xC0) + 4, 12), "it has 12 bits a sample; only 8 are read");
    assert_eq!(problem(place(0xC0) + 1, 0xC9), "its arithmetic coding is not read here; save it with Huffman coding");
    assert_eq!(problem(place(0xC4) + 4, 0x77), "a Huffman table is damaged");
    assert_eq!(problem(place(0xDB) + 4, 0x0F), "a quantisation table is damaged");
    assert_eq!(problem(place(0xDA) + 5, 9), "a scan header is damaged");
}

#[test]
fn a_frame_too_large_is_refused_before_anything_is_made() {
    let mut bad = bytes("420.jpg");
    let at = bad.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap() + 5;
    bad[at..at + 4].fill(0xFF);
    assert!(decode(&bad).unwrap_err().contains("65,500"));
    bad[at..at + 4].copy_from_slice(&[0xF0, 0, 0xF0, 0]);
    assert!(decode(&bad).unwrap_err().contains("a picture has at most 178956970"));
}

#[test]
fn progressive_files_without_their_last_scans_are_refused() {
    let good = bytes("progressive.jpg");
    let scans: Vec<usize> = good.windows(2).enumerate().filter(|(_, w)| *w == [0xFF, 0xDA]).map(|(i, _)| i).collect();
    let cut = [&good[..scans[2]], &[0xFF, 0xD9][..]].concat();
    assert_eq!(decode(&cut).unwrap_err(), "it is progressive and some of its scans are not there");
}
