//! What is told of objects for following them from image to image: an embedding that is alike for one object in all images, and how far its centre has
//! moved since the image before.

use tfod_config::protos;
use tfod_config::protos::center_net::TrackEstimation;
use tfod_graph::{Binary, Builder, Reduce, Unary};

use super::heads::{Head, HeadLayers};
use super::maps::column;
use super::tasks::{self, Detected};
use crate::error::ModelError;
use crate::fields::{Message, size, size_within};

/// The head of embeddings.
const EMBEDDING: &str = "track/reid";
/// Where trained models have the classifier behind the embeddings.
pub(super) const CLASSIFICATION_NET: &str = "track_reid_classification_net";
/// The head of movements.
const MOVEMENT: &str = "track/offset";

/// More layers of a classifier are a mistake.
const MOST_LAYERS: u64 = 64;

/// Embeddings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tracking {
    /// The length of an embedding.
    embedding_size: u64,
    /// Layers of the classifier that training has behind the embeddings.
    num_layers: u64,
    /// Whether the head's convolutions are separable.
    depthwise: bool,
}

impl Tracking {
    /// Those of a configuration; `None` where it has none.
    pub(super) fn from_config(
        config: Message<'_, protos::CenterNet>,
    ) -> Result<Option<Self>, ModelError> {
        let Some(task) = &config.track_estimation_task else {
            return Ok(None);
        };
        let task: Message<'_, TrackEstimation> = config.at("track_estimation_task", task);
        Ok(Some(Self {
            embedding_size: size(task.field("reid_embed_size"), task.reid_embed_size(), 1)?,
            num_layers: size_within(
                task.field("num_fc_layers"),
                task.num_fc_layers(),
                0..=MOST_LAYERS,
            )?,
            depthwise: config.use_depthwise(),
        }))
    }
}

impl tasks::Task for Tracking {
    fn name(&self) -> &'static str {
        "track"
    }

    fn heads(&self) -> Vec<Head> {
        vec![Head {
            name: EMBEDDING.to_owned(),
            key: tasks::output_key(EMBEDDING),
            channels: self.embedding_size,
            layers: HeadLayers::standard(self.depthwise),
        }]
    }

    /// Those of the classifier that training has behind the embeddings.
    fn idle(&self) -> Vec<Vec<String>> {
        let layer = |number: u64, variables: &[&str]| {
            let path = [
                CLASSIFICATION_NET.to_owned(),
                format!("layer_with_weights-{number}"),
            ];
            let variables = variables
                .iter()
                .map(|name| [&path[..], &[(*name).to_owned()]].concat());
            variables.collect::<Vec<_>>()
        };
        // Each layer but the last has a normalisation behind it.
        let layers = 2 * self.num_layers.max(1) - 1;
        let layers = (0..layers).flat_map(|number| {
            if number % 2 == 0 {
                layer(number, &["kernel", "bias"])
            } else {
                layer(number, &["gamma", "beta", "moving_mean", "moving_variance"])
            }
        });
        layers.collect()
    }

    /// The embeddings of objects, of length 1: `f32[batch, n, embedding_size]`.
    fn detect(&self, b: &mut Builder, detected: &mut Detected<'_>) -> Result<(), ModelError> {
        let map = detected.maps.get(EMBEDDING)?;
        let values = detected.objects.places.take(b, "embedding", map)?;
        let squares = b.binary("squares", Binary::Mul, values, values)?;
        let sum = b.reduce("sum", Reduce::Sum, squares, &[2])?;
        let length = b.unary("length", Unary::Sqrt, sum)?;
        let length = column(b, "lengths", length)?;
        let embeddings = b.binary("embeddings", Binary::Div, values, length)?;
        detected.outputs.push(("detection_embeddings", embeddings));
        Ok(())
    }
}

/// How far the centres of objects have moved since the image before.
#[derive(Clone, Copy, Debug)]
pub(super) struct TemporalOffset {
    /// Whether the head's convolutions are separable.
    pub depthwise: bool,
}

impl tasks::Task for TemporalOffset {
    fn name(&self) -> &'static str {
        "temporal_offset"
    }

    fn heads(&self) -> Vec<Head> {
        vec![Head {
            name: MOVEMENT.to_owned(),
            key: tasks::output_key(MOVEMENT),
            channels: 2,
            layers: HeadLayers::standard(self.depthwise),
        }]
    }

    /// Rows and columns that the centres have moved by: `f32[batch, n, 2]`.
    fn detect(&self, b: &mut Builder, detected: &mut Detected<'_>) -> Result<(), ModelError> {
        let map = detected.maps.get(MOVEMENT)?;
        let offsets = detected.objects.places.take(b, "offsets", map)?;
        detected
            .outputs
            .push(("detection_temporal_offsets", offsets));
        Ok(())
    }
}
