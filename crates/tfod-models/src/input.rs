//! What the model is given: images as pixels or as files, or the network's own input. After the reference's `exporter_lib_v2`.
//!
//! Files are decoded and preprocessed one by one, because their images may differ in size, and then detected in as one batch. Where the reference ends
//! with an error, because a GIF has frames, the first frame is taken.

use std::fmt;
use std::str::FromStr;

use tfod_graph::{Binary, Builder, DType, Dim, MapInput, ResizeMethod, Shape, Tensor, ValueId};

use crate::error::ModelError;
use crate::facts::{Meaning, Normalization};
use crate::fields::invalid_option;
use crate::options::{GraphOption, GraphOptions};
use crate::postprocess::window::Extent;
use crate::resizer::{Finished, Resizer, Unit};

/// The name of the input, as in official exports.
pub const INPUT_NAME: &str = "input_tensor";

/// The name of the input of boxes, as in official exports: ymin, xmin, ymax, xmax in parts of the image's height and width.
pub const BOXES_NAME: &str = "boxes";
const BOXES: Meaning = Meaning {
    text: "boxes that masks are made for: ymin, xmin, ymax, xmax",
    unit: "fractions of the image's height and width, 0 to 1",
};

/// Where a `tf.train.Example` of the reference's training data has its image.
const EXAMPLE_IMAGE: &str = "image/encoded";

/// The kinds of input, named as the official exporter's `--input_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputType {
    /// One image: `u8[1, height, width, 3]`, RGB, 0 to 255.
    #[default]
    ImageTensor,
    /// Images of one size: `f32[batch, height, width, 3]`, RGB, 0 to 255.
    FloatImageTensor,
    /// Files of images of any sizes: `string[batch]`, JPEG, PNG, GIF or BMP.
    EncodedImageStringTensor,
    /// One image, as [`Self::ImageTensor`], and boxes that masks are made for: `f32[1, n, 4]`, see [`BOXES_NAME`]. For models that make masks of given boxes.
    ImageAndBoxesTensor,
    /// Serialised `tf.train.Example` messages, each with such a file as its feature `image/encoded`: `string[batch]`.
    TfExample,
}

impl InputType {
    /// All that are supported.
    pub const ALL: [Self; 5] = [
        Self::ImageTensor,
        Self::FloatImageTensor,
        Self::EncodedImageStringTensor,
        Self::TfExample,
        Self::ImageAndBoxesTensor,
    ];

    /// Its name in the official exporter.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageTensor => "image_tensor",
            Self::FloatImageTensor => "float_image_tensor",
            Self::EncodedImageStringTensor => "encoded_image_string_tensor",
            Self::TfExample => "tf_example",
            Self::ImageAndBoxesTensor => "image_and_boxes_tensor",
        }
    }

    /// Whether it has files, which the graph decodes, instead of pixels.
    pub fn is_encoded(self) -> bool {
        self.dtype() == DType::String
    }

    /// Whether it has boxes besides images.
    pub fn has_boxes(self) -> bool {
        self == Self::ImageAndBoxesTensor
    }

    /// The element type of the input.
    fn dtype(self) -> DType {
        match self {
            Self::ImageTensor | Self::ImageAndBoxesTensor => DType::U8,
            Self::FloatImageTensor => DType::F32,
            Self::EncodedImageStringTensor | Self::TfExample => DType::String,
        }
    }
}

impl fmt::Display for InputType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for InputType {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name);
                invalid_option(GraphOption::InputType, text, names.join(", "))
            })
    }
}

/// Images as the network sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkInput {
    /// `f32[batch, height, width, channels]`
    pub images: ValueId,
    /// How much of height and width is image; the rest is padding. `None` where all is image.
    pub extent: Option<Extent>,
}

/// Declares the input that the options ask for, and gives what the network sees, resized and normalised. Where
/// the network's own input is asked for, all of it counts as image.
///
/// # Errors
/// When the options contradict the configuration.
pub(crate) fn network_input(
    b: &mut Builder,
    options: &GraphOptions,
    resizer: &Resizer,
    normalization: Normalization,
) -> Result<NetworkInput, ModelError> {
    network_input_in(b, options, resizer, normalization, Unit::Part)
}

/// As [`network_input`], with an extent in this unit.
///
/// # Errors
/// When the options contradict the configuration.
pub(crate) fn network_input_in(
    b: &mut Builder,
    options: &GraphOptions,
    resizer: &Resizer,
    normalization: Normalization,
    unit: Unit,
) -> Result<NetworkInput, ModelError> {
    if options.input.is_encoded() {
        return decoded(b, options, resizer, normalization, unit);
    }
    let mut given = options.input_size;
    if options.no_resizing && resizer.network_size().is_none() {
        let expected = format!("off where `{}` gives images several sizes", resizer.path);
        return Err(invalid_option(GraphOption::NoResizing, "on", expected));
    }
    if (options.no_preprocess || options.no_resizing)
        && let Some(network) = resizer.network_size()
    {
        if let Some([height, width]) = given.filter(|size| *size != network) {
            let expected = format!(
                "{}x{}, the network's own size, where {} is left to the caller",
                network[0],
                network[1],
                if options.no_preprocess {
                    "preprocessing"
                } else {
                    "resizing"
                }
            );
            let given = format!("{height}x{width}");
            return Err(invalid_option(GraphOption::InputSize, given, expected));
        }
        given = Some(network);
    }
    let [height, width] = match given {
        Some(size) => size.map(Dim::Known),
        None => [Dim::symbol("height"), Dim::symbol("width")],
    };
    let dtype = if options.no_preprocess || options.float_input {
        DType::F32
    } else {
        options.input.dtype()
    };
    let channels = if options.no_preprocess {
        resizer.channels()
    } else {
        3
    };
    let shape = Shape(vec![options.batch_dim(), height, width, channels.into()]);
    let input = b.input(options.input_name(), dtype, shape);
    if options.no_preprocess {
        return Ok(NetworkInput {
            images: input,
            extent: None,
        });
    }
    let resizer = if options.no_resizing {
        resizer.without_resizing()
    } else {
        *resizer
    };
    let Finished { images, extent } = preprocessed(b, input, &resizer, normalization, unit)?;
    Ok(NetworkInput {
        images,
        extent: extent.map(Extent::Common),
    })
}

/// Declares the boxes that are given besides images, `f32[batch, num_boxes, 4]`; `None` where none are.
pub(crate) fn given_boxes(b: &mut Builder, options: &GraphOptions) -> Option<ValueId> {
    let dims = [options.batch_dim(), Dim::symbol("num_boxes"), 4.into()];
    let has_boxes = options.input.has_boxes();
    has_boxes.then(|| b.input(BOXES_NAME, DType::F32, Shape(dims.to_vec())))
}

/// What inputs mean that [`given_boxes`] declares.
pub(crate) fn given_boxes_facts(options: &GraphOptions) -> Vec<(&'static str, Meaning)> {
    let boxes = options.input.has_boxes().then_some((BOXES_NAME, BOXES));
    boxes.into_iter().collect()
}

/// Declares an input of files, and decodes and preprocesses them one by one.
fn decoded(
    b: &mut Builder,
    options: &GraphOptions,
    resizer: &Resizer,
    normalization: Normalization,
    unit: Unit,
) -> Result<NetworkInput, ModelError> {
    let shape = Shape(vec![options.batch_dim()]);
    let input = b.input(options.input_name(), options.input.dtype(), shape);
    let inputs = [(input, MapInput::Sliced)];
    let results = b.map::<ModelError>("per_image", &inputs, |b, args| {
        let &[given] = args else {
            return Err(ModelError::Inconsistent("one file is passed".into()));
        };
        let file = if options.input == InputType::TfExample {
            b.example_feature("encoded", given, EXAMPLE_IMAGE)?
        } else {
            given
        };
        let image = b.decode_image("decode", file, ["height", "width"])?;
        let batch = b.shape(image).with_leading(1.into());
        let images = b.reshape("as_batch", image, batch.dims())?;
        let Finished { images, extent } = preprocessed(b, images, resizer, normalization, unit)?;
        let image = b.shape(images).without_leading();
        let image = b.reshape("image", images, image.dims())?;
        b.output("image", image);
        if let Some([height, width]) = extent {
            let height = height.value(b, "extent/height")?;
            let width = width.value(b, "extent/width")?;
            let extent = b.stack("extent", 0, &[height, width])?;
            b.output("extent", extent);
        }
        Ok(())
    })?;
    let [images, extents @ ..] = results.as_slice() else {
        return Err(ModelError::Inconsistent("an image is declared".into()));
    };
    Ok(NetworkInput {
        images: *images,
        extent: extents.first().copied().map(Extent::PerImage),
    })
}

/// Pixels `[batch, height, width, 3]`, 0 to 255, as the network sees them.
fn preprocessed(
    b: &mut Builder,
    pixels: ValueId,
    resizer: &Resizer,
    normalization: Normalization,
    unit: Unit,
) -> Result<Finished, ModelError> {
    let images = b.cast("to_float", pixels, DType::F32)?;
    if normalization.padding_too {
        let resized = resizer.resize(b, images)?;
        let mut finished = resizer.finish(b, resized, unit)?;
        finished.images = normalization.apply(b, finished.images)?;
        return Ok(finished);
    }
    // Here the reference normalises first. TensorFlow's weights of pixels in an area, which are single-precision floats, add up to one only within 1e-5, so that
    // the mean of pixels around zero is another than that of pixels above zero. For other interpolations it is the same, at the price of touching every pixel
    // of the original.
    if resizer.kind.method() == Some(ResizeMethod::Area) {
        let normalized = normalization.apply(b, images)?;
        let resized = resizer.resize(b, normalized)?;
        return resizer.finish(b, resized, unit);
    }
    let mut resized = resizer.resize(b, images)?;
    resized.images = normalization.apply(b, resized.images)?;
    resizer.finish(b, resized, unit)
}

impl Normalization {
    /// What MobileNets take: -1 to 1.
    pub(crate) const SIGNED: Self = Self {
        scale: [2.0 / 255.0; 3],
        shift: [-1.0; 3],
        reversed: false,
        padding_too: false,
    };

    /// What ResNets take: the mean colour of ImageNet taken away (Simonyan and Zisserman 2014, <https://arxiv.org/abs/1409.1556>).
    pub(crate) const CHANNEL_MEANS: Self = Self {
        scale: [1.0; 3],
        shift: [-123.68, -116.779, -103.939],
        reversed: false,
        padding_too: false,
    };

    /// What networks take that the TensorFlow model garden trained on ImageNet: its channels' means and standard deviations become 0 and 1.
    pub(crate) const STANDARD: Self = Self {
        scale: [
            1.0 / (255.0 * 0.229),
            1.0 / (255.0 * 0.224),
            1.0 / (255.0 * 0.225),
        ],
        shift: [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
        reversed: false,
        padding_too: false,
    };

    /// The same for images that are padded first.
    pub(crate) fn with_padding(self) -> Self {
        Self {
            padding_too: true,
            ..self
        }
    }

    /// Normalises `[batch, height, width, 3]`.
    fn apply(self, b: &mut Builder, images: ValueId) -> Result<ValueId, ModelError> {
        let mut x = images;
        for (name, op, values, neutral) in [
            ("scale", Binary::Mul, self.scale, 1.0),
            ("shift", Binary::Add, self.shift, 0.0),
        ] {
            #[expect(clippy::float_cmp, reason = "exactly the neutral element is left out")]
            let is_neutral = values == [neutral; 3];
            if is_neutral {
                continue;
            }
            let [red, green, blue] = values.map(f32::to_bits);
            let values = if red == green && green == blue {
                Tensor::scalar_f32(values[0])
            } else {
                Tensor::f32(&[3], &values).unwrap_or_else(|| Tensor::scalar_f32(values[0]))
            };
            let values = b.constant(&format!("{name}/by"), values)?;
            x = b.binary(name, op, x, values)?;
        }
        if self.reversed {
            let mut channels = b.unstack("channels", x, 3)?;
            channels.reverse();
            x = b.stack("reversed", 3, &channels)?;
        }
        Ok(x)
    }
}
