//! Object graphs: no panic, no endless walk; a subset is a graph again.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use tfod_checkpoint::{NodeId, ObjectGraph};
use tfod_fuzz::{Random, message, put_back};

fuzz_target!(|bytes: &[u8]| {
    let graph = match ObjectGraph::decode(bytes, "fuzz") {
        Ok(graph) => graph,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let walk = graph.breadth_first();
    for &node in walk.nodes() {
        let path = walk.path(node).expect("a node that was reached");
        assert_eq!(graph.resolve(&path).expect("a path that was walked"), node);
        assert!(
            graph
                .slots(node)
                .all(|slot| slot.slot.index() < graph.num_nodes())
        );
    }
    assert!(
        walk.variables()
            .all(|(_, variable)| graph.checkpoint_keys().contains(variable.checkpoint_key))
    );
    let names: Vec<&str> = graph.children(NodeId::ROOT).map(|(name, _)| name).collect();
    for keep in [&names[..names.len().min(2)], &["model"]] {
        let mut subset = graph.subset(keep);
        subset.add_save_counter();
        let again = ObjectGraph::decode(&subset.encode(), "fuzz").expect("a subset is a graph");
        assert_eq!(again, subset);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    match message::mutate(&data[..size], &mut random) {
        Some(changed) if random.below(8) != 0 => put_back(&changed, data, max_size),
        _ => fuzzer_mutate(data, size, max_size),
    }
});
