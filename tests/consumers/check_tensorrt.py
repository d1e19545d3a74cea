"""Checks a graph for what TensorRT's documentation asks of an ONNX model: check_tensorrt.py MODEL

Fixed shapes at the inputs, 32-bit floats in, no loops, only operators that its parser's table lists as supported, in types that it has, and box selection
with at most as many candidates as it sorts.
"""

import sys

import onnx

# Of the operators of https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md, those marked as supported that convolutional detectors have.
SUPPORTED = set(
    """Add And AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv Cos Div Equal Exp Expand Flatten Floor Gather GatherElements GatherND
    Gemm GlobalAveragePool Greater GreaterOrEqual HardSigmoid Identity Less LessOrEqual Log MatMul Max MaxPool Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or Pad Pow
    Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize Round ScatterElements ScatterND Shape Sigmoid Sin Size Slice Softmax Split Sqrt
    Squeeze Sub Sum Tanh Tile TopK Transpose Unsqueeze Where""".split()
)
MOST_SORTED = 3840  # TopK's k
TYPES = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL, onnx.TensorProto.UINT8}


def problems(model):
    graph = model.graph
    for value in graph.input:
        kind = value.type.tensor_type
        if kind.elem_type != onnx.TensorProto.FLOAT:
            yield f"input {value.name} is not of 32-bit floats"
        if not all(dim.dim_value > 0 for dim in kind.shape.dim):
            yield f"the shape of input {value.name} is not fixed"
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.domain or node.op_type not in SUPPORTED:
            yield f"{node.name}: operator {node.domain}{node.op_type}"
        if node.op_type == "TopK" and (node.input[1] not in constants or constants[node.input[1]].item() > MOST_SORTED):
            yield f"{node.name}: sorts more than {MOST_SORTED}, or an unknown number"
    for value in graph.value_info:
        if value.type.tensor_type.elem_type not in TYPES:
            yield f"{value.name}: type {onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)}"


def main():
    found = list(problems(onnx.load(sys.argv[1])))
    if found:
        sys.exit("ValueError: " + "; ".join(found[:5]))


if __name__ == "__main__":
    main()
