"""Image data sets as numpy arrays, and the order in which training visits them.

What lives here reads, checks and orders examples; it knows nothing of networks, and imports nothing
else of the library. How inputs are scaled and what is learned from them belongs to
`holoprop.training` and `holoprop.runs`.
"""

from holoprop.data._batches import batches_per_epoch, epoch_batches
from holoprop.data._image_set import ImageSet, hold_out
from holoprop.data._load import UnlabelledError, load_images, split_names
from holoprop.data._pixels import as_colour, as_grey, to_pixels

__all__ = [
    "ImageSet",
    "UnlabelledError",
    "as_colour",
    "as_grey",
    "batches_per_epoch",
    "epoch_batches",
    "hold_out",
    "load_images",
    "split_names",
    "to_pixels",
]
