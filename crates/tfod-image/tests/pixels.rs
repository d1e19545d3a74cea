//! Fixtures against what TensorFlow and Pillow make of them (`tests/backend/test_images.py` writes both), and hostile files.

#![cfg(feature = "codecs")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tfod_image::{Decoding, LARGEST_SIDE, MOST_PIXELS, Picture, Pixels};

const PROGRAMS: [Pixels; 2] = [Pixels::TensorFlow, Pixels::Pillow];

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fixtures.join(name)
}

fn decode(bytes: &[u8], pixels: Pixels) -> Result<Picture, String> {
    let decoding = Decoding {
        pixels,
        upright: false,
    };
    Picture::decode(Path::new("picture"), bytes, decoding).map_err(|error| error.to_string())
}

fn sum(picture: &Picture) -> String {
    let (width, height) = picture.size();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&picture.rgb(width, height));
    format!("{:08x}", hasher.finalize())
}

#[test]
fn pixels_are_those_of_tensorflow_and_pillow() {
    let table = fs::read_to_string(fixture("pixels.tsv")).expect("a table");
    let mut decoded = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split('\t').collect();
        let [name, width, height, sums @ ..] = &*fields else {
            panic!("a line of another form: {line}");
        };
        let bytes = fs::read(fixture(name)).expect("a fixture");
        for (pixels, expected) in PROGRAMS.into_iter().zip(sums) {
            let found = decode(&bytes, pixels);
            if *expected == "-" {
                let error = found.expect_err(name);
                assert!(error.contains("not an image that can be read"), "{error}");
                continue;
            }
            let found = found.expect(name);
            let size = found.size();
            assert_eq!(
                (size.0.to_string(), size.1.to_string()),
                ((*width).to_owned(), (*height).to_owned())
            );
            assert_eq!(sum(&found), *expected, "{name}, {pixels:?}");
            decoded += 1;
        }
    }
    assert!(decoded > 35, "{decoded}");
}

/// A segment of a JPEG.
fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() + 2).to_be_bytes();
    [&[0xff, marker], &length[length.len() - 2..], content].concat()
}

fn frame(size: [u16; 2], components: &[[u8; 3]]) -> Vec<u8> {
    let [height, width] = size.map(u16::to_be_bytes);
    let count = components.len().to_be_bytes();
    let header = [&[8][..], &height, &width, &count[count.len() - 1..]].concat();
    segment(0xc0, &[header, components.concat()].concat())
}

fn file(parts: &[&[u8]]) -> Vec<u8> {
    [&b"\xff\xd8"[..], &parts.concat(), b"\xff\xd9"].concat()
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let grey = [[1, 0x11, 0]];
    let frame_ = frame([8, 8], &grey);
    let quantisation = segment(0xdb, &[&[0][..], &[1; 64]].concat());
    let scan = segment(0xda, &[1, 1, 0, 0, 63, 0]);
    let cases: BTreeMap<&str, Vec<u8>> = [
        (
            "there is no picture in it (at byte 8)",
            file(&[&segment(0xfe, b"")]),
        ),
        (
            "a scan before the header of the frame (at byte 12)",
            file(&[&scan]),
        ),
        ("a second frame", file(&[&frame_, &frame_])),
        ("it has 8x0 pixels", file(&[&frame([0, 8], &grey)])),
        (
            "it has 2 components",
            file(&[&frame([8, 8], &[[1, 0x11, 0]; 2])]),
        ),
        (
            "sampled 5x1; expected 1 to 4",
            file(&[&frame([8, 8], &[[1, 0x51, 0]])]),
        ),
        (
            "sampled 2x1 where another has 3x1",
            file(&[&frame([8, 8], &[[1, 0x31, 0], [2, 0x21, 0], [3, 0x11, 0]])]),
        ),
        (
            "needs quantisation table 0, which is not there",
            file(&[&frame_, &scan]),
        ),
        (
            "needs Huffman table 2, which is not there",
            file(&[
                &frame_,
                &quantisation,
                &segment(0xda, &[1, 1, 0x22, 0, 63, 0]),
            ]),
        ),
        (
            "a scan has component 7, which the frame has not",
            file(&[&frame_, &segment(0xda, &[1, 7, 0, 0, 63, 0])]),
        ),
        (
            "codes of 1 bits, for which there is no room",
            file(&[
                &frame_,
                &quantisation,
                &segment(0xc4, &[&[0, 2][..], &[0; 15], &[0, 1]].concat()),
                &scan,
            ]),
        ),
        (
            "quantisation table 4; expected 0 to 3",
            file(&[&segment(0xdb, &[4; 65])]),
        ),
        (
            "Huffman table 24; expected",
            file(&[&segment(0xc4, &[&[0x24][..], &[0; 16]].concat())]),
        ),
        (
            "the marker 02, which JPEG does not define",
            file(&[b"\xff\x02"]),
        ),
        ("a segment has the length 1", file(&[b"\xff\xdb\0\x01"])),
        ("it is coded arithmetically", file(&[&segment(0xc9, b"")])),
        (
            "it is lossless or hierarchical JPEG (frame c3)",
            file(&[&segment(0xc3, b"")]),
        ),
        (
            "it is truncated",
            file(&[&frame_, &quantisation, &scan])[..90].to_vec(),
        ),
        ("there is no picture in it", b"\xff\xd8\xff\xd9".to_vec()),
    ]
    .into();
    for (expected, bytes) in cases {
        let error = decode(&bytes, Pixels::TensorFlow).expect_err(expected);
        assert!(error.contains(expected), "expected {expected}: {error}");
        assert!(error.starts_with("picture: not an image that can be read: "));
        assert!(error.contains("at byte"), "{error}");
    }
}

/// Where data end early, the rest is grey; that makes a valid file of headers alone.
#[test]
fn limits_are_looked_at_before_memory_is_taken() {
    let with_size = |size| {
        file(&[
            &segment(0xdb, &[&[0][..], &[1; 64]].concat()),
            &frame(size, &[[1, 0x11, 0]]),
            &segment(0xda, &[1, 1, 0, 0, 63, 0]),
        ])
    };
    let picture = decode(&with_size([1, 20]), Pixels::TensorFlow).expect("a picture");
    assert_eq!(picture.rgb(20, 1)[8 * 3..], [128; 12 * 3]);

    let side = u16::try_from(LARGEST_SIDE).expect("16 bits");
    let rows = u16::try_from(MOST_PIXELS / u64::from(LARGEST_SIDE)).expect("16 bits");
    for size in [[side + 1, 1], [1, side + 1], [rows + 1, side]] {
        let error = decode(&with_size(size), Pixels::TensorFlow).expect_err("too large");
        let expected = format!("it has {}x{} pixels; the limit is 16384", size[1], size[0]);
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_header_beyond_the_beginning_of_a_file_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long.jpg");
    let comment = segment(0xfe, &vec![b'x'; 60_000]);
    let bytes = fs::read(fixture("grey.jpg")).expect("a fixture");
    fs::write(
        &path,
        [&bytes[..2], &comment, &comment, &bytes[2..]].concat(),
    )
    .expect("a file");
    Picture::check(&path).expect("a picture");
    assert_eq!(Picture::open(&path).expect("a picture").size(), (64, 48));
    fs::write(
        &path,
        [&bytes[..2], &comment, &comment, &[0xff, 2]].concat(),
    )
    .expect("a file");
    let error = Picture::check(&path).expect_err("damaged").to_string();
    assert!(error.contains("the marker 02"), "{error}");
}

#[test]
fn exif_orientation_is_applied_when_asked_for() {
    let path = fixture("orientation_6.jpg");
    let lying = Picture::open(&path).expect("a picture");
    let decoding = Decoding {
        upright: true,
        ..Decoding::default()
    };
    let upright = Picture::open_with(&path, decoding).expect("a picture");
    assert_eq!((lying.size(), upright.size()), ((27, 13), (13, 27)));
    let plain = Picture::open(&fixture("grey.jpg")).expect("a picture");
    let unturned = [&lying, &upright, &plain].map(Picture::is_unturned);
    assert_eq!(unturned, [true, false, false]);
    let (lying, upright) = (lying.rgb(27, 13), upright.rgb(13, 27));
    for (x, y) in [(0, 0), (26, 0), (0, 12), (26, 12), (7, 5)] {
        // Turned to the right by a quarter.
        let from = (y * 27 + x) * 3;
        let to = (x * 13 + 12 - y) * 3;
        assert_eq!(lying[from..from + 3], upright[to..to + 3], "{x}, {y}");
    }
}

/// Decoding ends, without a panic, whatever is changed in a file or cut off; what is decoded has its size.
#[test]
fn damage_never_panics() {
    let names = ["420_7x9.jpg", "420_progressive_17x33.jpg", "ycck_60.jpg"];
    for name in names {
        let bytes = fs::read(fixture(name)).expect("a fixture");
        // A step that meets the bytes of all fields somewhere.
        for at in (0..bytes.len()).step_by(11) {
            let mut outcomes = vec![decode(&bytes[..at], Pixels::TensorFlow)];
            assert!(outcomes[0].is_err(), "{name} cut at {at}");
            for value in [0xff, bytes[at] ^ 0x10] {
                let mut changed = bytes.clone();
                changed[at] = value;
                outcomes.push(decode(&changed, Pixels::Pillow));
            }
            for outcome in outcomes {
                if let Err(error) = outcome {
                    assert!(
                        !error.contains("panicked"),
                        "{name} changed at {at}: {error}"
                    );
                }
            }
        }
    }
}
