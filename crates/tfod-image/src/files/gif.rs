//! GIF: the first frame, on the canvas that programs give it.
//!
//! TensorFlow's canvas is as large as the largest frame, and black where the first frame is transparent or does not reach. Pillow's is as large as the header
//! says, and shows what is transparent; where the frame does not reach, it has the transparent or else the first colour.

use std::num::NonZeroU64;

use ::gif::{ColorOutput, DecodeOptions, Decoder, Frame, MemoryLimit};
use image::{Rgb, RgbImage};

use crate::{LARGEST_SIDE, MOST_PIXELS, Pixels};

/// What a GIF begins with.
pub(super) const START: &[u8] = b"GIF8";

fn decoder(bytes: &[u8], only_headers: bool) -> Result<Decoder<&[u8]>, String> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(
        NonZeroU64::new(MOST_PIXELS).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes),
    );
    options.skip_frame_decoding(only_headers);
    options.read_info(bytes).map_err(|error| error.to_string())
}

/// Width and height of what the first frame needs, and of the canvas that the header tells.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), String> {
    let mut decoder = decoder(bytes, true)?;
    let canvas = (decoder.width(), decoder.height());
    let frame = decoder
        .next_frame_info()
        .map_err(|error| error.to_string())?
        .ok_or("it has no frame")?;
    Ok(around(canvas, frame))
}

/// The size of a canvas that holds a frame.
fn around(canvas: (u16, u16), frame: &Frame<'_>) -> (u32, u32) {
    let end = |start: u16, length: u16| u32::from(start) + u32::from(length);
    (
        end(frame.left, frame.width).max(canvas.0.into()),
        end(frame.top, frame.height).max(canvas.1.into()),
    )
}

/// The size of the largest frame. What cannot be read of later ones does not count.
fn largest_frame(bytes: &[u8]) -> Result<(u32, u32), String> {
    let mut decoder = decoder(bytes, true)?;
    let mut largest = (0, 0);
    while let Ok(Some(frame)) = decoder.next_frame_info() {
        largest = (
            largest.0.max(u32::from(frame.width)),
            largest.1.max(u32::from(frame.height)),
        );
    }
    let (width, height) = largest;
    if u64::from(width) * u64::from(height) > MOST_PIXELS || width.max(height) > LARGEST_SIDE {
        return Err(format!(
            "a later frame makes it {width}x{height} pixels; the limit is {LARGEST_SIDE} a side and {MOST_PIXELS} in all"
        ));
    }
    Ok(largest)
}

/// Decodes the first frame.
pub(super) fn decode(bytes: &[u8], pixels: Pixels) -> Result<RgbImage, String> {
    let mut decoder = decoder(bytes, false)?;
    let canvas = (decoder.width(), decoder.height());
    let all = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder
        .read_next_frame()
        .map_err(|error| error.to_string())?
        .ok_or("it has no frame")?;
    let palette = frame.palette.as_ref().or(all.as_ref());
    let palette = palette.ok_or("its first frame has no palette")?;
    let colour = |index: u8| {
        let start = usize::from(index) * 3;
        let colour = palette.get(start..start + 3);
        colour.and_then(|colour| <[u8; 3]>::try_from(colour).ok())
    };
    let ((width, height), empty) = match pixels {
        Pixels::TensorFlow => (largest_frame(bytes)?, Some([0; 3])),
        Pixels::Pillow => (
            around(canvas, frame),
            colour(frame.transparent.unwrap_or(0)),
        ),
    };
    let mut image = RgbImage::from_pixel(width, height, Rgb(empty.unwrap_or([0; 3])));
    let rows = frame.buffer.chunks_exact(usize::from(frame.width).max(1));
    for (y, row) in (u32::from(frame.top)..height).zip(rows) {
        for (x, &index) in (u32::from(frame.left)..width).zip(row) {
            if pixels == Pixels::TensorFlow && frame.transparent == Some(index) {
                continue;
            }
            let colour = colour(index).ok_or_else(|| {
                format!(
                    "its first frame has colour {index}; its palette has {}",
                    palette.len() / 3
                )
            })?;
            image.put_pixel(x, y, Rgb(colour));
        }
    }
    Ok(image)
}
