"""Runs a network in OpenCV's dnn module: run_opencv.py MODEL INPUTS.npz OUTPUTS.npz

The model is a frozen graph or ONNX. Frozen graphs take images channels first, whatever the graph says; OpenCV's importer turns them. Outputs are what no layer
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
        network = cv2.dnn.readNetFromTensorflow(path)
        image = np.ascontiguousarray(np.moveaxis(image, 3, 1))
    network.setInput(image, name)
    layers = network.getUnconnectedOutLayersNames()
    names = [layer.split("/")[-1] for layer in layers]
    np.savez(outputs_path, **dict(zip(names, network.forward(layers))))


if __name__ == "__main__":
    main()
