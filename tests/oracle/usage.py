"""How often real configs of SSD detectors set each field to each value: the counts in `usage.json`, and what they say about values of options.

`python -m oracle.usage FOLDER...`, in the reference's environment, counts anew: every `*.config` below the folders that the reference reads and that
has a `ssd` message for TensorFlow 2. The counts in the repository are those of the published TF2 configs and of about thirty public training projects.
Standard library only, but for counting.
"""

import collections
import functools
import json
import pathlib
import sys

PATH = pathlib.Path(__file__).with_name("usage.json")
ABSENT, PRESENT = None, "{}"
# Weights of losses, initialisers and the like change nothing at inference.
TRAINING = ("loss", "matcher", "similarity_calculator", "hard_example_miner", "initializer", "regularizer", "target_assigner")


def settings(text):
    """Returns {path of a field: value} of a config in text format as `configs` writes it: a field or a brace a line. Messages have the value `{}`."""
    found, path = {}, []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.endswith("{"):
            path.append(line[:-1].strip(" :"))
            if is_of_inference(path):
                found[".".join(path)] = PRESENT
        elif line == "}":
            path.pop()
        elif is_of_inference(path):
            name, value = (part.strip() for part in line.split(":", 1))
            name = ".".join([*path, name])
            found[name] = f"{found[name]}, {plain(value)}" if name in found else plain(value)
    return found


def is_of_inference(path):
    return path[:2] == ["model", "ssd"] and not set(path) & set(TRAINING)


def plain(value):
    """Returns the one spelling of a number that counts; anything else as it is."""
    try:
        return f"{float(value):.6g}"
    except ValueError:
        return value


@functools.lru_cache(maxsize=None)
def counts():
    """Returns {path: {value: number of configs}}."""
    return json.loads(PATH.read_text())


def shares(texts):
    """Returns for each of some configs, which differ in one option's value, how often real ones have what makes it differ; 0 to 1.

    Among several fields the rarest one decides. Values that no config has count as half a config, so that nothing weighs nothing.
    """
    found = [settings(text) for text in texts]
    paths = {path for each in found for path in each if len({other.get(path) for other in found}) > 1}
    return [min((share(path, each.get(path), found) for path in paths), default=1.0) for each in found]


def share(path, value, found):
    """Returns the share of a field's value among the configs with the innermost message around it that all of the `found` ones have."""
    parent = path.rpartition(".")[0]
    while parent and any(parent not in each for each in found):
        parent = parent.rpartition(".")[0]
    total = counts().get(parent, {}).get(PRESENT, 0)
    known = counts().get(path, {})
    number = total - sum(known.values()) if value is ABSENT else known.get(value, 0)
    return min(1.0, (max(number, 0) + 0.5) / (total + 1))


def count(folders):
    from google.protobuf import text_format
    from object_detection.protos import pipeline_pb2

    found = collections.defaultdict(collections.Counter)
    for path in sorted(path for folder in folders for path in pathlib.Path(folder).rglob("*.config")):
        try:
            config = text_format.Parse(path.read_text(), pipeline_pb2.TrainEvalPipelineConfig())
        except (text_format.ParseError, UnicodeDecodeError):
            continue
        if config.model.ssd.feature_extractor.type.endswith("_keras"):  # others are TensorFlow 1's
            for name, value in settings(text_format.MessageToString(config)).items():
                found[name][value] += 1
    return {name: dict(sorted(values.items())) for name, values in sorted(found.items())}


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in count(sys.argv[1:]).items()]
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")
