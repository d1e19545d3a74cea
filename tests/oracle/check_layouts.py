"""Reads what servers read of an export, by the definitions in their own client packages, and runs it.

Usage: check_layouts.py tfserving FOLDER OUTPUTS.npz | triton FOLDER OUTPUTS.npz. Of TensorFlow Serving's warm-up requests, every one is run on its signature; outputs are
written as `<signature>/<key>`. Of Triton's repository, the configuration is compared with the model; its names, types and sizes must be the model's.
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tritonclient.grpc import model_config_pb2


def run_warmup(folder):
    """Yields (signature, {key: output}) for every request."""
    model = tf.saved_model.load(str(folder))
    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests"))
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        outputs = model.signatures[request.model_spec.signature_name](**inputs)
        yield request.model_spec.signature_name, {key: value.numpy() for key, value in outputs.items()}


def signature_of(folder):
    """Returns ({name: spec}, {key: spec}) of the default signature; a spec is (dtype, sizes, -1 where they are unknown)."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]

    def spec(tensor):
        return tensor.dtype.name, [-1 if size is None else size for size in tensor.shape]

    inputs = {name: spec(tensor) for name, tensor in signature.structured_input_signature[1].items()}
    return inputs, {key: spec(tensor) for key, tensor in signature.structured_outputs.items()}


def check_config(folder):
    """Compares the configuration with the SavedModel of version 1, as the server does."""
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert config.platform == "tensorflow_savedmodel"
    batch = [-1] if config.max_batch_size > 0 else []
    assert config.HasField("dynamic_batching") == bool(batch)
    found = signature_of(folder / "1" / "model.savedmodel")
    for entries, specs in zip((config.input, config.output), found):
        assert sorted(entry.name for entry in entries) == sorted(specs)
        for entry in entries:
            dims = list(entry.reshape.shape) if entry.HasField("reshape") else list(entry.dims)
            assert list(entry.dims), f"{entry.name}: the server refuses inputs and outputs without dimensions"
            dtype, sizes = specs[entry.name]
            assert TYPES[model_config_pb2.DataType.Name(entry.data_type)] == dtype, entry.name
            assert batch + dims == sizes, f"{entry.name}: {batch + dims}, the model has {sizes}"


TYPES = {"TYPE_FP32": "float32", "TYPE_UINT8": "uint8", "TYPE_INT32": "int32", "TYPE_STRING": "string"}


def main():
    layout, folder, outputs_path = sys.argv[1:]
    arrays = {}
    if layout == "tfserving":
        for signature, outputs in run_warmup(pathlib.Path(folder)):
            arrays.update({f"{signature}/{key}": value for key, value in outputs.items()})
    else:
        check_config(pathlib.Path(folder))
    np.savez(outputs_path, **arrays)


if __name__ == "__main__":
    main()
