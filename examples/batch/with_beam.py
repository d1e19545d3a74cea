"""Detects on many pictures with Apache Beam: with_beam.py MODEL.onnx SOURCE OUTPUT [--runner NAME and its options]

The same as with_ray.py, as a pipeline with `RunInference`, for every runner of Beam's.
"""

import argparse
import os
import sys

import apache_beam as beam
import detector
import output
import pictures
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.parquetio import WriteToParquet
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions


class Handler(ModelHandler):
    """Runs exported models, which take pictures of any size: Beam's own handler for ONNX takes arrays of one size only."""

    def __init__(self, path, batch):
        super().__init__(min_batch_size=1, max_batch_size=batch)
        self.path = path

    def load_model(self):
        with FileSystems.open(self.path) as file:
            return detector.Detector(file.read())

    def run_inference(self, batch, model, inference_args=None):
        for record, row in zip(batch, model.rows(batch)):
            yield PredictionResult(record["picture"], row)

    def get_metrics_namespace(self):
        return "tfod"


def run(model, items, target, batch, options):
    """Writes the detections of all pictures."""
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | "what there is" >> beam.Create(items)
            | "among workers" >> beam.Reshuffle()
            | "read" >> beam.FlatMap(pictures.read)
            | "detect" >> RunInference(Handler(model, batch))
            | "rows" >> beam.Map(lambda result: result.inference)
            | "write" >> WriteToParquet(f"{target}/detections", detector.SCHEMA, file_name_suffix=".parquet")
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Further options are those of Beam's pipelines.")
    parser.add_argument("model", help="an ONNX model of `tfod export`, by a path or address that every worker can read")
    parser.add_argument("source", help="a folder, a COCO list (.json), or TFRecords by a pattern")
    parser.add_argument("output", help="a new folder, or an address that Beam can write to (gs://…)")
    parser.add_argument("--images", help="the folder of a COCO list's pictures (default: that of the list)")
    parser.add_argument("--batch", type=int, default=16, help="how many pictures a worker is given at once, at most (default: 16)")
    arguments, others = parser.parse_known_args()
    model = arguments.model if "://" in arguments.model else os.path.abspath(arguments.model)
    # For workers that a local runner starts as processes; other runners are given the modules by `--setup_file`.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.path.dirname(os.path.abspath(__file__)), os.environ.get("PYTHONPATH")]))
    options = PipelineOptions(others)
    options.view_as(SetupOptions).save_main_session = False
    try:
        items = pictures.items(arguments.source, arguments.images)
        Handler(model, arguments.batch).load_model()  # what is wrong with it is said here, and not by every worker
        with output.folder(arguments.output) as folder:
            run(model, items, folder, arguments.batch, options)
    except (pictures.Refused, OSError) as error:
        sys.exit(f"error: {error}")
    print(output.summary(arguments.output))


if __name__ == "__main__":
    main()
