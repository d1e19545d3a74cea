//! Box coders: how a box is written relative to an anchor.

use tfod_config::protos;
use tfod_config::protos::box_coder::BoxCoderOneof;
use tfod_graph::{Binary, Builder, Dim, Tensor, Unary, ValueId};

use crate::anchors::{self, Anchors, Corners, center, sides};
use crate::error::ModelError;
use crate::facts::BoxDecoding;
use crate::fields::{FieldPath, Message, invalid, missing, size, size_unknown};
use crate::postprocess::NoEnding;

/// A configured box coder. Encodings `[batch, num_anchors, code_size]` decode to corners `[batch, num_anchors, 4]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxCoder {
    /// How boxes are encoded.
    pub coding: Coding,
    /// Where it stands in the configuration.
    pub path: FieldPath,
}

/// How boxes are encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coding {
    /// `faster_rcnn_box_coder` (Faster R-CNN, Ren et al. 2015, <https://arxiv.org/abs/1506.01497>): an encoding is `[ty, tx, th, tw]`, and
    /// `ty = y_scale * (y - y_anchor) / h_anchor`, `th = height_scale * ln(h / h_anchor)`, likewise for x and w; y and x are centres.
    FasterRcnn {
        /// y_scale, x_scale, height_scale, width_scale
        scales: [f32; 4],
    },
    /// `keypoint_box_coder`: the same, followed by `[ky, kx]` for each keypoint, which are coded as the centre is.
    Keypoint {
        /// y_scale, x_scale, height_scale, width_scale
        scales: [f32; 4],
        /// How many keypoints there are.
        num_keypoints: u64,
    },
    /// `square_box_coder`: an encoding is `[ty, tx, tl]`, relative to the square of the anchor's area: `l_anchor = sqrt(h_anchor * w_anchor)`,
    /// `ty = y_scale * (y - y_anchor) / l_anchor`, `tl = length_scale * ln(l / l_anchor)`.
    Square {
        /// y_scale, x_scale, length_scale
        scales: [f32; 3],
    },
    /// `mean_stddev_box_coder`: an encoding is the distance of each corner's coordinate from the anchor's, in units of `stddev`.
    MeanStddev {
        /// The unit.
        stddev: f32,
    },
}

/// Decoded boxes, and keypoints where the coder has them.
#[derive(Clone, Copy, Debug)]
pub struct Decoded {
    /// `[batch, num_anchors, 4]`: ymin, xmin, ymax, xmax.
    pub boxes: ValueId,
    /// `[batch, num_anchors, num_keypoints, 2]`: y, x. Where encodings have keypoints.
    pub keypoints: Option<ValueId>,
}

impl BoxCoder {
    /// Reads the message.
    ///
    /// # Errors
    /// For numbers that code nothing.
    pub fn from_config(config: Message<'_, protos::BoxCoder>) -> Result<Self, ModelError> {
        let path = config.path();
        let coding = match &config.box_coder_oneof {
            Some(BoxCoderOneof::FasterRcnnBoxCoder(coder)) => Coding::FasterRcnn {
                scales: scales(
                    path,
                    [
                        coder.y_scale(),
                        coder.x_scale(),
                        coder.height_scale(),
                        coder.width_scale(),
                    ],
                )?,
            },
            Some(BoxCoderOneof::KeypointBoxCoder(coder)) => Coding::Keypoint {
                scales: scales(
                    path,
                    [
                        coder.y_scale(),
                        coder.x_scale(),
                        coder.height_scale(),
                        coder.width_scale(),
                    ],
                )?,
                num_keypoints: size(
                    path.child("keypoint_box_coder").child("num_keypoints"),
                    coder.num_keypoints(),
                    1,
                )?,
            },
            Some(BoxCoderOneof::SquareBoxCoder(coder)) => Coding::Square {
                scales: scales(
                    path,
                    [coder.y_scale(), coder.x_scale(), coder.length_scale()],
                )?,
            },
            Some(BoxCoderOneof::MeanStddevBoxCoder(coder)) => {
                let stddev = coder.stddev();
                if !stddev.is_finite() {
                    let coder = config.at("mean_stddev_box_coder", coder);
                    return Err(invalid(coder.field("stddev"), stddev, "a number"));
                }
                Coding::MeanStddev { stddev }
            }
            None => return Err(missing(path)),
        };
        Ok(Self { coding, path })
    }

    /// How many numbers an encoding has.
    pub fn code_size(self) -> u64 {
        match self.coding {
            Coding::FasterRcnn { .. } | Coding::MeanStddev { .. } => 4,
            Coding::Keypoint { num_keypoints, .. } => 4 + 2 * num_keypoints,
            Coding::Square { .. } => 3,
        }
    }

    /// Whether low corners are never beyond high ones, whatever is decoded.
    pub fn orders_corners(self) -> bool {
        !matches!(self.coding, Coding::MeanStddev { .. })
    }

    /// Decodes `[batch, num_anchors, code_size]` encodings.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn decode(
        self,
        b: &mut Builder,
        encodings: ValueId,
        anchors: &Anchors,
    ) -> Result<Decoded, ModelError> {
        let boxes_only = |boxes| Decoded {
            boxes,
            keypoints: None,
        };
        match self.coding {
            Coding::FasterRcnn { scales } => {
                let centered = Centered::new(b, anchors, &scales, self.path)?;
                Ok(boxes_only(centered.boxes(b, encodings)?))
            }
            Coding::Keypoint {
                scales,
                num_keypoints,
            } => {
                let centered = Centered::new(b, anchors, &scales, self.path)?;
                Ok(Decoded {
                    boxes: centered.boxes(b, encodings)?,
                    keypoints: Some(centered.keypoints(b, encodings, num_keypoints)?),
                })
            }
            Coding::Square { scales } => {
                let centered = Centered::new(b, anchors, &scales, self.path)?;
                Ok(boxes_only(centered.boxes(b, encodings)?))
            }
            Coding::MeanStddev { stddev } => {
                let distance = b.binary_scalar("corner_offsets", Binary::Mul, encodings, stddev)?;
                let corners = match anchors {
                    Anchors::Computed(corners) => *corners,
                    Anchors::Known(anchors) => {
                        let corners: Vec<f32> = anchors.iter().flatten().copied().collect();
                        constant(b, "anchors/corners", &[anchors.len(), 4], &corners)?
                    }
                };
                Ok(boxes_only(b.binary(
                    "boxes",
                    Binary::Add,
                    distance,
                    corners,
                )?))
            }
        }
    }

    /// Its name in the configuration.
    fn name(self) -> &'static str {
        match self.coding {
            Coding::FasterRcnn { .. } => "faster_rcnn_box_coder",
            Coding::Keypoint { .. } => "keypoint_box_coder",
            Coding::Square { .. } => "square_box_coder",
            Coding::MeanStddev { .. } => "mean_stddev_box_coder",
        }
    }

    /// Anchors as `[y, x, height, width]`, with their centres, and the scales of these four.
    ///
    /// # Errors
    /// Where encodings are others, or anchors are not constants.
    pub fn centered(self, anchors: &Anchors) -> Result<(Vec<[f32; 4]>, [f32; 4]), NoEnding> {
        let Coding::FasterRcnn { scales } = self.coding else {
            return Err(NoEnding::BoxCoder(self.name()));
        };
        let Anchors::Known(anchors) = anchors else {
            return Err(NoEnding::ComputedAnchors);
        };
        Ok((anchors.iter().map(anchors::centered).collect(), scales))
    }

    /// What the manifest says of undecoded boxes, so that users can decode them.
    pub fn facts(self, anchors: Vec<Corners>) -> BoxDecoding {
        const NAMES: [&str; 4] = ["y_scale", "x_scale", "height_scale", "width_scale"];
        let (scales, description) = match self.coding {
            Coding::FasterRcnn { scales } => (
                NAMES.into_iter().zip(scales).collect(),
                "an encoding is [ty, tx, th, tw]; with the anchor's centre (ya, xa), height ha and width wa: \
                 y = ty / y_scale * ha + ya, x = tx / x_scale * wa + xa, h = exp(th / height_scale) * ha, \
                 w = exp(tw / width_scale) * wa; the box is (y - h / 2, x - w / 2, y + h / 2, x + w / 2)",
            ),
            Coding::Keypoint { scales, .. } => (
                NAMES.into_iter().zip(scales).collect(),
                "an encoding is [ty, tx, th, tw], then [ky, kx] of each keypoint; with the anchor's centre (ya, xa), height ha and width wa: \
                 y = ty / y_scale * ha + ya, x = tx / x_scale * wa + xa, h = exp(th / height_scale) * ha, \
                 w = exp(tw / width_scale) * wa; the box is (y - h / 2, x - w / 2, y + h / 2, x + w / 2); \
                 a keypoint is (ky / y_scale * ha + ya, kx / x_scale * wa + xa)",
            ),
            Coding::Square { scales } => (
                ["y_scale", "x_scale", "length_scale"]
                    .into_iter()
                    .zip(scales)
                    .collect(),
                "an encoding is [ty, tx, tl]; with the anchor's centre (ya, xa), height ha and width wa: la = sqrt(ha * wa), \
                 y = ty / y_scale * la + ya, x = tx / x_scale * la + xa, l = exp(tl / length_scale) * la; \
                 the box is (y - l / 2, x - l / 2, y + l / 2, x + l / 2)",
            ),
            Coding::MeanStddev { stddev } => (
                vec![("stddev", stddev)],
                "an encoding is [ty, tx, by, bx]; with the anchor (ymin, xmin, ymax, xmax) the box is \
                 (ty * stddev + ymin, tx * stddev + xmin, by * stddev + ymax, bx * stddev + xmax)",
            ),
        };
        BoxDecoding {
            coder: self.name(),
            scales,
            description,
            anchors,
            anchors_description: "ymin, xmin, ymax, xmax of each row of box_encodings",
        }
    }
}

fn scales<const N: usize>(path: FieldPath, scales: [f32; N]) -> Result<[f32; N], ModelError> {
    match scales.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        Some(scale) => Err(invalid(
            path,
            format!("a scale of {scale}"),
            "numbers above 0",
        )),
        None => Ok(scales),
    }
}

/// The side of the square of a box's area.
fn square_side(corners: &Corners) -> f32 {
    let [height, width] = sides(corners);
    (height * width).sqrt()
}

/// Decoding relative to an anchor's centre, in units of its size.
struct Centered {
    /// `[num_anchors, sides]`, where a square has one side.
    sizes: ValueId,
    /// `[num_anchors, 2]`
    centers: ValueId,
    /// `[2]`: what codes of centres and keypoints are divided by.
    center_scale: ValueId,
    /// `[sides]`: what codes of sides are divided by.
    size_scale: ValueId,
}

impl Centered {
    /// `scales` are those of y and x, then of each side; a square has one. `path` is the box coder's.
    fn new(
        b: &mut Builder,
        anchors: &Anchors,
        scales: &[f32],
        path: FieldPath,
    ) -> Result<Self, ModelError> {
        let (center_scale, size_scale) = scales
            .split_at_checked(2)
            .ok_or_else(|| ModelError::Inconsistent("scales without y and x".into()))?;
        let sides = size_scale.len();
        let [sizes, centers] = match (anchors, sides) {
            (Anchors::Known(anchors), 1) => {
                let sizes: Vec<f32> = anchors.iter().map(square_side).collect();
                let centers: Vec<f32> = anchors.iter().flat_map(center).collect();
                [
                    constant(b, "anchors/sizes", &[anchors.len(), 1], &sizes)?,
                    constant(b, "anchors/centers", &[anchors.len(), 2], &centers)?,
                ]
            }
            (Anchors::Computed(_), 1) => {
                return Err(size_unknown(path, "square_box_coder"));
            }
            _ => b.scope("anchors", |b| anchors.sizes_and_centers(b))?,
        };
        Ok(Self {
            sizes,
            centers,
            center_scale: constant(b, "center_scale", &[2], center_scale)?,
            size_scale: constant(b, "size_scale", &[sides], size_scale)?,
        })
    }

    /// Corners `[..., num_anchors, 4]` from the first codes, of the centre and the sides.
    fn boxes(&self, b: &mut Builder, encodings: ValueId) -> Result<ValueId, ModelError> {
        let sides = b.shape(self.size_scale).elements().unwrap_or(2);
        let offset = b.slice_last("center_codes", encodings, 0, 2)?;
        let offset = b.binary(
            "center_codes/unscaled",
            Binary::Div,
            offset,
            self.center_scale,
        )?;
        let offset = b.binary("center_offsets", Binary::Mul, offset, self.sizes)?;
        let center = b.binary("centers", Binary::Add, offset, self.centers)?;
        let growth = b.slice_last("size_codes", encodings, 2, sides)?;
        let growth = b.binary("size_codes/unscaled", Binary::Div, growth, self.size_scale)?;
        let growth = b.unary("growth", Unary::Exp, growth)?;
        let size = b.binary("sizes", Binary::Mul, growth, self.sizes)?;
        let half = b.binary_scalar("half_sizes", Binary::Mul, size, 0.5)?;
        let low = b.binary("low_corners", Binary::Sub, center, half)?;
        let high = b.binary("high_corners", Binary::Add, center, half)?;
        let axis = b.shape(low).rank().saturating_sub(1);
        Ok(b.concat("boxes", axis, &[low, high])?)
    }

    /// Keypoints `[batch, num_anchors, num_keypoints, 2]` from the codes after those of the box.
    fn keypoints(
        &self,
        b: &mut Builder,
        encodings: ValueId,
        num_keypoints: u64,
    ) -> Result<ValueId, ModelError> {
        let codes = b.slice_last("keypoint_codes", encodings, 4, 2 * num_keypoints)?;
        let mut dims = b.shape(codes).dims().to_vec();
        dims.pop();
        let pair = [
            dims.last().cloned().unwrap_or(Dim::Known(1)),
            1.into(),
            2.into(),
        ];
        dims.extend([num_keypoints.into(), 2.into()]);
        let sizes = b.reshape("keypoint_sizes", self.sizes, &pair)?;
        let centers = b.reshape("keypoint_centers", self.centers, &pair)?;
        let codes = b.reshape("keypoint_pairs", codes, &dims)?;
        let offset = b.binary(
            "keypoint_codes/unscaled",
            Binary::Div,
            codes,
            self.center_scale,
        )?;
        let offset = b.binary("keypoint_offsets", Binary::Mul, offset, sizes)?;
        Ok(b.binary("keypoints", Binary::Add, offset, centers)?)
    }
}

/// A constant of these sizes.
fn constant(
    b: &mut Builder,
    name: &str,
    sizes: &[usize],
    values: &[f32],
) -> Result<ValueId, ModelError> {
    let sizes: Vec<u64> = sizes.iter().map(|size| *size as u64).collect();
    let tensor = Tensor::f32(&sizes, values)
        .ok_or_else(|| ModelError::Inconsistent(format!("`{name}` of another shape")))?;
    Ok(b.constant(name, tensor)?)
}
