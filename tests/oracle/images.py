"""Input images of the parity cases: textured, so that activations vary from place to place, and the same everywhere.

Each image is a function of a seed and a size; NumPy's PCG64 generator gives the same numbers on all platforms and versions.
"""

import numpy as np


def textured(seed, height, width):
    """Returns uint8 [height, width, 3]: blocks of noise at several scales, a gradient, and a few rectangles."""
    rng = np.random.Generator(np.random.PCG64(seed))
    image = np.full((height, width, 3), 128.0)
    for block in (1, 3, 8, 21):
        rows, columns = -(-height // block), -(-width // block)
        noise = rng.uniform(-1, 1, size=(rows, columns, 3)) * 12 * block**0.5
        image += noise.repeat(block, axis=0)[:height].repeat(block, axis=1)[:, :width]
    image += np.linspace(-30, 30, width)[np.newaxis, :, np.newaxis] * rng.uniform(-1, 1, size=3)
    for _ in range(6):
        top, left = rng.integers(0, height), rng.integers(0, width)
        bottom, right = top + rng.integers(4, height // 2 + 5), left + rng.integers(4, width // 2 + 5)
        image[top:bottom, left:right] = 0.35 * image[top:bottom, left:right] + 0.65 * rng.uniform(0, 255, size=3)
    return np.clip(image, 0, 255).astype(np.uint8)


def textured_float(seed, height, width):
    """Returns float32 [height, width, 3] in 0..255 with fractions, which no uint8 image has."""
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    fractions = rng.uniform(0, 1, size=(height, width, 3))
    return np.clip(textured(seed, height, width) + fractions, 0, 255).astype(np.float32)
