//! Images for detectors: files of JPEG, PNG, GIF (the first frame) or BMP, decoded to RGB.
//!
//! A file is hostile until it is decoded: its size, the sizes that its header claims and panics of a decoder are limited or caught before memory is
//! taken for pixels.

use std::borrow::Cow;
use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use image::imageops::{FilterType, resize};
use image::{ImageReader, RgbImage};

use tfod_checkpoint::open_regular;
use tfod_text::Shown;

/// The largest width and height of an image.
pub const LARGEST_SIDE: u32 = 16_384;
/// How many pixels an image may have, and a batch of them: more than cameras take.
pub const MOST_PIXELS: u64 = 1 << 25;
/// How large a file of an image may be.
pub const LARGEST_FILE: u64 = 1 << 28;

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

/// A reader of an image that is not too large.
fn reader(path: &Path) -> Result<ImageReader<BufReader<File>>, ImageError> {
    if !cfg!(feature = "codecs") {
        let problem = "this build cannot decode images: it was made without the feature `codecs`";
        return Err(refused(path, problem.to_owned()));
    }
    let open = || {
        let file = open_regular(path)
            .map_err(|error| refused(path, format!("cannot be read: {error}")))?;
        let size = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
        if size > LARGEST_FILE {
            let limit = LARGEST_FILE >> 20;
            return Err(unreadable(
                path,
                &format!("it has {size} bytes; the limit is {limit} MB"),
            ));
        }
        let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
        let mut reader = reader.map_err(|error| unreadable(path, &error))?;
        let mut limits = image::Limits::default();
        limits.max_image_width = Some(LARGEST_SIDE);
        limits.max_image_height = Some(LARGEST_SIDE);
        reader.limits(limits);
        Ok(reader)
    };
    let size = decoded(path, || {
        open()?
            .into_dimensions()
            .map_err(|error| unreadable(path, &error))
    })?;
    let (width, height) = size;
    if u64::from(width) * u64::from(height) > MOST_PIXELS || width.max(height) > LARGEST_SIDE {
        let problem = format!(
            "it has {width}x{height} pixels; the limit is {LARGEST_SIDE} a side and {MOST_PIXELS} in all"
        );
        return Err(unreadable(path, &problem));
    }
    open()
}

/// A panic of a decoder is an error like others.
fn decoded<T>(path: &Path, work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(unreadable(path, &"its decoder panicked")))
}

impl Picture {
    /// Looks at an image's header: whether it is of a known format and within the limits.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub fn check(path: &Path) -> Result<(), ImageError> {
        reader(path)?;
        Ok(())
    }

    /// Decodes an image.
    ///
    /// # Errors
    /// When it cannot be read or decoded, and when it is too large.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let reader = reader(path)?;
        let pixels = decoded(path, || {
            let image = reader.decode().map_err(|error| unreadable(path, &error))?;
            Ok(image.into_rgb8())
        })?;
        Ok(Self {
            path: path.to_owned(),
            pixels,
        })
    }

    /// An image of pixels that are there: rows from top to bottom, three bytes a pixel. `None` if there are too few; `name` is for errors.
    pub fn from_rgb(name: &Path, width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        Some(Self {
            path: name.to_owned(),
            pixels: RgbImage::from_raw(width, height, rgb)?,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
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
