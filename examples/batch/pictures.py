"""Where pictures come from: the files of a folder, a list in COCO's format, or TFRecords of the Object Detection API.

`items` lists what there is to read, without reading it; `read` gives the files of an item's pictures, where the item is sent to. What cannot be read is a record too, with its `error`, so
that one broken file does not end a job of a million.
"""

import glob
import json
import pathlib
import struct

import google_crc32c

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png"}
NO_ID = -1  # of pictures that do not come from a COCO list
LARGEST_RECORD = 1 << 28  # bytes


class Refused(Exception):
    """What was given cannot be used; the message says what was expected."""


def items(source, images=None):
    """Returns what is to be read, as dictionaries: files of a folder and below, of a COCO list (`.json`, whose files are in `images` or beside it), or shards of TFRecords by a pattern."""
    path = pathlib.Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        found = [file_item(file, file.relative_to(path).as_posix()) for file in files]
        expected = f"expected files of {', '.join(sorted(SUFFIXES))}"
    elif path.suffix == ".json":
        folder = pathlib.Path(images) if images else path.parent
        found = [file_item(folder / name, name, number) for number, name in listed(path)]
        expected = "its `images` are empty"
    else:
        found = [{"path": str(pathlib.Path(shard).resolve()), "picture": shard, "image_id": NO_ID, "is_records": True} for shard in sorted(glob.glob(str(source)))]
        expected = "expected a folder, a COCO list (.json), or a file or pattern of TFRecords"
    if not found:
        raise Refused(f"{source}: there are no pictures: {expected}")
    return found


def file_item(path, name, number=NO_ID):
    return {"path": str(path.resolve()), "picture": name, "image_id": number, "is_records": False}


def listed(path):
    """Returns the numbers and names of the pictures in a COCO list."""
    try:
        return [(int(image["id"]), str(image["file_name"])) for image in json.loads(path.read_text())["images"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path}: is no COCO list, which has `images` with `id` and `file_name`: {type(error).__name__}: {error}") from error


def read(item):
    """Yields the pictures of an item: `picture` (its name), `image_id`, `file` (its bytes), and `error`, empty where there is none."""
    if item["is_records"]:
        yield from records_as_pictures(item["path"], item["picture"])
        return
    record = {"picture": item["picture"], "image_id": item["image_id"], "file": b"", "error": ""}
    try:
        record["file"] = pathlib.Path(item["path"]).read_bytes()
    except OSError as error:
        record["error"] = f"cannot be read: {error.strerror}"
    yield record


def records_as_pictures(path, name):
    for number, (record, problem) in enumerate(records(path)):
        found = {"picture": f"{name}:{number}", "image_id": NO_ID, "file": b"", "error": problem}
        if not problem:
            try:
                features = bytes_features(record)
                found["file"] = features["image/encoded"]
                names = [features[key].decode() for key in ("image/filename", "image/source_id") if features.get(key)]
                found["picture"] = (names or [found["picture"]])[0]
            except (KeyError, ValueError) as error:
                found["error"] = f"is no example with `image/encoded`: {type(error).__name__}: {error}"
        yield found


def records(path):
    """Yields (record, "") for each record of a TFRecord file, and at last (b"", problem) where it is damaged: where the next one begins is not known then.

    A record is its length, a checksum of the length, the bytes and a checksum of the bytes: https://www.tensorflow.org/tutorials/load_data/tfrecord
    """
    try:
        with open(path, "rb") as file:
            while header := file.read(12):
                start = file.tell() - len(header)
                if len(header) < 12 or masked(header[:8]) != header[8:]:
                    yield b"", f"is damaged at byte {start}: no record begins there"
                    return
                (length,) = struct.unpack("<Q", header[:8])
                if length > LARGEST_RECORD:
                    yield b"", f"has a record of {length} bytes at byte {start}; {LARGEST_RECORD} are the most"
                    return
                record, checksum = file.read(length), file.read(4)
                if len(record) < length or masked(record) != checksum:
                    yield b"", f"is damaged: the record at byte {start} has another checksum, or is cut short"
                    return
                yield record, ""
    except OSError as error:
        yield b"", f"cannot be read: {error.strerror}"


def masked(data):
    """Returns the checksum of TFRecords, as four bytes."""
    checksum = google_crc32c.value(data)
    return struct.pack("<I", (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def bytes_features(example):
    """Returns the first value of each feature of bytes in a `tf.train.Example`: {name: bytes}."""
    found = {}
    for number, features in fields(example):
        for _, entry in fields(features) if number == 1 else ():
            pair = dict(fields(entry))
            for kind, values in fields(pair.get(2, b"")):
                if kind == 1:  # a list of bytes
                    found[pair[1].decode()] = next((value for _, value in fields(values)), b"")
    return found


def fields(message):
    """Yields (number, bytes) for the fields of bytes of a protobuf message; raises ValueError if it is none."""
    position = 0

    def varint():
        nonlocal position
        number = shift = 0
        while True:
            if position >= len(message) or shift > 63:
                raise ValueError("a message is cut short")
            byte = message[position]
            position += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while position < len(message):
        key = varint()
        if key & 7 == 0:
            varint()
            continue
        length = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 2:
            length = varint()
        if length is None or position + length > len(message):
            raise ValueError("a message is cut short")
        if key & 7 == 2:
            yield key >> 3, message[position : position + length]
        position += length
