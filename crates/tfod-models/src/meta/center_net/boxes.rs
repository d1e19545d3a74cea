//! Boxes around objects: height and width, and how far the centre is from the location. After the reference's `prediction_tensors_to_boxes`.

use tfod_config::protos;
use tfod_graph::{Binary, Builder, DType, Dim, Tensor, ValueId};

use super::frame::Frame;
use super::heads::{Head, HeadLayers, Maps};
use super::objects::{Objects, by_location};
use crate::error::ModelError;
use crate::fields::Message;
use crate::scalar::{Int, floats, spatial};

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
    #[expect(clippy::unused_self, reason = "only where boxes are predicted")]
    pub(super) fn boxes(
        &self,
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
            let limits = [
                sides[0].to_float(b, "height")?,
                sides[1].to_float(b, "width")?,
            ];
            let limits = floats(b, "limits", &limits)?;
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
    #[expect(clippy::unused_self, reason = "only where boxes are predicted")]
    pub(super) fn everywhere(
        &self,
        b: &mut Builder,
        maps: &Maps,
        frame: &Frame,
    ) -> Result<ValueId, ModelError> {
        b.scope("all_boxes", |b| {
            let map = maps.get(SCALE)?;
            let scale = by_location(b, "scale", map)?;
            let offset = by_location(b, "offset", maps.get(OFFSET)?)?;
            let sides = spatial(b, "map", map)?;
            let locations = b.shape(scale).dims().get(1).cloned();
            let places = places(b, sides, locations.unwrap_or(Dim::Known(0)))?;
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

/// Rows and columns of all locations, `f32[h * w, 2]`.
fn places(b: &mut Builder, sides: [Int; 2], locations: Dim) -> Result<ValueId, ModelError> {
    if let ([Int::Known(height), Int::Known(width)], Some(count)) = (sides, locations.known()) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "sizes of maps are far below the limit"
        )]
        let values: Vec<f32> = (0..height)
            .flat_map(|row| (0..width).flat_map(move |column| [row as f32, column as f32]))
            .collect();
        let tensor = Tensor::f32(&[count, 2], &values);
        let tensor =
            tensor.ok_or_else(|| ModelError::Inconsistent("a map of impossible size".into()))?;
        return Ok(b.constant("places", tensor)?);
    }
    let count = sides[0].binary(b, "locations", Binary::Mul, sides[1])?;
    let count = count.value(b, "locations")?;
    let numbers = b.range("numbers", count, locations)?;
    let width = sides[1].value(b, "width")?;
    let rows = b.binary("rows", Binary::FloorDiv, numbers, width)?;
    let whole = b.binary("whole_rows", Binary::Mul, rows, width)?;
    let columns = b.binary("columns", Binary::Sub, numbers, whole)?;
    let places = b.stack("places", 1, &[rows, columns])?;
    Ok(b.cast("places_float", places, DType::F32)?)
}
