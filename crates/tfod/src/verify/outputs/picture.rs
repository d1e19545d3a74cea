//! Images, and what becomes of them on the way into a model.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{ImageReader, RgbImage};
use serde_json::Value;
use tfod_runtime::{Tensor, Values};

use super::super::VerifyError;
use super::refused;
use crate::StoredType;
use crate::inspect::{Dim, Port};

/// How many pixels of an image are decoded, at most: those of a camera, and some.
const MAX_SIDE: u32 = 16_384;
/// How many numbers a model is given, at most.
const MAX_ELEMENTS: usize = 1 << 30;

/// An image that was decoded.
pub(super) struct Picture {
    path: PathBuf,
    pixels: RgbImage,
}

impl Picture {
    pub(super) fn open(path: &Path) -> Result<Self, VerifyError> {
        let failed = |error: &dyn std::fmt::Display| refused(path, error.to_string());
        let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
        let mut reader = ImageReader::new(BufReader::new(file))
            .with_guessed_format()
            .map_err(|error| failed(&error))?;
        let mut limits = image::Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        reader.limits(limits);
        let pixels = reader.decode().map_err(|error| failed(&error))?;
        Ok(Self {
            path: path.to_owned(),
            pixels: pixels.to_rgb8(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The pixels, in rows of red, green and blue; resized if a size is given.
    fn at(&self, size: Option<[u32; 2]>) -> std::borrow::Cow<'_, RgbImage> {
        match size {
            Some([height, width]) if self.pixels.dimensions() != (width, height) => {
                let resized =
                    image::imageops::resize(&self.pixels, width, height, FilterType::Triangle);
                std::borrow::Cow::Owned(resized)
            }
            _ => std::borrow::Cow::Borrowed(&self.pixels),
        }
    }
}

/// How images become the input of a model.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    /// Whether channels come before rows.
    is_channels_first: bool,
    is_float: bool,
    /// How many images, where the model takes one number of them.
    batch: Option<usize>,
    /// Height and width, where the model has one size.
    size: Option<[u32; 2]>,
    /// What each channel is multiplied with, and what is added then.
    normalisation: Option<[[f32; 3]; 2]>,
}

impl Feed {
    /// Reads it from what a model says of its input; else why it takes no images.
    pub(super) fn of(port: &Port) -> Result<Self, String> {
        let text = || {
            let dtype = port.dtype.map_or("unknown", StoredType::name);
            format!("{dtype} {}", port.shape_text())
        };
        let takes_none = || {
            format!(
                "has an input `{}`, {}; expected images, uint8 or float32, [batch, height, width, 3] or [batch, 3, height, width]",
                port.key,
                text()
            )
        };
        let is_float = match port.dtype {
            Some(StoredType::Float32) => true,
            Some(StoredType::UInt8) => false,
            _ => return Err(takes_none()),
        };
        let Some([batch, second, third, fourth]) = port.shape.as_deref() else {
            return Err(takes_none());
        };
        let (is_channels_first, height, width) = match (second, fourth) {
            (_, Dim::Known(3)) => (false, second, third),
            (Dim::Known(3), _) => (true, third, fourth),
            _ => return Err(takes_none()),
        };
        let known = |dim: &Dim| match dim {
            Dim::Known(size) => u32::try_from(*size)
                .ok()
                .filter(|size| *size <= MAX_SIDE)
                .map(Some),
            Dim::Unknown(_) => Some(None),
        };
        let sizes = (known(batch), known(height), known(width));
        let (Some(batch), Some(height), Some(width)) = sizes else {
            return Err(takes_none());
        };
        let size = match (height, width) {
            (Some(height), Some(width)) => Some([height, width]),
            (None, None) => None,
            _ => return Err(takes_none()),
        };
        if matches!(size, Some([0, _] | [_, 0])) || batch == Some(0) {
            return Err(takes_none());
        }
        Ok(Self {
            is_channels_first,
            is_float,
            batch: batch.map(|batch| batch as usize),
            size,
            normalisation: None,
        })
    }

    /// The feed of a model whose caller normalises images, as the model's metadata says.
    pub(super) fn normalised(self, preprocessing: &Value) -> Result<Self, String> {
        let refused = || {
            "leaves preprocessing to its caller, and its metadata does not say how to do it"
                .to_owned()
        };
        let steps = preprocessing.get("steps").and_then(Value::as_array);
        let step = steps.and_then(|steps| {
            let is_it = |step: &&Value| step.get("step").is_some_and(|name| name == "normalize");
            steps.iter().find(is_it)
        });
        let numbers = |key| -> Option<[f32; 3]> {
            let numbers = step?.get(key)?.as_array()?;
            #[expect(clippy::cast_possible_truncation, reason = "written from 32 bits")]
            let numbers: Option<Vec<f32>> = numbers
                .iter()
                .map(|n| n.as_f64().map(|n| n as f32))
                .collect();
            numbers?.try_into().ok()
        };
        let (Some(scale), Some(shift)) = (numbers("scale"), numbers("shift")) else {
            return Err(refused());
        };
        if !self.is_float || self.size.is_none() {
            return Err(refused());
        }
        Ok(Self {
            normalisation: Some([scale, shift]),
            ..self
        })
    }

    /// What one of two models leaves open as the other has it, so that both get the same.
    pub(super) fn agree([a, b]: [Self; 2]) -> [Self; 2] {
        let filled = |feed: Self, other: &Self| Self {
            batch: feed.batch.or(other.batch),
            size: feed.size.or(other.size),
            ..feed
        };
        [filled(a.clone(), &b), filled(b, &a)]
    }

    /// Whether both take as many images at once.
    pub(super) fn have_one_batch([a, b]: &[Self; 2]) -> bool {
        a.batch == b.batch
    }

    /// What is done to images beforehand.
    pub(super) fn notes(feeds: &[Self; 2]) -> Vec<String> {
        let [a, b] = feeds;
        let text = |[height, width]: [u32; 2]| format!("{height}x{width}");
        let mut notes = Vec::new();
        match (a.size, b.size) {
            (Some(a), Some(b)) if a != b => notes.push(format!(
                "images are resized for each: to {} and {}",
                text(a),
                text(b)
            )),
            (Some(size), _) => notes.push(format!("images are resized to {}", text(size))),
            (None, _) => {}
        }
        if !Self::have_one_batch(feeds) {
            notes.push(
                "of each batch, which is the image repeated, the first results are compared"
                    .to_owned(),
            );
        }
        if a.normalisation.is_some() {
            notes.push("images are normalised as the models' metadata says".to_owned());
        }
        notes
    }

    /// The input for an image: of this model's size, or else of its own.
    pub(super) fn tensor(&self, picture: &Picture) -> Result<Tensor, VerifyError> {
        let (pixels, batch) = (picture.at(self.size), self.batch.unwrap_or(1));
        let (width, height) = (pixels.width() as usize, pixels.height() as usize);
        let bytes = pixels.as_raw();
        if bytes
            .len()
            .checked_mul(batch)
            .is_none_or(|all| all > MAX_ELEMENTS)
        {
            let problem = format!("a batch of {batch} such images is too large");
            return Err(refused(&picture.path, problem));
        }
        let (one, shape) = if self.is_channels_first {
            let channel = |channel: usize| bytes.iter().skip(channel).step_by(3).copied();
            let one: Vec<u8> = (0..3).flat_map(channel).collect();
            (one, vec![batch, 3, height, width])
        } else {
            (bytes.clone(), vec![batch, height, width, 3])
        };
        let values = if self.is_float {
            Values::F32(self.floats(&one).repeat(batch))
        } else {
            Values::U8(one.repeat(batch))
        };
        Ok(Tensor::new(shape, values)?)
    }

    fn floats(&self, bytes: &[u8]) -> Vec<f32> {
        let Some([scale, shift]) = self.normalisation else {
            return bytes.iter().copied().map(f32::from).collect();
        };
        let plane = (bytes.len() / 3).max(1);
        let normalised = bytes.iter().enumerate().map(|(index, byte)| {
            let channel = if self.is_channels_first {
                index / plane
            } else {
                index % 3
            };
            let of = |numbers: [f32; 3]| numbers.get(channel).copied().unwrap_or_default();
            f32::from(*byte) * of(scale) + of(shift)
        });
        normalised.collect()
    }
}
