//! Every operation has a case, and a back end writes it or refuses it by name.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use tfod_cases::{
    Case, REFUSED_BY_ONNX, REFUSED_BY_TFLITE, SOME_OF_ONNX, cases, files, fixed, toy, weights,
};
use tfod_graph::{Dim, Graph, Op, passes};
use tfod_onnx::{OnnxWriter, Options};
use tfod_tensorflow::{NamedGraph, SavedModelWriter};
use tfod_tflite::TfliteWriter;

/// The operations of a graph and of the graphs inside it.
fn operations(graph: &Graph, found: &mut BTreeSet<&'static str>) {
    for (_, node) in graph.nodes() {
        found.insert(node.op.mnemonic());
        if let Op::Map { body, .. } = &node.op {
            operations(body, found);
        }
    }
}

#[test]
fn every_operation_has_a_case() {
    let mut found = BTreeSet::new();
    operations(&toy(&cases(), Dim::symbol("batch")).unwrap(), &mut found);
    operations(&files::files().unwrap(), &mut found);
    operations(&files::examples().unwrap(), &mut found);
    let all: BTreeSet<&str> = Op::MNEMONICS.iter().copied().collect();
    assert_eq!(all.len(), Op::MNEMONICS.len(), "a name is there twice");
    let missing: Vec<_> = all.difference(&found).collect();
    assert!(missing.is_empty(), "add cases for {missing:?}");
}

/// The graph of one case, as back ends get it.
fn alone(case: Case) -> Graph {
    passes::standard(&toy(&[case], Dim::symbol("batch")).unwrap()).unwrap()
}

#[test]
fn tensorflow_writes_every_case() {
    for case in cases() {
        let graph = alone(case);
        let weights = weights(&graph);
        SavedModelWriter::new(&[NamedGraph::serving(&graph, &weights)], &[])
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
    }
}

#[test]
fn onnx_writes_every_case_but_those_it_refuses() {
    for case in cases() {
        let graph = alone(case);
        let weights = weights(&graph);
        let written = OnnxWriter::new(&graph, &weights, &Options::default());
        let refused = written.err().map(|e| e.to_string());
        let expected = REFUSED_BY_ONNX.contains(&case.name);
        assert_eq!(refused.is_some(), expected, "{}: {refused:?}", case.name);
    }
    let names: Vec<&str> = cases().iter().map(|case| case.name).collect();
    let listed = [REFUSED_BY_ONNX, SOME_OF_ONNX].concat();
    assert!(listed.iter().all(|name| names.contains(name)));
    for graph in [files::files(), files::examples()] {
        let graph = passes::standard(&graph.unwrap()).unwrap();
        let weights = weights(&graph);
        assert!(OnnxWriter::new(&graph, &weights, &Options::default()).is_err());
    }
}

#[test]
fn tflite_writes_every_case_but_those_it_refuses() {
    for case in cases() {
        let graph = fixed(&alone(case)).unwrap();
        let weights = weights(&graph);
        let written = TfliteWriter::new(&graph, &weights, &tfod_tflite::Options::default());
        let refused = written.err().map(|e| e.to_string());
        let expected = REFUSED_BY_TFLITE.contains(&case.name);
        assert_eq!(refused.is_some(), expected, "{}: {refused:?}", case.name);
    }
    let names: Vec<&str> = cases().iter().map(|case| case.name).collect();
    assert!(REFUSED_BY_TFLITE.iter().all(|name| names.contains(name)));
    for graph in [files::files(), files::examples()] {
        let graph = passes::standard(&graph.unwrap()).unwrap();
        let weights = weights(&graph);
        let written = TfliteWriter::new(&graph, &weights, &tfod_tflite::Options::default());
        let refused = written.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused.contains("decoding of files"), "{refused}");
    }
}
