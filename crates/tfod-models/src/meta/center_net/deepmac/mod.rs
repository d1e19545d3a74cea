//! `DeepMAC` (Birodkar et al. 2021, <https://arxiv.org/abs/2104.00613>): a mask for every box, by a network of its own that sees a crop of the image's
//! embeddings, and the embedding at the centre of the box.
//!
//! The reference reads embeddings at centres without looking whether they are within the map: where a box's centre is on its far border, TensorFlow ends the run
//! on a CPU and reads zeros on accelerators. Here they are zeros.

mod config;
mod crops;
mod full_resolution;
mod network;

use tfod_graph::{Binary, Builder, Compare, DType, Dim, Tensor, Unary, ValueId};

use std::borrow::Cow;

use tfod_config::protos;
use tfod_config::protos::detection_model::Model as Proto;

use super::heads::{Head, HeadLayers};
use super::maps::{column, constant, count, flattened, float_sizes, map_dims};
use super::tasks::{self, Detected};
use crate::error::ModelError;
use crate::layers::Path;
use crate::scalar::{Int, spatial};
pub(super) use config::DeepMac;
use crops::{crops, float, steps};
pub(super) use network::{PROJECTION, with_weights};

/// Where trained models have the network that makes masks.
pub(super) const MASK_NET: &str = "_mask_net";
/// The head of embeddings of objects.
pub(super) const INSTANCES: &str = "INSTANCE_EMBEDDING";
/// The head of embeddings of pixels.
pub(super) const PIXELS: &str = "PIXEL_EMBEDDING";

/// Whether a configuration is of it.
pub(super) fn is_configured(config: &protos::DetectionModel) -> bool {
    matches!(&config.model, Some(Proto::CenterNet(net)) if net.deepmac_mask_estimation.is_some())
}

/// What counts of a configuration: with `DeepMAC`, the reference leaves other tasks, suppression and separable heads aside.
pub(super) fn effective(config: &protos::CenterNet) -> Cow<'_, protos::CenterNet> {
    if config.deepmac_mask_estimation.is_none() {
        return Cow::Borrowed(config);
    }
    Cow::Owned(protos::CenterNet {
        use_depthwise: None,
        output_prediction_dict: None,
        keypoint_estimation_task: Vec::new(),
        mask_estimation_task: None,
        densepose_estimation_task: None,
        track_estimation_task: None,
        temporal_offset_task: None,
        post_processing: None,
        ..config.clone()
    })
}

impl tasks::Task for DeepMac {
    fn name(&self) -> &'static str {
        "deepmac"
    }

    fn heads(&self) -> Vec<Head> {
        let heads = [(INSTANCES, self.dim), (PIXELS, self.pixel_dim)];
        let heads = heads.map(|(name, channels)| Head {
            name: name.to_owned(),
            key: tasks::output_key(name).to_ascii_lowercase(),
            channels,
            layers: HeadLayers::of_one_row(),
        });
        heads.into()
    }

    fn detect(&self, b: &mut Builder, detected: &mut Detected<'_>) -> Result<(), ModelError> {
        let maps = Embeddings {
            instances: detected.maps.get(INSTANCES)?,
            pixels: detected.maps.get(PIXELS)?,
        };
        let boxes = match (detected.given_boxes, detected.strided_boxes) {
            (Some(boxes), _) => b.scope("given", |b| given(b, detected, maps, boxes))?,
            (None, Some(boxes)) => boxes,
            (None, None) => {
                let text = "masks are those of boxes".to_owned();
                return Err(ModelError::Inconsistent(text));
            }
        };
        let masks = self.masks(b, &Path::new(MASK_NET), maps, boxes)?;
        detected.outputs.push(("detection_masks", masks));
        Ok(())
    }
}

/// Boxes that are given in parts of the image, in cells of the maps.
fn given(
    b: &mut Builder,
    detected: &Detected<'_>,
    maps: Embeddings,
    boxes: ValueId,
) -> Result<ValueId, ModelError> {
    let part = detected.frame.part(b)?;
    let last = b.shape(part).rank().saturating_sub(1);
    let parts = b.concat("image_parts", last, &[part, part])?;
    let boxes = b.binary("in_input", Binary::Mul, boxes, parts)?;
    let size = spatial(b, "map", maps.instances)?;
    let sides = sides(b, size)?;
    Ok(b.binary("in_map", Binary::Mul, boxes, sides)?)
}

/// The maps that masks are made of.
#[derive(Clone, Copy, Debug)]
struct Embeddings {
    /// `f32[batch, height, width, dim]`
    instances: ValueId,
    /// `f32[batch, height, width, pixel_embedding_dim]`
    pixels: ValueId,
}

impl DeepMac {
    /// The masks of boxes: `f32[batch, n, size, size]`, the probability of each pixel of the box. `boxes` are `f32[batch, n, 4]`, in cells of the maps.
    fn masks(
        &self,
        b: &mut Builder,
        path: &Path,
        maps: Embeddings,
        boxes: ValueId,
    ) -> Result<ValueId, ModelError> {
        let [height, width] = spatial(b, "map", maps.instances)?;
        let boxes = in_parts(b, boxes, [height, width])?;
        let dims = b.shape(boxes).dims().to_vec();
        let [Some(batch), Some(number)] = [dims.first().cloned(), dims.get(1).cloned()] else {
            return Err(ModelError::Inconsistent(
                "boxes have three dimensions".into(),
            ));
        };
        let input = b.scope("mask_input", |b| {
            if self.full_resolution {
                full_resolution::input(b, self, maps.pixels, boxes)
            } else {
                self.cropped_input(b, maps.pixels, boxes)
            }
        })?;
        let instances = b.scope("instances", |b| {
            at_centers(b, maps.instances, boxes, [height, width])
        })?;
        let logits = b.scope("mask_net", |b| {
            self.network.apply(b, path, input, instances)
        })?;
        let (logits, size) = if self.full_resolution {
            let size = self.crop_size;
            let crops = b.scope("full_resolution", |b| {
                full_resolution::crops(b, logits, boxes, size)
            })?;
            (crops, size)
        } else {
            (logits, self.mask_size)
        };
        let masks = b.reshape(
            "mask_logits",
            logits,
            &[batch, number, size.into(), size.into()],
        )?;
        Ok(b.unary("masks", Unary::Sigmoid, masks)?)
    }

    /// What the network sees of each box: `f32[batch * n, size, size, channels]`.
    fn cropped_input(
        &self,
        b: &mut Builder,
        pixels: ValueId,
        boxes: ValueId,
    ) -> Result<ValueId, ModelError> {
        let pixels = crops(b, pixels, boxes, self.mask_size)?;
        if !self.uses_xy {
            return Ok(pixels);
        }
        // From -1 to 1 in both directions, the same for all boxes.
        let size = self.mask_size;
        let steps: Vec<f32> = steps(size).iter().map(|x| x.mul_add(2.0, -1.0)).collect();
        let grid = steps
            .iter()
            .flat_map(|y| steps.iter().flat_map(move |x| [*y, *x]));
        let grid: Vec<f32> = grid.collect();
        let grid = constant(b, "grid", &[1, size, size, 2], &grid)?;
        let none = zeros(b, pixels)?;
        let none = b.slice_last("one_zero", none, 0, 1)?;
        let grid = b.binary("grids", Binary::Add, grid, none)?;
        Ok(b.concat("input", 3, &[grid, pixels])?)
    }
}

/// As many zeros as a value has elements.
fn zeros(b: &mut Builder, like: ValueId) -> Result<ValueId, ModelError> {
    let never = b.compare("never", Compare::Less, like, like)?;
    Ok(b.cast("zeros", never, DType::F32)?)
}

/// Boxes in parts of the map.
fn in_parts(
    b: &mut Builder,
    boxes: ValueId,
    [height, width]: [Int; 2],
) -> Result<ValueId, ModelError> {
    let sides = sides(b, [height, width])?;
    Ok(b.binary("boxes_in_map", Binary::Div, boxes, sides)?)
}

/// Height, width, height and width of a map: `f32[4]`.
fn sides(b: &mut Builder, [height, width]: [Int; 2]) -> Result<ValueId, ModelError> {
    float_sizes(b, "sides", &[height, width, height, width])
}

/// The values of a map at the centres of boxes `f32[batch, n, 4]`, and zeros for centres beyond it: `f32[batch * n, c]`.
fn at_centers(
    b: &mut Builder,
    map: ValueId,
    boxes: ValueId,
    [height, width]: [Int; 2],
) -> Result<ValueId, ModelError> {
    let [batch, _, _, channels] = map_dims(b, map)?;
    let &[ymin, xmin, ymax, xmax] = b.unstack("corners", boxes, 2)?.as_slice() else {
        return Err(ModelError::Inconsistent("a box has four corners".into()));
    };
    let zero = b.constant("first", Tensor::scalar_i32(0))?;
    let mut inside: Option<ValueId> = None;
    let mut cells = Vec::with_capacity(2);
    for (low, high, size) in [(ymin, ymax, height), (xmin, xmax, width)] {
        let sum = b.binary("sum", Binary::Add, low, high)?;
        let side = float(b, "side", size)?;
        let twice = b.binary("twice_center", Binary::Mul, sum, side)?;
        let center = b.binary_scalar("center", Binary::Div, twice, 2.0)?;
        let cell = b.cast("cell", center, DType::I32)?;
        let size = size.value(b, "size")?;
        for holds in [
            b.compare("not_before", Compare::GreaterEqual, cell, zero)?,
            b.compare("not_behind", Compare::Less, cell, size)?,
        ] {
            inside = Some(match inside {
                Some(others) => b.and("inside", others, holds)?,
                None => holds,
            });
        }
        cells.push(cell);
    }
    let inside = inside.ok_or_else(|| ModelError::Inconsistent("a box has a centre".into()))?;
    let width = width.value(b, "width")?;
    let begin = b.binary("row_begin", Binary::Mul, cells[0], width)?;
    let cell = b.binary("cells", Binary::Add, begin, cells[1])?;
    let cell = b.select("cells_inside", inside, cell, zero)?;
    let flat = flattened(b, "flat", map, 1)?;
    let values = b.gather_batched("values", flat, cell, 1)?;
    let inside = column(b, "are_inside", inside)?;
    let none = b.constant("none", Tensor::scalar_f32(0.0))?;
    let values = b.select("embeddings", inside, values, none)?;
    let number = b.shape(inside).dims().get(1).cloned();
    let all = count(&[&batch, &number.unwrap_or(Dim::Known(1))])?;
    Ok(b.reshape("of_boxes", values, &[all, channels])?)
}
