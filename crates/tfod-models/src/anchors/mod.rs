//! Anchors: the boxes that predictions are relative to. They depend on the configuration and on the sizes of the feature maps
//! only, so for images of a known size they are constants of the graph; for others the graph computes them.
//!
//! Generators differ in the boxes that they place around a centre and in where centres are: each gives a [`tiling::Tiling`] for each feature map.

pub mod flexible;
pub mod grid;
pub mod multiscale;
pub mod ssd;
pub mod tiling;

use tfod_config::protos;
use tfod_config::protos::anchor_generator::AnchorGeneratorOneof;
use tfod_graph::{Binary, Builder, Dim, Tensor, ValueId};

use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid, missing};
use crate::scalar::Int;
use flexible::Flexible;
use grid::Grid;
use multiscale::Multiscale;
use ssd::Ssd;
use tiling::{Cells, Tiling};

/// One anchor: ymin, xmin, ymax, xmax.
pub type Corners = [f32; 4];

/// Height and width of a box.
pub(crate) fn sides(corners: &Corners) -> [f32; 2] {
    let [y0, x0, y1, x1] = corners;
    [y1 - y0, x1 - x0]
}

/// The centre of a box.
pub(crate) fn center(corners: &Corners) -> [f32; 2] {
    let [height, width] = sides(corners);
    [corners[0] + height / 2.0, corners[1] + width / 2.0]
}

/// A box as its centre and size: y, x, height, width.
pub fn centered(corners: &Corners) -> [f32; 4] {
    let ([y, x], [height, width]) = (center(corners), sides(corners));
    [y, x, height, width]
}

/// The generators that know the size of the image, as an SSD needs it.
pub(crate) const OF_KNOWN_IMAGES: &str =
    "ssd_anchor_generator, multiscale_anchor_generator, flexible_grid_anchor_generator";

/// More anchors than this would need gigabytes; the largest published model has about 350,000.
const MOST_ANCHORS: u64 = 1 << 24;
/// More boxes of one kind around a centre than anybody uses.
const MOST_PER_LOCATION: usize = 1000;

/// A configured anchor generator.
#[derive(Clone, Debug, PartialEq)]
pub enum AnchorGenerator {
    /// `multiscale_anchor_generator`
    Multiscale(Multiscale),
    /// `ssd_anchor_generator`
    Ssd(Ssd),
    /// `flexible_grid_anchor_generator`
    Flexible(Flexible),
    /// `grid_anchor_generator`
    Grid(Grid),
}

impl AnchorGenerator {
    /// Reads the message.
    ///
    /// # Errors
    /// When there is none, and for numbers that make no anchors.
    pub fn from_config(config: Message<'_, protos::AnchorGenerator>) -> Result<Self, ModelError> {
        match &config.anchor_generator_oneof {
            Some(AnchorGeneratorOneof::MultiscaleAnchorGenerator(multiscale)) => {
                let multiscale = config.at("multiscale_anchor_generator", multiscale);
                Ok(Self::Multiscale(Multiscale::from_config(multiscale)?))
            }
            Some(AnchorGeneratorOneof::SsdAnchorGenerator(ssd)) => {
                let ssd = config.at("ssd_anchor_generator", ssd);
                Ok(Self::Ssd(Ssd::from_config(ssd)?))
            }
            Some(AnchorGeneratorOneof::FlexibleGridAnchorGenerator(flexible)) => {
                let flexible = config.at("flexible_grid_anchor_generator", flexible);
                Ok(Self::Flexible(Flexible::from_config(flexible)?))
            }
            Some(AnchorGeneratorOneof::GridAnchorGenerator(grid)) => {
                let grid = config.at("grid_anchor_generator", grid);
                Ok(Self::Grid(Grid::from_config(grid)?))
            }
            None => Err(missing(config.path())),
        }
    }

    /// Boxes at each position, for each feature map.
    pub fn per_location(&self) -> Vec<u64> {
        match self {
            Self::Multiscale(generator) => generator.per_location(),
            Self::Ssd(generator) => generator.per_location(),
            Self::Flexible(generator) => generator.per_location(),
            Self::Grid(generator) => generator.per_location(),
        }
    }

    /// The field that says so, where boxes are parts of the image, and not pixels.
    pub(crate) fn normalized_by(&self) -> Option<FieldPath> {
        match self {
            Self::Multiscale(generator) => generator.normalized_by(),
            Self::Flexible(generator) => generator.normalized_by(),
            Self::Ssd(_) | Self::Grid(_) => None,
        }
    }

    /// The boxes of each feature map, for feature maps of these heights and widths and an image of this size.
    fn tilings(
        &self,
        b: &mut Builder,
        feature_maps: &[Cells],
        image: Image,
    ) -> Result<Vec<Tiling>, ModelError> {
        match self {
            Self::Multiscale(generator) => generator.tilings(b, image),
            Self::Ssd(generator) => generator.tilings(b, feature_maps, image),
            Self::Flexible(generator) => generator.tilings(b, image),
            Self::Grid(generator) => Ok(generator.tilings()),
        }
    }

    /// The fields that say for how many feature maps there are anchors.
    fn levels_fields(&self) -> &'static str {
        match self {
            Self::Multiscale(_) => "set min_level and max_level of both alike",
            Self::Ssd(_) => "set num_layers (and scales) alike",
            Self::Flexible(_) => "there must be one anchor_grid for each",
            Self::Grid(_) => {
                "grid_anchor_generator is for one; for a feature pyramid, take multiscale_anchor_generator"
            }
        }
    }

    /// The anchors over feature maps of these heights and widths, for an image of this size: map by map, row by row, with the boxes of one
    /// centre together. `place` is where the generator is configured.
    ///
    /// # Errors
    /// When there are not as many feature maps as the configuration says, or far too many anchors.
    pub(crate) fn build(
        &self,
        b: &mut Builder,
        feature_maps: &[Cells],
        image: Image,
        place: GeneratorPlace,
    ) -> Result<Anchors, ModelError> {
        self.check(feature_maps, place)?;
        let mut known = Vec::new();
        let tilings = self.tilings(b, feature_maps, image)?;
        let levels = || feature_maps.iter().zip(&tilings);
        let all_known = levels().all(|(map, tiling)| tiling.tile(map, &mut known));
        if !(tilings.iter().all(Tiling::is_finite) && known.iter().all(is_finite)) {
            let given = "one whose boxes are too large for 32-bit floats";
            let expected = "smaller scales and sizes, and aspect ratios nearer to 1";
            return Err(invalid(place.field, given, expected));
        }
        if all_known {
            return Ok(Anchors::Known(known));
        }
        let computed = levels().enumerate().map(|(level, (map, tiling))| {
            b.scope(&format!("level_{level}"), |b| tiling.tile_in_graph(b, map))
        });
        let computed = computed.collect::<Result<Vec<_>, _>>()?;
        Ok(Anchors::Computed(b.concat("all", 0, &computed)?))
    }

    /// Whether there can be anchors over feature maps of these heights and widths. `place` is where the generator is configured.
    ///
    /// # Errors
    /// When there are not as many feature maps as the configuration says, or far too many anchors.
    pub(crate) fn check(
        &self,
        feature_maps: &[Cells],
        place: GeneratorPlace,
    ) -> Result<(), ModelError> {
        let GeneratorPlace { field, levels_note } = place;
        let per_location = self.per_location();
        if feature_maps.len() != per_location.len() {
            return Err(ModelError::Inconsistent(format!(
                "`{field}` has {} levels, the feature extractor gives {} feature maps; {}{levels_note}",
                per_location.len(),
                feature_maps.len(),
                self.levels_fields()
            )));
        }
        let maps = feature_maps.iter().zip(per_location);
        let count = maps.into_iter().try_fold(0u64, |sum, (cells, boxes)| {
            // Sizes known only at run time are not limited here.
            let [h, w] = cells.dims.each_ref().map(|dim| dim.known().unwrap_or(1));
            sum.checked_add(h.checked_mul(w)?.checked_mul(boxes)?)
        });
        if count.is_none_or(|n| n > MOST_ANCHORS) {
            let sizes = feature_maps.iter().map(|cells| {
                let [height, width] = &cells.dims;
                format!("{height}x{width}")
            });
            return Err(ModelError::Inconsistent(format!(
                "`{field}` places more than {MOST_ANCHORS} anchors on feature maps of {}; smaller images, or fewer sizes and aspect ratios, give fewer",
                sizes.collect::<Vec<_>>().join(", ")
            )));
        }
        Ok(())
    }

    /// [`Self::build`] for known sizes.
    #[cfg(test)]
    fn generate(
        &self,
        feature_maps: &[[u64; 2]],
        image: [u64; 2],
    ) -> Result<Vec<Corners>, ModelError> {
        let number = |n: u64| Int::Known(i32::try_from(n).unwrap());
        let maps: Vec<Cells> = feature_maps
            .iter()
            .map(|map| Cells {
                size: map.map(number),
                dims: map.map(Dim::Known),
            })
            .collect();
        let image = Image {
            size: image.map(number),
            is_fixed: true,
        };
        let place = GeneratorPlace {
            field: FieldPath::MODEL.child("anchor_generator"),
            levels_note: "",
        };
        match self.build(&mut Builder::new("known"), &maps, image, place)? {
            Anchors::Known(anchors) => Ok(anchors),
            Anchors::Computed(_) => panic!("all sizes are known"),
        }
    }
}

/// What anchors depend on of the image that the network sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// Height and width.
    pub size: [Int; 2],
    /// Whether the configuration gives all images this size.
    pub is_fixed: bool,
}

/// Where a generator is configured, for errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GeneratorPlace {
    /// The generator's message.
    pub field: FieldPath,
    /// What else there is to know of the levels of feature extractors.
    pub levels_note: &'static str,
}

/// The anchors of a model: ymin, xmin, ymax, xmax.
#[derive(Clone, Debug)]
pub enum Anchors {
    /// The same for all images.
    Known(Vec<Corners>),
    /// `f32[num_anchors, 4]`, computed from the size of the image.
    Computed(ValueId),
}

impl Anchors {
    /// Their corners, `f32[num_anchors, 4]`.
    pub(crate) fn value(&self, b: &mut Builder, name: &str) -> Result<ValueId, ModelError> {
        let anchors = match self {
            Self::Known(anchors) => anchors,
            Self::Computed(corners) => return Ok(*corners),
        };
        let values: Vec<f32> = anchors.iter().flatten().copied().collect();
        let tensor = Tensor::f32(&[anchors.len() as u64, 4], &values)
            .ok_or_else(|| ModelError::Inconsistent("anchors without corners".into()))?;
        Ok(b.constant(name, tensor)?)
    }

    /// Height and width, and the centres, each `f32[num_anchors, 2]`.
    pub(crate) fn sizes_and_centers(&self, b: &mut Builder) -> Result<[ValueId; 2], ModelError> {
        let anchors = match self {
            Self::Known(anchors) => anchors,
            Self::Computed(corners) => {
                let low = b.slice_last("low", *corners, 0, 2)?;
                let high = b.slice_last("high", *corners, 2, 2)?;
                let sizes = b.binary("sizes", Binary::Sub, high, low)?;
                let half = b.binary_scalar("half_sizes", Binary::Mul, sizes, 0.5)?;
                return Ok([sizes, b.binary("centers", Binary::Add, low, half)?]);
            }
        };
        let half = |[y0, x0, y1, x1]: Corners| [(y1 - y0) / 2.0, (x1 - x0) / 2.0];
        let sizes: Vec<f32> = anchors
            .iter()
            .flat_map(|[y0, x0, y1, x1]| [y1 - y0, x1 - x0])
            .collect();
        let centers: Vec<f32> = anchors
            .iter()
            .flat_map(|a| [a[0] + half(*a)[0], a[1] + half(*a)[1]])
            .collect();
        let mut table = |name: &str, values: &[f32]| {
            let tensor = Tensor::f32(&[anchors.len() as u64, 2], values)
                .ok_or_else(|| ModelError::Inconsistent("anchors without corners".into()))?;
            Ok::<_, ModelError>(b.constant(name, tensor)?)
        };
        Ok([table("sizes", &sizes)?, table("centers", &centers)?])
    }

    /// As numbers; empty where they are computed.
    pub fn known(self) -> Vec<Corners> {
        match self {
            Self::Known(anchors) => anchors,
            Self::Computed(_) => Vec::new(),
        }
    }
}

/// Whether a box has numbers for corners and sides.
fn is_finite(&[y0, x0, y1, x1]: &Corners) -> bool {
    [y0, x0, y1 - y0, x1 - x0].into_iter().all(f32::is_finite)
}

/// The dimension of all anchors of a feature map of this height and width, with so many around each position.
pub(crate) fn anchors_dim(
    [height, width]: &[Dim; 2],
    per_location: u64,
) -> Result<Dim, ModelError> {
    let too_many = || {
        ModelError::Inconsistent(format!(
            "a feature map of {height}x{width} with {per_location} anchors around each position has too many anchors"
        ))
    };
    Dim::product([height, width, &per_location.into()]).ok_or_else(too_many)
}

/// Scales or aspect ratios of the boxes around a centre, checked: not too many, and all above 0.
fn positive(field: FieldPath, numbers: &[f32]) -> Result<(), ModelError> {
    if numbers.len() > MOST_PER_LOCATION {
        let given = format!("a list of {}", numbers.len());
        return Err(invalid(
            field,
            given,
            format!("at most {MOST_PER_LOCATION}"),
        ));
    }
    match numbers.iter().find(|n| !(n.is_finite() && **n > 0.0)) {
        Some(number) => Err(invalid(field, number, "numbers above 0")),
        None => Ok(()),
    }
}
