"""Checks a graph for what TensorRT's documentation asks of an ONNX model: check_tensorrt.py MODEL

Fixed shapes at the inputs, 32-bit floats in, no loops, only operators, types and modes that the parser's table lists as supported, and what the table wants to be initialisers to
be initialisers. The table is that of TensorRT 8.5, the first with a suppression of its own: https://github.com/onnx/onnx-tensorrt/blob/release/8.5-GA/docs/operators.md
"""

import sys

import onnx

# Of the operators marked as supported, those that convolutional detectors have.
SUPPORTED = set(
    """Add And ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv Cos Div Equal Exp Expand Flatten Floor Gather GatherElements GatherND
    Gemm GlobalAveragePool Greater GreaterOrEqual HardSigmoid Identity Less LessOrEqual Log MatMul Max MaxPool Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or Pad Pow
    Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize RoiAlign Round ScatterElements ScatterND Shape Sigmoid Sin Size Slice Softmax Split Sqrt
    Squeeze Sub Sum Tanh Tile TopK Transpose Unsqueeze Where""".split()
)
MOST_SORTED = 3840  # what the layer for TopK sorts
TYPES = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL, onnx.TensorProto.UINT8}
# Which inputs have to be initialisers.
FIXED = {"TopK": [1], "Slice": [3], "Squeeze": [1], "Unsqueeze": [1]}
RESIZING = {
    "mode": (b"nearest", b"linear"),
    "coordinate_transformation_mode": (b"half_pixel", b"pytorch_half_pixel", b"tf_half_pixel_for_nn", b"asymmetric", b"align_corners"),
    "nearest_mode": (b"floor", b"ceil", b"round_prefer_floor", b"round_prefer_ceil"),
}


def input_problems(graph):
    for value in graph.input:
        kind = value.type.tensor_type
        if kind.elem_type != onnx.TensorProto.FLOAT:
            yield f"input {value.name} is not of 32-bit floats"
        if not all(dim.dim_value > 0 for dim in kind.shape.dim):
            yield f"the shape of input {value.name} is not fixed"


def node_problems(node, constants):
    if node.domain or node.op_type not in SUPPORTED:
        yield f"operator {node.domain}{node.op_type}"
    for index in FIXED.get(node.op_type, ()):
        if index < len(node.input) and node.input[index] not in constants:
            yield f"input {index} of {node.op_type} is no initialiser"
    if node.op_type == "TopK" and constants.get(node.input[1], MOST_SORTED) > MOST_SORTED:
        yield f"sorts more than {MOST_SORTED}"
    if node.op_type == "Resize":
        for attribute in node.attribute:
            if attribute.s not in RESIZING.get(attribute.name, (attribute.s,)):
                yield f"{attribute.name} {attribute.s.decode()} of Resize"


def problems(model):
    graph = model.graph
    yield from input_problems(graph)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        yield from (f"{node.name}: {problem}" for problem in node_problems(node, constants))
    for value in graph.value_info:
        if value.type.tensor_type.elem_type not in TYPES:
            yield f"{value.name}: type {onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)}"


def main():
    found = list(problems(onnx.load(sys.argv[1])))
    if found:
        sys.exit("ValueError: " + "; ".join(found[:5]))


if __name__ == "__main__":
    main()
