"""What the programs are given: the exports of one model, and what the reference computes for it."""

import json
import pathlib
import subprocess

import numpy as np
from oracle import predictions
from parity import compare

# Flags by the name of the export.
KINDS = {
    "plain": ("--format=saved_model,frozen,onnx",),
    # What NVIDIA's documentation asks for: a fixed shape, and 32-bit floats.
    "fixed": ("--format=onnx", "--batch=1", "--float_input", "--input_size={height}x{width}"),
    # Images of the recorded size, which the model resizes.
    "tflite": ("--format=tflite", "--batch=1", "--input_size={height}x{width}"),
    # With what libraries that know detectors ask for.
    "tasks": (
        "--format=tflite",
        "--input_size={height}x{width}",
        "--outputs=detection_boxes,detection_classes,detection_scores,num_detections",
        "--label_map={labels}",
    ),
    # For importers that know convolutional networks only.
    "tflite_heads": ("--format=tflite", "--batch=1", "--no_preprocess", "--raw_encodings"),
    "heads": ("--format=frozen,onnx", "--batch=1", "--no_preprocess", "--raw_encodings"),
}


class Refused(Exception):
    """tfod does not write this model in this form; the message is tfod's."""


class Model:
    """A model's exports, made when they are first asked for, and its expected results."""

    def __init__(self, tfod, results, work):
        self.results = pathlib.Path(results)
        self.work = pathlib.Path(work)
        self._tfod = tfod
        self.image, self.expected = compare.recorded(self.results / "image_tensor.npz")[0]

    def export(self, kind):
        """Returns the folder of an export."""
        folder = self.work / kind
        if not (folder / "manifest.json").exists():
            height, width = self.image.shape[1:3]
            labels = self.work / "labels.pbtxt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("".join(f"item {{ id: {number} name: '{number}' }}\n" for number in range(1, 100)))
            flags = [flag.format(height=height, width=width, labels=labels) for flag in KINDS[kind]]
            command = [
                self._tfod,
                "export",
                f"--pipeline_config_path={self.results / 'pipeline.config'}",
                f"--trained_checkpoint_dir={self.results / 'checkpoint'}",
                f"--output_directory={folder}",
                *flags,
            ]
            ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
            if ran.returncode != 0:
                raise Refused(ran.stderr.strip().splitlines()[0].removeprefix("error: ")[:300])
        return folder

    def heads(self):
        """Returns (the network's input, {key: the reference's predictions}) of an image."""
        arrays = np.load(predictions.prepare(self.results))
        manifest = json.loads((self.export("heads") / "manifest.json").read_text())
        return arrays["preprocessed"], {output["name"]: arrays[f"network/{output['name']}"] for output in manifest["outputs"]}
