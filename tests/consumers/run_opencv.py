"""Runs a network in OpenCV's dnn module: run_opencv.py MODEL INPUTS.npz OUTPUTS.npz

The model is a frozen graph, ONNX or TFLite. Frozen graphs take and TFLite models take images channels first, whatever the file says; OpenCV's importer turns them. Outputs are what no layer
reads, by the last parts of their layers' names: the importer has no identities, which are the outputs of frozen graphs.
"""

import sys

import cv2
import numpy as np


def main():
    path, inputs_path, outputs_path = sys.argv[1:]
    [(name, image)] = np.load(inputs_path).items()
    if path.endswith(".onnx"):
        network = cv2.dnn.readNetFromONNX(path)
    else:
        read = cv2.dnn.readNetFromTFLite if path.endswith(".tflite") else cv2.dnn.readNetFromTensorflow
        network = read(path)
        image = np.ascontiguousarray(np.moveaxis(image, 3, 1))
    network.setInput(image, name)
    layers = network.getUnconnectedOutLayersNames()
    names = [layer.split("/")[-1] for layer in layers]
    np.savez(outputs_path, **dict(zip(names, network.forward(layers))))


if __name__ == "__main__":
    main()
