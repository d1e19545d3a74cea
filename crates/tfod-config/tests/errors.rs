//! What errors and warnings look like, as snapshots: one file each, with the text it is about.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use tfod_config::{LabelMap, PipelineConfig};

fn pipeline_error(text: &[u8]) -> String {
    match PipelineConfig::parse("pipeline.config", text) {
        Err(error) => error.to_string(),
        Ok(parsed) => panic!("expected an error, found {parsed:?}"),
    }
}

macro_rules! pipeline_errors {
    ($($name:ident: $text:expr,)*) => {
        $(
            #[test]
            fn $name() {
                let text: &[u8] = $text;
                insta::assert_snapshot!(pipeline_error(text));
            }
        )*
    };
}

pipeline_errors! {
    unknown_field_with_a_near_name: b"model {\n  ssd {\n    num_clases: 3\n  }\n}\n",
    unknown_field_of_another_message: b"model {\n  num_classes: 3\n}\n",
    unknown_field_like_no_other: b"model {\n  ssd { zzzzzzzzzz: 3 }\n}\n",
    unknown_top_level_block: b"tpu_config { }\n",
    block_inside_a_block: b"model {\n  ssd {\n    num_classes: 3\n  }\ntrain_config {\n  batch_size: 8\n}\n",
    unclosed_block: b"model {\n  ssd {\n    num_classes: 3\n  }\n",
    surplus_bracket: b"model {\n}\n}\n",
    wrong_bracket: b"model {\n  ssd >\n}\n",
    missing_colon: b"model { ssd { num_classes 3 } }",
    missing_value: b"model { ssd { num_classes: } }",
    message_given_as_scalar: b"model { ssd: 3 }",
    scalar_given_as_message: b"model { ssd { num_classes { } } }",
    list_for_a_single_value: b"model { ssd { num_classes: [3] } }",
    integer_out_of_range: b"model { ssd { num_classes: 3000000000 } }",
    float_for_an_integer: b"model { ssd { num_classes: 3.0 } }",
    bad_float: b"model { ssd { post_processing { logit_scale: 1.2.3 } } }",
    comma_in_a_float: b"model { ssd { post_processing { logit_scale: 1,5 } } }",
    string_for_a_boolean: b"model { ssd { inplace_batchnorm_update: \"true\" } }",
    unknown_enum_value: b"model { ssd { post_processing { score_converter: SIGMOD } } }",
    unknown_enum_number: b"model { ssd { post_processing { score_converter: 7 } } }",
    unquoted_string: b"model { ssd { feature_extractor { type: ssd_mobilenet_v2_fpn_keras } } }",
    unclosed_string: b"model { ssd { feature_extractor { type: 'ssd_mobilenet\n } } }",
    bad_escape: b"model { ssd { feature_extractor { type: 'C:\\users' } } }",
    string_of_other_bytes: b"model { ssd { feature_extractor { type: 'a' '\\xff' } } }",
    extension: b"model { [my.extension] { } }",
    not_utf8: b"model {\n  # caf\xe9\n}\n",
    utf16: b"\xff\xfem\0o\0d\0e\0l\0",
    byte_order_mark_before_an_error: b"\xef\xbb\xbfmodel { s }",
    utf32: b"\xff\xfe\0\0m\0\0\0o\0\0\0",
    index_of_a_checkpoint: b"\0\x00\x03key\x57\xfb\x80\x8b\x24\x75\x47\xdb",
    saved_model: b"\x08\x01\x12\x80\x01",
    cut_short_in_a_name: b"model {\n  ssd {\n    num_cla",
    cut_short_in_a_value: b"model {\n  ssd {\n    post_processing { score_converter: SIG",
    cut_short_in_a_string: b"model {\n  ssd {\n    feature_extractor { type: \"ssd_mobi",
    cut_short_before_a_value: b"model {\n  ssd {\n    num_classes:\n",
    git_lfs_pointer: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4523\n",
    binary_file: b"\n\x05model\0\x01",
    tabs_and_wide_characters: "model {\t\t# \u{e9}\n\t\u{a0}ssd {\tnum_classes: \u{4e16} } }".as_bytes(),
}

#[test]
fn a_long_line_is_cut() {
    let text = format!(
        "model {{ {} ssd {{ num_clases: 3 }} {} }}",
        "ssd { } ".repeat(40),
        "ssd { } ".repeat(40)
    );
    insta::assert_snapshot!(pipeline_error(text.as_bytes()));
}

#[test]
fn warnings() {
    let text = "train_config {\n  batch_size: 8\n  optimizer {\n    adamw_optimizer { }\n  }\n}\n\
                eval_config { num_visualisations: 3 }\nmodel { }\n";
    let parsed = PipelineConfig::parse("pipeline.config", text.as_bytes())
        .expect("damage in training blocks");
    let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n\n"));
}

#[test]
fn override_error() {
    let mut config = PipelineConfig::parse("pipeline.config", b"model { }")
        .expect("a config")
        .config;
    let error = config
        .merge_override("model.ssd.num_classes: 3")
        .expect_err("a path is no text format");
    insta::assert_snapshot!(error);
}

#[test]
fn label_map_errors() {
    let texts = [
        "item {\n  name: 'cat'\n}\n",
        "item { id: -1 name: 'cat' }",
        "item { id: 1 nmae: 'cat' }",
    ];
    let errors = texts.map(
        |text| match LabelMap::parse("label_map.pbtxt", text.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(map) => panic!("expected an error, found {map:?}"),
        },
    );
    insta::assert_snapshot!(errors.join("\n\n"));
}
