//! The SavedModel: one meta graph for two readers, and the bundle of the variables. See the [crate documentation](crate).

mod main_graph;
mod object_graph;
mod signature;
mod structured;
mod variables;

#[cfg(test)]
mod dump;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tfod_graph::{Graph, Weights, validate, validate_weights};
use tfod_proto::meta_graph_def::MetaInfoDef;
use tfod_proto::prost::Message;
use tfod_proto::{FunctionDefLibrary, GraphDef, MetaGraphDef, SavedModel, VersionDef};

use crate::Error;
use crate::lower::{Dialect, Library, Placement, lower};
use signature::Signature;

/// The release whose GraphDef version is written. It only has to be one that all readers accept, and all do.
const TENSORFLOW_VERSION: &str = "2.3.0";

/// The version of the graph format in [`TENSORFLOW_VERSION`], and the oldest reader that it suits.
const GRAPH_VERSIONS: VersionDef = VersionDef {
    producer: 440,
    min_consumer: 12,
    bad_consumers: Vec::new(),
};

/// Protobuf's limit of one message.
const MESSAGE_LIMIT: usize = (1 << 31) - 2;

/// What a caller may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The key of the signature.
    pub signature: String,
}

impl Default for Options {
    /// The signature that every client looks for: `serving_default`.
    fn default() -> Self {
        Self {
            signature: "serving_default".to_owned(),
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Size of `saved_model.pb`.
    pub pb_bytes: u64,
    /// Size of all variables' elements.
    pub variables_bytes: u64,
    /// Number of variables.
    pub num_variables: usize,
    /// Number of nodes, those of all functions included.
    pub num_nodes: usize,
}

/// A graph in the form of a SavedModel, ready to be written.
#[derive(Debug)]
pub struct SavedModelWriter<'a> {
    pb: Vec<u8>,
    placement: Placement<'a>,
    object_graph: Vec<u8>,
    num_nodes: usize,
}

impl<'a> SavedModelWriter<'a> {
    /// Works out everything but the variables' bytes, which stay where they are.
    ///
    /// The inputs keep their names and their order (in `m(x, y)`; a signature takes them by name), the outputs their keys.
    ///
    /// # Errors
    ///
    /// [`Error::Graph`] if the graph breaks one of its invariants or the weights are not its own; [`Error::Unsupported`],
    /// [`Error::TooLarge`], [`Error::Identifier`], [`Error::NoOutputs`] and [`Error::MessageTooLarge`] if TensorFlow has no form for it.
    pub fn new(
        graph: &'a Graph,
        weights: &'a Weights<'a>,
        options: &Options,
    ) -> Result<Self, Error> {
        validate(graph)?;
        validate_weights(graph, weights)?;
        let placement = Placement::new(graph, weights)?;
        let mut library = Library::default();
        let lowered = lower(graph, weights, &placement, Dialect::Function, &mut library)?;
        let signature = Signature::new(&options.signature, graph, lowered, &mut library)?;
        let object_graph =
            object_graph::trackable(&placement.variables, &signature).encode_to_vec();
        let model = saved_model(&placement, &signature, library, &object_graph);
        let bytes = model.encoded_len();
        if bytes > MESSAGE_LIMIT {
            return Err(Error::MessageTooLarge {
                bytes,
                limit: MESSAGE_LIMIT,
            });
        }
        Ok(Self {
            pb: model.encode_to_vec(),
            placement,
            object_graph,
            num_nodes: count_nodes(&model),
        })
    }

    /// What [`Self::write`] will write.
    pub fn summary(&self) -> Summary {
        let variables = &self.placement.variables;
        Summary {
            pb_bytes: self.pb.len() as u64,
            variables_bytes: variables.iter().map(|v| v.data.len() as u64).sum(),
            num_variables: variables.len(),
            num_nodes: self.num_nodes,
        }
    }

    /// Writes `saved_model.pb`, `variables/` and an empty `assets/` into a folder, which must exist, and waits until the files are on the
    /// disk.
    ///
    /// To replace a SavedModel safely, write to a new folder beside it, and rename that.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Variables`] if a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Summary, Error> {
        let variables = folder.join("variables");
        for folder in [&variables, &folder.join("assets")] {
            fs::create_dir(folder).map_err(io_error(folder, "create"))?;
        }
        variables::write(&variables, &self.placement.variables, &self.object_graph)?;
        let pb = folder.join("saved_model.pb");
        write_durably(&pb, &self.pb).map_err(io_error(&pb, "write"))?;
        Ok(self.summary())
    }
}

fn saved_model(
    placement: &Placement<'_>,
    signature: &Signature,
    library: Library,
    object_graph: &[u8],
) -> SavedModel {
    let variables = &placement.variables;
    let graph_def = GraphDef {
        node: main_graph::nodes(variables, signature, object_graph),
        library: Some(FunctionDefLibrary {
            function: library.into_functions(),
            gradient: Vec::new(),
        }),
        versions: Some(GRAPH_VERSIONS),
        ..GraphDef::default()
    };
    let meta_info = MetaInfoDef {
        tags: vec!["serve".to_owned()],
        tensorflow_version: TENSORFLOW_VERSION.to_owned(),
        stripped_default_attrs: true,
        ..MetaInfoDef::default()
    };
    let signatures = [
        main_graph::init_signature(),
        (signature.name.clone(), signature.definition()),
    ];
    SavedModel {
        saved_model_schema_version: 1,
        meta_graphs: vec![MetaGraphDef {
            meta_info_def: Some(meta_info),
            graph_def: Some(graph_def),
            saver_def: Some(main_graph::saver()),
            signature_def: signatures.into(),
            object_graph_def: Some(object_graph::saved(variables, signature)),
            ..MetaGraphDef::default()
        }],
    }
}

fn count_nodes(model: &SavedModel) -> usize {
    let graphs = model
        .meta_graphs
        .iter()
        .filter_map(|meta| meta.graph_def.as_ref());
    let count = |graph: &GraphDef| {
        let functions = graph.library.iter().flat_map(|library| &library.function);
        graph.node.len() + functions.map(|f| f.node_def.len()).sum::<usize>()
    };
    graphs.map(count).sum()
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |problem| Error::Io {
        path,
        action,
        problem,
    }
}
