//! Boxes around objects: height and width, and how far the centre is from the location. After the reference's `prediction_tensors_to_boxes`.

use tfod_config::protos;
use tfod_graph::{Binary, Builder, DType, ValueId};

use super::frame::Frame;
use super::heads::{Head, HeadLayers, Maps};
use super::maps::{Grid, flattened, float_sizes};
use super::objects::Objects;
use crate::error::ModelError;
use crate::fields::Message;
use crate::scalar::spatial;

/// The head of heights and widths.
pub(super) const SCALE: &str = "box/scale";
/// The head of distances from locations to centres.
pub(super) const OFFSET: &str = "box/offset";

/// How predictions become boxes.
pub(super) const DECODING: &str = "the box of row i and column j of the feature map has its centre at (i + offset_y, j + offset_x), and is max(scale_height, 0) high and \
     max(scale_width, 0) wide, all times `stride` in pixels of the network's input";

/// How boxes are predicted.
pub(super) struct ObjectDetection {
    scale: HeadLayers,
    offset: HeadLayers,
}

impl ObjectDetection {
    /// Reads the message, where there is one.
    ///
    /// # Errors
    /// For sizes out of range.
    pub(super) fn from_config(
        config: Message<'_, protos::CenterNet>,
    ) -> Result<Option<Self>, ModelError> {
        let Some(task) = &config.object_detection_task else {
            return Ok(None);
        };
        let task = config.at("object_detection_task", task);
        let layers =
            |name, params| HeadLayers::from_config(&task, name, params, config.use_depthwise());
        Ok(Some(Self {
            scale: layers("scale_head_params", task.scale_head_params.as_ref())?,
            offset: layers("offset_head_params", task.offset_head_params.as_ref())?,
        }))
    }

    /// The heads that predict boxes.
    pub(super) fn heads(&self) -> Vec<Head> {
        let head = |name: &str, key: &str, layers: &HeadLayers| Head {
            name: name.to_owned(),
            key: key.to_owned(),
            channels: 2,
            layers: layers.clone(),
        };
        vec![
            head(SCALE, "box_scale", &self.scale),
            head(OFFSET, "box_offset", &self.offset),
        ]
    }

    /// The boxes of objects, `f32[batch, N, 4]`, in locations of the feature map, cut off at its border.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn boxes(
        b: &mut Builder,
        maps: &Maps,
        objects: &Objects,
    ) -> Result<ValueId, ModelError> {
        b.scope("boxes", |b| {
            let places = objects.places;
            let map = maps.get(SCALE)?;
            let scale = places.take(b, "scale", map)?;
            let offset = places.take(b, "offset", maps.get(OFFSET)?)?;
            let places = [places.rows, places.columns];
            let places = b.stack("places", 2, &places)?;
            let places = b.cast("places_float", places, DType::F32)?;
            let [low, high] = corners(b, places, scale, offset)?;
            let sides = spatial(b, "map", map)?;
            let limits = float_sizes(b, "limits", &sides)?;
            let mut clipped = Vec::with_capacity(2);
            for (corner, name) in [(low, "low"), (high, "high")] {
                let at_least =
                    b.binary_scalar(&format!("{name}_min"), Binary::Maximum, corner, 0.0)?;
                let name = format!("{name}_max");
                clipped.push(b.binary(&name, Binary::Minimum, at_least, limits)?);
            }
            Ok(b.concat("strided", 2, &clipped)?)
        })
    }

    /// A box for every location, `f32[batch, h * w, 4]`, as fractions of the network's input, not cut off.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn everywhere(
        b: &mut Builder,
        maps: &Maps,
        frame: &Frame,
    ) -> Result<ValueId, ModelError> {
        b.scope("all_boxes", |b| {
            let map = maps.get(SCALE)?;
            let scale = flattened(b, "scale", map, 1)?;
            let offset = flattened(b, "offset", maps.get(OFFSET)?, 1)?;
            let places = Grid::of(b, map)?.together(b)?;
            let [low, high] = corners(b, places, scale, offset)?;
            let boxes = b.concat("strided", 2, &[low, high])?;
            frame.of_input(b, boxes)
        })
    }
}

/// Low and high corners, `[batch, N, 2]` each, of boxes at `places`, which are that or `[N, 2]`.
fn corners(
    b: &mut Builder,
    places: ValueId,
    scale: ValueId,
    offset: ValueId,
) -> Result<[ValueId; 2], ModelError> {
    let positive = b.binary_scalar("sides", Binary::Maximum, scale, 0.0)?;
    let half = b.binary_scalar("half_sides", Binary::Mul, positive, 0.5)?;
    let centres = b.binary("centres", Binary::Add, places, offset)?;
    Ok([
        b.binary("low", Binary::Sub, centres, half)?,
        b.binary("high", Binary::Add, centres, half)?,
    ])
}
