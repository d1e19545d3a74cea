//! Objects: the highest peaks of heat maps, one map for each class. After the reference's `top_k_feature_map_locations`.
//!
//! A peak is a value that is the largest around it, up to [`PEAK_EPSILON`]. Values that are no peaks are zeros, so where there are fewer peaks than objects, the rest has a
//! score of 0, in the order of locations.

use tfod_config::protos;
use tfod_graph::{
    Binary, Builder, Compare, DType, Padding, PoolAttrs, Reduce, Tensor, Unary, ValueId,
};

use super::OBJECT_CENTER;
use super::frame::Frame;
use super::heads::{Head, HeadLayers, Maps};
use super::maps::{count as number_of, divided, flattened, map_dims, size_of};
use crate::error::ModelError;
use crate::fields::{Message, size, size_within};
use crate::scalar::{Int, spatial};

/// How much a peak may be below the largest value around it.
const PEAK_EPSILON: f32 = 1e-6;
/// Larger windows are a mistake.
const LARGEST_WINDOW: u64 = 1 << 10;

/// How objects are found.
pub(super) struct ObjectCenter {
    num_classes: u64,
    layers: HeadLayers,
    window: u64,
    count: u64,
}

/// The objects of a batch, best first; there are `N` in each image.
pub(super) struct Objects {
    /// `f32[batch, N]`, descending.
    pub scores: ValueId,
    /// `i32[batch, N]`, counted from 0.
    pub classes: ValueId,
    /// Where they are.
    pub places: Places,
    /// `f32[batch, N, classes]`
    pub multiclass_scores: ValueId,
    /// `i32[batch]`: how many have a score above 0.
    pub num_detections: ValueId,
}

/// Locations of a feature map.
#[derive(Clone, Copy)]
pub(super) struct Places {
    /// `i32[batch, N]`
    pub rows: ValueId,
    /// `i32[batch, N]`
    pub columns: ValueId,
    /// `i32[batch, N]`: `row * width + column`.
    pub locations: ValueId,
}

/// The highest values of a map and where they are, `[batch, N]` each.
pub(super) struct Top {
    pub scores: ValueId,
    pub places: Places,
    /// `i32[batch, N]`
    pub channels: ValueId,
}

impl ObjectCenter {
    /// Reads the message.
    ///
    /// # Errors
    /// For sizes out of range.
    pub(super) fn from_config(
        config: Message<'_, protos::CenterNet>,
        num_classes: u64,
    ) -> Result<Self, ModelError> {
        let params = config.object_center_params.clone().unwrap_or_default();
        let params = config.at("object_center_params", &params);
        let layers = HeadLayers::from_config(
            &params,
            "center_head_params",
            params.center_head_params.as_ref(),
            config.use_depthwise(),
        )?;
        let field = params.field("max_box_predictions");
        Ok(Self {
            num_classes,
            layers,
            window: peak_window(&params, params.peak_max_pool_kernel_size())?,
            count: size(field, params.max_box_predictions(), 1)?,
        })
    }

    /// The head that predicts the heat maps.
    pub(super) fn head(&self) -> Head {
        Head {
            name: OBJECT_CENTER.to_owned(),
            key: OBJECT_CENTER.to_owned(),
            channels: self.num_classes,
            layers: self.layers.clone(),
        }
    }

    fn scores(b: &mut Builder, maps: &Maps) -> Result<ValueId, ModelError> {
        let logits = maps.get(OBJECT_CENTER)?;
        Ok(b.unary("object_scores", Unary::Sigmoid, logits)?)
    }

    /// The scores of all locations, `f32[batch, h * w, classes]`.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn everywhere(b: &mut Builder, maps: &Maps) -> Result<ValueId, ModelError> {
        let scores = Self::scores(b, maps)?;
        flattened(b, "all_scores", scores, 1)
    }

    /// Finds the objects.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn find(
        &self,
        b: &mut Builder,
        maps: &Maps,
        frame: &Frame,
    ) -> Result<Objects, ModelError> {
        let scores = Self::scores(b, maps)?;
        let scores = frame.masked(b, scores)?;
        let peaks = peaks(b, "peaks", scores, self.window)?;
        let top = top(b, "objects", peaks, self.count)?;
        let multiclass_scores = top.places.take(b, "multiclass_scores", scores)?;
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let is_object = b.compare("is_object", Compare::Greater, top.scores, zero)?;
        let is_object = b.cast("is_object_number", is_object, DType::I32)?;
        let num_detections = b.reduce("num_detections", Reduce::Sum, is_object, &[1])?;
        Ok(Objects {
            scores: top.scores,
            classes: top.channels,
            places: top.places,
            multiclass_scores,
            num_detections,
        })
    }
}

/// How large the window is in which a peak is the largest value: the field `peak_max_pool_kernel_size` of a message.
///
/// # Errors
/// For sizes out of range.
pub(super) fn peak_window<T>(message: &Message<'_, T>, size: i32) -> Result<u64, ModelError> {
    let field = message.field("peak_max_pool_kernel_size");
    // The reference takes 0 for 1.
    Ok(size_within(field, size, 0..=LARGEST_WINDOW)?.max(1))
}

/// A map `[batch, h, w, c]` in which values that are not the largest of their channel within a window around them are zeros.
///
/// # Errors
/// When the graph refuses a node.
pub(super) fn peaks(
    b: &mut Builder,
    name: &str,
    map: ValueId,
    window: u64,
) -> Result<ValueId, ModelError> {
    if window == 1 {
        return Ok(map);
    }
    b.scope(name, |b| {
        let largest = b.max_pool("largest", map, PoolAttrs::new(window, 1, Padding::Same))?;
        // The largest value around a location is never below that of the location.
        let below = b.binary("below", Binary::Sub, largest, map)?;
        let epsilon = b.constant("epsilon", Tensor::scalar_f32(PEAK_EPSILON))?;
        let is_peak = b.compare("is_peak", Compare::Less, below, epsilon)?;
        let is_peak = b.cast("is_peak_number", is_peak, DType::F32)?;
        Ok(b.binary("peaks", Binary::Mul, map, is_peak)?)
    })
}

/// The `count` highest values of a map `[batch, h, w, c]`, or all where it has fewer; of equals, those that come first by row, column and channel.
///
/// # Errors
/// When the graph refuses a node.
pub(super) fn top(
    b: &mut Builder,
    name: &str,
    map: ValueId,
    count: u64,
) -> Result<Top, ModelError> {
    b.scope(name, |b| {
        let [_, width] = spatial(b, "map", map)?;
        let [batch, rows, columns, channels] = map_dims(b, map)?;
        let values = number_of(&[&rows, &columns, &channels])?;
        let flat = b.reshape("values", map, &[batch, values.clone()])?;
        let [scores, indices] = if let Some(values) = values.known() {
            b.top_k("best", flat, count.min(values))?
        } else {
            let (values, _) = size_of(b, "values", flat, 1)?;
            let count = Int::Known(i32::try_from(count).unwrap_or(i32::MAX));
            let found = values.binary(b, "count", Binary::Minimum, count)?;
            let dim = found.dim(&format!("{name}_count"));
            let found = found.value(b, "count")?;
            b.top_k_of("best", flat, dim, Some(found))?
        };
        let (channels, _) = size_of(b, "channels", map, 3)?;
        let [locations, channels] = divided(b, "channel", indices, channels)?;
        let [rows, columns] = divided(b, "column", locations, width)?;
        Ok(Top {
            scores,
            places: Places {
                rows,
                columns,
                locations,
            },
            channels,
        })
    })
}

impl Places {
    /// What a map `[batch, h, w, c]` has there: `[batch, N, c]`.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn take(
        self,
        b: &mut Builder,
        name: &str,
        map: ValueId,
    ) -> Result<ValueId, ModelError> {
        let rows = flattened(b, &format!("{name}/by_location"), map, 1)?;
        Ok(b.gather_batched(name, rows, self.locations, 1)?)
    }
}
