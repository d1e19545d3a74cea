//! The invariants of a graph, checked. Front ends and passes may be wrong; back ends need not look again.

use std::collections::HashSet;

use crate::builder::MAX_NODES;
use crate::graph::{Graph, Node, Value, Weights};
use crate::infer::{ShapeError, Typed, infer};
use crate::op::Op;

/// An invariant that does not hold, with the node where that shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValidateError {
    /// The values of an [`Ending`](crate::Ending) are not what it says.
    #[error(
        "decode_and_suppress: its values are not of the types and shapes that its anchors and limits say"
    )]
    Ending,
    /// An operation on values it does not accept.
    #[error("node `{node}`: {source}")]
    Shape {
        /// The node's name.
        node: String,
        /// What is wrong.
        source: ShapeError,
    },
    /// A value's recorded type or shape is not what its node computes.
    #[error("node `{node}`: its values are recorded as {recorded}, but are {inferred}")]
    Recorded {
        /// The node's name.
        node: String,
        /// What the graph says.
        recorded: String,
        /// What the rules say.
        inferred: String,
    },
    /// Two nodes, parameters or outputs of one name.
    #[error("two {what} are called `{name}`")]
    Duplicate {
        /// What they are.
        what: &'static str,
        /// Their name.
        name: String,
    },
    /// A name that not every format can hold.
    #[error(
        "`{}` is not a name: letters, digits and `_ . - /` only, beginning with a letter, digit or `.`",
        .0.escape_debug()
    )]
    Name(String),
    /// A node uses a value that is defined later, or nowhere.
    #[error("node `{node}` uses a value that no earlier node defines")]
    Order {
        /// The node's name.
        node: String,
    },
    /// More nodes than a graph may have.
    #[error("node `{node}` is beyond the limit of {limit} nodes in a graph")]
    TooLarge {
        /// The node's name.
        node: String,
        /// The limit.
        limit: usize,
    },
    /// Numbers given for symbols make a size that no tensor has.
    #[error(
        "node `{node}`: a size is below 0, or too large, with the numbers given for its symbols"
    )]
    Sizes {
        /// The node's name.
        node: String,
    },
    /// The weights given for a graph are not its own.
    #[error("parameter `{name}`: expected {expected}, found {found}")]
    Weights {
        /// The parameter's name.
        name: String,
        /// What the graph needs.
        expected: String,
        /// What the weights have.
        found: String,
    },
}

pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.') && name.chars().all(allowed)
}

fn unique<'a>(
    what: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), ValidateError> {
    let mut seen = HashSet::new();
    for name in names {
        if !is_name(name) {
            return Err(ValidateError::Name(name.to_owned()));
        }
        if !seen.insert(name) {
            let name = name.to_owned();
            return Err(ValidateError::Duplicate { what, name });
        }
    }
    Ok(())
}

/// Checks every invariant that the [crate documentation](crate) states.
///
/// # Errors
/// The first one that does not hold.
pub fn validate(graph: &Graph) -> Result<(), ValidateError> {
    if graph.total_nodes() > MAX_NODES {
        let last = graph.nodes.last();
        return Err(ValidateError::TooLarge {
            node: last.map_or_else(String::new, |node| node.name.clone()),
            limit: MAX_NODES,
        });
    }
    unique("nodes", graph.nodes.iter().map(|n| n.name.as_str()))?;
    unique(
        "parameters",
        graph.parameters.iter().map(|p| p.name.as_str()),
    )?;
    unique("outputs", graph.outputs.iter().map(|o| o.key.as_str()))?;
    let mut defined = vec![false; graph.values.len()];
    let is_defined = |defined: &[bool], i: usize| defined.get(i).copied().unwrap_or(false);
    for (id, node) in graph.nodes() {
        let order = || ValidateError::Order {
            node: node.name.clone(),
        };
        if !node.inputs.iter().all(|v| is_defined(&defined, v.index())) {
            return Err(order());
        }
        for (position, output) in node.outputs.iter().enumerate() {
            let value = graph.values.get(output.index()).ok_or_else(order)?;
            if value.node != id || value.output != position || is_defined(&defined, output.index())
            {
                return Err(order());
            }
            defined[output.index()] = true;
        }
        check_types(graph, node)?;
        if let Op::Map { body, .. } = &node.op {
            validate(body)?;
        }
    }
    let results = graph
        .outputs
        .iter()
        .map(|o| o.value)
        .chain(graph.inputs.iter().copied());
    for value in results {
        if !is_defined(&defined, value.index()) {
            let node = String::from("(outputs)");
            return Err(ValidateError::Order { node });
        }
    }
    match graph.ending() {
        Some(ending) if !ending.fits(graph) => Err(ValidateError::Ending),
        _ => Ok(()),
    }
}

fn check_types(graph: &Graph, node: &Node) -> Result<(), ValidateError> {
    if matches!(node.op, Op::Input) {
        return Ok(());
    }
    let inputs: Vec<&Value> = node.inputs.iter().map(|v| graph.value(*v)).collect();
    let parameter = match node.op {
        Op::Parameter(id) => graph.parameters.get(id.index()),
        _ => None,
    };
    let inferred = infer(&node.op, &inputs, parameter).map_err(|source| ValidateError::Shape {
        node: node.name.clone(),
        source,
    })?;
    let recorded: Vec<_> = node
        .outputs
        .iter()
        .map(|v| graph.value(*v))
        .map(|v| (v.dtype, v.shape.clone()))
        .collect();
    if inferred == recorded {
        return Ok(());
    }
    Err(ValidateError::Recorded {
        node: node.name.clone(),
        recorded: listed(&recorded),
        inferred: listed(&inferred),
    })
}

fn listed(types: &[Typed]) -> String {
    let types = types.iter();
    let types: Vec<String> = types
        .map(|(dtype, shape)| format!("{dtype}{shape}"))
        .collect();
    types.join(", ")
}

/// Checks that `weights` are those of `graph`: one for each parameter, of its type, shape and size.
///
/// # Errors
/// The first parameter whose weights differ.
pub fn validate_weights(graph: &Graph, weights: &Weights<'_>) -> Result<(), ValidateError> {
    for (id, parameter) in graph.parameters() {
        let element = parameter.dtype.size().and_then(|n| u64::try_from(n).ok());
        let bytes = element.and_then(|element| {
            let mut sizes = parameter.shape.iter();
            sizes.try_fold(element, |bytes, n| bytes.checked_mul(*n))
        });
        let found = weights.get(id);
        let fits = found.is_some_and(|found| {
            found.dtype == parameter.dtype
                && found.shape == parameter.shape
                && Some(found.data.len() as u64) == bytes
        });
        if !fits {
            return Err(ValidateError::Weights {
                name: parameter.name.clone(),
                expected: format!("{}{:?}", parameter.dtype, parameter.shape),
                found: found.map_or_else(
                    || "nothing".into(),
                    |f| format!("{}{:?} in {} bytes", f.dtype, f.shape, f.data.len()),
                ),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{Builder, ParameterSpec};
    use crate::tensor::{DType, TensorView};

    /// The product of the sizes would be 0 in 64 bits.
    #[test]
    fn sizes_whose_product_is_too_large_are_not_those_of_no_bytes() {
        let shape = [1 << 32, 1 << 32];
        let mut b = Builder::new("g");
        b.parameter(ParameterSpec {
            name: "kernel",
            path: vec!["kernel".into()],
            shape: &shape,
            trainable: true,
        })
        .unwrap();
        let weights = Weights(vec![TensorView {
            dtype: DType::F32,
            shape: shape.to_vec(),
            data: Vec::new().into(),
        }]);
        let error = validate_weights(b.graph(), &weights).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("parameter `kernel`") && text.contains("in 0 bytes"),
            "{text}"
        );
    }
}
