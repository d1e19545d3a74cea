//! Snapshots of the printed graphs: a change of what an architecture writes shows as a change of text.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Vary, center_net, detector, retinanet};
use tfod_graph::{Graph, Op, TensorView, Weights, passes, validate};
use tfod_models::{Batch, ClassThreshold, GraphOptions, InputType, Model, NoEnding, Stage, build};

#[test]
fn one_image() {
    let model = build(&detector(Vary::default()), &GraphOptions::default()).unwrap();
    validate(&model.graph).unwrap();
    insta::assert_snapshot!(model.graph);
}

/// The part of a graph's text that finds objects.
fn postprocessing(text: &str) -> &str {
    &text[text.find("  Postprocessor").unwrap()..]
}

#[test]
fn objects_are_peaks() {
    let model = build(&center_net(""), &GraphOptions::default()).unwrap();
    validate(&model.graph).unwrap();
    insta::assert_snapshot!(model.graph);
}

#[test]
fn objects_of_images_of_any_size_are_suppressed() {
    let more = "image_resizer { pad_to_multiple_resizer { multiple: 8 } }
        post_processing { batch_non_max_suppression {
          score_threshold: 0.1 max_detections_per_class: 3 max_total_detections: 5 change_coordinate_frame: false } }";
    let options = GraphOptions::new(InputType::FloatImageTensor);
    let model = build(&center_net(more), &options).unwrap();
    validate(&model.graph).unwrap();
    let text = model.graph.to_string();
    insta::assert_snapshot!(postprocessing(&text));
}

#[test]
fn a_batch_keeps_a_map_over_images() {
    let model = build(
        &detector(Vary::default()),
        &GraphOptions::new(InputType::FloatImageTensor),
    )
    .unwrap();
    validate(&model.graph).unwrap();
    insta::assert_snapshot!(model.graph);
}

/// Until the network begins.
fn preprocessing(text: &str) -> &str {
    &text[..text.find("  FeatureExtractor").unwrap()]
}

#[test]
fn a_detector_that_does_not_end_as_one_operator_does_has_a_reason() {
    let square = "box_coder { square_box_coder {} } box_predictor { weight_shared_convolutional_box_predictor { box_code_size: 3 } }";
    let deviation = "box_coder { mean_stddev_box_coder {} }";
    let keypoints = "box_coder { keypoint_box_coder { num_keypoints: 2 } } box_predictor { weight_shared_convolutional_box_predictor { box_code_size: 8 } }";
    for (ssd, nms, reason) in [
        ("", "", None),
        ("", "use_class_agnostic_nms: true", None),
        ("", "soft_nms_sigma: 0.5", Some(NoEnding::Soft)),
        ("", "use_static_shapes: true", Some(NoEnding::StaticShapes)),
        (
            "",
            "use_combined_nms: true change_coordinate_frame: false",
            Some(NoEnding::Combined),
        ),
        (PADDING, "", Some(NoEnding::Padding)),
        (square, "", Some(NoEnding::BoxCoder("square_box_coder"))),
        (
            deviation,
            "",
            Some(NoEnding::BoxCoder("mean_stddev_box_coder")),
        ),
        (
            keypoints,
            "",
            Some(NoEnding::BoxCoder("keypoint_box_coder")),
        ),
        (
            "image_resizer { identity_resizer {} }",
            "",
            Some(NoEnding::ComputedAnchors),
        ),
    ] {
        let vary = Vary {
            ssd,
            nms,
            ..Vary::default()
        };
        let model = build(&detector(vary), &GraphOptions::default()).unwrap();
        assert_eq!(model.no_ending, reason, "{ssd} {nms}");
        assert_eq!(model.graph.ending().is_none(), reason.is_some());
    }
    let mut options = GraphOptions::default();
    options.class_thresholds = vec![ClassThreshold { id: 1, score: 0.5 }];
    let of_classes = build(&detector(Vary::default()), &options).unwrap();
    assert_eq!(of_classes.no_ending, Some(NoEnding::ClassThresholds));
    let without = build(&center_net(""), &GraphOptions::default()).unwrap();
    assert_eq!(without.no_ending, Some(NoEnding::NoAnchors));
    options.class_thresholds.clear();
    options.stage = Stage::Boxes;
    let before = build(&center_net(""), &options).unwrap();
    assert_eq!(before.no_ending, None, "it ends before");
}

/// A resizer that makes images of its own size smaller before it pads them.
const PADDING: &str = "image_resizer { keep_aspect_ratio_resizer {
    min_dimension: 64 max_dimension: 96 pad_to_max_dimension: true } }";

#[test]
fn what_the_caller_resizes_and_pads_is_only_normalised() {
    let vary = Vary {
        ssd: PADDING,
        ..Vary::default()
    };
    let written = |no_resizing| {
        let mut options = GraphOptions::default();
        options.input_size = Some([96, 96]);
        options.no_resizing = no_resizing;
        build(&detector(vary), &options).unwrap()
    };
    let done = |model: &Model| {
        let nodes = model.graph.nodes().map(|(_, node)| node);
        let first = nodes.filter(|node| node.name.starts_with("Preprocessor/"));
        first.map(|node| node.name.clone()).collect::<Vec<_>>()
    };
    let (given, left) = (written(false), written(true));
    let resized = |name: &String| name.ends_with("/resize") || name.ends_with("/pad");
    assert_eq!(done(&given).iter().filter(|name| resized(name)).count(), 2);
    let rest = ["to_float", "scale/by", "scale", "shift/by", "shift"];
    assert_eq!(done(&left), rest.map(|name| format!("Preprocessor/{name}")));
    assert_eq!(left.image_size, Some([96, 96]));
    // All of it counts as image.
    let (given, left) = (given.graph.to_string(), left.graph.to_string());
    assert!(given.contains("/window") && !left.contains("/window"));
}

#[test]
fn resizing_can_be_left_to_the_caller_only_where_there_is_one_size() {
    let said = |ssd, size| {
        let vary = Vary {
            ssd,
            ..Vary::default()
        };
        let mut options = GraphOptions::default();
        options.input_size = size;
        options.no_resizing = true;
        build(&detector(vary), &options).unwrap_err().to_string()
    };
    let other = said(PADDING, Some([64, 96]));
    assert!(other.contains("64x96; expected 96x96"), "{other}");
    let any = said("image_resizer { identity_resizer {} }", None);
    assert!(any.contains("gives images several sizes"), "{any}");
}

#[test]
fn files_are_decoded_and_resized_one_by_one_and_suppressed_in_windows_of_their_own() {
    let vary = Vary {
        ssd: "image_resizer { keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 96 pad_to_max_dimension: true } }",
        ..Vary::default()
    };
    let options = GraphOptions::new(InputType::EncodedImageStringTensor);
    let model = build(&detector(vary), &options).unwrap();
    let text = model.graph.to_string();
    let after_input = text.find("nodes").unwrap();
    let window: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("/window:") || line.contains(" map("))
        .collect();
    insta::assert_snapshot!(format!(
        "{}\n…\n{}",
        preprocessing(&text[after_input..]),
        window.join("\n")
    ));
}

#[test]
fn one_file_is_decoded_without_a_map() {
    let mut options = GraphOptions::new(InputType::TfExample);
    options.batch = Some(Batch::Fixed(1));
    options.input_name = Some("image_bytes".into());
    let model = build(&detector(Vary::default()), &options).unwrap();
    let text = model.graph.to_string();
    assert!(!text.contains(" map("), "{text}");
    assert!(text.contains("image_bytes: string[1]"), "{text}");
    insta::assert_snapshot!(preprocessing(&text[text.find("nodes").unwrap()..]));
}

#[test]
fn files_have_no_pixels_no_size_and_a_name() {
    let refusal = |change: &dyn Fn(&mut GraphOptions)| {
        let mut options = GraphOptions::new(InputType::TfExample);
        change(&mut options);
        let result = build(&detector(Vary::default()), &options);
        result.map_or_else(|error| error.to_string(), |_| String::from("accepted"))
    };
    let texts = [
        refusal(&|o| o.float_input = true),
        refusal(&|o| o.no_preprocess = true),
        refusal(&|o| o.input_size = Some([64, 96])),
        refusal(&|o| o.input_name = Some("image bytes".into())),
        refusal(&|o| o.input_name = Some(String::new())),
        refusal(&|o| o.batch = Some(Batch::Fixed(3))),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn towers_of_their_own_plain_convolutions_and_explicit_padding() {
    let vary = Vary {
        extractor: "use_depthwise: false use_explicit_padding: true",
        predictor: "share_prediction_tower: false use_depthwise: false use_dropout: true",
        nms: "soft_nms_sigma: 0.5 max_detections_per_class: 5",
        post: "score_converter: SOFTMAX logit_scale: 2",
        ..Vary::default()
    };
    let model = build(&detector(vary), &GraphOptions::default()).unwrap();
    insta::assert_snapshot!(model.graph);
}

#[test]
fn further_feature_maps_and_a_predictor_for_each() {
    let vary = Vary {
        classic: true,
        extractor: "use_explicit_padding: true num_layers: 3",
        ssd: "anchor_generator { ssd_anchor_generator { num_layers: 3 } }",
        predictor: "use_depthwise: true use_dropout: true box_encodings_clip_range { min: -2 max: 2 }",
        ..Vary::default()
    };
    let model = build(&detector(vary), &GraphOptions::default()).unwrap();
    let text = model.graph.to_string();
    // Parameters begin with an `@`.
    let own = |line: &&str| {
        let name = line.trim_start_matches([' ', '@']);
        name.starts_with("FeatureExtractor/FeatureMaps") || name.starts_with("BoxPredictor")
    };
    let lines: Vec<&str> = text.lines().filter(own).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn residual_blocks_and_pooling() {
    let own = "override_base_feature_extractor_hyperparams: true pad_to_multiple: 64";
    let mut options = GraphOptions::default();
    options.stage = Stage::Encodings;
    let model = build(&retinanet(50, "", own), &options).unwrap();
    insta::assert_snapshot!(model.graph);
}

#[test]
fn one_suppression_for_all_classes() {
    let nms = "use_class_agnostic_nms: true max_classes_per_detection: 1";
    let vary = Vary {
        nms,
        ..Vary::default()
    };
    let model = build(&detector(vary), &GraphOptions::default()).unwrap();
    let text = model.graph.to_string();
    let post = text.find("Postprocessor/nms").unwrap();
    insta::assert_snapshot!(&text[post..]);
}

#[test]
fn efficientdet() {
    let vary = Vary {
        ssd: "image_resizer { fixed_shape_resizer { height: 192 width: 256 } }",
        extractor:
            "type: 'ssd_efficientnet-b0_bifpn_keras' use_depthwise: false depth_multiplier: 1
                    bifpn { max_level: 6 num_iterations: 2 num_filters: 24 }
                    conv_hyperparams { activation: SWISH force_use_bias: true }",
        ..Vary::default()
    };
    let model = build(&detector(vary), &GraphOptions::default()).unwrap();
    validate(&model.graph).unwrap();
    let text = model.graph.to_string();
    insta::assert_snapshot!(&text[..text.find("BoxPredictor").unwrap()]);
}

#[test]
fn ninety_classes_stay_below_1500_nodes() {
    let vary = Vary {
        ssd: "num_classes: 90
              image_resizer { fixed_shape_resizer { height: 320 width: 320 } }
              anchor_generator { multiscale_anchor_generator { max_level: 7 } }",
        extractor: "depth_multiplier: 1 min_depth: 16 fpn { max_level: 7 additional_layer_depth: 128 }",
        predictor: "depth: 128 num_layers_before_predictor: 4",
        nms: "max_detections_per_class: 100 max_total_detections: 100",
        ..Vary::default()
    };
    let classic = Vary {
        classic: true,
        ssd: "num_classes: 90
              image_resizer { fixed_shape_resizer { height: 300 width: 300 } }
              anchor_generator { ssd_anchor_generator { num_layers: 6 } }",
        extractor: "depth_multiplier: 1 min_depth: 16 num_layers: 6",
        predictor: "",
        ..vary
    };
    for input in InputType::ALL
        .into_iter()
        .filter(|input| !input.has_boxes())
    {
        for vary in [vary, classic] {
            let model = build(&detector(vary), &GraphOptions::new(input)).unwrap();
            let operations = model.graph.total_nodes();
            assert!(operations < 1500, "{operations} nodes for {input}");
        }
    }
}

/// The pass leaves nothing that weights alone decide to whatever runs a model: some importers compute nothing from constants.
#[test]
fn no_node_has_only_constants_and_weights_as_inputs() {
    let resizers = [
        "fixed_shape_resizer { height: 192 width: 256 }",
        "keep_aspect_ratio_resizer { min_dimension: 256 max_dimension: 256 pad_to_max_dimension: true }",
    ];
    let keeps_size = "keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 96 }";
    let mut models = Vec::new();
    for resizer in resizers {
        for combine in ["fast_attention", "attention", "weighted_sum", "sum"] {
            let extractor = format!(
                "type: 'ssd_efficientnet-b0_bifpn_keras' use_depthwise: false depth_multiplier: 1
                 bifpn {{ max_level: 6 num_iterations: 2 num_filters: 24 combine_method: '{combine}' }}
                 conv_hyperparams {{ activation: SWISH force_use_bias: true }}"
            );
            models.push(detector(Vary {
                ssd: &format!("image_resizer {{ {resizer} }}"),
                extractor: &extractor,
                ..Vary::default()
            }));
        }
    }
    for classic in [false, true] {
        for nms in [
            "",
            "use_class_agnostic_nms: true max_classes_per_detection: 1",
            "use_combined_nms: true change_coordinate_frame: false",
            "soft_nms_sigma: 0.5",
            "use_static_shapes: true",
        ] {
            let ssd = format!("image_resizer {{ {keeps_size} }}");
            for ssd in ["", &ssd] {
                models.push(detector(Vary {
                    ssd,
                    nms,
                    classic,
                    ..Vary::default()
                }));
            }
        }
    }
    let mut boxes = GraphOptions::default();
    boxes.stage = Stage::Boxes;
    boxes.input_size = Some([64, 96]);
    let options = [
        GraphOptions::default(),
        GraphOptions::new(InputType::FloatImageTensor),
        GraphOptions::new(InputType::EncodedImageStringTensor),
        boxes,
    ];
    models.push(center_net(""));
    models.push(center_net(
        "image_resizer { pad_to_multiple_resizer { multiple: 8 } }",
    ));
    for model in &models {
        for options in &options {
            let graph = build(model, options).unwrap().graph;
            let weights = graph.parameters().map(|(_, parameter)| {
                let elements = parameter.shape.iter().product::<u64>();
                let element = 0.5f32.to_le_bytes();
                TensorView {
                    dtype: parameter.dtype,
                    shape: parameter.shape.clone(),
                    data: element.repeat(usize::try_from(elements).unwrap()).into(),
                }
            });
            let (folded, weights) = passes::fold(&graph, Weights(weights.collect())).unwrap();
            validate(&folded).unwrap();
            tfod_graph::validate_weights(&folded, &weights).unwrap();
            assert_nothing_to_compute(&folded);
        }
    }
}

fn assert_nothing_to_compute(graph: &Graph) {
    let is_held = |value: &tfod_graph::ValueId| {
        let node = graph.node(graph.value(*value).node);
        matches!(node.op, Op::Constant(_) | Op::Parameter(_))
    };
    for (_, node) in graph.nodes() {
        let is_computed = !node.inputs.is_empty() && node.inputs.iter().all(is_held);
        assert!(!is_computed, "`{}` ({})", node.name, node.op.mnemonic());
        if let Op::Map { body, .. } = &node.op {
            assert_nothing_to_compute(body);
        }
    }
}
