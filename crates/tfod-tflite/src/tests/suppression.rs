//! Decoding and suppression by the one operator for that.

use std::collections::BTreeMap;

use tfod_graph::{
    Binary, Builder, ConvAttrs, DType, Dim, Ending, Graph, NmsAttrs, Padding, Reduce, Results,
    Shape, Unary, ValueId, Weights,
};

use super::{halves, image, levels, parameter};
use crate::flexbuffer::Number;
use crate::lower::lower;
use crate::operator::Operator;
use crate::{Error, Options, Summary, Suppression, TfliteWriter};

/// A detector of three boxes and two classes that says how it ends.
fn ending(batch: u64, max_per_class: Option<u64>) -> Graph {
    let mut b = Builder::new("g");
    let [encodings, scores] = inputs(&mut b, batch);
    // What the nodes compute is of no concern where an operator takes their place.
    let boxes = b.unary("boxes", Unary::Exp, encodings).unwrap();
    let best = b.reduce("best", Reduce::Max, scores, &[2]).unwrap();
    b.end(Ending {
        max_per_class,
        ..said([encodings, scores], [boxes, best])
    });
    b.output("boxes", boxes);
    b.output("scores", best);
    b.finish()
}

fn inputs(b: &mut Builder, batch: u64) -> [ValueId; 2] {
    [("encodings", 4), ("scores", 2)]
        .map(|(name, columns)| b.input(name, DType::F32, Shape::known(&[batch, 3, columns])))
}

/// What is said of an ending that gives boxes and scores.
fn said([encodings, scores]: [ValueId; 2], [boxes, best]: [ValueId; 2]) -> Ending {
    Ending {
        encodings,
        scores,
        has_background: false,
        anchors: [[0.5, 0.5, 1.0, 1.0]; 3].into(),
        scales: [10.0, 10.0, 5.0, 5.0],
        iou_threshold: 0.5,
        score_threshold: 0.25,
        max_per_class: Some(2),
        max_total: 3,
        results: Results {
            boxes: Some(boxes),
            scores: Some(best),
            ..Results::default()
        },
    }
}

fn ended(graph: &Graph, suppression: Suppression) -> Result<(Summary, Vec<u8>), Error> {
    let options = Options {
        suppression,
        ..Options::default()
    };
    let weights = Weights::default();
    let mut bytes = Vec::new();
    let writer = TfliteWriter::new(graph, &weights, &options)?;
    let summary = writer.write_to(&mut bytes)?.clone();
    Ok((summary, bytes))
}

#[test]
fn one_operator_decodes_and_suppresses_where_it_is_asked_for() {
    const NAME: &str = "TFLite_Detection_PostProcess";
    let graph = ending(1, Some(2));
    let (builtin, bytes) = ended(&graph, Suppression::Builtin).unwrap();
    assert_eq!(builtin.operators["EXP"], 1);
    assert!(
        !bytes
            .windows(NAME.len())
            .any(|part| part == NAME.as_bytes())
    );
    for suppression in [Suppression::Regular, Suppression::Fast] {
        let (summary, bytes) = ended(&graph, suppression).unwrap();
        // The nodes whose results it gives are gone.
        let operators: Vec<&str> = summary.operators.keys().copied().collect();
        let expected = ["LESS", "MAXIMUM", "MINIMUM", "RESHAPE", "SELECT_V2", NAME];
        assert_eq!(operators, expected);
        assert!(
            bytes
                .windows(NAME.len())
                .any(|part| part == NAME.as_bytes())
        );
    }
}

#[test]
fn what_the_operator_does_not_do_is_refused() {
    let said = |graph: &Graph, suppression| ended(graph, suppression).unwrap_err().to_string();
    let batch = said(&ending(2, Some(2)), Suppression::Regular);
    assert!(
        batch.contains("2 images by the one operator for that"),
        "{batch}"
    );
    let together = ending(1, None);
    assert!(ended(&together, Suppression::Fast).is_ok());
    let together = said(&together, Suppression::Regular);
    assert!(
        together.contains("all classes together by regular suppression"),
        "{together}"
    );
    assert!(
        together.contains("fast suppression") && together.contains("builtin"),
        "{together}"
    );
    let none = ended(&levels(8), Suppression::Fast);
    assert!(matches!(none, Err(Error::Graph(_))), "no weights");
    let mut b = Builder::new("g");
    let x = image(&mut b, 3);
    b.output("x", x);
    let none = ended(&b.finish(), Suppression::Fast);
    assert!(matches!(none, Err(Error::NoEnding)));
}

/// The operator's options, as readers of FlexBuffers find them: by going back from the end.
fn options(file: &[u8]) -> BTreeMap<String, Number> {
    let first = b"detections_per_class\0";
    let mut places = file.windows(first.len());
    let start = places.position(|part| part == first).unwrap();
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let at = |bytes: &[u8], at: usize| usize::try_from(word(bytes, at)).unwrap();
    let bytes = &file[start..start + at(file, start - 4)];
    let [.., back, kind, width] = *bytes else {
        panic!("a root")
    };
    assert_eq!((kind, width), (9 << 2 | 2, 1), "a map");
    let values = bytes.len() - 3 - usize::from(back);
    let count = at(bytes, values - 4);
    let keys = values - 12 - at(bytes, values - 12);
    let entries = (0..count).map(|place| {
        let place_of_key = keys + 4 * place;
        let key = &bytes[place_of_key - at(bytes, place_of_key)..];
        let key = key.split(|byte| *byte == 0).next().unwrap();
        let bits = word(bytes, values + 4 * place);
        let value = match bytes[values + 4 * count + place] >> 2 {
            1 => Number::Int(bits.cast_signed()),
            3 => Number::Float(f32::from_bits(bits)),
            other => panic!("type {other}"),
        };
        (String::from_utf8(key.to_vec()).unwrap(), value)
    });
    entries.collect()
}

/// The options for an ending of which some things are other than [`said`].
fn options_of(suppression: Suppression, change: impl Fn(&mut Ending)) -> BTreeMap<String, Number> {
    let mut b = Builder::new("g");
    let taken = inputs(&mut b, 1);
    let boxes = b.unary("boxes", Unary::Exp, taken[0]).unwrap();
    let best = b.reduce("best", Reduce::Max, taken[1], &[2]).unwrap();
    let mut ending = said(taken, [boxes, best]);
    change(&mut ending);
    b.end(ending);
    b.output("boxes", boxes);
    let (_, bytes) = ended(&b.finish(), suppression).unwrap();
    options(&bytes)
}

#[test]
fn the_operator_has_the_numbers_of_the_ending() {
    let found = options_of(Suppression::Regular, |ending| {
        ending.scales = [1.0, 2.0, 3.0, 4.0];
        ending.max_per_class = Some(2);
    });
    let expected = [
        ("detections_per_class", Number::Int(2)),
        ("h_scale", Number::Float(3.0)),
        ("max_classes_per_detection", Number::Int(1)),
        ("max_detections", Number::Int(3)),
        ("nms_iou_threshold", Number::Float(0.5)),
        ("nms_score_threshold", Number::Float(0.25f32.next_up())),
        ("num_classes", Number::Int(2)),
        ("use_regular_nms", Number::Int(1)),
        ("w_scale", Number::Float(4.0)),
        ("x_scale", Number::Float(2.0)),
        ("y_scale", Number::Float(1.0)),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value));
    assert_eq!(found, BTreeMap::from(expected));
    let fast = options_of(Suppression::Fast, |ending| ending.max_per_class = None);
    assert_eq!(fast["use_regular_nms"], Number::Int(0));
    assert_eq!(fast["detections_per_class"], Number::Int(3));
    // It passes over the columns that it has too many of, which come first.
    let background = options_of(Suppression::Fast, |ending| ending.has_background = true);
    assert_eq!(background["num_classes"], Number::Int(1));
}

#[test]
fn thresholds_are_those_that_the_operator_can_have() {
    let least = f32::MIN_POSITIVE;
    let tiny = f32::from_bits(1);
    for (given, expected) in [
        (0.0, least),
        (-0.0, least),
        (tiny, least),
        (least, least.next_up()),
        // Scores that are zero are above these, and those below zero are nowhere looked at.
        (-tiny, 0.0),
        (-0.5, 0.0),
        (-1e30, 0.0),
        (0.5, 0.5f32.next_up()),
    ] {
        let found = options_of(Suppression::Fast, |ending| ending.score_threshold = given);
        assert_eq!(
            found["nms_score_threshold"],
            Number::Float(expected),
            "{given:e}"
        );
    }
    let found = options_of(Suppression::Fast, |ending| ending.iou_threshold = 0.0);
    assert_eq!(found["nms_iou_threshold"], Number::Float(least));
}

/// A detector whose own suppression nothing but its nodes can do, and outputs that lead there.
fn suppressed(outputs: &[&str]) -> Graph {
    let mut b = Builder::new("g");
    let taken = inputs(&mut b, 1);
    let boxes = b.reshape("flat", taken[0], &[3.into(), 4.into()]).unwrap();
    let best = b.reduce("best", Reduce::Max, taken[1], &[0, 2]).unwrap();
    let attrs = NmsAttrs {
        max_output_size: 3,
        iou_threshold: 1.0,
        score_threshold: 0.0,
    };
    let [indices, _] = b.non_max_suppression("nms", boxes, best, attrs).unwrap();
    let boxes = b.gather("boxes", boxes, indices).unwrap();
    let best = b.gather("best_of_all", best, indices).unwrap();
    let boxes = b
        .reshape("results", boxes, &[1.into(), 3.into(), 4.into()])
        .unwrap();
    let best = b.reshape("scores_", best, &[1.into(), 3.into()]).unwrap();
    b.end(Ending {
        iou_threshold: 1.0,
        ..said(taken, [boxes, best])
    });
    for (key, value) in [("boxes", boxes), ("scores", best), ("indices", indices)] {
        if outputs.contains(&key) {
            b.output(key, value);
        }
    }
    b.finish()
}

#[test]
fn what_the_operator_takes_the_place_of_need_not_be_expressible() {
    let graph = suppressed(&["boxes", "scores"]);
    let builtin = ended(&graph, Suppression::Builtin).unwrap_err().to_string();
    assert!(builtin.contains("an iou_threshold below 1"), "{builtin}");
    for suppression in [Suppression::Regular, Suppression::Fast] {
        assert!(ended(&graph, suppression).is_ok());
    }
}

#[test]
fn what_only_the_graphs_own_suppression_gives_is_refused() {
    let graph = suppressed(&["boxes", "indices"]);
    let said = ended(&graph, Suppression::Fast).unwrap_err().to_string();
    assert!(
        said.starts_with("node `nms`: the output `indices`"),
        "{said}"
    );
    assert!(said.contains("builtin suppression"), "{said}");
}

#[test]
fn what_the_operator_takes_is_not_changed_for_others() {
    let mut b = Builder::new("g");
    let [given, scores] = inputs(&mut b, 1);
    let encodings = b.binary_scalar("sum", Binary::Add, given, 1.0).unwrap();
    let active = b.unary("active", Unary::Relu, encodings).unwrap();
    let boxes = b.unary("boxes", Unary::Exp, encodings).unwrap();
    let best = b.reduce("best", Reduce::Max, scores, &[2]).unwrap();
    b.end(said([encodings, scores], [boxes, best]));
    b.output("active", active);
    b.output("boxes", boxes);
    let (summary, _) = ended(&b.finish(), Suppression::Fast).unwrap();
    assert_eq!(summary.operators["RELU"], 1);
}

/// A detector of two levels that share their last kernel, four anchors at each place, each with scores of a background and two classes; `more` outputs need these.
fn with_background(more: &[&str]) -> Graph {
    let mut b = Builder::new("g");
    let x = image(&mut b, 8);
    let attrs = ConvAttrs::new(1, Padding::Same);
    let kernel = parameter(&mut b, "kernel", &[3, 3, 8, 12]);
    let bias = parameter(&mut b, "bias", &[12]);
    let levels = ["first", "second"].map(|level| {
        let scores = b.conv2d(level, x, kernel, attrs).unwrap();
        let scores = b.bias_add(&format!("{level}/bias"), scores, bias).unwrap();
        let sizes = [1, 256, 3].map(Dim::Known);
        b.reshape(&format!("{level}/rows"), scores, &sizes).unwrap()
    });
    let logits = b.concat("logits", 1, &levels).unwrap();
    let scores = b.unary("scores", Unary::Sigmoid, logits).unwrap();
    let encodings = b.input("encodings", DType::F32, Shape::known(&[1, 512, 4]));
    let boxes = b.unary("boxes", Unary::Exp, encodings).unwrap();
    let best = b.reduce("best", Reduce::Max, scores, &[2]).unwrap();
    b.end(Ending {
        has_background: true,
        anchors: [[0.5, 0.5, 1.0, 1.0]; 512].into(),
        max_total: 512,
        ..said([encodings, scores], [boxes, best])
    });
    b.output("best", best);
    for (key, value) in [("level", levels[1]), ("scores", scores)] {
        if more.contains(&key) {
            b.output(key, value);
        }
    }
    b.finish()
}

#[test]
fn the_background_is_left_out_of_kernels_where_nothing_else_needs_it() {
    // Sizes of what convolutions and the operator have, and bytes of the kernel.
    for (more, channels, columns, bytes) in [
        (&[][..], 8, 2, 3 * 3 * 8 * 8 * 4),
        (&["scores"], 12, 3, 3 * 3 * 8 * 12 * 4),
        (&["level"], 12, 3, 3 * 3 * 8 * 12 * 4),
    ] {
        let graph = with_background(more);
        let weights = halves(&graph);
        let options = Options {
            suppression: Suppression::Fast,
            ..Options::default()
        };
        let finished = lower(&graph, &weights, &options).unwrap();
        let mut convolutions = 0;
        for step in &finished.steps {
            let shape = |id: usize| &finished.tensors[id].shape[..];
            match &step.operator {
                Operator::Conv2d(_) => {
                    convolutions += 1;
                    assert_eq!(shape(step.outputs[0]), [1, 8, 8, channels]);
                    assert_eq!(shape(step.inputs[1]), [channels, 3, 3, 8]);
                    assert_eq!(shape(step.inputs[2]), [channels]);
                    let kernel = finished.tensors[step.inputs[1]].stored.as_ref().unwrap();
                    assert_eq!(kernel.elements().len(), bytes);
                }
                Operator::PostProcess(operator) => {
                    assert_eq!(shape(step.inputs[1]), [1, 512, columns]);
                    assert_eq!(operator.classes, 2);
                }
                Operator::Reshape(to) if shape(step.inputs[0]).len() == 4 => {
                    let sizes: Vec<u64> = to.iter().map(|n| u64::from(n.unsigned_abs())).collect();
                    assert_eq!(sizes, shape(step.outputs[0]));
                    assert_eq!(shape(step.outputs[0]), [1, 256, columns]);
                }
                _ => {}
            }
        }
        assert_eq!(convolutions, 2);
    }
}
