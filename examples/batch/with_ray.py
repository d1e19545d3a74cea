"""Detects on many pictures with Ray Data: with_ray.py MODEL.onnx SOURCE OUTPUT [--workers N]

SOURCE is a folder of pictures, a COCO list (.json), or TFRecords by a pattern. OUTPUT becomes a folder of Parquet files with a row for each picture. A worker that is lost is started
again, and does again what it had not finished.
"""

import argparse
import pathlib
import sys

import detector
import output
import pictures
import ray


class Worker:
    """A process with the model, to which batches of records are given."""

    def __init__(self, model):
        self.detector = detector.Detector(ray.get(model))

    def __call__(self, batch):
        return detector.table(self.detector.rows(batch.to_pylist()))


def run(model, items, target, workers, batch):
    """Writes the detections of all pictures, with a model from the bytes of its file."""
    # Workers on other machines get the model from here: its path need not be theirs.
    held = ray.put(model)
    records = ray.data.from_items(items, override_num_blocks=min(len(items), 8 * workers)).flat_map(pictures.read)
    rows = records.map_batches(
        Worker,
        fn_constructor_args=(held,),
        batch_size=batch,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        max_restarts=-1,
        max_task_retries=-1,
    )
    rows.write_parquet(target)


def start(address, workers):
    """Connects to a cluster, which is sent these programs; or starts one on this machine."""
    if address:
        ray.init(address=address, runtime_env={"working_dir": str(pathlib.Path(__file__).parent)})
    else:
        # One more than the workers, so that pictures are read while all of them are at work.
        ray.init(num_cpus=workers + 1, include_dashboard=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="an ONNX model of `tfod export`")
    parser.add_argument("source", help="a folder, a COCO list (.json), or TFRecords by a pattern")
    parser.add_argument("output", help="a new folder, or an address that Ray can write to (s3://…)")
    parser.add_argument("--images", help="the folder of a COCO list's pictures (default: that of the list)")
    parser.add_argument("--workers", type=int, default=2, help="processes with a model each (default: 2)")
    parser.add_argument("--batch", type=int, default=16, help="how many pictures a worker is given at once (default: 16)")
    parser.add_argument("--address", help="of a cluster (default: this machine)")
    arguments = parser.parse_args()
    try:
        items = pictures.items(arguments.source, arguments.images)
        with open(arguments.model, "rb") as file:
            model = file.read()
        detector.Detector(model)  # what is wrong with it is said here, and not by every worker
        with output.folder(arguments.output) as folder:
            start(arguments.address, arguments.workers)
            run(model, items, folder, arguments.workers, arguments.batch)
    except (pictures.Refused, OSError, ray.exceptions.RayError) as error:
        sys.exit(f"error: {error}")
    print(output.summary(arguments.output))


if __name__ == "__main__":
    main()
