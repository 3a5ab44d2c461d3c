use super::*;
use crate::data::testing::images;
use std::fmt::Write as _;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures").join(name)
}

/// `scripts/picture-differential --fixture` wrote these files and what Pillow says of them.
#[test]
fn sound_and_damaged_files_are_what_pillow_says() {
    let said = std::fs::read_to_string(fixture("pillow.txt")).unwrap();
    let (mut alike, mut refused_alone, mut wrong) = ([0, 0], 0, String::new());
    for line in said.lines() {
        let (name, theirs) = line.split_once(' ').unwrap();
        let pillow = theirs.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>().ok();
        let ours = open(&fixture(name), Exif::Ignore);
        match (&ours, pillow) {
            (Ok(ours), Some(theirs)) => {
                let (width, height) = ours.pixels.dimensions();
                let found = [width, height, crc32fast::hash(ours.pixels.as_raw())];
                if found[..] != theirs {
                    writeln!(wrong, "{name}: other pixels, {found:?} and not {theirs:?}").unwrap();
                }
                assert_eq!(dimensions(&fixture(name), Exif::Ignore), Ok((width, height)), "{name}");
                alike[0] += 1;
            }
            (Ok(_), None) => writeln!(wrong, "{name}: read, where Pillow says {theirs}").unwrap(),
            (Err(_), Some(_)) => refused_alone += 1,
            (Err(_), None) => alike[1] += 1,
        }
    }
    assert_eq!(wrong, "");
    assert!(alike[0] >= 30 && alike[1] >= 30 && refused_alone <= 6, "{alike:?} {refused_alone}");
}

#[test]
fn a_file_is_what_its_bytes_say() {
    let kind = |bytes: &[u8]| Kind::of(bytes).unwrap_err();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gif.jpg");
    let gif = std::fs::read(images("first.gif")).unwrap();
    std::fs::write(&path, gif).unwrap();
    let picture = open(&path, Exif::Ignore).unwrap().pixels;
    assert_eq!(picture, open(&images("expected/first.gif.png"), Exif::Ignore).unwrap().pixels);
    insta::assert_snapshot!(kind(b""), @"the file is empty (0 bytes); fetch it again");
    insta::assert_snapshot!(kind(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
        @"a Git LFS pointer stands in place of the picture; fetch it with: git lfs pull");
    insta::assert_snapshot!(kind(b"\n<!DOCTYPE html><html><body>404"), @"a web page was saved in place of the picture; fetch it again");
    insta::assert_snapshot!(kind(b"<svg xmlns='x'/>"), @"an SVG drawing is not read; convert it (JPEG, PNG, WebP, GIF, BMP and TIFF are read)");
    insta::assert_snapshot!(kind("{\"error\": \"Zugriff verweigert, bitte später\"}".as_bytes()),
        @r#"text stands in place of the picture ("{\"error\": \"Zugriff verweigert, bitte spä"); fetch it again"#);
    insta::assert_snapshot!(kind(&[0; 99]), @"the file is 99 zero bytes, a copy that was not finished; fetch it again");
    insta::assert_snapshot!(kind(b"\0\0\0\x20ftypavif\0\0"), @"an AVIF picture is not read; convert it (JPEG, PNG, WebP, GIF, BMP and TIFF are read)");
    insta::assert_snapshot!(kind(&[7, 8, 9, 200, 1]),
        @"it is no kind of picture that is known here (it begins 07 08 09 C8); JPEG, PNG, WebP, GIF, BMP and TIFF are read");
    let problem = |path: &Path| open(path, Exif::Ignore).unwrap_err();
    assert_eq!(problem(dir.path()), "a folder stands in place of the image; name a file in it");
    assert_eq!(problem(Path::new("no.png")), "the image is missing");
}

#[test]
fn headers_that_promise_too_much_are_refused() {
    let png = |width: u32, height: u32| {
        let mut chunk = b"IHDR".to_vec();
        chunk.extend(width.to_be_bytes());
        chunk.extend(height.to_be_bytes());
        chunk.extend([8, 2, 0, 0, 0]);
        let crc = crc32fast::hash(&chunk).to_be_bytes();
        [&b"\x89PNG\r\n\x1A\n\0\0\0\x0D"[..], &chunk, &crc, b"\0\0\0\0IDAT\0\0\0\0"].concat()
    };
    let problem = |bytes: &[u8]| decode(bytes, Exif::Ignore).unwrap_err();
    insta::assert_snapshot!(problem(&png(20_000, 20_000)),
        @"cannot read the picture (PNG): its header says 20000 x 20000 pixels; a picture has at most 178956970; make it smaller");
    insta::assert_snapshot!(problem(&png(1, 2_000_000)),
        @"cannot read the picture (PNG): its header says 1 x 2000000 pixels; a side has at most 1048576; make it smaller");
    assert!(problem(&png(10, 0)).contains("no pixels"));
    let gif = b"GIF89a\xFF\xFF\xFF\xFF\0\0\0,\0\0\0\0\xFF\xFF\xFF\xFF\0\x02\0;";
    assert!(problem(gif).contains("65535 x 65535"));
    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend([0, 0, 2, 0, 0, 0, 2, 0, 1, 0, 24, 0]);
    bmp.resize(60, 0);
    assert!(problem(&bmp).contains("131072 x 131072"));
}

#[test]
fn a_png_without_its_last_chunk_is_read_as_pillow_reads_it() {
    let good = std::fs::read(images("rgb.png")).unwrap();
    let sound = decode(&good, Exif::Ignore).unwrap().pixels;
    let without = &good[..good.len() - 12];
    for file in [without.to_vec(), good[..good.len() - 4].to_vec(), [without, b"hello there"].concat()] {
        assert_eq!(decode(&file, Exif::Ignore).unwrap().pixels, sound);
    }
    assert!(decode(&good[..good.len() - 20], Exif::Ignore).is_err());
    let late = [without, b"\0\0\0\x06tRNS\0\0\0\0\0\0\0\0\0\0", &good[good.len() - 12..]].concat();
    if let Err(problem) = decode(&late, Exif::Ignore) {
        assert!(!problem.contains("ChunkType"), "{problem}");
    }
}

#[test]
fn damage_in_a_chunk_beside_the_pixels_is_damage() {
    let good = std::fs::read(images("rgb.png")).unwrap();
    let bad = [&good[..33], b"\0\0\0\x04gAMA\0\0\0\0\0\0\0\0", &good[33..]].concat();
    let problem = decode(&bad, Exif::Ignore).unwrap_err();
    assert_eq!(problem, "cannot read the picture (PNG): its gAMA chunk is damaged (the checksum is another one)");
}

#[test]
fn rotation_is_ignored_or_applied_in_pixels_and_dimensions() {
    let path = images("rotated.jpg");
    let stored = open(&path, Exif::Ignore).unwrap();
    let turned = open(&path, Exif::Apply).unwrap();
    assert!(stored.has_rotation && turned.has_rotation);
    // 6: the first row is the right column.
    assert_eq!(turned.pixels, image::imageops::rotate90(&stored.pixels));
    assert_eq!(dimensions(&path, Exif::Ignore), Ok(stored.pixels.dimensions()));
    assert_eq!(dimensions(&path, Exif::Apply), Ok(turned.pixels.dimensions()));
    assert!(!open(&images("420.jpg"), Exif::Apply).unwrap().has_rotation);
    let by_xmp = |text: &str| turn::of(&Seen { xmp: Some(text.as_bytes().to_vec()), ..Seen::default() });
    assert_eq!(by_xmp("<x tiff:Orientation=\"8\"/>"), Orientation::Rotate270);
    assert_eq!(by_xmp("<tiff:Orientation>3</tiff:Orientation>"), Orientation::Rotate180);
    assert_eq!(by_xmp("<x/>"), Orientation::NoTransforms);
    assert_eq!(by_xmp("<a tiff:Orientation=''/><b tiff:Orientation=\"6\"/>"), Orientation::Rotate90);
}

/// An EXIF block with one entry: its type, count and the four bytes of its value.
fn block(order: [u8; 2], kind: u16, count: u32, value: [u8; 4]) -> Vec<u8> {
    let is_little = order == *b"II";
    let short = |v: u16| if is_little { v.to_le_bytes() } else { v.to_be_bytes() };
    let long = |v: u32| if is_little { v.to_le_bytes() } else { v.to_be_bytes() };
    [&order[..], &short(42), &long(8), &short(1), &short(0x112), &short(kind), &long(count), &value, &[0; 4]].concat()
}

#[test]
fn every_spelling_of_the_tag_is_read_and_what_means_nothing_turns_nothing() {
    let of = |exif: Vec<u8>| {
        // Asked only where the block says nothing.
        let xmp = Some(b"tiff:Orientation=\"3\"".to_vec());
        turn::of(&Seen { exif: Some(exif), xmp, ..Seen::default() })
    };
    assert_eq!(of(block(*b"II", 3, 1, [6, 0, 0, 0])), Orientation::Rotate90);
    assert_eq!(of(block(*b"MM", 3, 1, [0, 6, 0, 0])), Orientation::Rotate90);
    assert_eq!(of(block(*b"II", 4, 1, [8, 0, 0, 0])), Orientation::Rotate270);
    assert_eq!(of(block(*b"II", 3, 2, [6, 0, 8, 0])), Orientation::Rotate90);
    for hides in [
        block(*b"II", 3, 1, [0; 4]),
        block(*b"II", 3, 1, [9, 0, 0, 0]),
        block(*b"MM", 1, 1, [2, 9, 9, 9]),
        block(*b"II", 4, 1, [6, 1, 0, 0]),
    ] {
        assert_eq!(of(hides), Orientation::NoTransforms);
    }
    let mut cut = block(*b"II", 3, 1, [6, 0, 0, 0]);
    cut.truncate(16);
    for silent in [cut, b"II*\0".to_vec(), b"nothing".to_vec(), Vec::new()] {
        assert_eq!(of(silent), Orientation::Rotate180);
    }
}

#[test]
fn png_has_its_rotation_in_a_chunk_a_profile_or_a_packet() {
    let good = std::fs::read(images("rgb.png")).unwrap();
    let chunk = |name: &[u8; 4], content: &[u8]| {
        let body = [&name[..], content].concat();
        [&(content.len() as u32).to_be_bytes()[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
    };
    let with = |notes: &[Vec<u8>]| {
        let file = [&good[..33], &notes.concat(), &good[33..]].concat();
        let turned = decode(&file, Exif::Apply).unwrap();
        let stored = decode(&file, Exif::Ignore).unwrap();
        assert_eq!(turned.has_rotation, turned.pixels != stored.pixels);
        turned.pixels == image::imageops::rotate90(&stored.pixels)
    };
    let exif = block(*b"II", 3, 1, [6, 0, 0, 0]);
    let pack = |text: &[u8]| {
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, text).unwrap();
        packed.finish().unwrap()
    };
    let digits: String = [b"Exif\0\0", &exif[..]].concat().iter().map(|b| format!("{b:02x}")).collect();
    let profile = format!("\nexif\n{:8}\n{}\n{}\n", digits.len() / 2, &digits[..20], &digits[20..]);
    let title = b"Raw profile type exif\0";
    let packet = b"<x tiff:Orientation=\"6\"/>";
    let xmp = b"XML:com.adobe.xmp\0";
    assert!(with(&[chunk(b"eXIf", &exif)]) && with(&[chunk(b"eXIf", &[b"Exif\0\0", &exif[..]].concat())]));
    assert!(with(&[chunk(b"tEXt", &[&title[..], profile.as_bytes()].concat())]));
    assert!(with(&[chunk(b"zTXt", &[&title[..], b"\0", &pack(profile.as_bytes())].concat())]));
    assert!(with(&[chunk(b"iTXt", &[&xmp[..], b"\0\0en\0t\0", packet].concat())]));
    assert!(with(&[chunk(b"iTXt", &[&xmp[..], b"\x01\0\0\0", &pack(packet)].concat())]));
    assert!(!with(&[]) && !with(&[chunk(b"tEXt", b"Raw profile type exif\0\nexif\n4\nxyz")]));
}

#[test]
fn one_colour_is_seen() {
    let flat = Picture { pixels: RgbImage::from_pixel(9, 9, Rgb([255; 3])), has_rotation: false, kind: None };
    assert!(flat.is_one_colour());
    assert!(!open(&images("rgb.png"), Exif::Ignore).unwrap().is_one_colour());
}
