"""Runs a network in OpenCV's dnn module: run_opencv.py MODEL INPUTS.npz OUTPUTS.npz LAYER...

The model is a frozen graph or ONNX. Frozen graphs take images channels first, whatever the graph says; OpenCV's importer turns them.
"""

import sys

import cv2
import numpy as np


def main():
    path, inputs_path, outputs_path, *layers = sys.argv[1:]
    [(name, image)] = np.load(inputs_path).items()
    if path.endswith(".onnx"):
        network = cv2.dnn.readNetFromONNX(path)
    else:
        network = cv2.dnn.readNetFromTensorflow(path)
        image = np.ascontiguousarray(np.moveaxis(image, 3, 1))
    network.setInput(image, name)
    np.savez(outputs_path, **dict(zip(layers, network.forward(layers))))


if __name__ == "__main__":
    main()
