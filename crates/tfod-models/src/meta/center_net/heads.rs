//! Heads: small convolutional networks that predict a map from the feature map. After the reference's `make_prediction_net`.
//!
//! A head has a network for each feature map of the extractor (a stack of hourglasses has several), and only what the last one predicts is used; the others are
//! written, so that their variables are known, and pruned.

use std::collections::{HashMap, HashSet};

use tfod_config::protos;
use tfod_graph::{Builder, Unary, ValueId};

use crate::error::ModelError;
use crate::fields::{Message, invalid, size, size_within};
use crate::layers::{ConvWindow, Path, conv2d, conv2d_of_one_row, conv2d_or_separable};

/// Channels and kernel of the convolution before the last, where the configuration does not say.
const STANDARD: (u64, u64) = (256, 3);
/// Where trained models have their heads.
pub(super) const HEADS: &str = "_prediction_head_dict";
/// Larger kernels are a mistake.
const LARGEST_KERNEL: u64 = 1 << 10;

/// The convolutions of a head before its last one, which is across channels only.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeadLayers {
    /// Channels and kernel size of each.
    convolutions: Vec<(u64, u64)>,
    /// Whether they are separable.
    depthwise: bool,
    /// Whether their kernels have one row.
    one_row: bool,
}

impl HeadLayers {
    /// What heads have that the configuration cannot change: one convolution.
    pub(super) fn standard(depthwise: bool) -> Self {
        Self {
            convolutions: vec![STANDARD],
            depthwise,
            one_row: false,
        }
    }

    /// One convolution whose kernel has one row.
    pub(super) fn of_one_row() -> Self {
        Self {
            one_row: true,
            ..Self::standard(false)
        }
    }

    /// Reads the field `name` of a message; by default [`Self::standard`].
    ///
    /// # Errors
    /// For lists of different lengths, and for sizes out of range.
    pub(super) fn from_config<T>(
        task: &Message<'_, T>,
        name: &'static str,
        params: Option<&protos::center_net::PredictionHeadParams>,
        depthwise: bool,
    ) -> Result<Self, ModelError> {
        let Some(params) = params else {
            return Ok(Self::standard(depthwise));
        };
        let params = task.at(name, params);
        let (filters, kernels) = (&params.num_filters, &params.kernel_sizes);
        let kernel_field = params.field("kernel_sizes");
        if filters.len() != kernels.len() {
            return Err(invalid(
                kernel_field,
                format!("{} numbers", kernels.len()),
                format!("as many as num_filters has: {}", filters.len()),
            ));
        }
        let convolutions = filters.iter().zip(kernels).map(|(&filters, &kernel)| {
            Ok((
                size(params.field("num_filters"), filters, 1)?,
                size_within(kernel_field, kernel, 1..=LARGEST_KERNEL)?,
            ))
        });
        Ok(Self {
            convolutions: convolutions.collect::<Result<_, ModelError>>()?,
            depthwise,
            one_row: false,
        })
    }
}

/// A head.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// Its name in the reference's dictionary of heads: `box/scale`.
    pub name: String,
    /// Its name as an output: letters, digits and `_`.
    pub key: String,
    /// What it predicts at each location.
    pub channels: u64,
    /// How.
    pub layers: HeadLayers,
}

impl Head {
    /// Predicts `[batch, h, w, channels]` from each feature map `[batch, h, w, c]`; gives the last.
    ///
    /// # Errors
    /// When the graph refuses a node.
    fn build(&self, b: &mut Builder, features: &[ValueId]) -> Result<ValueId, ModelError> {
        let path = Path::new(HEADS).child(&self.name);
        let mut last = None;
        for (stage, feature) in features.iter().enumerate() {
            let path = path.child(stage);
            let predicted = b.scope::<_, ModelError>(&format!("{}_{stage}", self.key), |b| {
                let mut x = *feature;
                let convolutions = &self.layers.convolutions;
                let layer = |index: usize| path.child(format!("layer_with_weights-{index}"));
                for (index, (filters, kernel)) in convolutions.iter().enumerate() {
                    let name = format!("conv_{index}");
                    let (layer, window) = (layer(index), ConvWindow::same(*kernel));
                    x = if self.layers.one_row {
                        conv2d_of_one_row(b, &name, &layer, x, *filters, window, true)?
                    } else {
                        let depthwise = self.layers.depthwise;
                        conv2d_or_separable(b, depthwise, &name, &layer, x, *filters, window, true)?
                    };
                    x = b.unary(&format!("relu_{index}"), Unary::Relu, x)?;
                }
                let end = layer(convolutions.len());
                let window = ConvWindow::same(1);
                Ok(conv2d(b, "conv_out", &end, x, self.channels, window, true)?)
            })?;
            last = Some(predicted);
        }
        last.ok_or_else(|| ModelError::Inconsistent("a feature extractor without a map".into()))
    }
}

/// All heads of a model.
pub(super) struct Heads(pub Vec<Head>);

/// What heads predict, `[batch, h, w, channels]` by the head's name, from the last feature map.
pub(super) struct Maps(HashMap<String, ValueId>);

impl Heads {
    /// These heads. Of several whose names make one key, the later ones get a number.
    pub(super) fn new(mut heads: Vec<Head>) -> Self {
        let mut taken = HashSet::new();
        for head in &mut heads {
            let mut key = head.key.clone();
            for number in 1.. {
                if taken.insert(key.clone()) {
                    break;
                }
                key = format!("{}_{number}", head.key);
            }
            head.key = key;
        }
        Self(heads)
    }

    /// Writes all heads.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn build(&self, b: &mut Builder, features: &[ValueId]) -> Result<Maps, ModelError> {
        let maps = self.0.iter().map(|head| {
            let map = head.build(b, features)?;
            Ok((head.name.clone(), map))
        });
        Ok(Maps(maps.collect::<Result<_, ModelError>>()?))
    }
}

impl Maps {
    /// The map of a head.
    ///
    /// # Errors
    /// When there is no such head.
    pub(super) fn get(&self, head: &str) -> Result<ValueId, ModelError> {
        let map = self.0.get(head).copied();
        map.ok_or_else(|| ModelError::Inconsistent(format!("there is no head {head}")))
    }
}
