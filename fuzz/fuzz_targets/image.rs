//! Images: no panic, of the decoders' own neither; TensorFlow's and Pillow's ways refuse the same JPEG files.
//!
//! Files whose header claims more than a million pixels are left out: they take time, and nothing else is done for them.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tfod_image::{Decoding, Picture, Pixels};

const MOST_PIXELS: u32 = 1 << 20;

/// Whether a frame of a JPEG, wherever it may be, or the header of another format claims many pixels.
fn is_large(bytes: &[u8]) -> bool {
    let word = |at: usize| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let frame = |at: usize| {
        bytes[at] == 0xff
            && (0xc0..=0xc2).contains(&bytes[at + 1])
            && word(at + 5) * word(at + 7) > MOST_PIXELS
    };
    let double = |at: usize| u64::from(word(at)) << 16 | u64::from(word(at + 2));
    let png = bytes.starts_with(b"\x89PNG")
        && bytes.len() > 24
        && double(16) * double(20) > MOST_PIXELS.into();
    png || (0..bytes.len().saturating_sub(8)).any(frame)
}

fuzz_target!(|bytes: &[u8]| {
    if is_large(bytes) {
        return;
    }
    let decoded = [Pixels::TensorFlow, Pixels::Pillow].map(|pixels| {
        let decoding = Decoding {
            pixels,
            upright: true,
        };
        let decoded = Picture::decode(Path::new("fuzz"), bytes, decoding);
        if let Err(error) = &decoded {
            assert!(!error.problem.contains("panicked"), "{error}");
        }
        decoded.ok()
    });
    if bytes.starts_with(b"\xff\xd8\xff") {
        let [tensorflow, pillow] = &decoded;
        assert_eq!(
            tensorflow.as_ref().map(Picture::size),
            pillow.as_ref().map(Picture::size)
        );
    }
});
