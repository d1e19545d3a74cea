//! Further tasks of a CenterNet: what the configuration, the label map and the options must agree on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{center_net, keypoint_labels};
use tfod_config::{LabelMap, PipelineConfig, protos};
use tfod_models::{GraphOptions, InputType, KeypointLabels, Model, ModelError, Stage, build};

fn with_labels(input: InputType) -> GraphOptions {
    let mut options = GraphOptions::new(input);
    options.keypoint_labels = Some(keypoint_labels());
    options
}

fn built(text: &str) -> Result<Model, ModelError> {
    build(&center_net(text), &with_labels(InputType::ImageTensor))
}

fn error(text: &str) -> String {
    match built(text) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("`{text}` is taken"),
    }
}

fn task(class: &str, more: &str) -> String {
    format!(
        "keypoint_estimation_task {{ task_name: '{class}' keypoint_class_name: '{class}' {more} }}"
    )
}

fn keys(model: &Model) -> Vec<&str> {
    let outputs = model.graph.outputs().iter();
    outputs.map(|output| output.key.as_str()).collect()
}

#[test]
fn keypoints_need_the_label_map() {
    let config = center_net(&task("person", ""));
    let error = build(&config, &GraphOptions::default()).unwrap_err();
    let text = "the config has no `model.center_net.keypoint_label_map_path`";
    assert_eq!(error.to_string(), text);
}

#[test]
fn tasks_and_label_map_must_agree() {
    let unknown = error(&task("horse", ""));
    assert!(
        unknown.contains("keypoint_estimation_task[0].keypoint_class_name")
            && unknown.contains("\"horse\"")
            && unknown.contains("\"person\", \"dog\", \"cat\""),
        "{unknown}"
    );
    let twice = error(&(task("person", "") + &task("person", "task_name: 'again'")));
    assert!(twice.contains("keypoint_estimation_task[1]"), "{twice}");
    let shared = error(&(task("person", "") + &task("dog", "")));
    assert!(shared.contains("an id of its own"), "{shared}");
    let beyond = error(&task("cat", ""));
    assert!(beyond.contains("ids from 0 to 1"), "{beyond}");
    // With one class, ids are no places.
    built(&("num_classes: 1 ".to_owned() + &task("cat", ""))).unwrap();
}

/// The reference takes any text, and its checkpoints have variables under it.
#[test]
fn a_task_may_have_any_name() {
    let named = |name: &str, class: &str| {
        format!("keypoint_estimation_task {{ task_name: '{name}' keypoint_class_name: '{class}' }}")
    };
    let start = "num_classes: 1 ";
    for (name, key) in [
        ("human pose", "human_pose_keypoint_heatmap"),
        ("p\u{e4}ron/2", "p_ron_2_keypoint_heatmap"),
        ("_x", "x_keypoint_heatmap"),
        ("", "keypoint_heatmap"),
    ] {
        let text = start.to_owned() + &named(name, "person");
        let model = built(&text).unwrap();
        let head = format!("{name}/keypoint/heatmap");
        let mut parameters = model.graph.parameters();
        let is_in_head = parameters.any(|(_, parameter)| parameter.path.contains(&head));
        assert!(is_in_head, "{name}");
        let mut options = with_labels(InputType::ImageTensor);
        options.stage = Stage::Encodings;
        let model = build(&center_net(&text), &options).unwrap();
        assert!(keys(&model).contains(&key), "{:?}", keys(&model));
    }
}

/// Two names of tasks that are one as names of outputs.
#[test]
fn outputs_of_tasks_with_similar_names_are_told_apart() {
    let labels = "item { id: 1 name: 'a' keypoints { id: 0 label: 'x' } } item { id: 2 name: 'b' keypoints { id: 1 label: 'y' } }";
    let labels = LabelMap::parse("labels", labels.as_bytes()).unwrap();
    let mut options = GraphOptions::new(InputType::ImageTensor);
    options.keypoint_labels = Some(KeypointLabels::of("labels", &labels));
    options.stage = Stage::Encodings;
    let text = "num_classes: 2
        keypoint_estimation_task { task_name: 'the task' keypoint_class_name: 'a' }
        keypoint_estimation_task { task_name: 'the_task' keypoint_class_name: 'b' }";
    let model = build(&center_net(text), &options).unwrap();
    let keys = keys(&model);
    for key in ["the_task_keypoint_heatmap", "the_task_keypoint_heatmap_1"] {
        assert!(keys.contains(&key), "{keys:?}");
    }
}

#[test]
fn what_the_reference_cannot_do_is_refused() {
    for (text, field) in [
        (task("person", "predict_depth: true"), "predict_depth"),
        (task("person", "candidate_ranking_mode: 'best'"), "candidate_ranking_mode"),
        (
            task("person", "candidate_ranking_mode: 'gaussian_weighted_const'"),
            "candidate_ranking_mode",
        ),
        (
            "num_classes: 1 ".to_owned()
                + &task(
                    "person",
                    "candidate_ranking_mode: 'gaussian_weighted_const' argmax_postprocessing: true",
                ),
            "argmax_postprocessing",
        ),
        (
            "densepose_estimation_task { num_parts: 3 }".to_owned(),
            "densepose_estimation_task",
        ),
        (
            "deepmac_mask_estimation { network_type: 'fully_connected' }".to_owned(),
            "network_type",
        ),
        (
            "deepmac_mask_estimation { network_type: 'cond_inst3' }".to_owned(),
            "use_instance_embedding",
        ),
        (
            "deepmac_mask_estimation { network_type: 'cond_inst3' use_instance_embedding: false }".to_owned(),
            "deepmac_mask_estimation.dim",
        ),
        (
            "deepmac_mask_estimation { network_type: 'embedding_projection' use_instance_embedding: false }".to_owned(),
            "use_xy",
        ),
    ] {
        let error = error(&text);
        assert!(error.contains(field), "{text}: {error}");
    }
}

#[test]
fn keypoints_are_named_in_the_order_of_outputs() {
    let names = |text: &str| built(text).unwrap().facts.keypoints;
    let both = task("person", "") + &task("cat", "");
    assert_eq!(names(&both), ["nose", "ear", "eye", "paw", "whisker"]);
    let single = "num_classes: 1 ".to_owned() + &task("person", "");
    assert_eq!(names(&single), ["nose", "eye", "ear"]);
    assert!(names("").is_empty());
}

#[test]
fn a_classifier_of_the_training_is_idle() {
    let model =
        built("track_estimation_task { reid_embed_size: 6 num_fc_layers: 2 num_track_ids: 9 }");
    let idle = model.unwrap().idle;
    let paths: Vec<String> = idle.iter().map(|path| path.join("/")).collect();
    for layer in ["0/kernel", "1/moving_variance", "2/bias"] {
        let path = format!("track_reid_classification_net/layer_with_weights-{layer}");
        assert!(paths.contains(&path), "{layer}: {paths:?}");
    }
    assert!(
        !paths.iter().any(|path| path.contains("weights-3/")),
        "{paths:?}"
    );
}

#[test]
fn only_deep_mac_makes_masks_of_given_boxes() {
    let options = with_labels(InputType::ImageAndBoxesTensor);
    let refused = build(&center_net("mask_estimation_task { }"), &options).unwrap_err();
    assert!(
        refused.to_string().contains("deepmac_mask_estimation"),
        "{refused}"
    );
    // No masks, no boxes that they are of.
    let mut early = options.clone();
    early.stage = Stage::Boxes;
    let text = "deepmac_mask_estimation { network_type: 'resnet4' }";
    let refused = build(&center_net(text), &early).unwrap_err();
    assert!(
        refused.to_string().contains("ends before detections"),
        "{refused}"
    );
    // Other tasks are left aside, label map and all.
    let text = "deepmac_mask_estimation { network_type: 'resnet4' mask_size: 16 } ".to_owned()
        + &task("horse", "");
    let model = build(&center_net(&text), &options).unwrap();
    let inputs = model.graph.inputs().iter();
    let shapes: Vec<String> = inputs
        .map(|input| model.graph.value(*input).shape.to_string())
        .collect();
    assert_eq!(shapes, ["[1, height, width, 3]", "[1, num_boxes, 4]"]);
    assert!(keys(&model).contains(&"detection_masks"));
    let detected = build(&center_net(&text), &GraphOptions::default()).unwrap();
    assert_eq!(detected.graph.inputs().len(), 1);
    assert_eq!(keys(&detected), keys(&model));
}

#[test]
fn sizes_known_only_at_run_time_are_no_hindrance() {
    let resizer = "image_resizer { pad_to_multiple_resizer { multiple: 32 } } feature_extractor { type: 'resnet_v2_50' } ";
    for tasks in [
        task("person", "per_keypoint_offset: true") + "mask_estimation_task { mask_height: 8 mask_width: 8 }",
        "deepmac_mask_estimation { network_type: 'hourglass10' predict_full_resolution_masks: true }".to_owned(),
    ] {
        for input in [InputType::FloatImageTensor, InputType::EncodedImageStringTensor] {
            build(&center_net(&(resizer.to_owned() + &tasks)), &with_labels(input)).unwrap();
        }
    }
}

#[test]
fn windows_of_peaks_have_limits_and_none_is_one() {
    let window = |size: i32| task("person", &format!("peak_max_pool_kernel_size: {size}"));
    let graph = |size| built(&window(size)).unwrap().graph.to_string();
    assert_eq!(graph(0), graph(1));
    assert_ne!(graph(0), graph(3));
    for size in [-1, 1025] {
        let error = error(&window(size));
        let text = format!(
            "`model.center_net.keypoint_estimation_task[0].peak_max_pool_kernel_size` is {size}; expected 0 to 1024"
        );
        assert_eq!(error, text);
    }
}

#[test]
fn sizes_that_would_fill_the_memory_are_refused_by_name() {
    let deep_mac = |more: &str| {
        format!("deepmac_mask_estimation {{ network_type: 'resnet4' mask_size: 16 {more} }}")
    };
    for (text, field, most) in [
        (
            "mask_estimation_task { mask_height: 1025 }".to_owned(),
            "mask_estimation_task.mask_height",
            1024,
        ),
        (
            "mask_estimation_task { mask_width: 1025 }".to_owned(),
            "mask_estimation_task.mask_width",
            1024,
        ),
        (
            deep_mac("mask_size: 1025"),
            "deepmac_mask_estimation.mask_size",
            1024,
        ),
        (
            deep_mac("postprocess_crop_size: 1025"),
            "deepmac_mask_estimation.postprocess_crop_size",
            1024,
        ),
        (
            "track_estimation_task { num_fc_layers: 65 }".to_owned(),
            "track_estimation_task.num_fc_layers",
            64,
        ),
    ] {
        let error = error(&text);
        let given = most + 1;
        let least = u8::from(!field.ends_with("num_fc_layers"));
        let expected = format!("`model.center_net.{field}` is {given}; expected {least} to {most}");
        assert_eq!(error, expected);
        built(&text.replace(&given.to_string(), &most.to_string())).unwrap();
    }
}

#[test]
fn images_have_no_more_locations_than_fit_into_the_memory() {
    let mut options = GraphOptions::default();
    options.stage = Stage::Boxes;
    let fixed = |height: u64| {
        center_net(&format!(
            "image_resizer {{ fixed_shape_resizer {{ height: {height} width: 1048576 }} }}"
        ))
    };
    let error = build(&fixed(260), &options).unwrap_err().to_string();
    let by_config = "`model.center_net.image_resizer` is one that makes images of 260x1048576; expected a size for which the feature map has at most 16777216 locations";
    assert!(error.starts_with(by_config), "{error}");
    let free = center_net("image_resizer { pad_to_multiple_resizer { multiple: 8 } }");
    options.input_size = Some([1 << 15, 1 << 14]);
    let error = build(&free, &options).unwrap_err().to_string();
    let by_option = "the size of the input is 32768x16384; expected a size for which the feature map has at most 16777216 locations";
    assert!(error.starts_with(by_option), "{error}");
    // Smaller ones are not built here at this stage: every location would take its memory.
    options.stage = Stage::Encodings;
    options.input_size = Some([1 << 14; 2]);
    build(&free, &options).unwrap();
}

/// As [`center_net`], without a task that gives boxes.
fn without_boxes(more: &str) -> protos::DetectionModel {
    let text = format!(
        "model {{ center_net {{
          num_classes: 1
          feature_extractor {{ type: 'hourglass_10' }}
          image_resizer {{ fixed_shape_resizer {{ height: 64 width: 64 }} }}
          {more}
        }} }}"
    );
    let config = PipelineConfig::parse("test", text.as_bytes()).unwrap();
    config.config.message().model.clone().unwrap()
}

#[test]
fn masks_need_boxes() {
    let options = with_labels(InputType::ImageTensor);
    let masks = "mask_estimation_task { }";
    let error = build(&without_boxes(masks), &options)
        .unwrap_err()
        .to_string();
    let text = "`model.center_net.mask_estimation_task` is there without `object_detection_task`; expected with it, or with a `keypoint_estimation_task`";
    assert!(error.starts_with(text), "{error}");
    let keypoints = task("person", "");
    let model = build(&without_boxes(&format!("{masks} {keypoints}")), &options).unwrap();
    assert!(keys(&model).contains(&"detection_masks"));
}

/// A label map of one class that has so many keypoints.
fn many_keypoints(count: i32) -> KeypointLabels {
    let keypoints = (0..count).map(|id| format!("keypoints {{ id: {id} label: 'k{id}' }} "));
    let text = format!(
        "item {{ id: 1 name: 'person' {} }}",
        keypoints.collect::<String>()
    );
    KeypointLabels::of("map", &LabelMap::parse("map", text.as_bytes()).unwrap())
}

#[test]
fn keypoints_and_their_tasks_have_limits() {
    let with = |count, text: &str| {
        let mut options = GraphOptions::default();
        options.keypoint_labels = Some(many_keypoints(count));
        build(&center_net(text), &options).map_err(|error| error.to_string())
    };
    let rescored = task("person", "rescore_instances: true");
    let model = with(1 << 14, &rescored).unwrap();
    assert_eq!(model.facts.keypoints.len(), 1 << 14);
    let text = "`model.center_net.keypoint_estimation_task[0].keypoint_class_name` is that of a class with 16385 keypoints in \"map\"; expected at most 16384 keypoints";
    let error = with((1 << 14) + 1, &rescored).unwrap_err();
    assert!(error.starts_with(text), "{error}");
    let error = with(1, &task("person", "").repeat(257)).unwrap_err();
    let text = "`model.center_net.keypoint_estimation_task` is 257 tasks; expected at most 256";
    assert_eq!(error, text);
}
