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

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tfod_graph::{Graph, Weights, validate, validate_weights};
use tfod_proto::meta_graph_def::MetaInfoDef;
use tfod_proto::prost::Message;
use tfod_proto::wire::MESSAGE_LIMIT;
use tfod_proto::{FunctionDefLibrary, GraphDef, MetaGraphDef, SavedModel, VersionDef};

use crate::Error;
use crate::lower::names::{Names, is_identifier};
use crate::lower::{Library, RESERVED, Variable, Variables};
use object_graph::Contents;
use signature::Signature;

/// The release whose GraphDef version is written. It only has to be one that all readers accept, and all do.
const TENSORFLOW_VERSION: &str = "2.3.0";

/// The version of the graph format in [`TENSORFLOW_VERSION`], and the oldest reader that it suits.
const GRAPH_VERSIONS: VersionDef = VersionDef {
    producer: 440,
    min_consumer: 12,
    bad_consumers: Vec::new(),
};

/// The key of the signature that clients use by default.
pub const SERVING_DEFAULT: &str = "serving_default";

/// A graph to be called by the name of a signature.
#[derive(Clone, Copy, Debug)]
pub struct NamedGraph<'a> {
    /// The key of the signature.
    pub name: &'a str,
    /// What it computes. The inputs keep their names and their order (in `m(x, y)`; a signature takes them by name), the outputs their keys.
    pub graph: &'a Graph,
    /// The graph's own weights.
    pub weights: &'a Weights<'a>,
}

impl<'a> NamedGraph<'a> {
    /// As [`SERVING_DEFAULT`].
    pub fn serving(graph: &'a Graph, weights: &'a Weights<'a>) -> Self {
        Self {
            name: SERVING_DEFAULT,
            graph,
            weights,
        }
    }
}

/// A file beside the graph, which stays with the model when it is loaded and saved again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// The attribute of the loaded object that has its path, an identifier.
    pub name: String,
    /// What it is called in the folder `assets`.
    pub file_name: String,
    /// What is in it.
    pub contents: Vec<u8>,
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
    variables: Vec<Arc<Variable<'a>>>,
    assets: &'a [Asset],
    object_graph: Vec<u8>,
    num_nodes: usize,
}

impl<'a> SavedModelWriter<'a> {
    /// Works out everything but the variables' bytes, which stay where they are. What several graphs have in common is stored once. The loaded object
    /// itself, called, is the first graph.
    ///
    /// # Errors
    ///
    /// [`Error::Graph`] if a graph breaks one of its invariants or the weights are not its own; [`Error::Unsupported`],
    /// [`Error::TooLarge`], [`Error::Identifier`], [`Error::Duplicate`], [`Error::NoSignatures`], [`Error::NoOutputs`] and
    /// [`Error::MessageTooLarge`] if TensorFlow has no form for it.
    pub fn new(graphs: &[NamedGraph<'a>], assets: &'a [Asset]) -> Result<Self, Error> {
        if graphs.is_empty() {
            return Err(Error::NoSignatures);
        }
        unique("signature", graphs.iter().map(|graph| graph.name))?;
        let attributes = assets.iter().map(|asset| asset.name.as_str());
        unique("attribute", RESERVED.into_iter().chain(attributes))?;
        unique("file", assets.iter().map(|asset| asset.file_name.as_str()))?;
        for asset in assets {
            check_identifier("asset", &asset.name)?;
        }
        let mut variables = Variables::new(assets.iter().map(|asset| asset.name.as_str()));
        let mut library = Library::default();
        let mut names = main_graph::names();
        let mut signatures = Vec::with_capacity(graphs.len());
        for named in graphs {
            validate(named.graph)?;
            validate_weights(named.graph, named.weights)?;
            let placement = variables.place(named.graph, named.weights)?;
            let signature = Signature::new(*named, &placement, &mut library, &mut names)?;
            signatures.push(signature);
        }
        let variables = variables.all;
        let contents = Contents {
            variables: &variables,
            signatures: &signatures,
            assets,
        };
        let object_graph = contents.trackable().encode_to_vec();
        let model = saved_model(contents, library, &object_graph, names);
        let bytes = model.encoded_len() as u64;
        if bytes > MESSAGE_LIMIT {
            return Err(Error::MessageTooLarge {
                bytes,
                limit: MESSAGE_LIMIT,
            });
        }
        Ok(Self {
            pb: model.encode_to_vec(),
            num_nodes: count_nodes(&model),
            variables,
            assets,
            object_graph,
        })
    }

    /// What [`Self::write`] will write.
    pub fn summary(&self) -> Summary {
        let variables = &self.variables;
        Summary {
            pb_bytes: self.pb.len() as u64,
            variables_bytes: variables.iter().map(|v| v.data.len() as u64).sum(),
            num_variables: variables.len(),
            num_nodes: self.num_nodes,
        }
    }

    /// Writes `saved_model.pb`, `variables/` and `assets/` into a folder, which must exist.
    ///
    /// To replace a SavedModel safely, write to a new folder beside it, wait until its files are on the disk ([`File::sync_all`](fs::File::sync_all)), and rename that.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Variables`] if a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Summary, Error> {
        let variables = folder.join("variables");
        let assets = folder.join("assets");
        for folder in [&variables, &assets] {
            fs::create_dir(folder).map_err(io_error(folder, "create"))?;
        }
        variables::write(&variables, &self.variables, &self.object_graph)?;
        for asset in self.assets {
            let path = assets.join(&asset.file_name);
            fs::write(&path, &asset.contents).map_err(io_error(&path, "write"))?;
        }
        let pb = folder.join("saved_model.pb");
        fs::write(&pb, &self.pb).map_err(io_error(&pb, "write"))?;
        Ok(self.summary())
    }
}

/// Refuses what cannot be the name of a Python argument or attribute.
fn check_identifier(what: &'static str, name: &str) -> Result<(), Error> {
    let error = || Error::Identifier {
        what,
        name: name.to_owned(),
    };
    is_identifier(name).then_some(()).ok_or_else(error)
}

/// Refuses two of one name.
fn unique<'n>(what: &'static str, names: impl Iterator<Item = &'n str>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            let name = name.to_owned();
            return Err(Error::Duplicate { what, name });
        }
    }
    Ok(())
}

fn saved_model(
    contents: Contents<'_, '_>,
    library: Library,
    object_graph: &[u8],
    names: Names,
) -> SavedModel {
    let Contents {
        variables,
        signatures,
        assets,
    } = contents;
    let graph_def = GraphDef {
        node: main_graph::nodes(variables, signatures, assets, object_graph, names),
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
    let definitions = signatures.iter();
    let definitions = definitions.map(|signature| (signature.name.clone(), signature.definition()));
    SavedModel {
        saved_model_schema_version: 1,
        meta_graphs: vec![MetaGraphDef {
            meta_info_def: Some(meta_info),
            graph_def: Some(graph_def),
            saver_def: Some(main_graph::saver()),
            signature_def: definitions.chain([main_graph::init_signature()]).collect(),
            asset_file_def: assets.iter().map(main_graph::asset_file).collect(),
            object_graph_def: Some(contents.saved()),
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

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |problem| Error::Io {
        path,
        action,
        problem,
    }
}
