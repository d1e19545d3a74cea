//! Reading, overriding and printing a pipeline.config through the public interface.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::fs;

use tfod_config::protos::detection_model::Model;
use tfod_config::{ConfigError, Parsed, PipelineConfig, Problem, protos};

const CONFIG: &str = r#"
model {
  ssd {
    num_classes: 3
    image_resizer { fixed_shape_resizer { height: 320 width: 320 } }
    box_coder { faster_rcnn_box_coder { } }
  }
}
train_config { batch_size: 8 fine_tune_checkpoint: "ckpt-0" }
eval_input_reader { label_map_path: "a.pbtxt" }
eval_input_reader { label_map_path: "b.pbtxt" }
"#;

fn parse(text: &str) -> Parsed {
    PipelineConfig::parse("test.config", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> Problem {
    match PipelineConfig::parse("test.config", text.as_bytes()) {
        Err(ConfigError::Text(diagnostic)) => diagnostic.problem,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

fn ssd(config: &PipelineConfig) -> &protos::Ssd {
    match config
        .message()
        .model
        .as_ref()
        .and_then(|model| model.model.as_ref())
    {
        Some(Model::Ssd(ssd)) => ssd,
        other => panic!("expected an SSD, found {other:?}"),
    }
}

#[test]
fn fields_have_the_values_of_the_file_or_the_defaults_of_the_schema() {
    let Parsed { config, warnings } = parse(CONFIG);
    assert!(warnings.is_empty());
    let ssd = ssd(&config);
    assert_eq!(ssd.num_classes(), 3);
    assert_eq!(ssd.encode_background_as_zeros, None);
    assert!(!ssd.encode_background_as_zeros());
    let Some(protos::box_coder::BoxCoderOneof::FasterRcnnBoxCoder(coder)) = ssd
        .box_coder
        .as_ref()
        .and_then(|coder| coder.box_coder_oneof.as_ref())
    else {
        panic!("expected the box coder of the file");
    };
    assert_eq!((coder.y_scale(), coder.height_scale()), (10.0, 5.0));
    assert_eq!(config.message().eval_input_reader.len(), 2);
}

#[test]
fn an_override_replaces_scalars_merges_messages_and_extends_lists() {
    let mut config = parse(CONFIG).config;
    config
        .merge_override("model { ssd { num_classes: 5 } } eval_input_reader { shuffle: false }")
        .expect("a valid override");
    assert_eq!(ssd(&config).num_classes(), 5);
    assert!(ssd(&config).image_resizer.is_some());
    assert_eq!(config.message().eval_input_reader.len(), 3);
    config.merge_override("").expect("an empty override");
    config
        .merge_override("model { faster_rcnn { num_classes: 2 } }")
        .expect("another architecture");
    assert!(
        config
            .to_text()
            .starts_with("model {\n  faster_rcnn {\n    num_classes: 2\n  }\n}\n")
    );
}

#[test]
fn a_bad_override_is_refused_in_any_block_and_changes_nothing() {
    let mut config = parse(CONFIG).config;
    let before = config.to_text();
    for text in [
        "model { ssd { num_classes: 5 num_clases: 3 } }",
        "train_config { batch_sise: 3 }",
        "model {",
    ] {
        let error = config.merge_override(text).expect_err(text);
        assert!(
            error.to_string().starts_with("config_override:1:"),
            "{error}"
        );
        assert_eq!(config.to_text(), before);
    }
}

#[test]
fn damage_in_a_training_block_is_a_warning_and_the_block_is_left_out() {
    let damaged = [
        "train_config { batch_size: 8 no_such_field { a: '}' } }",
        "train_config < batch_size: 'x' >",
        "train_input_reader { num_readers: -1 }",
        "eval_config { metrics_set: 'a' no_such_list: [1, {}, <>] # } \n }",
        "eval_config { ignore_groundtruth: maybe }",
        "eval_input_reader { input_type: TF_EXAMPEL }",
        "eval_input_reader [ { shuffle: 9 }, { name: '\\xff' } ]",
        "train_input_reader { external_input_reader { [a.b.c] { } } }",
    ];
    let model = "model { ssd { num_classes: 3 } }\n";
    for block in damaged {
        for text in [format!("{block}\n{model}"), format!("{model}{block}")] {
            let Parsed { config, warnings } = parse(&text);
            assert_eq!(config.to_text(), parse(model).config.to_text(), "{block}");
            assert_eq!(
                warnings.len(),
                if block.contains("}, {") { 2 } else { 1 },
                "{block}"
            );
            assert!(block.starts_with(&warnings[0].block));
        }
    }
}

#[test]
fn only_the_damaged_one_of_several_blocks_is_left_out() {
    let Parsed { config, warnings } = parse(
        "eval_input_reader { name: 'a' }\neval_input_reader {\n  nane: 'b'\n}\neval_input_reader { name: 'c' }\n\
         train_config { batch_size: 1 } train_config { batch_size: 2 momentum: 3 }",
    );
    let names: Vec<&str> = config
        .message()
        .eval_input_reader
        .iter()
        .map(protos::InputReader::name)
        .collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(
        config
            .message()
            .train_config
            .as_ref()
            .and_then(|train| train.batch_size),
        Some(1)
    );
    let places: Vec<_> = warnings
        .iter()
        .map(|warning| (warning.diagnostic.line, warning.last_line))
        .collect();
    assert_eq!(places, [(3, 4), (6, 6)]);
}

#[test]
fn damage_that_inference_reads_or_that_hides_the_end_of_a_block_is_an_error() {
    assert!(matches!(
        refusal("model { ssd { num_clases: 3 } }"),
        Problem::UnknownField { .. }
    ));
    assert!(matches!(
        refusal("graph_rewriter { quantization { delay: x } }"),
        Problem::Value { .. }
    ));
    assert!(matches!(
        refusal("tpu_config { }"),
        Problem::UnknownField { .. }
    ));
    assert!(matches!(
        refusal("train_config { optimizer { }\nmodel { ssd { } }"),
        Problem::MisplacedBlock { .. }
    ));
    assert!(matches!(
        refusal("train_config { batch_sise: 3"),
        Problem::UnknownField { .. }
    ));
    assert!(matches!(
        refusal("train_config { batch_sise: 3 > }"),
        Problem::UnknownField { .. }
    ));
    assert!(matches!(
        refusal("train_config { batch_sise: 'x }\n}"),
        Problem::UnknownField { .. }
    ));
    assert!(matches!(
        refusal("train_config { fine_tune_checkpoint: 'x }\n}"),
        Problem::UnclosedString { .. }
    ));
    assert!(matches!(
        refusal("model { ssd { num_classes 3 } }"),
        Problem::Unexpected { .. }
    ));
    // Where the end is cannot be told.
    assert!(matches!(
        refusal("train_config { batch_size 3 "),
        Problem::Unexpected { .. }
    ));
    assert!(matches!(
        refusal("train_config { batch_size: 3"),
        Problem::Unclosed { .. }
    ));
}

#[test]
fn what_people_write_by_mistake_in_training_blocks_is_a_warning() {
    for damage in [
        "batch_size 16",
        "batch_size = 16",
        "batch_size: 16 // for each GPU",
        "fine_tune_checkpoint: /content/model/ckpt-0",
        "fine_tune_checkpoint: “model/ckpt-0”",
        "freeze_variables: ['a', ]",
    ] {
        let text =
            format!("model {{ ssd {{ num_classes: 3 }} }}\ntrain_config {{\n  {damage}\n}}\n");
        let found = parse(&text);
        assert_eq!(ssd(&found.config).num_classes(), 3);
        let [warning] = &found.warnings[..] else {
            panic!("{damage}: {:?}", found.warnings.len());
        };
        assert_eq!(
            (&*warning.block, warning.diagnostic.line),
            ("train_config", 3),
            "{damage}"
        );
    }
}

#[test]
fn a_hundred_damaged_blocks_are_too_many() {
    let block = "eval_input_reader { nane: 'a' }\n";
    assert_eq!(parse(&block.repeat(100)).warnings.len(), 100);
    assert!(matches!(
        refusal(&block.repeat(101)),
        Problem::UnknownField { .. }
    ));
}

#[test]
fn names_in_errors_are_of_bounded_length() {
    for text in [
        format!("{} {{ }}", "x".repeat(1 << 20)),
        format!("model {{ ssd {{ num_classes: {} }} }}", "9".repeat(1 << 20)),
        format!(
            "model {{ ssd {{ inplace_batchnorm_update: '{}' }} }}",
            "\x1b".repeat(1 << 20)
        ),
        format!(
            "model {{ ssd {{ post_processing {{ score_converter: {} }} }} }}",
            "A".repeat(1 << 20)
        ),
    ] {
        let error = PipelineConfig::parse("test.config", text.as_bytes())
            .expect_err("bad")
            .to_string();
        assert!(error.len() < 1000 && !error.contains('\x1b'), "{error}");
    }
}

#[test]
fn files_that_are_no_configs_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = PipelineConfig::read(&folder.path().join("none.config")).expect_err("no file");
    assert!(matches!(missing, ConfigError::Unreadable { .. }));
    assert!(
        missing
            .to_string()
            .contains("none.config: the pipeline config cannot be read")
    );
    assert!(matches!(
        PipelineConfig::read(folder.path()),
        Err(ConfigError::Unreadable { .. })
    ));

    let large = folder.path().join("large.config");
    fs::File::create(&large)
        .and_then(|file| file.set_len((16 << 20) + 1))
        .expect("a sparse file");
    assert!(matches!(
        PipelineConfig::read(&large),
        Err(ConfigError::TooLarge { .. })
    ));

    let small = folder.path().join("small.config");
    fs::write(&small, CONFIG).expect("a file");
    assert_eq!(
        PipelineConfig::read(&small)
            .expect("a config")
            .config
            .to_text(),
        parse(CONFIG).config.to_text()
    );
}
