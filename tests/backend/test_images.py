"""Pixels of image files: those of `crates/tfod-image` beside TensorFlow's and Pillow's, bit for bit.

Files are made by Pillow; of what it cannot write (other samplings, scans of one component, colours coded otherwise) there are files whose headers are changed,
or that are put together from parts of several. `python -m backend.test_images` in `tests/` writes the fixtures of the crate's own tests, with what TensorFlow
and Pillow make of them.
"""

import io
import itertools
import json
import pathlib
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import environments

from . import operations

pytestmark = pytest.mark.quick

FIXTURES = operations.ROOT / "crates" / "tfod-image" / "tests" / "fixtures"
DAMAGED = 400

# Decodes the files of a folder by another TensorFlow: prints the checksum of each one's pixels, or none.
OTHER = """
import json, pathlib, sys, zlib
import tensorflow as tf
if not tf.executing_eagerly():
    tf.compat.v1.enable_eager_execution()
sums = {}
for file in pathlib.Path(sys.argv[1]).iterdir():
    try:
        sums[file.name] = zlib.crc32(tf.io.decode_image(file.read_bytes(), channels=3).numpy().tobytes())
    except tf.errors.InvalidArgumentError:
        sums[file.name] = None
print(json.dumps(sums))
"""


def noise(height, width, seed=0):
    """An image of soft and hard edges, with noise on it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 120 * np.sin(x / 7 + y / 11), 127 + 120 * np.cos(x / 5), (x * 3 + y * 5) % 256]
    pixels = np.stack(planes, axis=-1) + rng.normal(0, 20, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def written(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def jpeg(image, **options):
    return written(image, "JPEG", **{"quality": 85, **options})


def segments(data):
    """Splits a JPEG of one scan into (marker, content) and what follows the header of the scan."""
    found, at = [], 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((marker, data[at + 4 : at + 2 + length]))
        at += 2 + length
        if marker == 0xDA:
            return found, data[at:-2]


def joined(parts, scan=b""):
    """Puts a JPEG together; a part may be bytes, which stand for themselves."""
    data = b"\xff\xd8"
    for part in parts:
        if isinstance(part, bytes):
            data += part
        else:
            marker, content = part
            data += bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
    return data + scan + b"\xff\xd9"


def changed(data, change):
    """A JPEG whose segments are changed: `change` gives for each (marker, content) a new one, or None for leaving it out."""
    parts, scan = segments(data)
    return joined([part for part in itertools.starmap(change, parts) if part], scan)


def resampled(data, size, samplings):
    """A JPEG whose data are taken for another picture: of this size, with these sampling factors. It has as many blocks."""

    def change(marker, content):
        if marker == 0xC0:
            content = bytearray(content)
            content[1:5] = struct.pack(">HH", *size)
            content[7::3] = bytes(across << 4 | down for across, down in samplings)
        return marker, bytes(content)

    return changed(data, change)


def one_by_one(image, factors):
    """A JPEG with a scan for each component, of which the second and third are smaller by these factors."""
    parts, scans, components = [], [], b""
    across, down = factors
    for index, plane in enumerate(image.convert("YCbCr").split()):
        if index:
            plane = plane.resize((-(-image.width // across), -(-image.height // down)))
        found, scan = segments(jpeg(plane, quality=80 - 20 * index))
        quantisation = [content for marker, content in found if marker == 0xDB][0]
        if index == 0:
            parts += [part for part in found if part[0] in (0xE0, 0xC4)]
        parts.append((0xDB, bytes([index]) + quantisation[1:]))
        sampling = factors if index == 0 else (1, 1)
        components += bytes([index + 1, sampling[0] << 4 | sampling[1], index])
        scans += [(0xDA, bytes([1, index + 1, 0, 0, 63, 0])), scan]
    frame = (0xC0, struct.pack(">BHHB", 8, image.height, image.width, 3) + components)
    return joined([*parts, frame, *scans])


def without(*markers):
    return lambda marker, content: None if marker in markers else (marker, content)


def wide_tables(marker, content):
    """Quantisation tables with 16 bits a number."""
    if marker != 0xDB:
        return marker, content
    tables = [content[start : start + 65] for start in range(0, len(content), 65)]
    return marker, b"".join(bytes([0x10 | table[0]]) + bytes(itertools.chain(*((0, n) for n in table[1:]))) for table in tables)


def as_ycck(marker, content):
    return marker, content[:11] + b"\2" if marker == 0xEE else content


def named_rgb(marker, content):
    """Components named R, G and B."""
    content = bytearray(content)
    if marker == 0xC0:
        content[6::3] = b"RGB"
    elif marker == 0xDA:
        content[1:7:2] = b"RGB"
    return None if marker in (0xE0, 0xEE) else (marker, bytes(content))


def oriented(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


def jpegs():
    """Returns {name: JPEG}."""
    files = {}
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        for progressive in (False, True):
            kind = f"{name}{'_progressive' if progressive else ''}"
            sizes = [(1, 1), (2, 3), (7, 9), (8, 8), (16, 16), (17, 33), (53, 71), (64, 5), (5, 64), (40, 2), (2, 40), (41, 6)]
            for height, width in sizes:
                options = {"subsampling": subsampling, "progressive": progressive}
                files[f"{kind}_{height}x{width}"] = jpeg(noise(height, width), **options)
    image = noise(48, 64)
    for quality in (1, 10, 50, 95, 100):
        files[f"quality_{quality}"] = jpeg(image, quality=quality)
    # The largest coefficients that there can be, for what numbers of 16 bits cannot hold.
    hard = Image.fromarray((np.random.default_rng(1).integers(0, 2, (64, 64, 3)) * 255).astype(np.uint8))
    for quality in (1, 30, 100):
        files[f"hard_{quality}"] = jpeg(hard, quality=quality, subsampling=0)
    overdone = changed(files["hard_30"], lambda marker, content: (marker, content[:1] + b"\xff" * 64) if marker == 0xDB else (marker, content))
    files["overflowing"] = overdone
    for progressive in (False, True):
        kind = "_progressive" if progressive else ""
        files[f"grey{kind}"] = jpeg(image.convert("L"), progressive=progressive)
        files[f"restart_rows{kind}"] = jpeg(noise(70, 90), restart_marker_rows=1, progressive=progressive)
        files[f"restart_blocks{kind}"] = jpeg(noise(70, 90), restart_marker_blocks=3, progressive=progressive)
    two = jpeg(image, subsampling=1)
    four = jpeg(image, subsampling=2)
    files["440"] = resampled(two, (96, 32), [(1, 2), (1, 1), (1, 1)])
    files["440_odd"] = resampled(two, (83, 31), [(1, 2), (1, 1), (1, 1)])
    files["440_narrow"] = resampled(jpeg(noise(32, 4), subsampling=1), (61, 1), [(1, 2), (1, 1), (1, 1)])
    files["411"] = resampled(four, (24, 128), [(4, 1), (1, 1), (1, 1)])
    files["411_odd"] = resampled(four, (21, 103), [(4, 1), (1, 1), (1, 1)])
    files["quarter_down"] = resampled(four, (96, 32), [(1, 4), (1, 1), (1, 1)])
    files["small_luma"] = resampled(two, (48, 64), [(1, 1), (2, 1), (1, 1)])
    files["crossed"] = resampled(four, (47, 63), [(2, 1), (1, 2), (2, 1)])
    files["twos_that_are_ones"] = resampled(four, (24, 64), [(2, 1), (2, 1), (2, 1)])
    files["thirds"] = resampled(four, (48, 64), [(3, 1), (2, 1), (1, 1)])
    files["grey_sampled_twice"] = changed(
        jpeg(image.convert("L")), lambda marker, content: (marker, content[:7] + b"\x22" + content[8:] if marker == 0xC0 else content)
    )
    for factors in ((1, 1), (2, 1), (1, 2), (2, 2), (4, 2)):
        files[f"scans_one_by_one_{factors[0]}{factors[1]}"] = one_by_one(noise(50, 70), factors)
    files["no_huffman_tables"] = changed(jpeg(image), without(0xC4))
    files["no_quantisation_tables"] = changed(jpeg(image), without(0xDB))
    files["wide_quantisation_tables"] = changed(jpeg(image), wide_tables)
    files["no_jfif"] = changed(jpeg(image), without(0xE0))
    files["rgb"] = jpeg(image, keep_rgb=True)
    files["rgb_by_names"] = changed(jpeg(image, subsampling=0), named_rgb)
    for quality in (60, 95):
        cmyk = jpeg(noise(37, 41).convert("CMYK"), quality=quality)
        files[f"cmyk_{quality}"] = cmyk
        files[f"ycck_{quality}"] = changed(cmyk, as_ycck)
        files[f"cmyk_not_adobes_{quality}"] = changed(cmyk, without(0xEE))
    for orientation in range(1, 9):
        files[f"orientation_{orientation}"] = jpeg(noise(13, 27), exif=oriented(orientation))
    whole = files["420_53x71"]
    files.update({f"cut_{cut}": whole[:-cut] for cut in (1, 2, 3, 10, 100, len(whole) // 2, len(whole) - 10)})
    files["bytes_behind"] = whole + b"and more"
    files["arithmetic"] = whole.replace(b"\xff\xc0", b"\xff\xc9", 1)
    files["lossless"] = whole.replace(b"\xff\xc0", b"\xff\xc3", 1)
    files["twelve_bits"] = changed(whole, lambda marker, content: (marker, b"\x0c" + content[1:] if marker == 0xC0 else content))
    return {f"{name}.jpg": data for name, data in files.items()}


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(kind, bits, channels, extra=b""):
    """A PNG of random samples."""
    rows = np.random.default_rng(kind * 100 + bits).integers(0, 256, (9, (13 * bits * channels + 7) // 8), dtype=np.uint8)
    header = struct.pack(">IIBBBBB", 13, 9, bits, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def others():
    """Returns {name: file} of PNG, GIF, BMP and what is none of these."""
    image = noise(53, 71)
    opacity = image.getchannel(1)
    colours = image.quantize(50)
    files = {
        "rgb.png": written(image, "PNG"),
        "grey.png": written(image.convert("L"), "PNG"),
        "two_colours.png": written(image.convert("1"), "PNG"),
        "opacity.png": written(Image.merge("RGBA", [*image.split(), opacity]), "PNG"),
        "grey_opacity.png": written(Image.merge("LA", [image.getchannel(0), opacity]), "PNG"),
        "palette.png": written(colours, "PNG"),
        "palette_of_16.png": written(image.quantize(12), "PNG", bits=4),
        "palette_opacity.png": written(colours, "PNG", transparency=bytes(range(50))),
        "transparent_colour.png": written(image, "PNG", transparency=image.getpixel((3, 4))),
        "transparent_grey.png": written(image.convert("L"), "PNG", transparency=100),
        "orientation_6.png": written(image, "PNG", exif=oriented(6)),
        "gamma.png": png(2, 8, 3, chunk(b"gAMA", struct.pack(">I", 100000))),
        "wide_rgb.png": png(2, 16, 3),
        "wide_rgb_gamma.png": png(2, 16, 3, chunk(b"gAMA", struct.pack(">I", 100000))),
        "wide_opacity.png": png(6, 16, 4),
        "wide_grey_opacity.png": png(4, 16, 2),
        "wide_grey.png": png(0, 16, 1),
        "colours.gif": written(colours, "GIF"),
        "grey.gif": written(image.convert("L"), "GIF"),
        "transparent.gif": written(colours, "GIF", transparency=3),
        "animated.gif": written(colours, "GIF", save_all=True, append_images=[noise(53, 71, 1).quantize(40)]),
        "interlaced.gif": written(colours, "GIF", interlace=1),
        "rgb.bmp": written(image, "BMP"),
        "grey.bmp": written(image.convert("L"), "BMP"),
        "palette.bmp": written(colours, "BMP"),
        "opacity.bmp": written(Image.merge("RGBA", [*image.split(), opacity]), "BMP"),
        "no_image.txt": b"no image",
        "empty.png": b"",
        "cut.png": written(image, "PNG")[:-900],
        "cut.bmp": written(image, "BMP")[:-900],
    }
    files.update({f"grey_{bits}_bits.png": png(0, bits, 1) for bits in (1, 2, 4)})
    small = bytearray(files["colours.gif"])
    small[6:10] = struct.pack("<HH", 80, 60)
    files["smaller_than_its_canvas.gif"] = bytes(small)
    frame = small.index(b"\x2c\0\0\0\0")
    small[frame + 1 : frame + 5] = struct.pack("<HH", 5, 4)
    files["beside_the_corner.gif"] = bytes(small)
    return files


# Files that are refused although the program reads them: as something else than the picture, or with a coding that nobody uses.
REFUSED = {
    ("tensorflow", "palette.bmp"): "takes for brightness",
    ("pillow", "wide_grey.png"): "white",
    ("tensorflow", "arithmetic.jpg"): "coded arithmetically",
    ("pillow", "arithmetic.jpg"): "coded arithmetically",
}


def by_tensorflow(data):
    """Returns TensorFlow's pixels, or None if it refuses."""
    try:
        return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError:
        return None


def by_pillow(data, upright=False):
    """Returns Pillow's pixels, or None if it refuses."""
    try:
        image = Image.open(io.BytesIO(data))
        return np.asarray((ImageOps.exif_transpose(image) if upright else image).convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None


PROGRAMS = {"tensorflow": by_tensorflow, "pillow": by_pillow}


def decoded(folder, files, *options):
    """Returns our pixels of each file, and the reasons of those that are refused."""
    source, output = folder / "source", folder / f"output{''.join(options)}"
    for place in (source, output):
        place.mkdir(exist_ok=True)
    for name, data in files.items():
        (source / name).write_bytes(data)
    binary = operations.EXAMPLES / "decode_images"
    assert binary.exists(), f"{binary} does not exist: cargo build --release -p tfod-image --features codecs --examples"
    paths = [source / name for name in files]
    ran = subprocess.run([binary, output, *options, *paths], check=True, stdout=subprocess.PIPE, text=True)
    pixels, reasons = dict.fromkeys(files), {}
    for name in files:
        place = output / f"{name}.rgb"
        if place.exists():
            content = place.read_bytes()
            width, height = struct.unpack("<II", content[:8])
            pixels[name] = np.frombuffer(content, np.uint8, offset=8).reshape(height, width, 3)
    for line in ran.stdout.splitlines():
        path, reason = line.split(": ", 1)
        reasons[pathlib.Path(path).name] = reason
    assert {name for name, found in pixels.items() if found is None} == set(reasons)
    assert "panicked" not in ran.stdout
    return pixels, reasons


def differences(found, expected):
    """Says what is wrong with pixels, or None."""
    if (found is None) != (expected is None):
        return "refused" if found is None else "not refused"
    if found is None or np.array_equal(found, expected):
        return None
    if found.shape != expected.shape:
        return f"{found.shape}, expected {expected.shape}"
    return f"{np.count_nonzero(found != expected)} of {found.size} numbers differ"


@pytest.mark.parametrize("program, files", [(program, files) for program in ("tensorflow", "pillow") for files in ("jpegs", "others")])
def test_pixels_are_those_of_the_program(program, files, tmp_path):
    files = {"jpegs": jpegs, "others": others}[files]()
    reference, options = PROGRAMS[program], ["--pillow"] if program == "pillow" else []
    found, reasons = decoded(tmp_path, files, *options)
    wrong = {}
    for name, data in files.items():
        if (program, name) in REFUSED:
            assert REFUSED[program, name] in reasons[name]
            continue
        problem = differences(found[name], reference(data))
        if problem:
            wrong[name] = f"{problem} {reasons.get(name, '')}"
    assert not wrong
    assert sum(pixels is not None for pixels in found.values()) > len(files) // 2


def test_upright_pictures_are_those_of_pillow(tmp_path):
    files = {name: data for name, data in {**jpegs(), **others()}.items() if name.startswith("orientation")}
    assert len(files) == 9
    lying, _ = decoded(tmp_path, files, "--pillow")
    upright, _ = decoded(tmp_path, files, "--pillow", "--upright")
    for name, data in files.items():
        assert differences(upright[name], by_pillow(data, upright=True)) is None, name
        assert np.array_equal(upright[name], lying[name]) == (name == "orientation_1.jpg"), name


def test_both_programs_decode_most_of_these_files_and_differ():
    """The files tell the two apart, so agreeing with one is not agreeing with the other."""
    differing = [name for name, data in jpegs().items() if differences(by_tensorflow(data), by_pillow(data))]
    assert len(differing) > 60


def damaged(data, rng):
    """Changes a file in one of several ways."""
    data = bytearray(data)
    at = int(rng.integers(2, len(data)))
    way = int(rng.integers(5))
    if way == 0:
        data[at] = rng.integers(256)
    elif way == 1:
        for place in rng.integers(2, len(data), 4):
            data[place] ^= 1 << rng.integers(8)
    elif way == 2:
        del data[at : at + int(rng.integers(1, 9))]
    elif way == 3:
        data[at:at] = rng.integers(0, 256, int(rng.integers(1, 6)), dtype=np.uint8).tobytes()
    else:
        data[at:at] = bytes([0xFF, int(rng.integers(0xC0, 0x100))])
    return bytes(data)


def test_damaged_files_are_decoded_as_far_as_by_the_programs(tmp_path):
    """What is wrong in the data costs a part of the picture, the same part as with libjpeg; what is wrong in headers is refused as there."""
    rng = np.random.default_rng(3)
    whole = [data for name, data in jpegs().items() if 300 < len(data) < 6000 and "cut" not in name]
    files = {f"{index}.jpg": damaged(whole[index % len(whole)], rng) for index in range(DAMAGED)}
    wrong, both = {}, 0
    for options, reference in (([], by_tensorflow), (["--pillow"], by_pillow)):
        found, reasons = decoded(tmp_path, files, *options)
        for name, data in files.items():
            expected = reference(data)
            if expected is None and (reference is by_pillow or not data.startswith(b"\xff\xd8\xff")):
                # Pillow reads headers by itself, too, and refuses more.
                continue
            problem = differences(found[name], expected)
            both += found[name] is not None and not problem
            # Refused is what libjpeg makes something of: coefficients that never came, an end that did not come where it is not needed, another coding.
            if problem and not any(known in reasons.get(name, "") for known in ("lack parts of the first", "truncated", "arithmetically")):
                wrong[name] = f"{problem} {reasons.get(name, '')}"
    assert not wrong
    assert both > DAMAGED


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["tf115", "tf-old", "tf-new"])
def test_other_releases_of_tensorflow_decode_jpeg_alike(name, tmp_path):
    try:
        python = environments.make(name)
    except environments.Unavailable as error:
        pytest.skip(str(error))
    files = jpegs()
    found, _ = decoded(tmp_path, files)
    ran = subprocess.run([python, "-c", OTHER, tmp_path / "source"], check=True, stdout=subprocess.PIPE, text=True)
    sums = json.loads(ran.stdout.splitlines()[-1])
    ours = {name: None if pixels is None else zlib.crc32(pixels.tobytes()) for name, pixels in found.items()}
    assert sums == ours


def main():
    """Writes the fixtures of the crate: files, and a table of what they are decoded to."""
    names = [
        "444_17x33", "422_progressive_17x33", "420_7x9", "420_progressive_17x33", "440_narrow", "411_odd", "crossed", "grey", "overflowing",
        "scans_one_by_one_22", "no_huffman_tables", "wide_quantisation_tables", "rgb_by_names", "cmyk_60", "ycck_60", "cmyk_not_adobes_60",
        "orientation_6", "cut_10", "arithmetic", "lossless", "thirds",
    ]  # fmt: skip
    files = {f"{name}.jpg": jpegs()[f"{name}.jpg"] for name in names}
    rest = ["wide_rgb.png", "wide_grey_opacity.png", "grey_2_bits.png", "wide_grey.png"]
    files.update({name: others()[name] for name in rest})
    FIXTURES.mkdir(parents=True, exist_ok=True)
    lines = ["# file, width, height, CRC-32 of TensorFlow's pixels and of Pillow's; - for what is refused"]
    for name, data in sorted(files.items()):
        (FIXTURES / name).write_bytes(data)
        pixels = [None if (program, name) in REFUSED else by(data) for program, by in PROGRAMS.items()]
        size = next((image.shape[1::-1] for image in pixels if image is not None), ("-", "-"))
        sums = ["-" if image is None else f"{zlib.crc32(image.tobytes()):08x}" for image in pixels]
        lines.append("\t".join(map(str, (name, *size, *sums))))
    (FIXTURES / "pixels.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
