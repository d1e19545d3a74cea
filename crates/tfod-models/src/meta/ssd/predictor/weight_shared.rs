//! The weight-shared convolutional predictor (RetinaNet, Lin et al. 2017, <https://arxiv.org/abs/1708.02002>): towers of convolutions and a last
//! one, with the same kernels on every level of the pyramid, but batch normalisation of each level's own.

use tfod_config::protos;
use tfod_config::protos::weight_shared_convolutional_box_predictor::ScoreConverter;
use tfod_graph::{Builder, Unary, ValueId};

use crate::error::ModelError;
use crate::fields::{Message, size};
use crate::head::{Predictions, all_encodings, kernel_size, per_anchor};
use crate::hyperparams::Hyperparams;
use crate::layers::{ConvWindow, Path, conv2d_or_separable, norm_and_activation};

/// The predictor's configuration.
#[derive(Clone, Debug)]
pub struct WeightShared {
    hyperparams: Hyperparams,
    depth: u64,
    tower_layers: u64,
    kernel: u64,
    code_size: u64,
    dropout: bool,
    share_tower: bool,
    use_depthwise: bool,
    sigmoid: bool,
    clip: Option<[f32; 2]>,
    class_slots: u64,
    anchors_per_location: u64,
}

impl WeightShared {
    /// Reads the message. `class_slots` counts the background where it has a slot.
    ///
    /// # Errors
    /// For sizes that make no layer, and for combinations that the reference refuses too.
    pub fn from_config(
        config: Message<'_, protos::WeightSharedConvolutionalBoxPredictor>,
        class_slots: u64,
        anchors_per_location: &[u64],
    ) -> Result<Self, ModelError> {
        let field = |name| config.field(name);
        let hyperparams = config.conv_hyperparams.as_ref();
        let mut hyperparams = Hyperparams::from_config(field("conv_hyperparams"), hyperparams)?;
        // The reference's predictor normalises only where `batch_norm` itself is set.
        hyperparams.batch_norm = hyperparams.batch_norm.filter(|norm| !norm.synchronised);
        let tower_layers = config.num_layers_before_predictor();
        let tower_layers = size(field("num_layers_before_predictor"), tower_layers, 0)?;
        let depth = size(field("depth"), config.depth(), u64::from(tower_layers > 0))?;
        let kernel = config.kernel_size();
        let kernel = kernel_size(field("kernel_size"), kernel, config.use_depthwise())?;
        let code_size = size(field("box_code_size"), config.box_code_size(), 1)?;
        let [anchors_per_location, rest @ ..] = anchors_per_location else {
            return Err(ModelError::Inconsistent("anchors on no level".into()));
        };
        if rest.iter().any(|n| n != anchors_per_location) {
            return Err(ModelError::Inconsistent(
                "`weight_shared_convolutional_box_predictor` needs as many anchors per location on every level; \
                 `anchor_generator` gives different numbers"
                    .into(),
            ));
        }
        let clip = config.box_encodings_clip_range.as_ref();
        Ok(Self {
            hyperparams,
            depth,
            tower_layers,
            kernel,
            code_size,
            dropout: config.use_dropout(),
            share_tower: config.share_prediction_tower(),
            use_depthwise: config.use_depthwise(),
            sigmoid: config.score_converter() == ScoreConverter::Sigmoid,
            clip: clip.map(|range| [range.min(), range.max()]),
            class_slots,
            anchors_per_location: *anchors_per_location,
        })
    }

    /// One tower over one level. Its convolutions are kept under `_head_scope_conv_layers/<scope>`, shared by all levels; its
    /// normalisations under `_base_tower_layers_for_heads/<head>/<level>`, among the convolutions and activations.
    fn tower(
        &self,
        b: &mut Builder,
        path: &Path,
        (scope, head): (&str, &str),
        level: usize,
        feature: ValueId,
    ) -> Result<ValueId, ModelError> {
        let convolutions = path.child("_head_scope_conv_layers").child(scope);
        let layers = path
            .child("_base_tower_layers_for_heads")
            .child(head)
            .child(level);
        let per_layer = if self.hyperparams.batch_norm.is_some() {
            3
        } else {
            2
        };
        let use_bias = self.hyperparams.batch_norm.is_none() || self.hyperparams.force_use_bias;
        let mut x = feature;
        for layer in 0..self.tower_layers {
            let name = format!("conv2d_{layer}");
            x = conv2d_or_separable(
                b,
                self.use_depthwise,
                &name,
                &convolutions.child(layer),
                x,
                self.depth,
                ConvWindow::same(self.kernel),
                use_bias,
            )?;
            let norm = layers.child(layer * per_layer + 1);
            let name = format!("{name}_activation");
            x = norm_and_activation(b, &name, &norm, x, &self.hyperparams)?;
        }
        Ok(x)
    }

    /// A last convolution over one level, as `[batch, positions * anchors_per_location, values]`.
    fn predict(
        &self,
        b: &mut Builder,
        name: &str,
        path: &Path,
        feature: ValueId,
        values: u64,
    ) -> Result<ValueId, ModelError> {
        let y = conv2d_or_separable(
            b,
            self.use_depthwise,
            name,
            path,
            feature,
            self.anchors_per_location * values,
            ConvWindow::same(self.kernel),
            true,
        )?;
        per_anchor(b, y, self.anchors_per_location, values)
    }

    /// Predictions over the levels of a pyramid. `path` is the place of the reference's box predictor.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        features: &[ValueId],
    ) -> Result<Predictions, ModelError> {
        let box_path = path
            .child("_box_prediction_head")
            .child("_box_encoder_layers")
            .child(0);
        // Dropout does nothing at inference, but it is a layer, before the convolution.
        let class_path = path
            .child("_prediction_heads")
            .child("class_predictions_with_background")
            .child("_class_predictor_layers")
            .child(usize::from(self.dropout));
        let box_scope = if self.share_tower {
            "PredictionTower"
        } else {
            "BoxPredictionTower"
        };
        let box_tower = (box_scope, "box_encodings");
        let class_tower = ("ClassPredictionTower", "class_predictions_with_background");
        let (mut boxes, mut classes) = (Vec::new(), Vec::new());
        for (level, feature) in features.iter().enumerate() {
            b.scope::<_, ModelError>(&format!("level_{level}"), |b| {
                let x = b.scope(box_scope, |b| {
                    self.tower(b, path, box_tower, level, *feature)
                })?;
                let encodings = b.scope("BoxPredictor", |b| {
                    self.predict(b, "conv", &box_path, x, self.code_size)
                })?;
                boxes.push(encodings);
                let x = if self.share_tower {
                    x
                } else {
                    b.scope(class_tower.0, |b| {
                        self.tower(b, path, class_tower, level, *feature)
                    })?
                };
                let scores = b.scope("ClassPredictor", |b| {
                    self.predict(b, "conv", &class_path, x, self.class_slots)
                })?;
                classes.push(scores);
                Ok(())
            })?;
        }
        let box_encodings = all_encodings(b, &boxes, self.clip)?;
        let mut class_scores = b.concat("class_predictions", 1, &classes)?;
        if self.sigmoid {
            class_scores = b.unary("class_predictions_sigmoid", Unary::Sigmoid, class_scores)?;
        }
        Ok(Predictions {
            box_encodings,
            class_scores,
        })
    }
}
