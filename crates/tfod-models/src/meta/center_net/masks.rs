//! Masks of objects, cut out of one map for each class; and for one class, `DensePose` (Güler et al. 2018, <https://arxiv.org/abs/1802.00434>): which part of
//! the body's surface each pixel of the mask shows, and where on it.

use tfod_config::protos;
use tfod_config::protos::center_net::{DensePoseEstimation, MaskEstimation};
use tfod_graph::{Binary, Builder, Compare, DType, Dim, Tensor, Unary, ValueId};

use super::STRIDE;
use super::heads::{Head, HeadLayers};
use super::maps::{Numbers, column, count, float_sizes, map_dims, size_of};
use super::objects::Objects;
use super::tasks::{self, Detected};
use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid, size, size_within};
use crate::scalar::spatial;

/// Larger masks are a mistake: there is one for each object.
const LARGEST_MASK: u64 = 1 << 10;

/// Height or width of a mask.
///
/// # Errors
/// For sizes out of range.
pub(super) fn mask_side(field: FieldPath, value: i32) -> Result<u64, ModelError> {
    size_within(field, value, 1..=LARGEST_MASK)
}

/// The masks of a model.
#[derive(Clone, Debug)]
pub(super) struct Masks {
    /// How many classes have masks.
    num_classes: u64,
    /// Of the head.
    head: HeadLayers,
    /// Of the heads of parts.
    part_head: HeadLayers,
    /// Height and width of a mask.
    size: [u64; 2],
    /// Pixels with at least this much are of the object.
    threshold: f32,
    /// The parts of the surface of objects of one class.
    dense_pose: Option<DensePose>,
}

/// `DensePose`.
#[derive(Clone, Copy, Debug)]
struct DensePose {
    /// The class that has parts, from 0.
    class_id: i32,
    /// How many parts there are.
    num_parts: u64,
}

/// The maps that masks are cut out of.
#[derive(Clone, Copy, Debug)]
struct MaskMaps {
    /// `f32[batch, height, width, classes]`, unconverted.
    masks: ValueId,
    /// Scores of parts, `f32[batch, height, width, parts]`, and where on the part a pixel is, `[batch, height, width, 2 parts]`.
    parts: Option<[ValueId; 2]>,
}

/// What is cut out.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// `f32[batch, n, height, width]`: 0 where the object is not; 1, or the number of the part from 1, where it is.
    masks: ValueId,
    /// `f32[batch, n, height, width, 2]`: v and u on the part.
    surface: Option<ValueId>,
}

impl Masks {
    /// Those of a configuration; `None` where it has none.
    pub(super) fn from_config(
        config: Message<'_, protos::CenterNet>,
    ) -> Result<Option<Self>, ModelError> {
        let dense_pose = config.densepose_estimation_task.as_ref();
        let dense_pose = dense_pose.map(|task| config.at("densepose_estimation_task", task));
        let Some(masks) = &config.mask_estimation_task else {
            return match dense_pose {
                Some(task) => Err(invalid(
                    task.path(),
                    "there without `mask_estimation_task`",
                    "both, or neither: parts are those of the pixels of a mask",
                )),
                None => Ok(None),
            };
        };
        let masks: Message<'_, MaskEstimation> = config.at("mask_estimation_task", masks);
        if !tasks::has_boxes(&config) {
            return Err(invalid(
                masks.path(),
                "there without `object_detection_task`",
                "with it, or with a `keypoint_estimation_task`: masks are cut out by the boxes of objects, or those around their keypoints (the reference cannot run it either)",
            ));
        }
        let params = masks.mask_head_params.as_ref();
        Ok(Some(Self {
            num_classes: size(config.field("num_classes"), config.num_classes(), 1)?,
            head: HeadLayers::from_config(
                &masks,
                "mask_head_params",
                params,
                config.use_depthwise(),
            )?,
            part_head: HeadLayers::standard(config.use_depthwise()),
            size: [
                mask_side(masks.field("mask_height"), masks.mask_height())?,
                mask_side(masks.field("mask_width"), masks.mask_width())?,
            ],
            threshold: masks.score_threshold(),
            dense_pose: dense_pose.map(DensePose::from_config).transpose()?,
        }))
    }

    /// Cuts masks out. `boxes` are `f32[batch, n, 4]`, in parts of the maps.
    fn cut(
        &self,
        b: &mut Builder,
        maps: &MaskMaps,
        objects: &Objects,
        boxes: ValueId,
    ) -> Result<Cut, ModelError> {
        let [batch, height, width, classes] = map_dims(b, maps.masks)?;
        let dims = b.shape(boxes).dims().to_vec();
        let number = dims.get(1).cloned().unwrap_or(Dim::Known(1));
        let all = count(&[&batch, &number])?;
        let boxes = b.reshape("all_boxes", boxes, &[all.clone(), 4.into()])?;
        let heat = b.unary("heat", Unary::Sigmoid, maps.masks)?;
        let by_class = b.transpose("by_class", heat, &[0, 3, 1, 2])?;
        let images = count(&[&batch, &classes])?;
        let by_class = b.reshape("class_images", by_class, &[images, height, width, 1.into()])?;
        let num_classes = i32::try_from(self.num_classes).unwrap_or(i32::MAX);
        let first = image_numbers(b, maps.masks, num_classes)?;
        let own = b.binary("own_image", Binary::Add, first, objects.classes)?;
        let own = b.reshape("own_images", own, std::slice::from_ref(&all))?;
        let cut = b.crop_and_resize("cut", by_class, boxes, own, self.size)?;
        let threshold = b.constant("threshold", Tensor::scalar_f32(self.threshold))?;
        let mask = b.compare("is_object", Compare::GreaterEqual, cut, threshold)?;
        let mask = b.cast("mask", mask, DType::F32)?;
        let [rows, columns] = self.size.map(Dim::Known);
        let flat = [all.clone(), rows.clone(), columns.clone()];
        let mut mask = b.reshape("flat_mask", mask, &flat)?;
        let mut surface = None;
        if let (Some(pose), Some(parts)) = (self.dense_pose, maps.parts) {
            let image = image_numbers(b, maps.masks, 1)?;
            let zero = b.constant("zero", Tensor::scalar_i32(0))?;
            let none = b.binary("nothing", Binary::Mul, objects.classes, zero)?;
            let image = b.binary("images_of_each", Binary::Add, image, none)?;
            let image = b.reshape("part_images", image, std::slice::from_ref(&all))?;
            let classes = b.reshape(
                "classes_of_all",
                objects.classes,
                &[all, 1.into(), 1.into()],
            )?;
            let (masks, coordinates) = b.scope("dense_pose", |b| {
                pose.apply(b, parts, [boxes, image], [mask, classes], self.size)
            })?;
            mask = masks;
            let shape = [
                batch.clone(),
                number.clone(),
                rows.clone(),
                columns.clone(),
                2.into(),
            ];
            surface = Some(b.reshape("surface_coords", coordinates, &shape)?);
        }
        Ok(Cut {
            masks: b.reshape("masks", mask, &[batch, number, rows, columns])?,
            surface,
        })
    }
}

/// The head of masks.
const MASKS: &str = "segmentation/heatmap";
/// The head of the scores of parts.
const PARTS: &str = "densepose/heatmap";
/// The head of coordinates on parts.
const COORDINATES: &str = "densepose/regression";

impl tasks::Task for Masks {
    fn name(&self) -> &'static str {
        "masks"
    }

    fn heads(&self) -> Vec<Head> {
        let head = |name: &str, channels: u64, layers: &HeadLayers| Head {
            name: name.to_owned(),
            key: tasks::output_key(name),
            channels,
            layers: layers.clone(),
        };
        let mut heads = vec![head(MASKS, self.num_classes, &self.head)];
        if let Some(pose) = self.dense_pose {
            heads.push(head(PARTS, pose.num_parts, &self.part_head));
            heads.push(head(COORDINATES, 2 * pose.num_parts, &self.part_head));
        }
        heads
    }

    fn detect(&self, b: &mut Builder, detected: &mut Detected<'_>) -> Result<(), ModelError> {
        let map = |name: &str| detected.maps.get(name);
        let parts = self
            .dense_pose
            .map(|_| Ok::<_, ModelError>([map(PARTS)?, map(COORDINATES)?]));
        let maps = MaskMaps {
            masks: map(MASKS)?,
            parts: parts.transpose()?,
        };
        let boxes = detected.get(tasks::BOXES);
        let boxes = boxes.ok_or_else(|| ModelError::Inconsistent("objects have boxes".into()))?;
        let boxes = in_maps(b, detected, maps.masks, boxes)?;
        let cut = self.cut(b, &maps, detected.objects, boxes)?;
        detected.outputs.push(("detection_masks", cut.masks));
        let surface = cut
            .surface
            .map(|surface| ("detection_surface_coords", surface));
        detected.outputs.extend(surface);
        Ok(())
    }
}

/// Boxes in parts of the image as boxes in parts of the maps, which may have padding.
fn in_maps(
    b: &mut Builder,
    detected: &Detected<'_>,
    map: ValueId,
    boxes: ValueId,
) -> Result<ValueId, ModelError> {
    let sides = spatial(b, "map", map)?;
    let sides = float_sizes(b, "map_sides", &sides)?;
    let pixels = b.binary_scalar("map_pixels", Binary::Mul, sides, STRIDE.into())?;
    let size = detected.frame.size(b, "image_size", 1)?;
    let parts = b.binary("image_in_map", Binary::Div, size, pixels)?;
    let last = b.shape(parts).rank().saturating_sub(1);
    let parts = b.concat("image_corners_in_map", last, &[parts, parts])?;
    Ok(b.binary("boxes_in_map", Binary::Mul, boxes, parts)?)
}

/// The number of the image that objects are in, times a factor: `i32[batch, 1]`, to be broadcast.
fn image_numbers(b: &mut Builder, map: ValueId, factor: i32) -> Result<ValueId, ModelError> {
    let count = size_of(b, "batch", map, 0)?;
    Numbers::along(count, 0, 2).integers(b, &format!("image_numbers_{factor}"), factor)
}

impl DensePose {
    fn from_config(config: Message<'_, DensePoseEstimation>) -> Result<Self, ModelError> {
        Ok(Self {
            class_id: config.class_id(),
            num_parts: size(config.field("num_parts"), config.num_parts(), 1)?,
        })
    }

    /// The masks, whose pixels become numbers of parts where the class has parts, and where on the part each pixel is. `masks` are `f32[all, h, w]`, `classes`
    /// `i32[all, 1, 1]`.
    fn apply(
        self,
        b: &mut Builder,
        [scores, coordinates]: [ValueId; 2],
        [boxes, images]: [ValueId; 2],
        [masks, classes]: [ValueId; 2],
        size: [u64; 2],
    ) -> Result<(ValueId, ValueId), ModelError> {
        let scores = b.crop_and_resize("part_scores", scores, boxes, images, size)?;
        let coordinates = b.crop_and_resize("coordinates", coordinates, boxes, images, size)?;
        let part = b.arg_max("part", scores, 3)?;
        let class = b.constant("class", Tensor::scalar_i32(self.class_id))?;
        let has_parts = b.compare("has_parts", Compare::Equal, classes, class)?;
        let number = b.cast("part_number", part, DType::F32)?;
        let number = b.binary_scalar("part_from_1", Binary::Add, number, 1.0)?;
        let one = b.constant("one", Tensor::scalar_f32(1.0))?;
        let number = b.select("value", has_parts, number, one)?;
        let numbered = b.binary("numbered", Binary::Mul, masks, number)?;
        let dims = b.shape(part).dims().to_vec();
        let pixels = count(&dims.iter().collect::<Vec<_>>())?;
        let rows = b.reshape(
            "coordinates_of_parts",
            coordinates,
            &[pixels.clone(), self.num_parts.into(), 2.into()],
        )?;
        let own = b.reshape("own_part", part, &[pixels])?;
        let own = b.gather_batched("own_coordinates", rows, own, 1)?;
        let mut shape = dims;
        shape.push(2.into());
        let own = b.reshape("own_coordinates_of_pixels", own, &shape)?;
        let has_parts = b.cast("parts", has_parts, DType::F32)?;
        let is_part = b.binary("is_part", Binary::Mul, masks, has_parts)?;
        let is_part = column(b, "are_parts", is_part)?;
        let own = b.binary("surface", Binary::Mul, own, is_part)?;
        Ok((numbered, own))
    }
}
