//! Decoding by format: JPEG here, the others by crates.

mod gif;

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use super::jpeg::{self, Method};
use super::{Decoded, Decoding, LARGEST_SIDE, Pixels};

/// What a JPEG begins with, for TensorFlow and Pillow.
const JPEG: &[u8] = b"\xff\xd8\xff";

fn reader(bytes: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, String> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|error| error.to_string())?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    Ok(reader)
}

/// Width and height, from a file's header.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), String> {
    if bytes.starts_with(JPEG) {
        return jpeg::size(bytes).map_err(|problem| problem.to_string());
    }
    if bytes.starts_with(gif::START) {
        return gif::size(bytes);
    }
    let size = reader(bytes)?.into_dimensions();
    size.map_err(|error| error.to_string())
}

/// Decodes a file whose size was looked at.
pub(super) fn decode(bytes: &[u8], decoding: Decoding) -> Result<Decoded, String> {
    let (mut image, orientation) = if bytes.starts_with(JPEG) {
        let method = match decoding.pixels {
            Pixels::TensorFlow => Method::Fast,
            Pixels::Pillow => Method::Accurate,
        };
        let decoded = jpeg::decode(bytes, method).map_err(|problem| problem.to_string())?;
        let image = RgbImage::from_raw(decoded.width, decoded.height, decoded.rgb);
        let image = image.ok_or("its size is not that of its pixels")?;
        let orientation = decoded.exif.and_then(Orientation::from_exif_chunk);
        (DynamicImage::from(image), orientation)
    } else if bytes.starts_with(gif::START) {
        (gif::decode(bytes, decoding.pixels)?.into(), None)
    } else {
        by_image(bytes, decoding.pixels)?
    };
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    if decoding.upright {
        image.apply_orientation(orientation);
    }
    Ok(Decoded {
        image,
        is_unturned: !decoding.upright && orientation != Orientation::NoTransforms,
    })
}

/// Decodes PNG and BMP.
fn by_image(bytes: &[u8], pixels: Pixels) -> Result<(DynamicImage, Option<Orientation>), String> {
    let reader = reader(bytes)?;
    let format = reader.format();
    let mut decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let orientation = decoder.orientation().ok();
    let image = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    if pixels == Pixels::TensorFlow && format == Some(ImageFormat::Bmp) {
        compare_with_indices(bytes, &image)?;
    }
    if pixels == Pixels::Pillow && matches!(image, DynamicImage::ImageLuma16(_)) {
        return Err(
            "it is grey with 16 bits, of which Pillow makes white wherever they are above 255"
                .to_owned(),
        );
    }
    Ok((eight_bits(image), orientation))
}

/// TensorFlow takes the colours' numbers in a palette of 256 for brightness: only where these are the same there is a picture to agree on.
fn compare_with_indices(bytes: &[u8], image: &DynamicImage) -> Result<(), String> {
    // Bits of a pixel, which stand at this place in all BMP files but the oldest.
    if bytes.get(28..30) != Some(&[8, 0]) {
        return Ok(());
    }
    let mut decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    decoder.set_indexed_color(true);
    let indices = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    if indices.into_rgb8() != image.to_rgb8() {
        return Err(
            "it is a BMP with a palette of colours, whose numbers TensorFlow takes for brightness; save it with 24 bits a pixel, or as PNG"
                .to_owned(),
        );
    }
    Ok(())
}

/// Of samples of 16 bits, the higher half, which is what TensorFlow and Pillow take.
fn eight_bits(image: DynamicImage) -> DynamicImage {
    let (width, height) = (image.width(), image.height());
    let high = |sample: &u16| sample.to_be_bytes()[0];
    let (channels, samples): (usize, Vec<u8>) = match &image {
        DynamicImage::ImageLuma16(image) => (1, image.iter().map(high).collect()),
        DynamicImage::ImageLumaA16(image) => (1, image.iter().step_by(2).map(high).collect()),
        DynamicImage::ImageRgb16(image) => (3, image.iter().map(high).collect()),
        DynamicImage::ImageRgba16(image) => {
            let pixels = image.pixels().flat_map(|pixel| pixel.0.into_iter().take(3));
            (3, pixels.map(|sample| high(&sample)).collect())
        }
        _ => return image,
    };
    let reduced = if channels == 1 {
        GrayImage::from_raw(width, height, samples).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, samples).map(DynamicImage::from)
    };
    reduced.unwrap_or(image)
}
