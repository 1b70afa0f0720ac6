"""A set of labelled images in memory, and the split of one set into two."""

import dataclasses

import numpy as np

from holoprop.data._batches import drawn


def check_labels(labels: np.ndarray, class_count: int, name: str) -> None:
    """Raise ValueError at the first label outside `range(class_count)`."""
    wrong = np.flatnonzero((labels < 0) | (labels >= class_count))
    if wrong.size:
        raise ValueError(
            f"label {labels[wrong[0]]} in row {wrong[0]} of {name} is outside the range "
            f"0..{class_count - 1} of its {class_count} classes; correct it or remove the row"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images of one size.

    Arguments:
        images: uint8 [n, height, width] for grey images, uint8 [n, height, width, 3] for colour.
        labels: int32 [n], each in 0..len(class_names)-1.
        class_names: one name for each class.
        name: what to call the set in messages and records, for example "mnist train".
        changes: what was made of the stored images, in words, for example "3 of 60 images turned
            upright, as their EXIF orientation says". Default nothing.

    Raises:
        ValueError: a shape, dtype or label is not as above, or there is no image.

    Example:
        >>> images = np.zeros((2, 28, 28), np.uint8)
        >>> labels = np.array([1, 0], np.int32)
        >>> image_set = ImageSet(images, labels, class_names=("off", "on"), name="blank")
        >>> len(image_set), image_set
        (2, ImageSet(class_names=('off', 'on'), name='blank'))
    """

    images: np.ndarray = dataclasses.field(repr=False)
    labels: np.ndarray = dataclasses.field(repr=False)
    class_names: tuple[str, ...]
    name: str
    changes: tuple[str, ...] = dataclasses.field(default=(), repr=False)

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or not (
            len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
        ):
            raise ValueError(
                f"images of {self.name} are {self.images.dtype} {list(shape)}; give uint8 "
                "[n, height, width] or uint8 [n, height, width, 3]"
            )
        if len(self.images) == 0:
            raise ValueError(f"{self.name} has no images; give at least one")
        if self.labels.dtype != np.int32 or self.labels.shape != shape[:1]:
            raise ValueError(
                f"labels of {self.name} are {self.labels.dtype} {list(self.labels.shape)}; give "
                f"int32 [{shape[0]}], one for each image"
            )
        check_labels(self.labels, len(self.class_names), self.name)

    def __len__(self) -> int:
        return len(self.images)

    def with_classes(self, class_names: tuple[str, ...], whose: str) -> "ImageSet":
        """The same images, with labels that count the classes of another set.

        Arguments:
            class_names: of the other set, in its order.
            whose: what to call that set in a message.

        Raises:
            ValueError: an image is of a class that the other set does not have.

        Example:
            >>> images, labels = np.zeros((2, 28, 28), np.uint8), np.array([1, 0], np.int32)
            >>> one = ImageSet(images, labels, class_names=("off", "on"), name="blank")
            >>> one.with_classes(("on", "off"), "another").labels
            array([0, 1], dtype=int32)
        """
        if self.class_names == class_names:
            return self
        labels = relabelled(self.labels, self.class_names, class_names, self.name, whose)
        return dataclasses.replace(self, labels=labels, class_names=class_names)


def relabelled(
    labels: np.ndarray,
    class_names: tuple[str, ...],
    others: tuple[str, ...],
    name: str,
    whose: str,
) -> np.ndarray:
    """Labels int32 [n] of some classes as those of others with the same names.

    Arguments:
        labels: of the classes `class_names`.
        class_names: by which they are counted.
        others: by which they shall be counted.
        name: what to call the images in a message.
        whose: what to call the owner of the other classes.

    Raises:
        ValueError: an image is of a class that is not among the others, or two have one name.
    """
    for owner, names in ((name, class_names), (whose, others)):
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise ValueError(
                f"{owner} has two classes named {twice!r}, and {name} and {whose} do not have the "
                "same classes in the same order; give each class a name of its own"
            )
    index = {other: number for number, other in enumerate(others)}
    lookup = np.array([index.get(own, -1) for own in class_names], np.int32)
    mapped = lookup[labels]
    if np.any(mapped < 0):
        row = int(np.argmax(mapped < 0))
        raise ValueError(
            f"{name} has images of class {class_names[labels[row]]!r} (the first in row {row}), "
            f"which {whose} does not have; its classes are {', '.join(others)}"
        )
    return mapped


def hold_out(
    image_set: ImageSet,
    *,
    seed: int,
    count: int | None = None,
    fraction: float | None = None,
    stratified: bool = True,
) -> tuple[ImageSet, ImageSet]:
    """Split a set in two at random: one part to train on, one to validate on.

    Both parts keep the order of the set.

    Arguments:
        image_set: the set to split, n images.
        seed: seed of the draw, at least 0.
        count: number of images to hold out, in 1..n-1.
        fraction: part of the images to hold out, between 0 and 1, rounded to a whole number of
            images. Give either `count` or `fraction`.
        stratified: whether each class is held out in proportion to its size, to within one image.
            Default True.

    Returns:
        The training part and the validation part.

    Raises:
        ValueError: not exactly one of `count` and `fraction` is given, or a part would be empty,
            or `seed` is negative.

    Example:
        >>> from holoprop.data import load_images
        >>> train, validation = hold_out(load_images(None, "test"), count=500, seed=0)
        >>> len(train), len(validation)
        (1500, 500)
        >>> np.bincount(validation.labels).tolist()
        [50, 50, 50, 50, 50, 50, 50, 50, 50, 50]
    """
    total = len(image_set)
    if (count is None) == (fraction is None):
        raise ValueError(
            f"count={count} and fraction={fraction} do not say how much to hold out; give exactly "
            "one of them"
        )
    if fraction is not None:
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"fraction={fraction} is outside 0..1; give a part of the set")
        count = round(fraction * total)
    assert count is not None
    if not 1 <= count < total:
        raise ValueError(
            f"holding out {count} of the {total} images of {image_set.name} leaves one part empty; "
            f"give a count in 1..{total - 1}"
        )
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; give 0 or more")
    order = drawn(range(total), total, seed=seed, epoch=0)
    if stratified:
        labels = image_set.labels[order]
        sizes = np.bincount(labels, minlength=len(image_set.class_names))
        shares = _shares(sizes, count)
        chosen = [order[labels == label][:share] for label, share in enumerate(shares)]
        validation = np.sort(np.concatenate(chosen))
    else:
        validation = np.sort(order[:count])
    train = np.setdiff1d(np.arange(total), validation)
    return (
        _take(image_set, train, f"{image_set.name}, kept"),
        _take(image_set, validation, f"{image_set.name}, held out"),
    )


def _shares(sizes: np.ndarray, count: int) -> np.ndarray:
    """Divide `count` in proportion to `sizes`, whole numbers by the largest remainders."""
    whole, remainder = np.divmod(sizes * count, sizes.sum())
    # A stable sort gives ties to the lower class, so that the result is the same everywhere.
    largest = np.argsort(-remainder, kind="stable")[: count - whole.sum()]
    whole[largest] += 1
    return whole


def _take(image_set: ImageSet, rows: np.ndarray, name: str) -> ImageSet:
    return dataclasses.replace(
        image_set, images=image_set.images[rows], labels=image_set.labels[rows], name=name
    )
