"""Runs a SavedModel through TensorFlow's C API, as C, Go, Java and Rust programs do.

Usage: run_c_api.py SAVED_MODEL INPUTS.npz OUTPUTS.npz. TensorFlow's Python is used for where its library is, and to read the signature; everything
else goes through the functions of `tensorflow/c/c_api.h`.
"""

import ctypes
import importlib.util
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

DTYPES = {1: np.float32, 3: np.int32, 4: np.uint8, 9: np.int64}  # TF_DataType
CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}


class Output(ctypes.Structure):
    """TF_Output: an operation, and which of its outputs."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def library():
    """Returns the library, with the types of results that are pointers or sizes."""
    folder = importlib.util.find_spec("tensorflow").submodule_search_locations[0]
    lib = ctypes.CDLL(str(pathlib.Path(folder, "libtensorflow_cc.so.2")))
    for name in ("NewStatus", "NewGraph", "NewSessionOptions", "LoadSessionFromSavedModel", "GraphOperationByName", "AllocateTensor", "TensorData"):
        getattr(lib, "TF_" + name).restype = ctypes.c_void_p
    lib.TF_Message.restype = ctypes.c_char_p
    lib.TF_TensorByteSize.restype = ctypes.c_size_t
    lib.TF_Dim.restype = ctypes.c_int64
    return lib


def signature(folder):
    """Returns ({name: tensor}, {key: tensor}) of the default signature, and the bytes of the file."""
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel.FromString(pathlib.Path(folder, "saved_model.pb").read_bytes())
    found = message.meta_graphs[0].signature_def["serving_default"]
    return {name: info.name for name, info in found.inputs.items()}, {key: info.name for key, info in found.outputs.items()}


class Session:
    def __init__(self, folder):
        self.lib = library()
        self.status = ctypes.c_void_p(self.lib.TF_NewStatus())
        self.graph = ctypes.c_void_p(self.lib.TF_NewGraph())
        options = ctypes.c_void_p(self.lib.TF_NewSessionOptions())
        tags = (ctypes.c_char_p * 1)(b"serve")
        session = self.lib.TF_LoadSessionFromSavedModel(options, None, folder.encode(), tags, 1, self.graph, None, self.status)
        self.check()
        self.session = ctypes.c_void_p(session)

    def check(self):
        if self.lib.TF_GetCode(self.status) != 0:
            sys.exit("RuntimeError: " + self.lib.TF_Message(self.status).decode())

    def output(self, tensor):
        name, index = tensor.split(":")
        operation = self.lib.TF_GraphOperationByName(self.graph, name.encode())
        if not operation:
            sys.exit(f"RuntimeError: there is no operation {name}")
        return Output(operation, int(index))

    def tensor(self, array):
        array = np.ascontiguousarray(array)
        dims = (ctypes.c_int64 * array.ndim)(*array.shape)
        made = ctypes.c_void_p(self.lib.TF_AllocateTensor(CODES[array.dtype], dims, array.ndim, ctypes.c_size_t(array.nbytes)))
        ctypes.memmove(self.lib.TF_TensorData(made), array.ctypes.data, array.nbytes)
        return made

    def array(self, tensor):
        tensor = ctypes.c_void_p(tensor)
        dtype = np.dtype(DTYPES[self.lib.TF_TensorType(tensor)])
        shape = [self.lib.TF_Dim(tensor, index) for index in range(self.lib.TF_NumDims(tensor))]
        content = ctypes.string_at(self.lib.TF_TensorData(tensor), self.lib.TF_TensorByteSize(tensor))
        return np.frombuffer(content, dtype).reshape(shape)

    def run(self, feeds, fetches):
        inputs = (Output * len(feeds))(*[self.output(tensor) for tensor in feeds])
        values = (ctypes.c_void_p * len(feeds))(*[self.tensor(array).value for array in feeds.values()])
        outputs = (Output * len(fetches))(*[self.output(tensor) for tensor in fetches])
        results = (ctypes.c_void_p * len(fetches))()
        given, wanted = (inputs, values, len(feeds)), (outputs, results, len(fetches))
        self.lib.TF_SessionRun(self.session, None, *given, *wanted, None, 0, None, self.status)
        self.check()
        return [self.array(result) for result in results]


def main():
    folder, inputs_path, outputs_path = sys.argv[1:]
    inputs, outputs = signature(folder)
    given = np.load(inputs_path)
    session = Session(folder)
    values = session.run({inputs[name]: given[name] for name in given.files}, list(outputs.values()))
    np.savez(outputs_path, **dict(zip(outputs, values)))


if __name__ == "__main__":
    main()
