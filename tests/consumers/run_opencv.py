"""Runs a network in OpenCV's dnn module: run_opencv.py MODEL INPUTS.npz OUTPUTS.npz

The model is a frozen graph, ONNX or TFLite. Frozen graphs and TFLite models take images channels first, whatever the file says, and frozen graphs give maps so; OpenCV's importer turns them.
Outputs are what no layer reads, by the last parts of their layers' names: the importer has no identities, which are the outputs of frozen graphs.
"""

import sys

import cv2
import numpy as np


def main():
    path, inputs_path, outputs_path = sys.argv[1:]
    [(name, image)] = np.load(inputs_path).items()
    suffix = path.rpartition(".")[2]
    read = {"onnx": cv2.dnn.readNetFromONNX, "tflite": cv2.dnn.readNetFromTFLite, "pb": cv2.dnn.readNetFromTensorflow}[suffix]
    network = read(path)
    if suffix != "onnx":
        image = np.ascontiguousarray(np.moveaxis(image, 3, 1))
    network.setInput(image, name)
    layers = network.getUnconnectedOutLayersNames()
    outputs = {layer.split("/")[-1]: value for layer, value in zip(layers, network.forward(layers))}
    np.savez(outputs_path, **{name: np.moveaxis(value, 1, 3) if suffix == "pb" and value.ndim == 4 else value for name, value in outputs.items()})


if __name__ == "__main__":
    main()
