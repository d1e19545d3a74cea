//! TFLite models beside what they were exported from: weights are found through the folding of batch normalisation and through rounding, and what differs is named.

use std::path::{Path, PathBuf};

use tfod::{Export, Format, TfliteSuppression, WeightType};
use tfod_verify::{Aspects, Matched, Outcome, Verification, verify};

use crate::computed::{self, checkpoint_with, variables};
use crate::make::Folder;

const OTHERS: [(Format, &str); 3] = [
    (Format::SavedModel, "saved_model"),
    (Format::Frozen, "frozen.pb"),
    (Format::Onnx, "model.onnx"),
];

/// Kernels with both signs, as trained ones have; variances as they are.
fn spread(name: &str, values: &mut [f32]) {
    if name.ends_with("kernel") || name.ends_with("beta") || name.ends_with("bias") {
        for value in values {
            *value -= 1.5;
        }
    }
}

/// A TFLite model of a checkpoint, in a folder that goes with the test, with what other formats are asked for beside it.
fn exported(
    folder: &Folder,
    name: &str,
    checkpoint: &Path,
    weights: WeightType,
    others: &[Format],
) -> PathBuf {
    let config = checkpoint.parent().unwrap().join("pipeline.config");
    let output = folder.path(name);
    let mut export = Export::new(config, checkpoint, &output);
    export.formats = [others, &[Format::Tflite]].concat();
    export.tflite.weights = weights;
    export.run().unwrap();
    output
}

fn weights_of(first: &Path, second: &Path) -> Verification {
    let mut weights = Aspects::NONE;
    weights.weights = true;
    verify(first, second, &weights).unwrap()
}

/// A small network with depthwise convolutions, shared heads and normalisations of each level.
fn small() -> String {
    const NORM: &str = "activation: RELU_6 batch_norm { scale: true epsilon: 0.001 }";
    format!(
        "model {{ ssd {{
          num_classes: 2
          image_resizer {{ fixed_shape_resizer {{ height: 96 width: 96 }} }}
          feature_extractor {{
            type: 'ssd_mobilenet_v2_fpn_keras' use_depthwise: true
            fpn {{ min_level: 3 max_level: 5 additional_layer_depth: 16 }}
            depth_multiplier: 0.1 min_depth: 8
            conv_hyperparams {{ {NORM} }}
            override_base_feature_extractor_hyperparams: true
          }}
          box_coder {{ faster_rcnn_box_coder {{ y_scale: 10 x_scale: 10 height_scale: 5 width_scale: 5 }} }}
          anchor_generator {{ multiscale_anchor_generator {{ min_level: 3 max_level: 5 anchor_scale: 4 aspect_ratios: [1.0, 2.0] scales_per_octave: 1 }} }}
          box_predictor {{ weight_shared_convolutional_box_predictor {{
            depth: 16 num_layers_before_predictor: 2 kernel_size: 3 use_depthwise: true share_prediction_tower: true
            conv_hyperparams {{ {NORM} }}
          }} }}
          post_processing {{
            batch_non_max_suppression {{ score_threshold: 0.1 iou_threshold: 0.5 max_detections_per_class: 10 max_total_detections: 10 }}
            score_converter: SIGMOID
          }}
        }} }}"
    )
}

/// The weights of a TFLite model are those of another, whichever comes first.
fn assert_same(tflite: &Path, other: &Path, folded: usize) {
    for (first, second) in [(tflite, other), (other, tflite)] {
        let found = weights_of(first, second);
        let of = found.weights.as_ref().unwrap();
        assert_eq!(
            of.outcome,
            Outcome::Same,
            "{}, {}: {:#}",
            first.display(),
            second.display(),
            found.json()
        );
        assert!(of.matched(Matched::Folded) >= folded, "{:#}", found.json());
    }
}

#[test]
fn a_tflite_model_has_the_weights_of_its_checkpoint_and_of_its_siblings() {
    let folder = Folder::new();
    let trained = checkpoint_with(&folder.path("trained"), &small(), 0.0, spread);
    let formats = OTHERS.map(|(format, _)| format);
    let output = exported(&folder, "exported", &trained, WeightType::Float32, &formats);
    let model = |name: &str| folder.path(name).join("model.tflite");
    for (name, weights) in [
        ("half", WeightType::Float16),
        ("bytes", WeightType::DynamicInt8),
    ] {
        exported(&folder, name, &trained, weights, &[]);
    }
    for name in ["exported", "half", "bytes"] {
        assert_same(&model(name), &trained, 100);
        for (_, file) in OTHERS {
            assert_same(&model(name), &output.join(file), 100);
        }
    }
    // Roundings of the same weights.
    assert_same(&model("half"), &model("exported"), 50);
    assert_same(&model("bytes"), &model("half"), 50);
    let found = verify(
        &model("exported"),
        &output.join("saved_model"),
        &Aspects::default(),
    )
    .unwrap();
    assert_eq!(found.outcome(), Outcome::Same, "{:#}", found.json());
    // The same operators, and other bytes.
    let mut other = std::fs::read(model("exported")).unwrap();
    let at = other.len() - 64;
    other[at] ^= 1;
    let other = folder.write("other/model.tflite", &other);
    let found = weights_of(&model("exported"), &other);
    let of = found.weights.as_ref().unwrap();
    assert_eq!(
        (of.outcome, of.pairs.len() - of.bit_equal()),
        (Outcome::Different, 1)
    );
}

/// The operator for decoding and suppression does not look at the background, so its scores are not computed.
#[test]
fn a_tflite_model_without_the_background_has_the_weights_of_others() {
    let folder = Folder::new();
    let trained = checkpoint_with(&folder.path("trained"), &small(), 0.0, spread);
    let output = exported(
        &folder,
        "whole",
        &trained,
        WeightType::Float32,
        &[Format::SavedModel],
    );
    let config = folder.path("trained").join("pipeline.config");
    let models = [
        WeightType::Float32,
        WeightType::Float16,
        WeightType::DynamicInt8,
    ];
    let models = models.map(|weights| {
        let output = folder.path(&format!("{weights:?}"));
        let mut export = Export::new(&config, &trained, &output);
        export.formats = vec![Format::Tflite];
        export.tflite.weights = weights;
        export.tflite.suppression = TfliteSuppression::Fast;
        export.run().unwrap();
        output.join("model.tflite")
    });
    for model in &models {
        assert_same(model, &trained, 100);
        assert_same(model, &output.join("saved_model"), 100);
        // Of layers with the same bytes the names tell.
        assert_same(model, &output.join("model.tflite"), 1);
    }
    // Two anchors at each place, with a background and two classes each.
    let variables = variables(&folder.path("trained"));
    let of_head = |name: &str| {
        let is_head =
            |of: &&(String, String)| of.0.contains("ClassPredictor") && of.0.ends_with(name);
        variables.iter().find(is_head).unwrap().0.clone()
    };
    for (name, channel, outcome) in [
        (of_head("/bias"), 0, Outcome::Same),
        (of_head("/bias"), 3, Outcome::Same),
        (of_head("/bias"), 4, Outcome::Different),
        (of_head("/pointwise_kernel"), 3, Outcome::Same),
        (of_head("/pointwise_kernel"), 5, Outcome::Different),
    ] {
        let other = folder.path(&format!("{}-{channel}", name.replace('/', "-")));
        let other = checkpoint_with(&other, &small(), 0.0, |of, values| {
            spread(of, values);
            if *of == name {
                values[channel] += 0.25;
            }
        });
        for model in &models {
            let found = weights_of(&other, model);
            let of = found.weights.as_ref().unwrap();
            assert_eq!(of.outcome, outcome, "{name}, {channel}: {:#}", found.json());
        }
    }
}

#[test]
fn fused_features_are_found_in_a_tflite_model() {
    let folder = Folder::new();
    let trained = checkpoint_with(&folder.path("trained"), &computed::config(), 0.5, spread);
    exported(&folder, "exported", &trained, WeightType::Float32, &[]);
    let found = weights_of(&trained, &folder.path("exported").join("model.tflite"));
    let of = found.weights.as_ref().unwrap();
    assert_eq!(of.outcome, Outcome::Same, "{:#}", found.json());
    assert!(of.only_in_first.is_empty(), "{:?}", of.only_in_first);
}

#[test]
fn one_number_of_one_variable_is_found_through_the_folding() {
    let folder = Folder::new();
    let trained = checkpoint_with(&folder.path("trained"), &small(), 0.0, spread);
    let models = [
        ("float32", WeightType::Float32),
        ("float16", WeightType::Float16),
        ("dynamic_int8", WeightType::DynamicInt8),
    ]
    .map(|(name, weights)| {
        let output = exported(&folder, name, &trained, weights, &[]);
        (name, output.join("model.tflite"))
    });
    let variables = variables(&folder.path("trained"));
    let kinds = [
        "kernel",
        "depthwise_kernel",
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
        "bias",
    ];
    for (number, ending) in kinds.into_iter().enumerate() {
        // One in the middle of the network.
        let of_kind: Vec<&(String, String)> = variables
            .iter()
            .filter(|(name, _)| name.rsplit('/').next() == Some(ending))
            .collect();
        let (name, key) = of_kind[of_kind.len() / 2];
        let folder = folder.path(&format!("other{number}"));
        let other = checkpoint_with(&folder, &small(), 0.0, |of, values| {
            spread(of, values);
            if of == name {
                let at = values.len() / 3;
                values[at] += 0.25;
            }
        });
        for (weights, model) in &models {
            let found = weights_of(&other, model);
            let of = found.weights.as_ref().unwrap();
            assert_eq!(
                of.outcome,
                Outcome::Different,
                "{name}, {weights}: {:#}",
                found.json()
            );
            let differing: Vec<&str> = of
                .pairs
                .iter()
                .filter(|pair| pair.differs())
                .map(|pair| &*pair.first)
                .collect();
            assert!(
                differing.contains(&key.as_str()),
                "{name}, {weights}: {differing:?}"
            );
            // What it is a part of, and nothing else.
            assert!(differing.len() <= 3, "{name}, {weights}: {differing:?}");
        }
    }
}
