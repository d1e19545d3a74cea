//! The convolutional predictor of SSD (Liu et al. 2016, section 2.1, <https://arxiv.org/abs/1512.02325>): every feature map has convolutions of its own, a few
//! across channels first if so configured, then one for boxes and one for classes.
//!
//! The reference's Keras predictor does not look at `apply_sigmoid_to_scores`; `class_prediction_bias_init` and `dropout_keep_probability` concern
//! training only.

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use crate::error::ModelError;
use crate::fields::{Message, invalid, size};
use crate::head::{Predictions, all_encodings, kernel_size, per_anchor};
use crate::hyperparams::Hyperparams;
use crate::layers::{ConvWindow, Path, channels, conv_block, conv2d, depthwise_block};

/// The predictor's configuration.
#[derive(Clone, Debug)]
pub struct Convolutional {
    hyperparams: Hyperparams,
    min_depth: u64,
    max_depth: u64,
    layers_before: u64,
    kernel: u64,
    code_size: u64,
    dropout: bool,
    use_depthwise: bool,
    clip: Option<[f32; 2]>,
    class_slots: u64,
    anchors_per_location: Vec<u64>,
}

/// One of the two last convolutions over a feature map.
struct Head<'a> {
    scope: &'a str,
    path: Path,
    /// Its place in the list of layers.
    first: u64,
    values: u64,
    anchors_per_location: u64,
}

impl Convolutional {
    /// Reads the message. `class_slots` counts the background where it has a slot; `anchors_per_location` has one number for each feature map.
    ///
    /// # Errors
    /// For sizes that make no layer, and for combinations that the reference refuses too.
    pub fn from_config(
        config: Message<'_, protos::ConvolutionalBoxPredictor>,
        class_slots: u64,
        anchors_per_location: &[u64],
    ) -> Result<Self, ModelError> {
        let field = |name| config.field(name);
        let min_depth = size(field("min_depth"), config.min_depth(), 0)?;
        let max_depth = size(field("max_depth"), config.max_depth(), 0)?;
        if min_depth > max_depth {
            let expected = format!("at most max_depth ({max_depth})");
            return Err(invalid(field("min_depth"), min_depth, expected));
        }
        let layers_before = config.num_layers_before_predictor();
        let layers_before = size(field("num_layers_before_predictor"), layers_before, 0)?;
        let kernel = config.kernel_size();
        let clip = config.box_encodings_clip_range.as_ref();
        Ok(Self {
            hyperparams: Hyperparams::from_config(
                field("conv_hyperparams"),
                config.conv_hyperparams.as_ref(),
            )?,
            min_depth,
            max_depth,
            layers_before,
            kernel: kernel_size(field("kernel_size"), kernel, config.use_depthwise())?,
            code_size: size(field("box_code_size"), config.box_code_size(), 1)?,
            dropout: config.use_dropout(),
            use_depthwise: config.use_depthwise(),
            clip: clip.map(|range| [range.min(), range.max()]),
            class_slots,
            anchors_per_location: anchors_per_location.to_vec(),
        })
    }

    /// Nothing but the two last convolutions, across channels.
    pub(crate) fn bare(class_slots: u64, code_size: u64, anchors_per_location: &[u64]) -> Self {
        Self {
            hyperparams: Hyperparams::PLAIN,
            min_depth: 0,
            max_depth: 0,
            layers_before: 0,
            kernel: 1,
            code_size,
            dropout: false,
            use_depthwise: false,
            clip: None,
            class_slots,
            anchors_per_location: anchors_per_location.to_vec(),
        }
    }

    /// The convolutions across channels before both heads. A depth of 0 means that there are none.
    fn shared(
        &self,
        b: &mut Builder,
        path: &Path,
        feature: ValueId,
    ) -> Result<ValueId, ModelError> {
        let depth = channels(b, feature).min(self.max_depth).max(self.min_depth);
        if depth == 0 {
            return Ok(feature);
        }
        let mut x = feature;
        for layer in 0..self.layers_before {
            // Convolution, normalisation and activation are three layers of the list, even where there is no normalisation.
            let name = format!("Conv2d_{layer}_1x1_{depth}");
            let place = (path, 3 * layer);
            x = conv_block(
                b,
                &name,
                place,
                x,
                depth,
                ConvWindow::same(1),
                &self.hyperparams,
            )?;
        }
        Ok(x)
    }

    /// A head over a feature map, as `[batch, positions * anchors_per_location, values]`.
    fn predict(&self, b: &mut Builder, head: &Head<'_>, x: ValueId) -> Result<ValueId, ModelError> {
        b.scope(head.scope, |b| {
            let mut window = ConvWindow::same(self.kernel);
            let (mut x, mut place) = (x, head.first);
            if self.use_depthwise {
                let first = (&head.path, place);
                x = depthwise_block(b, "depthwise", first, x, window, &self.hyperparams)?;
                window = ConvWindow::same(1);
                place += 3;
            }
            let filters = head.anchors_per_location * head.values;
            let path = head.path.child(place);
            let y = conv2d(b, "conv", &path, x, filters, window, true)?;
            per_anchor(b, y, head.anchors_per_location, head.values)
        })
    }

    /// Predictions over all feature maps. `path` is the place of the reference's box predictor.
    ///
    /// # Errors
    /// When there are not as many feature maps as anchors are configured for.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        features: &[ValueId],
    ) -> Result<Predictions, ModelError> {
        if features.len() != self.anchors_per_location.len() {
            return Err(ModelError::Inconsistent(format!(
                "`box_predictor` has layers for {} feature maps, the feature extractor gives {}",
                self.anchors_per_location.len(),
                features.len()
            )));
        }
        let heads = path.child("_prediction_heads");
        let (mut boxes, mut classes) = (Vec::new(), Vec::new());
        let maps = features.iter().zip(&self.anchors_per_location);
        for (map, (feature, anchors_per_location)) in maps.enumerate() {
            let place = |head: &str| heads.child(head).child(map);
            let box_head = Head {
                scope: "BoxPredictor",
                path: place("box_encodings").child("_box_encoder_layers"),
                first: 0,
                values: self.code_size,
                anchors_per_location: *anchors_per_location,
            };
            let class_head = Head {
                scope: "ClassPredictor",
                path: place("class_predictions_with_background").child("_class_predictor_layers"),
                // Dropout does nothing at inference, but it is a layer, before the others.
                first: u64::from(self.dropout),
                values: self.class_slots,
                anchors_per_location: *anchors_per_location,
            };
            b.scope::<_, ModelError>(&format!("map_{map}"), |b| {
                let shared = path.child("_shared_nets").child(map);
                let x = b.scope("Shared", |b| self.shared(b, &shared, *feature))?;
                boxes.push(self.predict(b, &box_head, x)?);
                classes.push(self.predict(b, &class_head, x)?);
                Ok(())
            })?;
        }
        Ok(Predictions {
            box_encodings: all_encodings(b, &boxes, self.clip)?,
            class_scores: b.concat("class_predictions", 1, &classes)?,
        })
    }
}
