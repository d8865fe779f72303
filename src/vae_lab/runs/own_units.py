"""Arrays as users hold them, and tensors as a model reads them: shapes, pixels of 0..255, classes by name."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_lab.core.codes import Code
from vae_lab.errors import one_line
from vae_lab.nested import value_at
from vae_lab.plain_values import are_pictures, as_array
from vae_lab.types import DataSpec

WHITE = 255
_MAX_LOOKED_AT = 1000
"""Examples by whose values their unit is judged: a copy of all would take as much memory as they."""
_FAR = 20
"""Standard deviations from the mean of the training that no examples of the same unit have on average."""


class Pixels(NamedTuple):
    """Rules by which the data of a run turn pixels into numbers.

    Attributes:
        white: value of white in integers of more than 8 bits.
        of_real: True if integers are pixels although the data are real numbers.
        threshold: True if numbers above one half become 1, and others 0.
    """

    white: int = WHITE
    of_real: bool = False
    threshold: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Pixels:
        """Returns what the config of a run says of its data."""
        white = value_at(config, "data.images.max_value")
        white = white.get("integers") if isinstance(white, Mapping) else white
        source = str(value_at(config, "data.images._target_"))
        in_own_units = source.endswith((".ArrayFiles", ".Table")) or not source.startswith("vae_lab.")
        return cls(
            white if type(white) is int else WHITE,
            value_at(config, "data.support") == "real" and not in_own_units,
            value_at(config, "data.binarization") == "threshold",
        )

    def binarized(self, x: Tensor) -> Tensor:
        """Returns numbers in [0, 1] as 0 and 1 if the data of the run are made that; else as they are."""
        return (x > 0.5).to(x.dtype) if self.threshold else x


def as_given(value: Tensor, like: Any) -> Any:
    """Returns a tensor if ``like`` is one, or the `Code` of tensors, on its device; else a NumPy array."""
    like = like.mean if isinstance(like, Code) else like
    return value.to(like.device) if isinstance(like, Tensor) else value.cpu().numpy()


def examples_as_read(x: Any, spec: DataSpec, pixels: Pixels) -> Tensor:
    """Returns examples as floats, (N, *shape), on the CPU or where they are.

    Pixels of 0..255 become numbers in [0, 1], booleans 0 and 1. The channel axis of grey pictures may be missing, that
    of colour pictures may be the last, and examples of one channel may be flattened.

    Args:
        x: array, tensor or nested lists of numbers.
        pixels: what integers of pictures stand for.

    Raises:
        TypeError: for anything but numbers. Shapes and ranges are checked by the model.
    """
    values = x if isinstance(x, Tensor) else _tensor("x", _array_of("x", x, spec.columns))
    if not values.is_floating_point():
        values = _scaled(values, spec, pixels)
    return _arranged(values if values.dim() else values[None], spec.shape)


def warn_of_other_units(x: Tensor, spec: DataSpec) -> None:
    """Warns of real numbers, (N, *shape), so far from those of the training that they have another unit or scale."""
    if spec.scaling is None or tuple(x.shape[1:]) != spec.shape or not x.numel():
        return
    some = x[:: math.ceil(len(x) / _MAX_LOOKED_AT)]
    columns = (-1, *(1 for _ in spec.shape[1:]))
    mean, scale = (x.new_tensor(values).reshape(columns) for values in spec.scaling)
    far = float(((some - mean) / scale).abs().nanmean())
    if far > _FAR:
        warnings.warn(
            f"x: on average {far:.3g} standard deviations from the training data; give it in their units", stacklevel=4
        )


def labels_as_read(y: Any, spec: DataSpec, num: int) -> Tensor | None:
    """Returns the class number of each of ``num`` examples, (num,), or its row of floats; None for no labels.

    Args:
        y: one class for all examples, or one for each, by name or by number; one-hot rows. For data with attributes or
            numbers a row of floats, or a condition by name such as ``heart+smiling+x:0.3`` or ``{"x": 0.3}``
            (`vae_lab.pictures.conditions`), for all examples, or one for each; or the mapping of ``labels``,
            ``attributes`` and ``numbers`` that `vae_lab.fit` takes.

    Raises:
        ValueError: for a class that does not exist, or another number of labels.
    """
    if y is None:
        return None
    if spec.vector_condition:
        rows = _condition_rows(y, spec)
        return rows.expand(num, -1) if len(rows) == 1 else rows  # the model checks the columns
    if isinstance(y, Tensor) and y.dtype == torch.int64 and y.shape == (num,) and not _named_by_numbers(spec):
        return y
    if len(getattr(y, "columns", ())) > 1:
        y = _array_of("y", y, spec.class_names)
    array = as_array(y.cpu() if isinstance(y, Tensor) else y)
    one_hot = array.ndim == 2 and array.shape[1] == spec.num_classes and _is_one_hot(array)
    if array.ndim == 2 and array.shape[1] == 1 and not one_hot:
        array = array[:, 0]
    if array.ndim > 1 and not one_hot:
        raise ValueError(f"y: shape {array.shape}, must be one class for all examples, or one for each, ({num},)")
    numbers = array.argmax(1).astype(np.int64) if one_hot else _class_numbers(array.reshape(-1), spec)
    labels = torch.from_numpy(numbers)
    if len(labels) not in (1, num):
        raise ValueError(f"y: {num} examples with {len(labels)} labels; give one label for each, or one for all")
    return labels.expand(num) if len(labels) == 1 else labels


def num_labels(y: Any, spec: DataSpec) -> int | None:
    """Returns how many labels there are if ``y`` has one for each example; None if it has one for all, or none."""
    if spec.vector_condition and y is not None:
        rows = len(_condition_rows(y, spec))
        return rows if rows > 1 else None
    return len(y) if np.ndim(y) else None


def _condition_rows(y: Any, spec: DataSpec) -> Tensor:
    """Returns rows of floats, or conditions by name as such rows, (1, C) or (N, C)."""
    if isinstance(y, Mapping) and y and y.keys() <= {"labels", "attributes", "numbers"} - set(spec.context_names):
        return _rows_of_parts(y, spec)
    several = isinstance(y, list | tuple | np.ndarray) and any(isinstance(each, str | Mapping) for each in y)
    if several or isinstance(y, str | Mapping):
        from vae_lab.pictures.conditions import condition_of  # noqa: PLC0415  (which loads matplotlib)

        return torch.stack([condition_of(spec, each).row() for each in (y if several else [y])])
    if spec.context_features > 1 and hasattr(y, "iloc") and y.ndim == 1:  # a row of a data frame, by its names
        y = y.to_frame().T.infer_objects()
    y = y.cpu() if isinstance(y, Tensor) else _array_of("y", y, spec.context_names)
    rows = _tensor("y", y).to(torch.get_default_dtype())
    if rows.dim() < 2:
        rows = rows.reshape(-1, 1) if spec.context_features == 1 else rows.reshape(1, -1)
    return rows


def _rows_of_parts(y: Mapping[str, Any], spec: DataSpec) -> Tensor:
    """Returns rows of floats, (N, C), of a mapping of labels, attributes and numbers, as `vae_lab.fit` takes it.

    Raises:
        ValueError: for other parts than the model's condition has, or parts of different lengths.
    """
    names = {"labels": spec.context_names[: spec.num_classes], "attributes": spec.attributes, "numbers": spec.numbers}
    parts = {kind: columns for kind, columns in names.items() if columns}
    if y.keys() != parts.keys():
        raise ValueError(f"y: holds {', '.join(y)}, must hold {', '.join(parts)}, as the model's condition does")
    rows = []
    for kind, columns in parts.items():
        values = as_array(_array_of(f"y[{kind}]", y[kind], columns))
        if kind == "labels" and not (values.ndim == 2 and values.shape[1] == len(columns)):
            values = np.eye(len(columns))[_class_numbers(values.reshape(-1), spec)]
        rows.append(_tensor(f"y[{kind}]", values).to(torch.get_default_dtype()).reshape(-1, len(columns)))
    if len({len(part) for part in rows}) > 1:
        raise ValueError(f"y: parts of {', '.join(str(len(part)) for part in rows)} examples, must be equally many")
    return torch.cat(rows, dim=1)


def codes_as_read(z: Any) -> list[Tensor]:
    """Returns codes of the top levels as floats, nearest the data first, (N, *event) each.

    Args:
        z: codes of the top level; or a list of codes or `Code`, one for each of the top levels.

    Raises:
        TypeError: for anything but numbers.
        ValueError: for no codes, a single number, or values that are not finite.
    """
    several = isinstance(z, list | tuple) and not isinstance(z, Code)
    several = several and all(isinstance(level, Code | Tensor | np.ndarray) for level in z)
    levels = [level.mean if isinstance(level, Code) else level for level in (z if several else [z])]
    codes = [level if isinstance(level, Tensor) else _tensor("z", level) for level in levels]
    if not codes or not all(code.dim() for code in codes):
        raise ValueError(
            "z: holds no codes; give an array with one code in each row, or a list of them with one for each level"
        )
    if len({len(code) for code in codes}) > 1:
        raise ValueError(f"z: codes of {', '.join(str(len(code)) for code in codes)} examples, must be equally many")
    for code in codes:
        if len(broken := (~code.isfinite()).nonzero()):
            raise ValueError(f"z: row {int(broken[0, 0])} has values that are not finite (NaN or infinite)")
    return [code if code.is_floating_point() else code.to(torch.get_default_dtype()) for code in codes]


def _tensor(name: str, value: Any) -> Tensor:
    array = as_array(value)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name}: {array.dtype} values, must be numbers")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: value {array.max()}, beyond integers of 64 bits with a sign; give floats")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)  # of torch's integers only bytes are unsigned
    if not array.dtype.isnative or not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(array)


def _scaled(values: Tensor, spec: DataSpec, pixels: Pixels) -> Tensor:
    """Returns integers and booleans as the floats that stand for them."""
    number = torch.get_default_dtype()
    of_pixels = spec.support != "real" or (pixels.of_real and len(spec.shape) == 3)
    if not of_pixels or values.dtype == torch.bool or not values.numel():
        return values.to(number)
    highest = int(values.numpy(force=True).max())  # torch has no maximum of uint16
    if spec.support == "binary" and highest <= 1:
        return values.to(number)
    white = min(pixels.white, WHITE) if values.dtype == torch.uint8 else pixels.white
    if highest > white:
        raise ValueError(f"x: value {highest} where {white} is white; give pixels of 0..{white}, or floats in [0, 1]")
    if highest == 1:
        warnings.warn(f"x: 0 and 1, read as pixels of 0..{white}, nearly black; give floats for 0 to 1", stacklevel=5)
    if spec.support == "unit":
        return values.to(number) / white
    return (values.to(number) * (WHITE / white)).round() / WHITE


def _array_of(name: str, value: Any, columns: Sequence[str]) -> Any:
    """Returns the array of a data frame, its columns in the order of those of the training, or of pictures of Pillow.

    Anything else is returned as it is.
    """
    if are_pictures(value):
        from vae_lab.data.picture.files import pixels_of  # noqa: PLC0415  (which loads Lightning)

        return list(map(pixels_of, value))
    if not hasattr(value, "columns") and not hasattr(value, "var_names"):
        return value
    from vae_lab.data.array.memory import numbers_of_frame  # noqa: PLC0415  (which loads Lightning)

    return numbers_of_frame(name, value, columns)


def _arranged(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    found = tuple(x.shape[1:])
    if found == shape or not found:
        return x
    if len(shape) > 1 and found == (*shape[1:], shape[0]):
        return x.movedim(-1, 1)
    grey = shape[0] == 1 or len(shape) == 1
    if grey and math.prod(found) == math.prod(shape) and (found == shape[1:] or len(found) == 1):
        return x.reshape(-1, *shape)
    return x


def _class_numbers(array: Any, spec: DataSpec) -> Any:
    """Returns int64 class numbers of names or numbers, (N,)."""
    from vae_lab.pictures.classes import class_of  # noqa: PLC0415  (which loads matplotlib)

    if array.dtype.kind in "iu" and not _named_by_numbers(spec):
        return array.astype(np.int64)  # the model checks that these classes exist
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"y: {np.isnan(array).sum()} of {len(array)} labels are missing; leave such examples out")
    if array.dtype.kind == "f" and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    distinct, places = np.unique(array.astype(str), return_inverse=True)
    numbers = np.array([class_of(spec, label) for label in distinct.tolist()], np.int64)
    return numbers[places.reshape(-1)]


def _named_by_numbers(spec: DataSpec) -> bool:
    """True if some class has a name that is the number of another one, as have labels that begin with 1."""
    return any(name.isdecimal() and name != str(number) for number, name in enumerate(spec.class_names))


def _is_one_hot(array: Any) -> bool:
    return array.dtype.kind in "buif" and bool(((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all())


def check_device(device: Any) -> None:
    """Raises ValueError for a device that PyTorch does not know, or that this machine does not have."""
    try:
        torch.empty(0, device=device)
    except Exception as error:  # also AssertionError, of a torch without that backend
        here = "cpu, or cuda" if torch.cuda.is_available() else "cpu; torch finds no GPU"
        reason = one_line(error, 120)
        raise ValueError(f"device={device!r}: not a device of this machine ({reason}); choose {here}") from error
