//! Images for detectors: files of JPEG, PNG, GIF (the first frame) or BMP, decoded to RGB.
//!
//! Detections depend on pixels, and the pixels of a JPEG on its decoder. Files are decoded to the very bytes that TensorFlow's `decode_image` gives, with
//! which detectors are trained and served, or to those of Pillow ([`Pixels`]).
//!
//! A file is hostile until it is decoded: its size, the sizes that its header claims and panics of a decoder are limited or caught before memory is
//! taken for pixels.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use image::imageops::{FilterType, resize};
use image::{DynamicImage, RgbImage};

use tfod_checkpoint::open_regular;
use tfod_text::Shown;

mod encode;
#[cfg(feature = "codecs")]
mod files;
#[cfg(feature = "codecs")]
mod jpeg;

pub use encode::{Encoding, encode};

/// The largest width and height of an image.
pub const LARGEST_SIDE: u32 = 16_384;
/// How many pixels an image may have, and a batch of them: more than cameras take.
pub const MOST_PIXELS: u64 = 1 << 25;
/// How large a file of an image may be.
pub const LARGEST_FILE: u64 = 1 << 28;
/// What is read of a file to look at its header; all of it if that is not enough.
const BEGINNING: u64 = 1 << 16;

/// Whose pixels a file is decoded to. Programs differ in how they round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pixels {
    /// Those of TensorFlow's `decode_image` and `decode_jpeg` with their defaults, bit for bit: of JPEG, the fast integer transform. Where releases differ,
    /// those since 2.3.
    #[default]
    TensorFlow,
    /// Those of Pillow's `Image.open(file).convert("RGB")`, bit for bit: of JPEG, the accurate integer transform, as OpenCV has it.
    Pillow,
}

/// How a file becomes pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoding {
    /// Whose pixels.
    pub pixels: Pixels,
    /// Whether an image is turned as its Exif data say, the way viewers show it. Neither TensorFlow nor Pillow does so unless told.
    pub upright: bool,
}

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.shown())]
pub struct ImageError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what was expected.
    pub problem: String,
}

/// An image that was decoded.
#[derive(Clone, Debug)]
pub struct Picture {
    path: PathBuf,
    pixels: RgbImage,
    is_unturned: bool,
}

fn refused(path: &Path, problem: String) -> ImageError {
    ImageError {
        path: path.to_owned(),
        problem,
    }
}

fn unreadable(path: &Path, problem: &dyn std::fmt::Display) -> ImageError {
    let expected = "expected JPEG, PNG, GIF or BMP";
    refused(
        path,
        format!("not an image that can be read: {problem}; {expected}"),
    )
}

/// Opens a file that is not too large.
fn open(path: &Path) -> Result<(File, u64), ImageError> {
    let file = open_regular(path);
    let file = file.map_err(|error| refused(path, format!("cannot be read: {error}")))?;
    let size = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
    within_limit(path, size)?;
    Ok((file, size))
}

fn within_limit(path: &Path, size: u64) -> Result<(), ImageError> {
    if size > LARGEST_FILE {
        let limit = LARGEST_FILE >> 20;
        let problem = format!("it has {size} bytes; the limit is {limit} MB");
        return Err(unreadable(path, &problem));
    }
    Ok(())
}

/// Reads on, up to this many bytes in all.
fn read(path: &Path, file: &mut File, bytes: &mut Vec<u8>, most: u64) -> Result<(), ImageError> {
    let more = most.saturating_sub(bytes.len() as u64);
    let read = file.take(more).read_to_end(bytes);
    read.map_err(|error| refused(path, format!("cannot be read: {error}")))?;
    Ok(())
}

/// Looks at the size that a header claims.
fn look(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let (width, height) = guarded(path, || files::size(bytes))?;
    if u64::from(width) * u64::from(height) > MOST_PIXELS || width.max(height) > LARGEST_SIDE {
        let problem = format!(
            "it has {width}x{height} pixels; the limit is {LARGEST_SIDE} a side and {MOST_PIXELS} in all"
        );
        return Err(unreadable(path, &problem));
    }
    Ok(())
}

/// A panic of a decoder is an error like others.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, String>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("its decoder panicked".to_owned()))
        .map_err(|problem| unreadable(path, &problem))
}

/// What a decoder gives.
struct Decoded {
    image: DynamicImage,
    /// Whether Exif data say how it is to be turned, and it was not.
    is_unturned: bool,
}

/// Where there are no decoders.
#[cfg(not(feature = "codecs"))]
mod files {
    use super::{Decoded, Decoding};

    const MISSING: &str =
        "this build cannot decode images: it was made without the feature `codecs`";

    pub(super) fn size(_: &[u8]) -> Result<(u32, u32), String> {
        Err(MISSING.to_owned())
    }

    pub(super) fn decode(_: &[u8], _: Decoding) -> Result<Decoded, String> {
        Err(MISSING.to_owned())
    }
}

impl Picture {
    /// Looks at an image's header: whether it is of a known format and within the limits.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub fn check(path: &Path) -> Result<(), ImageError> {
        let (mut file, size) = open(path)?;
        let mut bytes = Vec::new();
        read(path, &mut file, &mut bytes, BEGINNING)?;
        if size > BEGINNING && guarded(path, || files::size(&bytes)).is_err() {
            read(path, &mut file, &mut bytes, LARGEST_FILE)?;
        }
        look(path, &bytes)
    }

    /// Decodes an image to TensorFlow's pixels, not turned.
    ///
    /// # Errors
    /// When it cannot be read or decoded, and when it is too large.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        Self::open_with(path, Decoding::default())
    }

    /// Decodes an image.
    ///
    /// # Errors
    /// When it cannot be read or decoded, and when it is too large.
    pub fn open_with(path: &Path, decoding: Decoding) -> Result<Self, ImageError> {
        let (mut file, _) = open(path)?;
        let mut bytes = Vec::new();
        read(path, &mut file, &mut bytes, LARGEST_FILE)?;
        Self::decode(path, &bytes, decoding)
    }

    /// Decodes an image from the bytes of its file; `name` is for errors.
    ///
    /// # Errors
    /// When it cannot be decoded, and when it is too large.
    pub fn decode(name: &Path, bytes: &[u8], decoding: Decoding) -> Result<Self, ImageError> {
        within_limit(name, bytes.len() as u64)?;
        look(name, bytes)?;
        let decoded = guarded(name, || files::decode(bytes, decoding))?;
        Ok(Self {
            path: name.to_owned(),
            pixels: decoded.image.into_rgb8(),
            is_unturned: decoded.is_unturned,
        })
    }

    /// An image of pixels that are there: rows from top to bottom, three bytes a pixel. `None` if there are too few; `name` is for errors.
    pub fn from_rgb(name: &Path, width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        Some(Self {
            path: name.to_owned(),
            pixels: RgbImage::from_raw(width, height, rgb)?,
            is_unturned: false,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether viewers show it turned, as its Exif data say, and [`Decoding::upright`] was not asked for.
    pub fn is_unturned(&self) -> bool {
        self.is_unturned
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        self.pixels.dimensions()
    }

    /// The pixels in another size, by a triangle filter: rows from top to bottom, three bytes a pixel.
    pub fn rgb(&self, width: u32, height: u32) -> Cow<'_, [u8]> {
        if (width, height) == self.size() {
            Cow::Borrowed(self.pixels.as_raw())
        } else {
            Cow::Owned(resize(&self.pixels, width, height, FilterType::Triangle).into_raw())
        }
    }

    /// The error that this image cannot be used.
    pub fn refused(&self, problem: String) -> ImageError {
        refused(&self.path, problem)
    }
}
