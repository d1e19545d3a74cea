//! Regions of interest: crops of feature maps in one size. After the reference's `multilevel_native_crop_and_resize` and `multilevel_matmul_crop_and_resize`, and the pooling
//! that follows.
//!
//! A crop samples the map at points between the centres of pixels. The native operation gives zeros for points beyond the outer centres, even where only rounding has
//! put them there; the other one counts single pixels beyond them as zeros, so that rounding does not matter: that is the native one on a map with a row and a column of
//! zeros more.
//!
//! Of a pyramid each box is cropped from the level that fits its size (Lin et al. 2017, section 4.2, <https://arxiv.org/abs/1612.03144>).

use tfod_config::protos;
use tfod_graph::{
    Binary, Builder, Compare, DType, Dim, Padding, PoolAttrs, Tensor, Unary, ValueId,
};

use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid, size};
use crate::scalar::{Float, Int, float_vector, spatial, vector};

/// The side of images that the network was first trained on, whose boxes are cropped from the last level but one.
const USUAL_SIDE: f32 = 224.0;

/// More boxes of a batch than anybody crops: the graph has a number for each.
const MOST_BOXES: u64 = 1 << 20;

/// Refuses more boxes of an image, `n` by the configuration's `field`, than can be cropped in a batch of a known size.
pub(super) fn check_boxes(field: FieldPath, n: u64, batch: &Dim) -> Result<(), ModelError> {
    let batch = batch.known().unwrap_or(1);
    if batch.checked_mul(n).is_none_or(|boxes| boxes > MOST_BOXES) {
        let most = MOST_BOXES / batch.max(1);
        let expected = format!("at most {most} with a batch of {batch}");
        return Err(invalid(field, n, expected));
    }
    Ok(())
}

/// How crops are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crops {
    /// Height and width before pooling.
    initial_size: u64,
    pool: PoolAttrs,
    by_matmul: bool,
}

/// Boxes that are cropped.
#[derive(Clone, Copy, Debug)]
struct Boxes {
    /// `[boxes, 4]`, of all images, in parts of the network's input.
    flat: ValueId,
    /// `[boxes]`: the image of each.
    images: ValueId,
}

impl Crops {
    /// Reads the fields.
    ///
    /// # Errors
    /// For sizes that leave no pixel.
    pub(super) fn from_config(config: Message<'_, protos::FasterRcnn>) -> Result<Self, ModelError> {
        let initial_size = size(
            config.field("initial_crop_size"),
            config.initial_crop_size(),
            1,
        )?;
        let field = config.field("maxpool_kernel_size");
        let kernel = size(field, config.maxpool_kernel_size(), 1)?;
        if kernel > initial_size {
            let expected = format!("at most initial_crop_size ({initial_size})");
            return Err(invalid(field, kernel, expected));
        }
        let stride = size(config.field("maxpool_stride"), config.maxpool_stride(), 1)?;
        Ok(Self {
            initial_size,
            pool: PoolAttrs::new(kernel, stride, Padding::Valid),
            by_matmul: config.use_matmul_crop_and_resize(),
        })
    }

    /// Crops boxes `[batch, n, 4]`, in parts of the network's input, out of maps of one depth, from fine to coarse: `[batch * n, h, w, channels]`, image after
    /// image. `image` are height and width of the network's input.
    pub(super) fn build(
        self,
        b: &mut Builder,
        maps: &[ValueId],
        boxes: ValueId,
        image: [Int; 2],
    ) -> Result<ValueId, ModelError> {
        let levels = match maps {
            [] | [_] => None,
            _ => Some(b.scope("levels", |b| levels(b, boxes, maps.len(), image))?),
        };
        let boxes = b.scope("boxes", |b| Boxes::new(b, boxes))?;
        let crops = match (levels, maps) {
            (None, [map]) if self.by_matmul => {
                let (map, boxes) = with_border(b, *map, boxes)?;
                self.crop(b, "crops", map, boxes)?
            }
            (None, [map]) => self.crop(b, "crops", *map, boxes)?,
            (Some(levels), _) if self.by_matmul => self.of_joined_maps(b, maps, boxes, levels)?,
            (Some(levels), _) => self.of_each_map(b, maps, boxes, levels)?,
            (None, _) => return Err(ModelError::Inconsistent("no feature map to crop".into())),
        };
        Ok(b.max_pool("pooled", crops, self.pool)?)
    }
}

impl Crops {
    fn crop(
        self,
        b: &mut Builder,
        name: &str,
        map: ValueId,
        boxes: Boxes,
    ) -> Result<ValueId, ModelError> {
        let size = [self.initial_size; 2];
        Ok(b.crop_and_resize(name, map, boxes.flat, boxes.images, size)?)
    }

    /// Crops of boxes on levels, of each map all of them; those that are of another level count as zeros, and the sum has one of each box.
    fn of_each_map(
        self,
        b: &mut Builder,
        maps: &[ValueId],
        boxes: Boxes,
        levels: ValueId,
    ) -> Result<ValueId, ModelError> {
        let levels = boxes.column(b, levels)?;
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let mut sum: Option<ValueId> = None;
        for (level, map) in maps.iter().enumerate() {
            let crops = self.crop(b, &format!("crops_{level}"), *map, boxes)?;
            let own = b.scope(&format!("level_{level}"), |b| {
                let is_own = is_level(b, levels, level)?;
                Ok::<_, ModelError>(b.select("own", is_own, crops, zero)?)
            })?;
            sum = Some(match sum {
                Some(sum) => b.binary("crops", Binary::Add, sum, own)?,
                None => own,
            });
        }
        sum.ok_or_else(|| ModelError::Inconsistent("no feature map to crop".into()))
    }

    /// Crops of boxes on levels, all of one map: that of the finest level and, after it, those of the others, with zeros below and on the right up to its size and one
    /// pixel more.
    fn of_joined_maps(
        self,
        b: &mut Builder,
        maps: &[ValueId],
        boxes: Boxes,
        levels: ValueId,
    ) -> Result<ValueId, ModelError> {
        let sizes = maps.iter().enumerate();
        let sizes = sizes.map(|(level, map)| spatial(b, &format!("level_{level}"), *map));
        let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
        let (Some(finest), Some(dims)) = (sizes.first().copied(), padded_dims(b, maps)) else {
            return Err(ModelError::Inconsistent("no feature map to crop".into()));
        };
        let one = Int::Known(1);
        let to = [
            finest[0].binary(b, "padded_height", Binary::Add, one)?,
            finest[1].binary(b, "padded_width", Binary::Add, one)?,
        ];
        let mut padded = Vec::with_capacity(maps.len());
        let mut factors = Vec::with_capacity(maps.len());
        for (level, (map, size)) in maps.iter().zip(&sizes).enumerate() {
            b.scope::<_, ModelError>(&format!("level_{level}"), |b| {
                padded.push(pad(b, *map, *size, to, &dims)?);
                factors.push(coordinate_scale(b, *size, finest)?);
                Ok(())
            })?;
        }
        let joined = b.concat("maps_of_levels", 0, &padded)?;
        let factors = table(b, "scales_of_levels", &factors)?;
        let levels = boxes.row(b, levels)?;
        let factors = b.gather("scale", factors, levels)?;
        let batch = size_along(b, "batch", maps.first().copied(), 0)?;
        let batch = batch.value(b, "batch")?;
        let before = b.binary("maps_before", Binary::Mul, levels, batch)?;
        let boxes = Boxes {
            flat: b.binary("scaled_boxes", Binary::Mul, boxes.flat, factors)?,
            images: b.binary("maps", Binary::Add, before, boxes.images)?,
        };
        self.crop(b, "crops", joined, boxes)
    }
}

impl Boxes {
    /// Of boxes `[batch, n, 4]`.
    fn new(b: &mut Builder, boxes: ValueId) -> Result<Self, ModelError> {
        let [batch, Dim::Known(n), _] = b.shape(boxes).dims() else {
            let text = "crops of an unknown number of boxes";
            return Err(ModelError::Inconsistent(text.to_owned()));
        };
        let (batch, n) = (batch.clone(), *n);
        let count = flat_dim(&batch, n)?;
        let flat = b.reshape("flat", boxes, &[count.clone(), 4.into()])?;
        let images = if let Some(batch) = batch.known() {
            let images = (0..).take(usize::try_from(batch).unwrap_or_default());
            let per_image = usize::try_from(n).unwrap_or_default();
            let images = images.flat_map(|image| std::iter::repeat_n(image, per_image));
            let images: Vec<i32> = images.collect();
            let images = Tensor::i32(&[batch * n], &images)
                .ok_or_else(|| ModelError::Inconsistent("an image for each box".into()))?;
            b.constant("images", images)?
        } else {
            let number = size_along(b, "batch", Some(boxes), 0)?;
            let number = number.value(b, "batch")?;
            let image = b.range("image", number, batch.clone())?;
            let image = b.reshape("image_column", image, &[batch, 1.into()])?;
            let zeros = vec![0; usize::try_from(n).unwrap_or_default()];
            let zeros = Tensor::i32(&[1, n], &zeros)
                .ok_or_else(|| ModelError::Inconsistent("an image for each box".into()))?;
            let zeros = b.constant("zeros", zeros)?;
            let images = b.binary("images", Binary::Add, image, zeros)?;
            b.reshape("images_flat", images, &[count])?
        };
        Ok(Self { flat, images })
    }

    /// What each box has, `[batch, n]`, as `[boxes]`.
    fn row(self, b: &mut Builder, values: ValueId) -> Result<ValueId, ModelError> {
        let boxes = b.shape(self.images).dims().to_vec();
        Ok(b.reshape("of_boxes", values, &boxes)?)
    }

    /// What each box has, `[batch, n]`, as `[boxes, 1, 1, 1]`.
    fn column(self, b: &mut Builder, values: ValueId) -> Result<ValueId, ModelError> {
        let mut dims = b.shape(self.images).dims().to_vec();
        dims.extend([1.into(), 1.into(), 1.into()]);
        Ok(b.reshape("of_boxes", values, &dims)?)
    }
}

/// The dimension of all boxes of a batch.
pub(super) fn flat_dim(batch: &Dim, n: u64) -> Result<Dim, ModelError> {
    Dim::product([batch, &n.into()])
        .ok_or_else(|| ModelError::Inconsistent("too many boxes in a batch".into()))
}

/// The size of a value along an axis.
fn size_along(
    b: &mut Builder,
    name: &str,
    value: Option<ValueId>,
    axis: usize,
) -> Result<Int, ModelError> {
    let missing = || ModelError::Inconsistent("a value without this dimension".into());
    let value = value.ok_or_else(missing)?;
    let known = b.shape(value).dims().get(axis).and_then(Dim::known);
    if let Some(known) = known.and_then(|n| i32::try_from(n).ok()) {
        return Ok(Int::Known(known));
    }
    let shape = b.shape_of(&format!("{name}/shape"), value)?;
    let sizes = b.unstack(&format!("{name}/sizes"), shape, 0)?;
    sizes
        .get(axis)
        .copied()
        .map(Int::Computed)
        .ok_or_else(missing)
}

/// Of a box, as a part of the image: far below that of a box on any level but the first, and above zero in floats of 32 bits.
const LEAST_AREA: f32 = 1e-30;

/// The level of each box `[batch, n, 4]`, `[batch, n]`: the one on which it is as large as boxes that the network was first trained on.
fn levels(
    b: &mut Builder,
    boxes: ValueId,
    count: usize,
    [height, width]: [Int; 2],
) -> Result<ValueId, ModelError> {
    let area = height.binary(b, "image_area", Binary::Mul, width)?;
    let area = area.to_float(b, "image_area_float")?;
    let side = match area {
        Float::Known(area) => Float::Known(area.sqrt()),
        Float::Computed(area) => Float::Computed(b.unary("image_side", Unary::Sqrt, area)?),
    };
    let ratio = side.binary(b, "image_ratio", Binary::Div, Float::Known(USUAL_SIDE))?;
    let ratio = ratio.value(b, "image_ratio")?;
    let low = b.slice_last("low_corners", boxes, 0, 2)?;
    let high = b.slice_last("high_corners", boxes, 2, 2)?;
    let sides = b.binary("sides", Binary::Sub, high, low)?;
    let sides = b.unstack("side", sides, 2)?;
    let [box_height, box_width] = sides.as_slice() else {
        return Err(ModelError::Inconsistent("boxes without two sides".into()));
    };
    let area = b.binary("areas", Binary::Mul, *box_height, *box_width)?;
    // The logarithm of an area of zero, or of less where ymax is less than ymin, is no level: such boxes are on the first, as in the reference.
    let area = b.binary_scalar("areas_above_zero", Binary::Maximum, area, LEAST_AREA)?;
    let side = b.unary("areas_sqrt", Unary::Sqrt, area)?;
    let scale = b.binary("scale", Binary::Mul, side, ratio)?;
    let octave = b.unary("scale_log", Unary::Log, scale)?;
    let octave = b.binary_scalar("octave", Binary::FloorDiv, octave, std::f32::consts::LN_2)?;
    // Numbers of levels are far below 2^24.
    let (unit, most) = (count.saturating_sub(2), count.saturating_sub(1));
    let [unit, most] = [unit, most].map(|n| f32::from(u16::try_from(n).unwrap_or(u16::MAX)));
    let level = b.binary_scalar("level", Binary::Add, octave, unit)?;
    let level = b.binary_scalar("at_most", Binary::Minimum, level, most)?;
    let level = b.binary_scalar("at_least", Binary::Maximum, level, 0.0)?;
    Ok(b.cast("levels", level, DType::I32)?)
}

/// Whether levels are this one.
fn is_level(b: &mut Builder, levels: ValueId, level: usize) -> Result<ValueId, ModelError> {
    let number = i32::try_from(level).unwrap_or(i32::MAX);
    let own = b.constant("number", Tensor::scalar_i32(number))?;
    Ok(b.compare("is_own", Compare::Equal, levels, own)?)
}

/// A map with a row and a column of zeros more, and boxes in which 1 still is the centre of the last pixel before them.
fn with_border(
    b: &mut Builder,
    map: ValueId,
    boxes: Boxes,
) -> Result<(ValueId, Boxes), ModelError> {
    b.scope("border", |b| {
        let size = spatial(b, "map", map)?;
        let padded = b.pad("pad", map, &[(0, 0), (0, 1), (0, 1), (0, 0)])?;
        let scale = coordinate_scale(b, size, size)?;
        let scale = float_vector(b, "scale", &scale)?;
        let flat = b.binary("scaled_boxes", Binary::Mul, boxes.flat, scale)?;
        Ok((padded, Boxes { flat, ..boxes }))
    })
}

/// What boxes in parts of a map of this size are multiplied by, `[4]`, to be boxes in parts of one of the size `of` and a row and a column more: parts are counted
/// between the centres of outer pixels.
fn coordinate_scale(
    b: &mut Builder,
    size: [Int; 2],
    of: [Int; 2],
) -> Result<[Float; 4], ModelError> {
    let mut scale = |name: &str, size: Int, of: Int| {
        let between = size.binary(b, &format!("{name}_between"), Binary::Sub, Int::Known(1))?;
        let between = between.to_float(b, &format!("{name}_between_float"))?;
        let of = of.to_float(b, &format!("{name}_float"))?;
        between.binary(b, &format!("{name}_scale"), Binary::Div, of)
    };
    let [height, width] = [
        scale("height", size[0], of[0])?,
        scale("width", size[1], of[1])?,
    ];
    Ok([height, width, height, width])
}

/// Rows of numbers, `[rows, 4]`; a constant where all are known.
fn table(b: &mut Builder, name: &str, rows: &[[Float; 4]]) -> Result<ValueId, ModelError> {
    let known = rows.iter().flatten().map(|value| match value {
        Float::Known(x) => Some(*x),
        Float::Computed(_) => None,
    });
    if let Some(known) = known.collect::<Option<Vec<f32>>>()
        && let Some(tensor) = Tensor::f32(&[rows.len() as u64, 4], &known)
    {
        return Ok(b.constant(name, tensor)?);
    }
    let rows = rows
        .iter()
        .map(|row| float_vector(b, &format!("{name}/row"), row))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(b.stack(name, 0, &rows)?)
}

/// Height and width of the finest of these maps with a pixel more.
fn padded_dims(b: &Builder, maps: &[ValueId]) -> Option<[Dim; 2]> {
    match b.shape(*maps.first()?).dims() {
        [_, height, width, _] => Some([height.grown(1)?, width.grown(1)?]),
        _ => None,
    }
}

/// Zeros below and on the right, up to a size.
fn pad(
    b: &mut Builder,
    map: ValueId,
    from: [Int; 2],
    to: [Int; 2],
    dims: &[Dim; 2],
) -> Result<ValueId, ModelError> {
    let below = to[0].binary(b, "rows_below", Binary::Sub, from[0])?;
    let right = to[1].binary(b, "columns_right", Binary::Sub, from[1])?;
    if let (Int::Known(below), Int::Known(right)) = (below, right) {
        let count = |n: i32| {
            u64::try_from(n).map_err(|_| {
                ModelError::Inconsistent("a coarser map larger than a finer one".into())
            })
        };
        let paddings = [(0, 0), (0, count(below)?), (0, count(right)?), (0, 0)];
        return Ok(b.pad("pad", map, &paddings)?);
    }
    let by = vector(b, "padding", &[Int::Known(0), below, right, Int::Known(0)])?;
    let mut to = b.shape(map).dims().to_vec();
    if let [_, height, width, _] = to.as_mut_slice() {
        [*height, *width] = dims.clone();
    }
    Ok(b.pad_end("pad", map, by, to)?)
}
