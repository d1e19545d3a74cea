//! Why a checkpoint does not fit: checkpoints are stood in for by the variables of a network built from another configuration.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;

use common::{Vary, detector};
use tfod_models::fit::{Explanation, Fit, Found, Variables, explain};
use tfod_models::{GraphOptions, InputType, build};

struct Trained(HashMap<Vec<String>, (usize, Vec<u64>)>);

impl Trained {
    fn with(vary: Vary<'_>) -> Self {
        let model = build(&detector(vary), &GraphOptions::default()).unwrap();
        let variables = model.graph.parameters().enumerate();
        Self(
            variables
                .map(|(i, (_, p))| (p.path.clone(), (i, p.shape.clone())))
                .collect(),
        )
    }
}

impl Variables for Trained {
    fn find(&self, path: &[String]) -> Option<Found<'_>> {
        let (id, shape) = self.0.get(path)?;
        Some(Found { id: *id, shape })
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

fn causes(trained: Vary<'_>) -> Explanation {
    explain(&detector(Vary::default()), &Trained::with(trained))
}

#[test]
fn a_checkpoint_of_the_same_configuration_fits() {
    let trained = Trained::with(Vary::default());
    let model = build(
        &detector(Vary::default()),
        &GraphOptions::new(InputType::FloatImageTensor),
    )
    .unwrap();
    let fit = Fit::new(&model, &trained);
    assert!(fit.is_complete());
    assert_eq!((fit.matched, fit.unused), (trained.count(), 0));
    assert_eq!(
        causes(Vary::default()),
        Explanation {
            causes: vec![],
            complete: true
        }
    );
}

#[test]
fn each_field_is_found() {
    let predictor = |predictor| Vary {
        predictor,
        ..Vary::default()
    };
    let extractor = |extractor| Vary {
        extractor,
        ..Vary::default()
    };
    let cases = [
        (
            Vary {
                ssd: "num_classes: 3",
                ..Vary::default()
            },
            "model.ssd.num_classes",
            "3",
        ),
        (predictor("use_dropout: true"), "use_dropout", "true"),
        (
            predictor("num_layers_before_predictor: 3"),
            "num_layers_before_predictor",
            "3",
        ),
        (
            predictor("num_layers_before_predictor: 0"),
            "num_layers_before_predictor",
            "0",
        ),
        (
            predictor("share_prediction_tower: false"),
            "share_prediction_tower",
            "false",
        ),
        (
            predictor("use_depthwise: false"),
            "box_predictor.weight_shared_convolutional_box_predictor.use_depthwise",
            "false",
        ),
        (predictor("depth: 24"), "depth", "24"),
        (
            extractor("depth_multiplier: 0.5"),
            "depth_multiplier",
            "0.5",
        ),
        (extractor("min_depth: 32"), "min_depth", "32"),
        (
            extractor("use_depthwise: false"),
            "feature_extractor.use_depthwise",
            "false",
        ),
        (
            extractor("fpn { additional_layer_depth: 128 }"),
            "additional_layer_depth",
            "128",
        ),
        (
            Vary {
                ssd: "anchor_generator { multiscale_anchor_generator { scales_per_octave: 3 } }",
                ..Vary::default()
            },
            "scales_per_octave",
            "3",
        ),
    ];
    for (trained, field, value) in cases {
        let found = causes(trained);
        assert!(found.complete, "{field}: {found:?}");
        assert_eq!(found.causes.len(), 1, "{field}: {found:?}");
        assert!(found.causes[0].field.ends_with(field), "{field}: {found:?}");
        assert_eq!(found.causes[0].trained, value);
    }
}

#[test]
fn several_fields_are_found_together() {
    let found = causes(Vary {
        ssd: "num_classes: 7",
        predictor: "use_dropout: true num_layers_before_predictor: 4",
        ..Vary::default()
    });
    assert!(found.complete, "{found:?}");
    let fields: Vec<&str> = found.causes.iter().map(|c| c.trained.as_str()).collect();
    assert_eq!(fields.len(), 3, "{found:?}");
    assert!(
        ["7", "true", "4"].iter().all(|v| fields.contains(v)),
        "{found:?}"
    );
}
