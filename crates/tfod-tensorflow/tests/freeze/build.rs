//! Small SavedModels, written message by message.

use std::collections::BTreeMap;
use std::path::Path;

use tfod_checkpoint::{BundleWriter, DType};
use tfod_proto::attr_value::{ListValue, Value};
use tfod_proto::meta_graph_def::MetaInfoDef;
use tfod_proto::op_def::ArgDef;
use tfod_proto::prost::Message;
use tfod_proto::{
    AttrValue, DataType, FunctionDef, FunctionDefLibrary, GraphDef, MetaGraphDef, NameAttrList,
    NodeDef, OpDef, SavedModel, SaverDef, SignatureDef, TensorInfo, TensorProto, TensorShapeProto,
    tensor_shape_proto,
};
use tfod_tensorflow::{FreezeError, FreezeOptions, SavedModelReader};

pub(crate) const FLOAT: DataType = DataType::DtFloat;
pub(crate) const INT32: DataType = DataType::DtInt32;
pub(crate) const BOOL: DataType = DataType::DtBool;
pub(crate) const RESOURCE: DataType = DataType::DtResource;

pub(crate) fn data_type(value: DataType) -> Value {
    Value::Type(value.into())
}

pub(crate) fn types(values: &[DataType]) -> Value {
    Value::List(ListValue {
        r#type: values.iter().map(|&value| value.into()).collect(),
        ..ListValue::default()
    })
}

pub(crate) fn ints(values: &[i64]) -> Value {
    Value::List(ListValue {
        i: values.to_vec(),
        ..ListValue::default()
    })
}

pub(crate) fn text(value: &str) -> Value {
    Value::S(value.into())
}

pub(crate) fn func(name: &str) -> Value {
    Value::Func(NameAttrList {
        name: name.to_owned(),
        attr: BTreeMap::new(),
    })
}

pub(crate) fn shape(sizes: &[i64]) -> TensorShapeProto {
    let dim = |&size: &i64| tensor_shape_proto::Dim {
        size,
        name: String::new(),
    };
    TensorShapeProto {
        dim: sizes.iter().map(dim).collect(),
        unknown_rank: false,
    }
}

pub(crate) fn attr(value: Value) -> AttrValue {
    AttrValue { value: Some(value) }
}

pub(crate) fn node(name: &str, op: &str, inputs: &[&str], attrs: &[(&str, Value)]) -> NodeDef {
    let named = |(name, value): &(&str, Value)| ((*name).to_owned(), attr(value.clone()));
    NodeDef {
        name: name.to_owned(),
        op: op.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        attr: attrs.iter().map(named).collect(),
        ..NodeDef::default()
    }
}

fn constant(name: &str, of: DataType, tensor: TensorProto) -> NodeDef {
    node(
        name,
        "Const",
        &[],
        &[("dtype", data_type(of)), ("value", Value::Tensor(tensor))],
    )
}

pub(crate) fn floats(name: &str, sizes: &[i64], values: &[f32]) -> NodeDef {
    let tensor_content = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let tensor = TensorProto {
        dtype: FLOAT.into(),
        tensor_shape: Some(shape(sizes)),
        tensor_content,
        ..TensorProto::default()
    };
    constant(name, FLOAT, tensor)
}

pub(crate) fn int(name: &str, value: i32) -> NodeDef {
    let tensor = TensorProto {
        dtype: INT32.into(),
        tensor_shape: Some(TensorShapeProto::default()),
        int_val: vec![value],
        ..TensorProto::default()
    };
    constant(name, INT32, tensor)
}

fn strings(name: &str, values: &[String]) -> NodeDef {
    let tensor = TensorProto {
        dtype: DataType::DtString.into(),
        tensor_shape: Some(shape(&[i64::try_from(values.len()).unwrap()])),
        string_val: values
            .iter()
            .map(|value| value.clone().into_bytes())
            .collect(),
        ..TensorProto::default()
    };
    constant(name, DataType::DtString, tensor)
}

/// A function: arguments and results with their types, nodes, and the tensor of each result.
pub(crate) fn function(
    name: &str,
    inputs: &[(&str, DataType)],
    outputs: &[(&str, DataType, &str)],
    nodes: Vec<NodeDef>,
) -> FunctionDef {
    let arg = |name: &str, of: DataType| ArgDef {
        name: name.to_owned(),
        r#type: of.into(),
        ..ArgDef::default()
    };
    let signature = OpDef {
        name: name.to_owned(),
        input_arg: inputs.iter().map(|&(name, of)| arg(name, of)).collect(),
        output_arg: outputs.iter().map(|&(name, of, _)| arg(name, of)).collect(),
        ..OpDef::default()
    };
    let ret = outputs
        .iter()
        .map(|&(name, _, tensor)| (name.to_owned(), tensor.to_owned()))
        .collect();
    FunctionDef {
        signature: Some(signature),
        node_def: nodes,
        ret,
        ..FunctionDef::default()
    }
}

/// A call of a function.
pub(crate) fn call(
    name: &str,
    of: &str,
    inputs: &[&str],
    from: &[DataType],
    to: &[DataType],
) -> NodeDef {
    node(
        name,
        "StatefulPartitionedCall",
        inputs,
        &[("f", func(of)), ("Tin", types(from)), ("Tout", types(to))],
    )
}

/// A SavedModel whose signature is a call of the function `main` on the float vector `x` and all variables.
pub(crate) struct Model {
    pub(crate) functions: Vec<FunctionDef>,
    pub(crate) variables: Vec<(&'static str, Vec<f32>)>,
    pub(crate) results: Vec<DataType>,
}

impl Model {
    pub(crate) fn new(functions: Vec<FunctionDef>) -> Self {
        Self {
            functions,
            variables: Vec::new(),
            results: vec![FLOAT],
        }
    }

    pub(crate) fn message(&self) -> SavedModel {
        let mut nodes = vec![node(
            "serving_default_x",
            "Placeholder",
            &[],
            &[("dtype", data_type(FLOAT))],
        )];
        let (mut inputs, mut from) = (vec!["serving_default_x"], vec![FLOAT]);
        let keys: Vec<String> = self
            .variables
            .iter()
            .map(|(name, _)| format!("{name}/.ATTRIBUTES/VARIABLE_VALUE"))
            .collect();
        let mut assigned = Vec::new();
        for (index, (name, values)) in self.variables.iter().enumerate() {
            let size = i64::try_from(values.len()).unwrap();
            let attrs = [
                ("dtype", data_type(FLOAT)),
                ("shape", Value::Shape(shape(&[size]))),
                ("shared_name", text(name)),
            ];
            nodes.push(node(name, "VarHandleOp", &[], &attrs));
            let value = format!("restore:{index}");
            let assign = node(
                &format!("assign_{index}"),
                "AssignVariableOp",
                &[name, &value],
                &[("dtype", data_type(FLOAT))],
            );
            assigned.push(format!("^{}", assign.name));
            nodes.push(assign);
            inputs.push(name);
            from.push(RESOURCE);
        }
        nodes.push(call(
            "StatefulPartitionedCall",
            "main",
            &inputs,
            &from,
            &self.results,
        ));
        nodes.push(node(
            "saver_filename",
            "Placeholder",
            &[],
            &[("dtype", data_type(DataType::DtString))],
        ));
        nodes.push(strings("names", &keys));
        nodes.push(strings("slices", &vec![String::new(); keys.len()]));
        nodes.push(node(
            "restore",
            "RestoreV2",
            &["saver_filename", "names", "slices"],
            &[("dtypes", types(&from[1..]))],
        ));
        nodes.push(node(
            "restore_all",
            "NoOp",
            &assigned.iter().map(String::as_str).collect::<Vec<_>>(),
            &[],
        ));

        let graph = GraphDef {
            node: nodes,
            library: Some(FunctionDefLibrary {
                function: self.functions.clone(),
                gradient: Vec::new(),
            }),
            ..GraphDef::default()
        };
        let meta_graph = MetaGraphDef {
            meta_info_def: Some(MetaInfoDef {
                tags: vec!["serve".to_owned()],
                ..MetaInfoDef::default()
            }),
            graph_def: Some(graph),
            saver_def: Some(SaverDef {
                restore_op_name: "restore_all".to_owned(),
                ..SaverDef::default()
            }),
            signature_def: [("serving_default".to_owned(), self.signature())].into(),
            ..MetaGraphDef::default()
        };
        SavedModel {
            saved_model_schema_version: 1,
            meta_graphs: vec![meta_graph],
        }
    }

    fn signature(&self) -> SignatureDef {
        let info = |name: &str, of: DataType| TensorInfo {
            name: name.to_owned(),
            dtype: of.into(),
            tensor_shape: Some(shape(&[-1])),
        };
        let output = |(index, &of): (usize, &DataType)| {
            (
                format!("y{index}"),
                info(&format!("StatefulPartitionedCall:{index}"), of),
            )
        };
        SignatureDef {
            inputs: [("x".to_owned(), info("serving_default_x:0", FLOAT))].into(),
            outputs: self.results.iter().enumerate().map(output).collect(),
            ..SignatureDef::default()
        }
    }

    /// Writes the folder.
    pub(crate) fn write(&self, folder: &Path) {
        std::fs::write(
            folder.join("saved_model.pb"),
            self.message().encode_to_vec(),
        )
        .unwrap();
        self.write_variables(folder);
    }

    pub(crate) fn write_variables(&self, folder: &Path) {
        std::fs::create_dir_all(folder.join("variables")).unwrap();
        let mut writer = BundleWriter::create(&folder.join("variables/variables")).unwrap();
        let mut sorted: Vec<_> = self.variables.iter().collect();
        sorted.sort_by_key(|(name, _)| format!("{name}/"));
        for (name, values) in sorted {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            writer
                .add(
                    &format!("{name}/.ATTRIBUTES/VARIABLE_VALUE"),
                    DType::Float32,
                    &[values.len()],
                    &bytes,
                )
                .unwrap();
        }
        writer.finish_files().unwrap();
    }

    /// Freezes, and gives the graph.
    pub(crate) fn freeze(&self, options: &FreezeOptions) -> Result<GraphDef, FreezeError> {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        freeze(folder.path(), options)
    }

    pub(crate) fn frozen(&self) -> GraphDef {
        self.freeze(&FreezeOptions::default()).unwrap()
    }

    /// The text of the error that freezing gives.
    pub(crate) fn refused(&self) -> String {
        let error = self
            .freeze(&FreezeOptions::default())
            .expect_err("it must not freeze")
            .to_string();
        assert!(
            error.contains("saved_model.pb"),
            "the file is not named: {error}"
        );
        error
    }
}

/// Freezes a SavedModel without variables.
pub(crate) fn freeze_message(
    message: &SavedModel,
    options: &FreezeOptions,
) -> Result<GraphDef, FreezeError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved_model.pb");
    std::fs::write(file, message.encode_to_vec()).unwrap();
    freeze(folder.path(), options)
}

pub(crate) fn freeze(folder: &Path, options: &FreezeOptions) -> Result<GraphDef, FreezeError> {
    let reader = SavedModelReader::open(folder)?;
    let frozen = reader.freeze(options)?;
    let mut bytes = Vec::new();
    frozen.write_binary(&mut bytes)?;
    assert_eq!(
        bytes.len() as u64,
        frozen.binary_len()?,
        "the size was not known before"
    );
    Ok(GraphDef::decode(bytes.as_slice()).unwrap())
}

/// One node a line: `name = op(inputs)`.
pub(crate) fn lines(nodes: &[NodeDef]) -> Vec<String> {
    nodes
        .iter()
        .map(|node| format!("{} = {}({})", node.name, node.op, node.input.join(", ")))
        .collect()
}

/// The floats of a constant.
pub(crate) fn values(graph: &GraphDef, name: &str) -> Vec<f32> {
    let node = graph
        .node
        .iter()
        .find(|node| node.name == name)
        .unwrap_or_else(|| panic!("there is no node {name}"));
    let Some(Value::Tensor(tensor)) = &node.attr["value"].value else {
        panic!("{name} is no constant")
    };
    tensor
        .tensor_content
        .chunks(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}
