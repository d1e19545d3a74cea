//! Looking into files, and comparing them: what is found is what the test wrote; damaged and hostile files give an error, quickly.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod compare;
mod computed;
#[cfg(feature = "run")]
mod detect;
mod folded;
mod hostile;
mod make;
#[cfg(feature = "run")]
mod outputs;
#[cfg(feature = "run")]
mod runtime;
#[cfg(feature = "run")]
mod videos;

use serde_json::json;
use tfod_inspect::{Element, Facts, Statistics, inspect};

use make::{Folder, Message, onnx, tensorflow as tf};

/// A graph of one convolution and what tells kinds of constants apart.
pub(crate) fn small_graph() -> Message {
    tf::graph(vec![
        tf::placeholder("image", tf::UINT8, &[1, -1, -1, 3]),
        tf::float_constant("kernel", &[1, 1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        tf::constant(
            "splat",
            // One value for all.
            tf::tensor(tf::FLOAT, &[1 << 20, 1 << 20]).bytes(5, 0.5f32.to_le_bytes()),
        ),
        tf::node("Cast", "Cast", &["image"]),
        tf::node("conv", "Conv2D", &["Cast", "kernel"]),
        tf::identity("Identity", "conv:0"),
        tf::identity("Identity_1", "splat"),
    ])
    .message(
        2,
        Message::new().message(
            1,
            Message::new()
                .message(3, tf::float_constant("bias", &[2], &[-1.0, f32::NAN]))
                .message(3, tf::node("loop", "StatelessWhile", &["bias:0"]))
                .message(1, Message::new().bytes(1, "body")),
        ),
    )
}

#[test]
fn a_checkpoint_is_told_by_its_parts() {
    let folder = Folder::new();
    let prefix = folder.checkpoint(
        "ckpt-7",
        &[
            ("model/_box_predictor/a/kernel/.ATTRIBUTES/VARIABLE_VALUE", &[2, 2], &[1.0, 0.0, -2.0, 0.0]),
            ("model/_feature_extractor/backbone/kernel/.ATTRIBUTES/VARIABLE_VALUE", &[3], &[1.0, 2.0, 3.0]),
            (
                "model/_box_predictor/a/kernel/.OPTIMIZER_SLOT/optimizer/momentum/.ATTRIBUTES/VARIABLE_VALUE",
                &[2, 2],
                &[0.0; 4],
            ),
        ],
    );
    let found = inspect(&prefix).unwrap();
    let json = found.json();
    assert_eq!(json["kind"], "checkpoint");
    let checkpoint = &json["checkpoint"];
    assert_eq!(checkpoint["format"], "name-based");
    assert_eq!(
        checkpoint["parts"],
        json!({
            "model/_box_predictor": { "tensors": 1, "bytes": 16 },
            "model/_feature_extractor/backbone": { "tensors": 1, "bytes": 12 },
            "optimizer slots: optimizer/momentum": { "tensors": 1, "bytes": 16 },
        })
    );
    assert_eq!(checkpoint["shards"][0]["present"], true);
    let tensor = found.tensor("model/_box_predictor/a/kernel").unwrap();
    let elements = found.elements(tensor).unwrap();
    let statistics = Statistics::of(&elements).unwrap();
    assert_eq!(
        (statistics.min, statistics.max, statistics.zeros),
        (Some(-2.0), Some(1.0), 2)
    );
    assert_eq!(elements.get(2), Some(Element::Float(-2.0)));
    let error = found.tensor("backbone").unwrap_err().to_string();
    assert!(
        error.contains(
            "did you mean `model/_feature_extractor/backbone/kernel/.ATTRIBUTES/VARIABLE_VALUE`?"
        ),
        "{error}"
    );
}

#[test]
fn the_index_alone_will_do() {
    let folder = Folder::new();
    let prefix = folder.checkpoint("ckpt-7", &[("a", &[2], &[1.0, 2.0])]);
    let data = folder.path("ckpt-7.data-00000-of-00001");
    assert_eq!(inspect(&data).unwrap().json()["kind"], "checkpoint");
    std::fs::remove_file(&data).unwrap();
    for path in [prefix, folder.path("ckpt-7.index"), folder.path("")] {
        let found = inspect(&path).unwrap();
        assert_eq!(found.json()["checkpoint"]["shards"][0]["present"], false);
        let error = found.elements(&found.tensors[0]).unwrap_err().to_string();
        assert!(error.contains("ckpt-7.data-00000-of-00001"), "{error}");
    }
}

#[test]
fn the_shipped_checkpoint_and_config_are_described() {
    let json = inspect(&make::example("checkpoint")).unwrap().json();
    assert_eq!(
        json["checkpoint"]["counters"],
        json!({ "save_counter": 1, "step": 3000 })
    );
    assert_eq!(json["checkpoint"]["format"], "object-based");
    let json = inspect(&make::example("pipeline.config")).unwrap().json();
    let config = &json["pipeline_config"];
    assert_eq!(config["feature_extractor"], "ssd_mobilenet_v2_fpn_keras");
    assert_eq!(
        (&config["num_classes"], &config["num_anchors"]),
        (&json!(3), &json!(3204))
    );
    assert_eq!(config["export"]["supported"], true);
    assert_eq!(config["post_processing"][0]["iou_threshold"], 0.5);
}

#[test]
fn a_graph_shows_what_it_needs() {
    let folder = Folder::new();
    let file = folder.write("any.name", &small_graph().0);
    let found = inspect(&file).unwrap();
    let Facts::Graph(graph) = &found.facts else {
        panic!("{found:?}");
    };
    assert_eq!(
        (graph.nodes, graph.functions, graph.function_nodes),
        (7, 1, 2)
    );
    assert_eq!((graph.producer, graph.min_consumer), (1645, 12));
    assert_eq!(graph.inputs.len(), 1);
    assert_eq!(graph.inputs[0].shape_text(), "[1, ?, ?, 3]");
    let outputs: Vec<&str> = graph.outputs.iter().map(|port| &*port.tensor).collect();
    assert_eq!(outputs, ["Identity:0", "Identity_1:0"]);
    assert_eq!(graph.outputs[0].type_name(), "float32");
    let names: Vec<&str> = found.tensors.iter().map(|tensor| &*tensor.name).collect();
    assert_eq!(names, ["kernel", "splat", "body/bias"]);
    assert_eq!(found.tensors[1].bytes, 1 << 42);
    let kinds: Vec<&str> = found
        .hurdles()
        .into_iter()
        .map(|hurdle| hurdle.kind)
        .collect();
    assert_eq!(kinds, ["loops", "dynamic shapes", "bytes as input"]);
    assert_eq!(graph.oldest.refused_by(), None);

    let elements = found.elements(found.tensor("splat").unwrap()).unwrap();
    let statistics = Statistics::of(&elements).unwrap();
    assert_eq!((statistics.mean, statistics.std), (Some(0.5), Some(0.0)));
    let elements = found.elements(found.tensor("body/bias").unwrap()).unwrap();
    assert_eq!(Statistics::of(&elements).unwrap().nan, 1);
}

#[test]
fn the_oldest_release_comes_from_operations_and_attributes() {
    let oldest = |node: Message| {
        let folder = Folder::new();
        let found = inspect(&folder.write("graph.pb", &tf::graph(vec![node]).0)).unwrap();
        found.json()["graph"]["oldest_tensorflow"].clone()
    };
    let plain = oldest(tf::node("a", "Relu", &[]));
    assert_eq!(plain["refused_by"], json!(null));
    // An operation that came with TensorFlow 2.7, and an attribute that came after 2.15.
    let newer = oldest(tf::node("a", "AnonymousHashTable", &[]));
    assert_eq!(newer["because"], json!(["operation AnonymousHashTable"]));
    assert!(newer["refused_by"].is_string());
    let yes = Message::new().varint(5, 1);
    let attribute = oldest(tf::attr(tf::node("a", "BatchMatMulV2", &[]), "grad_x", yes));
    assert_eq!(
        attribute["because"],
        json!(["attribute `grad_x` of BatchMatMulV2"])
    );
    assert_eq!(
        oldest(tf::node("a", "MyOp", &[]))["custom_ops"],
        json!(["MyOp"])
    );
}

#[test]
fn a_text_says_what_the_binary_says() {
    let text = r#"
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
               attr { key: "shape" value { shape { dim { size: -1 } dim { size: 3 } } } } }
        node { name: "w" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
               attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 3 } } float_val: 1.5 float_val: -2 } } } }
        node { name: "y" op: "Mul" input: "x" input: "w" attr { key: "T" value { type: DT_FLOAT } } }
        versions { producer: 1645 }"#;
    let folder = Folder::new();
    let found = inspect(&folder.write("graph.pbtxt", text.as_bytes())).unwrap();
    let Facts::Graph(graph) = &found.facts else {
        panic!("{found:?}");
    };
    assert_eq!((graph.nodes, graph.producer), (3, 1645));
    assert_eq!(graph.outputs[0].tensor, "y:0");
    let elements = found.elements(&found.tensors[0]).unwrap();
    let values: Vec<String> = (0..3)
        .map(|i| elements.get(i).unwrap().to_string())
        .collect();
    assert_eq!(values, ["1.5", "-2.0", "-2.0"]);
}

#[test]
fn a_saved_model_shows_its_signatures() {
    let folder = Folder::new();
    let model = tf::saved_model(
        small_graph(),
        &[("pixels", "image:0", tf::UINT8, &[1, -1, -1, 3])],
        &[("boxes", "Identity:0", tf::FLOAT, &[1, 20, 4])],
    );
    folder.write("model/saved_model.pb", &model.0);
    folder.checkpoint(
        "model/variables/variables",
        &[("v/.ATTRIBUTES/VARIABLE_VALUE", &[2], &[1.0, 2.0])],
    );
    let by_folder = inspect(&folder.path("model")).unwrap();
    let by_file = inspect(&folder.path("model/saved_model.pb")).unwrap();
    for found in [by_folder, by_file] {
        let json = found.json();
        let graph = &json["saved_model"]["graphs"][0];
        assert_eq!(graph["tags"], json!(["serve"]));
        assert_eq!(
            graph["signatures"]["serving_default"],
            json!({
                "method": "tensorflow/serving/predict",
                "inputs": [{ "key": "pixels", "tensor": "image:0", "dtype": "uint8", "shape": [1, -1, -1, 3] }],
                "outputs": [{ "key": "boxes", "tensor": "Identity:0", "dtype": "float32", "shape": [1, 20, 4] }],
            })
        );
        assert_eq!(
            json["saved_model"]["variables"],
            json!({ "tensors": 1, "bytes": 8, "data_present": true })
        );
        let variable = found.elements(found.tensor("v").unwrap()).unwrap();
        assert_eq!(variable.get(1), Some(Element::Float(2.0)));
        assert!(found.elements(found.tensor("kernel").unwrap()).is_ok());
    }
}

/// A model of one initialiser inside and one outside.
fn small_onnx(external: Message) -> Message {
    let inner = Message::new().messages(1, [onnx::node("Add", &["x", "x"], &["z"])]);
    let body = Message::new().bytes(1, "body").message(6, inner);
    let graph = Message::new()
        .messages(
            1,
            [
                onnx::node("Loop", &["x"], &["y"]).message(5, body),
                onnx::node("Mine", &["y", "w"], &["out"]).bytes(7, "my.domain"),
            ],
        )
        .bytes(2, "main")
        .message(5, onnx::initializer("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]))
        .message(5, external)
        .message(11, onnx::value("x", 2, &[4]))
        .message(11, onnx::value("w", onnx::FLOAT, &[2]))
        .message(12, onnx::value("out", onnx::FLOAT, &[4]));
    onnx::model(graph)
}

#[test]
fn an_onnx_model_is_read_with_its_data_outside() {
    let folder = Folder::new();
    let mut data = vec![0; 8];
    data.extend(make::floats(&[7.0, 8.0]));
    folder.write("model.data", &data);
    let external = onnx::external(onnx::tensor("e", &[2]), "model.data", "8", "8");
    let found = inspect(&folder.write("m", &small_onnx(external).0)).unwrap();
    let json = found.json();
    let model = &json["onnx"];
    assert_eq!(
        (&model["ir_version"], &model["opsets"]),
        (&json!(8), &json!({ "": 17 }))
    );
    assert_eq!(
        model["producer"],
        json!({ "name": "test", "version": "1.2" })
    );
    assert_eq!(
        model["ops"],
        json!({ "Add": 1, "Loop": 1, "my.domain::Mine": 1 })
    );
    assert_eq!(
        (&model["nodes"], &model["inner_nodes"]),
        (&json!(2), &json!(1))
    );
    // Inputs with an initialiser need not be given.
    assert_eq!(
        model["inputs"],
        json!([{ "key": "x", "tensor": "x", "dtype": "uint8", "shape": ["batch", 4] }])
    );
    assert_eq!(
        (&model["initializers"], &model["initializer_bytes"]),
        (&json!(2), &json!(24))
    );
    assert_eq!(model["external_data"], json!({ "model.data": 8 }));
    assert_eq!(model["metadata"], json!({ "num_classes": "3" }));
    let kinds: Vec<&str> = found
        .hurdles()
        .into_iter()
        .map(|hurdle| hurdle.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            "loops",
            "other domains",
            "external data",
            "dynamic shapes",
            "bytes as input"
        ]
    );
    let elements = found.elements(found.tensor("e").unwrap()).unwrap();
    assert_eq!(elements.get(1), Some(Element::Float(8.0)));
}

#[test]
fn an_export_is_told_by_its_pieces() {
    let folder = Folder::new();
    folder.write(
        "out/saved_model/saved_model.pb",
        &tf::saved_model(small_graph(), &[], &[]).0,
    );
    folder.write("out/frozen.pb", b"\xff\xff");
    folder.write("out/manifest.json", br#"{ "num_classes": 3 }"#);
    std::fs::copy(
        make::example("pipeline.config"),
        folder.path("out/pipeline.config"),
    )
    .unwrap();
    let json = inspect(&folder.path("out")).unwrap().json();
    let pieces = json["export"]["pieces"].as_array().unwrap();
    let kinds: Vec<Option<&str>> = pieces.iter().map(|piece| piece["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("saved_model"), None, Some("pipeline_config")]);
    assert!(
        pieces[1]["error"]
            .as_str()
            .unwrap()
            .contains("no format that is known")
    );
    assert_eq!(json["export"]["manifest"]["num_classes"], 3);
}

#[test]
fn other_files_are_named() {
    let folder = Folder::new();
    let cases: [(&str, &[u8], &str); 9] = [
        ("empty", b"", "the file is empty"),
        ("weights.h5", b"\x89HDF\r\n\x1a\n....", "an HDF5 file"),
        ("m.keras", b"PK\x03\x04.....", "a ZIP archive"),
        ("labels", b"item { id: 1 name: 'a' }", "a label map"),
        (
            "a.json",
            b"{ \"a\": 1 }",
            "JSON; of an export, give the folder",
        ),
        ("readme", b"hello world", "a text of no kind that is known"),
        (
            "noise",
            &[0xde, 0xad, 0xbe, 0xef, 0x99],
            "no format that is known",
        ),
        (
            "sm.pbtxt",
            b"saved_model_schema_version: 1",
            "a SavedModel as text",
        ),
        ("folder/x", b"x", "the folder holds x, y"),
    ];
    for (name, bytes, expected) in cases {
        let path = folder.write(name, bytes);
        folder.write("folder/y", b"y");
        let path = if name == "folder/x" {
            folder.path("folder")
        } else {
            path
        };
        let error = inspect(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(
            error.contains("; looked for: a checkpoint"),
            "{name}: {error}"
        );
    }
    let error = inspect(&folder.path("nothing")).unwrap_err().to_string();
    assert!(
        error.contains("no such file or folder, and no checkpoint with this prefix"),
        "{error}"
    );
    let pointer = folder.write(
        "ckpt-1.index",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    );
    assert!(
        inspect(&pointer)
            .unwrap_err()
            .to_string()
            .contains("Git LFS")
    );
}
