//! Box coders: how a box is written relative to an anchor.

use tfod_config::protos;
use tfod_config::protos::box_coder::BoxCoderOneof;
use tfod_graph::{Binary, Builder, Tensor, Unary, ValueId};

use crate::anchors::{Anchors, Corners};
use crate::error::ModelError;
use crate::facts::BoxDecoding;
use crate::fields::{invalid, message, unsupported};

const FIELD: &str = "model.ssd.box_coder";

/// A configured box coder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BoxCoder {
    /// `faster_rcnn_box_coder`
    FasterRcnn(FasterRcnn),
}

impl BoxCoder {
    /// Reads the message.
    ///
    /// # Errors
    /// For a coder that is not supported, and for numbers that code nothing.
    pub fn from_config(config: Option<&protos::BoxCoder>) -> Result<Self, ModelError> {
        let other = |given: &str| unsupported(FIELD, given, "faster_rcnn_box_coder");
        match &message(FIELD, config)?.box_coder_oneof {
            Some(BoxCoderOneof::FasterRcnnBoxCoder(coder)) => {
                Ok(Self::FasterRcnn(FasterRcnn::from_config(coder)?))
            }
            Some(BoxCoderOneof::MeanStddevBoxCoder(_)) => Err(other("mean_stddev_box_coder")),
            Some(BoxCoderOneof::SquareBoxCoder(_)) => Err(other("square_box_coder")),
            Some(BoxCoderOneof::KeypointBoxCoder(_)) => Err(other("keypoint_box_coder")),
            None => Err(ModelError::Missing { field: FIELD }),
        }
    }

    /// Decodes `[batch, num_anchors, 4]` encodings to `[batch, num_anchors, 4]` corners.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn decode(
        self,
        b: &mut Builder,
        encodings: ValueId,
        anchors: &Anchors,
    ) -> Result<ValueId, ModelError> {
        match self {
            Self::FasterRcnn(coder) => coder.decode(b, encodings, anchors),
        }
    }

    /// What users of undecoded boxes need to know.
    pub fn facts(self, anchors: Vec<Corners>) -> BoxDecoding {
        match self {
            Self::FasterRcnn(coder) => {
                let names = ["y_scale", "x_scale", "height_scale", "width_scale"];
                BoxDecoding {
                    coder: "faster_rcnn_box_coder",
                    scales: names.into_iter().zip(coder.scales).collect(),
                    description: "an encoding is [ty, tx, th, tw]; with the anchor's centre (ya, xa), height ha and width wa: \
                                  y = ty / y_scale * ha + ya, x = tx / x_scale * wa + xa, h = exp(th / height_scale) * ha, \
                                  w = exp(tw / width_scale) * wa; the box is (y - h / 2, x - w / 2, y + h / 2, x + w / 2)",
                    anchors,
                }
            }
        }
    }
}

/// The coder of Faster R-CNN (Ren et al. 2015, <https://arxiv.org/abs/1506.01497>): an encoding is `[ty, tx, th, tw]`, and
/// `ty = y_scale * (y - y_anchor) / h_anchor`, `th = height_scale * ln(h / h_anchor)`, likewise for x and w; y and x are centres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FasterRcnn {
    /// y_scale, x_scale, height_scale, width_scale
    scales: [f32; 4],
}

impl FasterRcnn {
    /// Reads the message.
    ///
    /// # Errors
    /// For a scale that is not above 0.
    pub fn from_config(coder: &protos::FasterRcnnBoxCoder) -> Result<Self, ModelError> {
        let scales = [
            coder.y_scale(),
            coder.x_scale(),
            coder.height_scale(),
            coder.width_scale(),
        ];
        match scales.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            Some(scale) => Err(invalid(
                FIELD,
                format!("a scale of {scale}"),
                "numbers above 0",
            )),
            None => Ok(Self { scales }),
        }
    }

    /// Decodes `[batch, num_anchors, 4]` encodings to `[batch, num_anchors, 4]` corners.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn decode(
        self,
        b: &mut Builder,
        encodings: ValueId,
        anchors: &Anchors,
    ) -> Result<ValueId, ModelError> {
        let pair = |b: &mut Builder, name: &str, values: [f32; 2]| {
            let tensor =
                Tensor::f32(&[2], &values).unwrap_or_else(|| Tensor::scalar_f32(values[0]));
            b.constant(name, tensor)
        };
        let [y, x, h, w] = self.scales;
        let [sizes, centers] = b.scope("anchors", |b| anchors.sizes_and_centers(b))?;
        let center_scale = pair(b, "center_scale", [y, x])?;
        let size_scale = pair(b, "size_scale", [h, w])?;
        let offset = b.slice_last("center_codes", encodings, 0, 2)?;
        let offset = b.binary("center_codes/unscaled", Binary::Div, offset, center_scale)?;
        let offset = b.binary("center_offsets", Binary::Mul, offset, sizes)?;
        let center = b.binary("centers", Binary::Add, offset, centers)?;
        let growth = b.slice_last("size_codes", encodings, 2, 2)?;
        let growth = b.binary("size_codes/unscaled", Binary::Div, growth, size_scale)?;
        let growth = b.unary("growth", Unary::Exp, growth)?;
        let size = b.binary("sizes", Binary::Mul, growth, sizes)?;
        let half = b.binary_scalar("half_sizes", Binary::Mul, size, 0.5)?;
        let low = b.binary("low_corners", Binary::Sub, center, half)?;
        let high = b.binary("high_corners", Binary::Add, center, half)?;
        Ok(b.concat("boxes", 2, &[low, high])?)
    }
}
