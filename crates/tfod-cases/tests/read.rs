//! Reading is the way back: a graph that was written and frozen is read as the same graph.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "common/form.rs"]
mod form;

use form::form;
use tfod_cases::{cases, files, toy, weights};
use tfod_graph::{Builder, DType, Dim, Graph, Shape, Unary, Weights, passes};
use tfod_tensorflow::{
    FreezeOptions, NamedGraph, ReadError, SavedModelReader, SavedModelWriter, graph_of_graph_def,
};

/// A graph as it is read from its SavedModel, and from that frozen.
fn read(graph: &Graph, weights: &Weights<'_>) -> [Result<Graph, ReadError>; 2] {
    let folder = tempfile::tempdir().unwrap();
    SavedModelWriter::new(&[NamedGraph::serving(graph, weights)], &[])
        .unwrap()
        .write(folder.path())
        .unwrap();
    let reader = SavedModelReader::open(folder.path()).unwrap();
    let frozen = reader.freeze(&FreezeOptions::default()).unwrap();
    let mut bytes = Vec::new();
    frozen.write_binary(&mut bytes).unwrap();
    [frozen.to_graph(), graph_of_graph_def(&bytes)]
}

fn comes_back(what: &str, graph: &Graph, weights: &Weights<'_>) {
    let expected = form(graph, weights);
    let none = Weights::default();
    for found in read(graph, weights) {
        let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
        tfod_graph::validate(&found).unwrap();
        let found = form(&found, &none);
        if let Some((expected, found)) = expected.lines().zip(found.lines()).find(|(x, y)| x != y) {
            panic!("{what}\nexpected {expected}\nfound    {found}");
        }
        assert_eq!(expected, found, "{what}");
    }
}

#[test]
fn every_operation_comes_back() {
    for batch in [Dim::symbol("batch"), 3.into(), 1.into()] {
        for case in cases() {
            let graph = passes::standard(&toy(&[case], batch.clone()).unwrap()).unwrap();
            let what = format!("{}, batch {batch}", case.name);
            comes_back(&what, &graph, &weights(&graph));
        }
    }
    let graph = passes::standard(&toy(&cases(), Dim::symbol("batch")).unwrap()).unwrap();
    comes_back("all cases", &graph, &weights(&graph));
}

#[test]
fn files_and_examples_come_back() {
    for graph in [files::files(), files::examples()] {
        let graph = passes::standard(&graph.unwrap()).unwrap();
        comes_back("files", &graph, &weights(&graph));
    }
}

/// A chain of nodes may be as long as a graph may be.
#[test]
fn long_chains_come_back() {
    let mut b = Builder::new("chain");
    let mut x = b.input("x", DType::F32, Shape::known(&[2]));
    for _ in 0..10_000 {
        x = b.unary("relu", Unary::Relu, x).unwrap();
    }
    b.output("y", x);
    comes_back("chain", &b.finish(), &Weights::default());
}

/// Numbers from a seed: SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What is damaged is refused or another valid graph, and never ends the program.
#[test]
fn damaged_graphs_are_refused_or_valid() {
    let mut state = 1;
    let (mut refused, mut valid) = (0, 0);
    for case in cases() {
        let graph = passes::standard(&toy(&[case], Dim::symbol("batch")).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let weights = weights(&graph);
        SavedModelWriter::new(&[NamedGraph::serving(&graph, &weights)], &[])
            .unwrap()
            .write(folder.path())
            .unwrap();
        let reader = SavedModelReader::open(folder.path()).unwrap();
        let frozen = reader.freeze(&FreezeOptions::default()).unwrap();
        let mut bytes = Vec::new();
        frozen.write_binary(&mut bytes).unwrap();
        for _ in 0..60 {
            let mut damaged = bytes.clone();
            for _ in 0..=random(&mut state) % 3 {
                let at = usize::try_from(random(&mut state)).unwrap() % damaged.len();
                let bit = random(&mut state) % 8;
                damaged[at] ^= 1 << bit;
            }
            match graph_of_graph_def(&damaged) {
                Ok(graph) => {
                    tfod_graph::validate(&graph).unwrap();
                    valid += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().contains('\n'), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(
        refused > 100 && valid > 100,
        "{refused} refused, {valid} valid"
    );
}
