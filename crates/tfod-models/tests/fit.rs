//! Why a checkpoint does not fit: checkpoints are stood in for by the variables of a network built from another configuration.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::trained::Trained;
use common::{Vary, center_net, detector, keypoint_labels, retinanet};
use tfod_models::fit::{Explanation, Fit, Variables, closest, explain};
use tfod_models::meta::ALL;
use tfod_models::{GraphOptions, InputType, KeypointLabels, MetaArchitecture, build};

fn with(vary: Vary<'_>) -> Trained {
    Trained::of(&detector(vary))
}

fn causes(trained: Vary<'_>) -> Explanation {
    explain(
        &detector(Vary::default()),
        &GraphOptions::default(),
        &with(trained),
    )
}

#[test]
fn a_checkpoint_of_the_same_configuration_fits() {
    let trained = with(Vary::default());
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
fn each_field_of_a_classic_ssd_is_found() {
    let classic = Vary {
        classic: true,
        ..Vary::default()
    };
    let ssd = |ssd| Vary { ssd, ..classic };
    let predictor = |predictor| Vary {
        predictor,
        ..classic
    };
    let extractor = |extractor| Vary {
        extractor,
        ..classic
    };
    let cases = [
        (ssd("num_classes: 7"), "num_classes", "7"),
        (predictor("use_dropout: true"), "use_dropout", "true"),
        (
            predictor("num_layers_before_predictor: 3"),
            "num_layers_before_predictor",
            "3",
        ),
        (
            predictor("use_depthwise: true"),
            "convolutional_box_predictor.use_depthwise",
            "true",
        ),
        (predictor("kernel_size: 1"), "kernel_size", "1"),
        (predictor("max_depth: 20"), "max_depth", "20"),
        (
            extractor("depth_multiplier: 0.75"),
            "depth_multiplier",
            "0.75",
        ),
        (
            extractor("use_depthwise: true"),
            "feature_extractor.use_depthwise",
            "true",
        ),
        (
            extractor("use_explicit_padding: true"),
            "use_explicit_padding",
            "true",
        ),
        (
            ssd("feature_extractor { num_layers: 6 }
                 anchor_generator { ssd_anchor_generator { num_layers: 6 } }"),
            "num_layers (and the anchor generator's)",
            "6",
        ),
        (
            ssd(
                "anchor_generator { ssd_anchor_generator { reduce_boxes_in_lowest_layer: false } }",
            ),
            "reduce_boxes_in_lowest_layer",
            "false",
        ),
        (
            ssd("anchor_generator { ssd_anchor_generator { interpolated_scale_aspect_ratio: 0 } }"),
            "interpolated_scale_aspect_ratio",
            "0",
        ),
        (
            ssd("anchor_generator { ssd_anchor_generator { aspect_ratios: [3.0, 0.3333] } }"),
            "aspect_ratios",
            "5 numbers",
        ),
    ];
    for (trained, field, value) in cases {
        let found = explain(&detector(classic), &GraphOptions::default(), &with(trained));
        assert!(found.complete, "{field}: {found:?}");
        assert_eq!(found.causes.len(), 1, "{field}: {found:?}");
        assert!(found.causes[0].field.ends_with(field), "{field}: {found:?}");
        assert_eq!(found.causes[0].trained, value);
    }
}

#[test]
fn another_depth_of_the_backbone_is_found() {
    for (configured, trained) in [(50, 101), (101, 50), (50, 152), (152, 101)] {
        let found = explain(
            &retinanet(configured, "", ""),
            &GraphOptions::default(),
            &Trained::of(&retinanet(trained, "num_classes: 5", "")),
        );
        assert!(found.complete, "{configured} {trained}: {found:?}");
        let [deeper, classes] = found.causes.as_slice() else {
            panic!("{configured} {trained}: {found:?}");
        };
        assert_eq!(deeper.field, "model.ssd.feature_extractor.type");
        assert_eq!(deeper.trained, format!("ssd_resnet{trained}_v1_fpn_keras"));
        assert_eq!(classes.trained, "5");
    }
}

#[test]
fn a_first_kernel_of_one_channel_is_put_down_to_grayscale_images() {
    let found = causes(Vary {
        ssd: "image_resizer { fixed_shape_resizer { convert_to_grayscale: true } }",
        ..Vary::default()
    });
    assert!(found.complete, "{found:?}");
    let [cause] = found.causes.as_slice() else {
        panic!("{found:?}");
    };
    assert!(cause.field.ends_with("convert_to_grayscale"), "{found:?}");
    assert_eq!(cause.trained, "true");
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

/// The fields in which two sizes of `EfficientDet` differ, from the config's D0 and other classes to the checkpoint's D1.
#[test]
fn another_size_of_efficientdet_is_found() {
    let detector = |classes: u64, variant: u64, rounds: u64, channels: u64| {
        let ssd = format!(
            "num_classes: {classes} image_resizer {{ fixed_shape_resizer {{ height: 192 width: 192 }} }}"
        );
        let extractor = format!(
            "type: 'ssd_efficientnet-b{variant}_bifpn_keras' use_depthwise: false depth_multiplier: 1
             bifpn {{ max_level: 6 num_iterations: {rounds} num_filters: {channels} }}"
        );
        let predictor = format!("depth: {channels} num_layers_before_predictor: 3");
        common::detector(Vary {
            ssd: &ssd,
            extractor: &extractor,
            predictor: &predictor,
            ..Vary::default()
        })
    };
    let trained = Trained::of(&detector(90, 1, 4, 88));
    let found = explain(&detector(5, 0, 3, 64), &GraphOptions::default(), &trained);
    assert!(found.complete, "{found:?}");
    let value = |field: &str| {
        let cause = found.causes.iter().find(|c| c.field.ends_with(field));
        cause.map(|c| c.trained.as_str())
    };
    assert_eq!(value("type"), Some("ssd_efficientnet-b1_bifpn_keras"));
    assert_eq!(value("num_iterations"), Some("4"));
    assert_eq!(value("num_filters"), Some("88"));
    assert_eq!(value("depth"), Some("88"));
    assert_eq!(value("num_classes"), Some("90"));
    assert_eq!(found.causes.len(), 5, "{found:?}");
    // Each takes milliseconds.
    assert!(trained.networks() <= 45, "{} networks", trained.networks());
}

/// What no configuration explains is looked for once, and no candidate that made it much worse is tried again.
#[test]
fn a_search_in_vain_ends() {
    let config = detector(Vary {
        ssd: "num_classes: 20",
        predictor: "depth: 128 num_layers_before_predictor: 2",
        ..Vary::default()
    });
    let trained = Trained::of(&config).and(&["of_nothing"], vec![1]);
    let found = closest(MetaArchitecture::of(&config).unwrap(), &trained).unwrap();
    assert_eq!(found.fit.unused, 1);
    assert!(trained.networks() <= 165, "{} networks", trained.networks());
}

/// A checkpoint has the backbone's classifier too, which a graph without it knows.
#[test]
fn a_classifier_is_idle_not_unused() {
    let vary = Vary {
        ssd: "image_resizer { fixed_shape_resizer { height: 192 width: 192 } }",
        extractor: "type: 'ssd_efficientnet-b0_bifpn_keras' use_depthwise: false depth_multiplier: 1
                    bifpn { max_level: 6 num_iterations: 1 num_filters: 16 combine_method: 'attention' }",
        ..Vary::default()
    };
    let model = build(&detector(vary), &GraphOptions::default()).unwrap();
    let idle: Vec<String> = model.idle.iter().map(|path| path.join("/")).collect();
    let is_idle = |end: &str| idle.iter().any(|path| path.ends_with(end));
    assert!(
        is_idle("classification_backbone/layer_with_weights-130/kernel"),
        "{idle:?}"
    );
    assert!(
        is_idle("node_combine_op/1/bifpn_combine_weights"),
        "{idle:?}"
    );
    let trained = with(vary);
    assert_eq!(
        trained.count(),
        model.graph.parameters().count() + idle.len()
    );
    let fit = Fit::new(&model, &trained);
    assert!(fit.is_complete());
    assert_eq!(fit.unused, 0);
}

/// Without a configuration, from the variables alone.
#[test]
fn the_network_of_a_checkpoint_is_found() {
    let efficientdet =
        "type: 'ssd_efficientnet-b1_bifpn_keras' use_depthwise: false depth_multiplier: 1
        bifpn { max_level: 7 num_iterations: 4 num_filters: 88 }";
    let cases = [
        (
            detector(Vary {
                predictor: "depth: 128 num_layers_before_predictor: 2",
                ..Vary::default()
            }),
            "ssd_mobilenet_v2_fpn_keras",
            2,
        ),
        (
            detector(Vary {
                classic: true,
                extractor: "num_layers: 6 depth_multiplier: 1",
                predictor: "num_layers_before_predictor: 0",
                ssd: "anchor_generator { ssd_anchor_generator { num_layers: 6 } }",
                ..Vary::default()
            }),
            "ssd_mobilenet_v2_keras",
            2,
        ),
        (
            detector(Vary {
                ssd: "num_classes: 7 image_resizer { fixed_shape_resizer { height: 160 width: 160 } }
                      anchor_generator { multiscale_anchor_generator { max_level: 7 } }",
                extractor: "type: 'ssd_resnet101_v1_fpn_keras' use_depthwise: false depth_multiplier: 1 fpn { max_level: 7 }",
                predictor: "depth: 256 use_depthwise: false num_layers_before_predictor: 4",
                ..Vary::default()
            }),
            "ssd_resnet101_v1_fpn_keras",
            7,
        ),
        (
            detector(Vary {
                ssd: "num_classes: 20 image_resizer { fixed_shape_resizer { height: 256 width: 256 } }
                      anchor_generator { multiscale_anchor_generator { max_level: 7 } }",
                extractor: efficientdet,
                predictor: "depth: 88 num_layers_before_predictor: 3",
                ..Vary::default()
            }),
            "ssd_efficientnet-b1_bifpn_keras",
            20,
        ),
    ];
    for (trained, extractor, classes) in cases {
        let meta = MetaArchitecture::of(&trained).unwrap();
        let variables = Trained::of(&trained);
        let found = closest(meta, &variables).unwrap();
        assert_eq!(found.extractor, extractor);
        let networks = variables.networks();
        assert!(networks <= 100, "{extractor}: {networks} networks");
        let Fit {
            missing,
            mismatched,
            unused,
            ..
        } = &found.fit;
        assert!(
            found.is_complete(),
            "{extractor}: {missing:?} {mismatched:?} {unused} {:?}",
            found.config
        );
        assert_eq!(found.num_classes(), Some(classes), "{extractor}");
    }
}

#[test]
fn an_unrelated_checkpoint_is_near_nothing() {
    let unrelated = Trained::new([(vec!["dense".to_owned()], vec![3, 4])]);
    for meta in ALL {
        assert!(closest(meta, &unrelated).is_none(), "{}", meta.field);
    }
}

#[test]
fn each_field_of_a_center_net_is_found() {
    const NET: &str = "model.center_net.";
    let narrow = "num_filters: [32, 16] kernel_sizes: [5, 1]";
    let head = |name: &str| format!("{name} {{ {narrow} }}");
    let cases = [
        ("", "num_classes: 5".to_owned(), "num_classes", "5"),
        ("", "use_depthwise: true".into(), "use_depthwise", "true"),
        (
            "",
            "feature_extractor { type: 'hourglass_20' }".into(),
            "feature_extractor.type",
            "hourglass_20",
        ),
        (
            "",
            format!("object_center_params {{ {} }}", head("center_head_params")),
            "object_center_params.center_head_params",
            "num_filters: [32, 16] kernel_sizes: [5, 1]",
        ),
        (
            "",
            format!("object_detection_task {{ {} }}", head("scale_head_params")),
            "object_detection_task.scale_head_params",
            "num_filters: [32, 16] kernel_sizes: [5, 1]",
        ),
        (
            "",
            format!("object_detection_task {{ {} }}", head("offset_head_params")),
            "object_detection_task.offset_head_params",
            "num_filters: [32, 16] kernel_sizes: [5, 1]",
        ),
        // A type whose name asks for what the reference does where the field is given only.
        (
            "feature_extractor { type: 'mobilenet_v2_fpn_sep_conv' depth_multiplier: 0.5 }",
            "feature_extractor { use_separable_conv: true }".into(),
            "feature_extractor.use_separable_conv",
            "true",
        ),
        (
            "feature_extractor { type: 'mobilenet_v2' }",
            "feature_extractor { depth_multiplier: 0.5 }".into(),
            "feature_extractor.depth_multiplier",
            "0.5",
        ),
    ];
    for (both, trained, field, value) in cases {
        let trained = Trained::of(&center_net(&format!("{both} {trained}")));
        let found = explain(&center_net(both), &GraphOptions::default(), &trained);
        let causes: Vec<(String, &str)> = found
            .causes
            .iter()
            .map(|cause| (cause.field.to_string(), cause.trained.as_str()))
            .collect();
        assert_eq!(causes, [(format!("{NET}{field}"), value)], "{found:?}");
        assert!(found.complete, "{found:?}");
    }
}

#[test]
fn each_task_of_a_center_net_is_found() {
    let task = |more: &str| {
        format!(
            "keypoint_estimation_task {{ task_name: 'a' keypoint_class_name: 'person' {more} }}"
        )
    };
    let single = |more: &str| format!("num_classes: 1 {}", task(more));
    let deep_mac = |more: &str| {
        format!(
            "deepmac_mask_estimation {{ network_type: 'hourglass10' dim: 32 pixel_embedding_dim: 8 {more} }}"
        )
    };
    let masks = "mask_estimation_task { } ".to_owned();
    let parts = |more: &str| format!("{masks} densepose_estimation_task {{ {more} }}");
    let track = |size: u32| format!("track_estimation_task {{ reid_embed_size: {size} }}");
    let nothing = String::new;
    let cases = [
        (
            task(""),
            task("per_keypoint_offset: true"),
            "keypoint_estimation_task[0].per_keypoint_offset",
            "true",
        ),
        (
            single("predict_depth: true"),
            single(""),
            "keypoint_estimation_task[0].predict_depth",
            "false",
        ),
        (
            single("predict_depth: true"),
            single("predict_depth: true per_keypoint_depth: true"),
            "keypoint_estimation_task[0].per_keypoint_depth",
            "true",
        ),
        (task(""), nothing(), "keypoint_estimation_task", "none"),
        (masks.clone(), nothing(), "mask_estimation_task", "none"),
        (nothing(), masks.clone(), "mask_estimation_task", "one"),
        (
            parts(""),
            parts("num_parts: 5"),
            "densepose_estimation_task.num_parts",
            "5",
        ),
        (
            masks.clone(),
            parts("num_parts: 5"),
            "densepose_estimation_task",
            "one",
        ),
        (
            track(64),
            track(32),
            "track_estimation_task.reid_embed_size",
            "32",
        ),
        (
            nothing(),
            "temporal_offset_task { }".to_owned(),
            "temporal_offset_task",
            "one",
        ),
        (
            deep_mac(""),
            deep_mac("dim: 16"),
            "deepmac_mask_estimation.dim",
            "16",
        ),
        (
            deep_mac(""),
            deep_mac("pixel_embedding_dim: 4"),
            "deepmac_mask_estimation.pixel_embedding_dim",
            "4",
        ),
    ];
    for (configured, trained, field, value) in cases {
        assert_causes(
            (&configured, &keypoint_labels()),
            &trained,
            &[(field, value)],
        );
    }
}

#[test]
fn heads_and_layers_of_tasks_of_a_center_net_are_found() {
    const TRACK: &str = "track_estimation_task { reid_embed_size: 64 }";
    let cases = [
        (
            TRACK.to_owned(),
            "track_estimation_task { reid_embed_size: 64 num_fc_layers: 3 }".to_owned(),
            "track_estimation_task.num_fc_layers",
            "3",
        ),
        (
            String::new(),
            "track_estimation_task { reid_embed_size: 64 num_fc_layers: 3 }".to_owned(),
            "track_estimation_task",
            "one",
        ),
        (
            "mask_estimation_task { }".to_owned(),
            "mask_estimation_task { mask_head_params { num_filters: 8 kernel_sizes: 5 } }"
                .to_owned(),
            "mask_estimation_task.mask_head_params",
            "num_filters: [8] kernel_sizes: [5]",
        ),
        (
            String::new(),
            "mask_estimation_task { mask_head_params { num_filters: 8 kernel_sizes: 5 } }"
                .to_owned(),
            "mask_estimation_task",
            "one",
        ),
        (
            keypoint_task("a", "person", ""),
            keypoint_task(
                "a",
                "person",
                "regress_head_params { num_filters: 8 kernel_sizes: 5 }",
            ),
            "keypoint_estimation_task[0].regress_head_params",
            "num_filters: [8] kernel_sizes: [5]",
        ),
    ];
    for (configured, trained, field, value) in cases {
        assert_causes(
            (&configured, &keypoint_labels()),
            &trained,
            &[(field, value)],
        );
    }
}

/// Of a CenterNet with a label map, the causes of a misfit to one that was trained with [`keypoint_labels`].
fn assert_causes(
    (configured, labels): (&str, &KeypointLabels),
    trained: &str,
    expected: &[(&str, &str)],
) {
    let mut options = GraphOptions::default();
    options.keypoint_labels = Some(labels.clone());
    let trained = Trained::of(&center_net(trained));
    let found = explain(&center_net(configured), &options, &trained);
    let causes = found.causes.iter().map(|cause| {
        let field = cause.field.strip_prefix("model.center_net.");
        (field.unwrap_or(&cause.field), cause.trained.as_str())
    });
    assert_eq!(causes.collect::<Vec<_>>(), expected, "{found:?}");
    assert!(found.complete, "{found:?}");
}

fn keypoint_task(name: &str, class: &str, more: &str) -> String {
    format!(
        "keypoint_estimation_task {{ task_name: '{name}' keypoint_class_name: '{class}' {more} }} "
    )
}

#[test]
fn keypoints_of_another_label_map_are_found() {
    let mut labels = keypoint_labels();
    let trained = keypoint_task("a", "person", "") + &keypoint_task("b", "cat", "");
    let one = format!("num_classes: 1 {}", keypoint_task("a", "person", ""));
    for class in &mut labels.classes {
        class.keypoints.truncate(1);
    }
    // Of several tasks, ids are places.
    for (id, class) in (0..).zip(labels.classes.iter_mut().filter(|c| c.name != "dog")) {
        class.keypoints[0].id = id;
    }
    let field = "keypoint_label_map_path";
    for (config, value) in [
        (&one, "3 keypoints of \"person\""),
        (
            &trained,
            "3 keypoints of \"person\" and 2 keypoints of \"cat\"",
        ),
    ] {
        assert_causes((config, &labels), config, &[(field, value)]);
    }
    let mut options = GraphOptions::default();
    options.keypoint_labels = Some(labels);
    let found = explain(&center_net(&one), &options, &Trained::of(&center_net(&one)));
    let text = "model.center_net.keypoint_label_map_path: the label map has 1 keypoint of \"person\", the checkpoint was trained with 3 keypoints of \"person\"";
    assert_eq!(found.causes[0].to_string(), text);
}

#[test]
fn other_keypoint_tasks_are_found() {
    let task = |name: &str, class: &str| keypoint_task(name, class, "");
    let both = task("a", "person") + &task("b", "cat");
    let labels = &keypoint_labels();
    let tasks = |value| [("keypoint_estimation_task", value)];
    assert_causes((&both, labels), "", &tasks("none"));
    assert_causes((&both, labels), &task("a", "person"), &tasks("\"a\""));
    assert_causes(
        (&task("a", "person"), labels),
        &both,
        &tasks("\"a\", \"b\""),
    );
    assert_causes(("", labels), &both, &tasks("\"a\", \"b\""));
    let further = "per_keypoint_offset: true heatmap_head_params { num_filters: [16, 8] kernel_sizes: [3, 1] }";
    let further = task("a", "person") + &keypoint_task("b", "cat", further);
    assert_causes(
        (&task("a", "person"), labels),
        &further,
        &tasks("\"a\", \"b\""),
    );
    assert_causes(
        (&task("c", "person"), labels),
        &task("a", "person"),
        &tasks("\"a\""),
    );
    // Another class, too.
    let other = [
        ("keypoint_estimation_task", "\"a\""),
        ("keypoint_label_map_path", "3 keypoints of \"dog\""),
    ];
    assert_causes((&task("c", "dog"), labels), &task("a", "person"), &other);
    // The same field of two tasks.
    let offsets = "per_keypoint_offset: true";
    let own = keypoint_task("a", "person", offsets) + &keypoint_task("b", "cat", offsets);
    let fields = [
        ("keypoint_estimation_task[0].per_keypoint_offset", "true"),
        ("keypoint_estimation_task[1].per_keypoint_offset", "true"),
    ];
    assert_causes((&both, labels), &own, &fields);
}

#[test]
fn a_checkpoint_with_more_keypoints_than_there_can_be_is_of_no_keypoint_tasks() {
    let head = |name: &str| format!("{name}/keypoint/heatmap");
    let with = |count: u64| {
        let layer = ["0", "layer_with_weights-0", "bias"];
        let path = |head| [&["_prediction_head_dict", head], &layer[..]].concat();
        let [a, b] = ["a", "b"].map(head);
        let trained = Trained::of(&center_net("num_classes: 3"));
        let trained = trained.and(&path(&a), vec![count]);
        trained.and(&path(&b), vec![count])
    };
    let fields = |count| {
        let found = explain(&center_net(""), &GraphOptions::default(), &with(count));
        let fields = found.causes.into_iter();
        fields.map(|cause| cause.field).collect::<Vec<_>>()
    };
    let classes = "model.center_net.num_classes";
    // A label map of so many would fill the memory.
    assert_eq!(fields((1 << 31) - 1), [classes]);
    assert_eq!(fields(1 << 40), [classes]);
}

#[test]
fn a_deep_mac_is_found_and_missed() {
    let deep_mac = |network: &str, more: &str| {
        format!(
            "deepmac_mask_estimation {{ network_type: '{network}' mask_size: 16 dim: 32 pixel_embedding_dim: 8 num_init_channels: 16 {more} }}"
        )
    };
    let labels = &keypoint_labels();
    let base = deep_mac("hourglass10", "");
    let masks = "mask_estimation_task { }";
    assert_causes((&base, labels), "", &[("deepmac_mask_estimation", "none")]);
    for (network, more) in [
        ("hourglass10", ""),
        ("hourglass20_no_shortcut", "use_xy: false"),
        ("resnet4", "use_instance_embedding: false"),
    ] {
        let value = format!("one of network_type {network}");
        let cause = [("deepmac_mask_estimation", value.as_str())];
        for configured in ["", masks] {
            assert_causes((configured, labels), &deep_mac(network, more), &cause);
        }
    }
    let projection = "use_xy: false use_instance_embedding: false dim: 8";
    let value = "one of network_type embedding_projection";
    let cause = [("deepmac_mask_estimation", value)];
    assert_causes(
        ("", labels),
        &deep_mac("embedding_projection", projection),
        &cause,
    );
    for (trained, field, value) in [
        (deep_mac("hourglass20", ""), "network_type", "hourglass20"),
        (
            deep_mac("hourglass10", "num_init_channels: 8"),
            "num_init_channels",
            "8",
        ),
        (deep_mac("hourglass10", "use_xy: false"), "use_xy", "false"),
        (
            deep_mac("hourglass10", "use_instance_embedding: false"),
            "use_instance_embedding",
            "false",
        ),
    ] {
        let field = format!("deepmac_mask_estimation.{field}");
        assert_causes((&base, labels), &trained, &[(&field, value)]);
    }
}
