"""What the reference makes of files of images, for a checkpoint of a case: `python -m oracle.files RESULTS OUTPUT.npz`.

The arrays: `input_<batch>/<place>`, the bytes of the files of one call, in the order of their places, and `<input type>_<batch>/<key>`, what the
reference returns for them. It ends with an error where a GIF is given, whose frames it does not expect: there it is given the same picture as PNG.
"""

import hashlib
import io
import os
import pathlib
import subprocess
import sys

import numpy as np

from . import cache

CANDIDATES = 40
SIDES = ("xmin", "xmax", "ymin", "ymax")
INPUT_TYPES = ("encoded_image_string_tensor", "tf_example")

# Kinds of files with the sizes of their images, for each case: what one call is given, all at once.
MIXED = (
    ("jpeg", (71, 133)),
    ("jpeg_gray", (96, 96)),
    ("jpeg_progressive", (150, 110)),
    ("jpeg_cmyk", (64, 80)),
    ("png", (40, 57)),
    ("png_gray", (131, 96)),
    ("png_16_bit", (90, 120)),
    ("png_alpha", (160, 99)),
    ("png_gray_alpha", (75, 75)),
    ("png_palette", (64, 128)),
    ("bmp", (50, 61)),
    ("bmp_gray", (88, 44)),
    ("bmp_alpha", (57, 77)),
    ("gif", (120, 90)),
    ("gif_animated", (61, 45)),
)
FEW = (("jpeg", (71, 133)), ("png_16_bit", (150, 110)), ("gif", (40, 64)))
ONE_SIZE = tuple((kind, (64, 128)) for kind in ("jpeg", "bmp", "png_alpha"))
BATCHES = {
    "base": (MIXED, MIXED[:1]),
    "keep_aspect_ratio": (MIXED[::3], FEW),
    "identity": (ONE_SIZE, (("jpeg_gray", (71, 133)),)),
    "conditional_greater": (ONE_SIZE, (("png", (100, 201)),)),
    "keep_unpadded": (ONE_SIZE, (("bmp", (130, 67)),)),
}


def batches(name):
    """Returns what the calls are given for a case."""
    return BATCHES.get(name, (FEW,))


def prepare(case, results):
    """Returns the path of the arrays for a case's results, computed if they are not there."""
    here = pathlib.Path(__file__)
    about = here.read_bytes() + repr(batches(case.name)).encode()
    path = cache.FOLDER / "files" / f"{pathlib.Path(results).name}-{hashlib.sha256(about).hexdigest()[:12]}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npz")
        command = [sys.executable, "-m", "oracle.files", case.name, str(case.seed), results, partial]
        subprocess.run(command, cwd=here.parent.parent, check=True)
        partial.rename(path)
    return path


def recorded(path, input_type):
    """Returns [(files, {key: output})], a call each."""
    arrays = np.load(path)

    def group(prefix):
        return {name[len(prefix) :]: arrays[name] for name in arrays.files if name.startswith(prefix)}

    calls = []
    while files := group(f"input_{len(calls)}/"):
        given = [files[str(place)].tobytes() for place in range(len(files))]
        wrapped = [example(file) for file in given] if input_type == "tf_example" else given
        calls.append((wrapped, group(f"{input_type}_{len(calls)}/")))
    return calls


def example(file, **features):
    """Returns a serialised tf.train.Example as people's records have it, with the file of an image."""
    import tensorflow as tf

    def texts(*values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    feature = {
        "image/encoded": texts(file),
        "image/format": texts(b"jpeg"),
        "image/object/class/text": texts(b"cat", b"dog"),
        **{f"image/object/bbox/{side}": tf.train.Feature(float_list=tf.train.FloatList(value=[0.1, 0.2])) for side in SIDES},
        "image/width": tf.train.Feature(int64_list=tf.train.Int64List(value=[7])),
        **features,
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def encode(kind, image):
    """Returns the bytes of a file that shows an image, as far as the kind of file can."""
    import tensorflow as tf
    from PIL import Image

    picture = Image.fromarray(image)
    opacity = Image.fromarray(image[::-1, :, 0])
    faded = picture.copy()
    faded.putalpha(opacity)
    gray_alpha = Image.merge("LA", (picture.convert("L"), opacity))
    if kind == "png_16_bit":
        return tf.io.encode_png(image.astype(np.uint16) * 256 + image[:, ::-1]).numpy()
    ways = {
        "jpeg": (picture, "JPEG", {"quality": 90}),
        "jpeg_gray": (picture.convert("L"), "JPEG", {}),
        "jpeg_progressive": (picture, "JPEG", {"progressive": True, "subsampling": 2, "quality": 70}),
        "jpeg_cmyk": (picture.convert("CMYK"), "JPEG", {}),
        "png": (picture, "PNG", {}),
        "png_gray": (picture.convert("L"), "PNG", {}),
        "png_alpha": (faded, "PNG", {}),
        "png_gray_alpha": (gray_alpha, "PNG", {}),
        "png_palette": (picture.convert("P"), "PNG", {}),
        "bmp": (picture, "BMP", {}),
        "bmp_gray": (picture.convert("L"), "BMP", {}),
        "bmp_alpha": (faded, "BMP", {}),
        "gif": (picture, "GIF", {}),
        "gif_animated": (picture, "GIF", {"save_all": True, "append_images": [Image.fromarray(255 - image)], "duration": 100}),
    }
    shown, file_format, options = ways[kind]
    file = io.BytesIO()
    shown.save(file, file_format, **options)
    return file.getvalue()


def first_frame_as_png(file):
    from PIL import Image

    png = io.BytesIO()
    Image.open(io.BytesIO(file)).convert("RGB").save(png, "PNG")
    return png.getvalue()


def stable_file(model, kind, size, seed):
    """Returns a file whose detections no rounding reorders."""
    import tensorflow as tf

    from . import images, reference

    for candidate in range(CANDIDATES):
        file = encode(kind, images.textured(seed * 1_000_000 + 10_000 * candidate + 7 * size[0] + size[1], *size))
        pixels = tf.image.decode_image(file, channels=3, expand_animations=False).numpy()
        if reference.is_stable(model, pixels, seed):
            return file
    raise AssertionError(f"no file of {CANDIDATES}, {kind} of {size}, has stable detections")


def compute(name, seed, results):
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_ops

    from . import reference

    # tf-slim looks for these where TensorFlow 2.15 no longer has them.
    control_flow_ops.case, control_flow_ops.cond = tf.compat.v1.case, tf.compat.v1.cond
    tf.config.run_functions_eagerly(True)
    config = reference.parse((results / "pipeline.config").read_text())
    model, _ = reference.restore(config, str(results / "checkpoint"))
    arrays = {}
    for index, batch in enumerate(batches(name)):
        files = [stable_file(model, kind, size, seed + 5 + place) for place, (kind, size) in enumerate(batch)]
        arrays.update({f"input_{index}/{place}": np.frombuffer(file, np.uint8) for place, file in enumerate(files)})
        shown = [first_frame_as_png(file) if file.startswith(b"GIF") else file for file in files]
        for input_type in INPUT_TYPES:
            given = [example(file) for file in shown] if input_type == "tf_example" else shown
            outputs = reference.run(model, input_type, given)
            arrays.update({f"{input_type}_{index}/{key}": value for key, value in outputs.items()})
    return arrays


if __name__ == "__main__":
    np.savez(sys.argv[4], **compute(sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])))
