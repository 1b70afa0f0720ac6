"""From an image as it was stored to pixels: upright, of 8 bits a channel, opaque, of one size."""

from collections import Counter

import numpy as np
from PIL import Image, ImageOps

# Pillow's modes without transparency, and what each becomes.
_MODES = {
    **{"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBX": "RGB"},
    **{"CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"},
}
_GREY = ("1", "L", "LA", "La")
# Where files keep which way up an image is; Pillow itself turns those of TIFF.
_ORIENTED = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
_ORIENTATION = 0x0112
_DEEP = 2**16 - 1
# Weights of red, green and blue in a grey of 16 bits, as Pillow has them (ITU-R 601-2).
_LUMA = np.array([19595, 38470, 7471], np.uint32)
_ROWS = 4096


def to_pixels(image: Image.Image, size: int | None, changes: Counter[str]) -> np.ndarray:
    """An image's pixels.

    It is turned upright as its EXIF orientation says, brought from 16 bits to 8, laid on white
    where it is transparent, and cut around its centre and scaled to a square where a size is asked
    for. Grey stays grey; all other colour models become RGB.

    Arguments:
        image: Opened; its data may still be unread.
        size: Height and width in pixels, or None for those that it has.
        changes: What was done is counted there, in words.

    Returns:
        uint8 [height, width] or [height, width, 3].

    Raises:
        ValueError: If its numbers are not those of an image of 8 or 16 bits.

    Example:
        >>> changes = Counter()
        >>> pixels = to_pixels(Image.new("RGBA", (4, 3), (0, 0, 0, 0)), 2, changes)
        >>> pixels.shape, int(pixels.min()), len(changes)
        ((2, 2, 3), 255, 2)
    """
    image.load()
    if _ORIENTED & image.info.keys() and image.getexif().get(_ORIENTATION, 1) != 1:
        changes["turned upright, as their EXIF orientation says"] += 1
        image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        changes["brought from 16 bits to 8"] += 1
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    elif image.has_transparency_data:
        grey, layer = image.mode in _GREY, image.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            changes["laid on white, where they are transparent"] += 1
            layer = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        image = layer.convert("L" if grey else "RGB")
    elif image.mode in _MODES:
        image = image.convert(_MODES[image.mode])
    else:
        raise ValueError(f"it has Pillow's mode {image.mode!r}: convert it to grey or RGB")
    if size is not None and image.size != (size, size):
        changes[f"cut to squares and scaled to {size} x {size}"] += 1
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def as_colour(images: np.ndarray) -> np.ndarray:
    """Grey images with the same number in all three channels.

    Arguments:
        images: [..., height, width].

    Returns:
        [..., height, width, 3].

    Example:
        >>> as_colour(np.full((1, 1), 7, np.uint8)).tolist()
        [[[7, 7, 7]]]
    """
    return np.repeat(images[..., None], 3, axis=-1)


def as_grey(images: np.ndarray) -> np.ndarray:
    """The luma of RGB images, to the bit as Pillow computes it.

    Arguments:
        images: uint8 [n, height, width, 3], or an image without n.

    Returns:
        uint8 [n, height, width].

    Example:
        >>> as_grey(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)).tolist()
        [[76, 29]]
    """
    grey = np.empty(images.shape[:-1], np.uint8)
    for start in range(0, len(images), _ROWS):
        rows = slice(start, start + _ROWS)
        grey[rows] = (images[rows].astype(np.uint32) @ _LUMA + 2**15) >> 16
    return grey


def _eight_bits(values: np.ndarray) -> np.ndarray:
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > _DEEP:
        raise ValueError(
            f"its numbers go from {least} to {most}, not from 0 to {_DEEP}: convert it to 8 bits"
        )
    return np.round(values / 257).astype(np.uint8)
