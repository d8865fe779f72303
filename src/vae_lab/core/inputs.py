"""Checks the arguments of a model against the spec of its data; an error names the argument and its remedy in one line.

Reading values waits for a GPU, so that training passes ``check=False``. Within `torch.compile` and `torch.export`
nothing is checked, because their graphs must hold nothing but the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_lab.core.condition_rows import check_rows, check_values, columns
from vae_lab.distributions.codes import UniformCodes
from vae_lab.types import DataSpec, listed

if TYPE_CHECKING:
    from vae_lab.core.model import LatentVariableModel

TensorOrNone = TypeVar("TensorOrNone", Tensor, Tensor | None)

_ROUNDING = 1e-3
"""Distance from [0, 1] that resampling and half precision may cause."""
_MAX_NUMBER = 2**31 - 1
"""Largest number of samples in one call, more than any memory holds."""
_HALF = (torch.float16, torch.bfloat16)

LABELS = ("num_classes", "class_names", "attributes", "numbers", "numbers_scaling", "numbers_range")
"""Fields of a spec that do not matter to an unconditional model."""


def check_data(model: LatentVariableModel, x: Any, y: Any) -> None:
    """Checks examples and their labels.

    Raises:
        TypeError: for anything but tensors of numbers of the right kind.
        ValueError: for another shape, place or range than that of the model's data.
    """
    if _tracing():
        return
    check_examples(model, x)
    check_labels(model, y, x.shape[0] if x.dim() else 1)


def check_spec(model: LatentVariableModel, data: DataSpec, source: str = "") -> None:
    """Checks that data of a spec are of the kind that a model was trained on.

    Classes, attributes and numbers do not matter to an unconditional model.

    Args:
        model: a model without a spec takes any data.
        source: opening of the message, such as ``data_root=FOLDER: ``.

    Raises:
        ValueError: naming the first difference.
    """
    if model.spec is None:
        return
    if not model.conditional:
        data = replace(data, **{key: getattr(model.spec, key) for key in LABELS})
    model.spec.check_data(data, source)


def check_examples(model: LatentVariableModel, x: Any) -> None:
    """Checks examples; raises the errors of `check_data`."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x: a {type(x).__name__}, must be a torch.Tensor; torch.as_tensor(x) makes one")
    _check_dense("x", x)
    _check_precision(model, x)
    if model.spec is not None:
        _check_shape_and_values(model, x)


def check_labels(model: LatentVariableModel, y: Any, num: int) -> None:
    """Checks labels of ``num`` examples; raises the errors of `check_data`."""
    if _tracing():
        return
    if not model.conditional or y is None:
        if y is not None:
            raise ValueError("y: this model is unconditional, it takes no labels y")
        if model.conditional:
            raise ValueError(f"y: this model is conditional, it needs labels y{_classes(model)}")
        return
    if not isinstance(y, Tensor):
        kind = "rows of floats" if _takes_rows(model) else "class numbers"
        raise TypeError(f"y: a {type(y).__name__}, must be a torch.Tensor of {kind}{_classes(model)}")
    _check_dense("y", y)
    if model.spec is not None and model.spec.vector_condition:
        check_rows(model.spec, y, num)
        _check_device(model, "y", y)
        if _readable(y) and len(y):
            check_values(model.spec, y)
        return
    if y.dim() != 1:
        one_each = "y.flatten()" if y.numel() == num else "for one-hot rows, y.argmax(1)"
        raise ValueError(
            f"y: shape {tuple(y.shape)}, must be ({num},); {one_each} makes it one number for each example"
        )
    if y.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"y: dtype {_name(y.dtype)}, must be class numbers in int64; y.long() makes them")
    if len(y) != num:
        raise ValueError(f"y: {num} examples with {len(y)} labels; give one label for each")
    _check_device(model, "y", y)
    if model.spec is None or not _readable(y) or not len(y):
        return
    least, most = (int(value) for value in y.aminmax())
    if least < 0 or most >= model.spec.num_classes:
        raise ValueError(f"y: class {least if least < 0 else most} does not exist{_classes(model)}")


def on_model(model: LatentVariableModel, value: TensorOrNone) -> TensorOrNone:
    """Returns a tensor, if there is one, on the model's device and, unless it holds class numbers, in its precision."""
    parameter = _parameter(model)
    if value is None or parameter is None:
        return value
    return value.to(parameter.device, parameter.dtype if value.is_floating_point() else value.dtype)


def check_codes(model: LatentVariableModel, z: Sequence[Any]) -> None:
    """Checks codes of latent levels, one tensor per level; `check_code` checks their shapes.

    Raises:
        TypeError: for anything but dense tensors of floating-point numbers in the model's precision.
        ValueError: for no level, too many, or different numbers of examples in different levels.
    """
    if not 1 <= len(z) <= model.num_levels:
        raise ValueError(f"z: codes of {len(z)} levels, must be those of the top 1 to {model.num_levels} levels")
    if _tracing():
        return
    for number, code in enumerate(z):
        name = f"z[{number}]"
        if not isinstance(code, Tensor):
            remedy = f"torch.as_tensor({name}) makes it" if hasattr(code, "__array__") else "give what encode returned"
            raise TypeError(f"{name}: a {type(code).__name__}, must be a tensor; {remedy}")
        _check_dense(name, code)
        if not code.is_floating_point() or code.dim() < 2:
            raise TypeError(
                f"{name}: {_name(code.dtype)} of shape {tuple(code.shape)}, must be floats with one code in each row"
            )
        _check_device(model, name, code)
        if not model.discrete:  # numbers of entries are in float32 always
            _check_dtype(model, name, code)
    if len({len(code) for code in z}) > 1:
        raise ValueError(f"z: codes of {', '.join(str(len(code)) for code in z)} examples, must be equally many")


def check_code(name: str, code: Tensor, p: Distribution) -> None:
    """Checks that a code is one of the values of its level, whose prior is ``p``.

    Raises:
        ValueError: for another shape than (N, *event), or numbers that are not those of a codebook's entries.
    """
    if _tracing():
        return
    if code.shape[1:] != p.event_shape:
        raise ValueError(f"{name}: shape {tuple(code.shape)}, must be (N, {_sizes(tuple(p.event_shape))})")
    if isinstance(p, UniformCodes) and _readable(code):
        wrong = (code != code.floor()) | (code < 0) | (code >= p.num_codes)
        if wrong.any():
            raise ValueError(f"{name}: {code[wrong][0]:g}, must be a whole number from 0 to {p.num_codes - 1}")


def check_number(**values: Any) -> None:
    """Checks that every value is an integer from 1 to 2^31 - 1.

    Raises:
        TypeError: for anything but an integer.
        ValueError: for one outside that range.
    """
    if _tracing():
        return
    for name, value in values.items():
        if not hasattr(value, "__index__") or isinstance(value, bool | Tensor):  # NumPy's integers have it, too
            raise TypeError(f"{name}={value}: a {type(value).__name__}, must be an integer of 1 or more")
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
        if value > _MAX_NUMBER:
            raise ValueError(f"{name}={value}: must be at most {_MAX_NUMBER}; call several times for more")


def _check_precision(model: LatentVariableModel, x: Tensor) -> None:
    """Refuses weights of 16 bits: densities are sums of hundreds of terms, of which 16 bits keep three digits."""
    parameter = _parameter(model)
    if parameter is None or parameter.dtype not in _HALF or not _readable(x):
        return
    if torch.is_autocast_enabled(x.device.type):
        return
    name = _name(parameter.dtype)
    raise TypeError(
        f"the model computes in {name}, too coarse for densities; model.float() and x.float() convert them, and"
        f" torch.autocast('{x.device.type}', torch.bfloat16) computes the networks alone in 16 bits"
    )


def _check_dense(name: str, value: Tensor) -> None:
    if value.is_nested:
        raise TypeError(f"{name}: a nested tensor, must be a dense one; torch.stack of its parts makes it")
    if value.layout is not torch.strided:
        raise TypeError(f"{name}: a sparse tensor, must be a dense one; {name}.to_dense() makes it")


def _check_shape_and_values(model: LatentVariableModel, x: Tensor) -> None:
    assert model.spec is not None
    shape = model.spec.shape
    if tuple(x.shape) == shape:
        raise ValueError(f"x: shape {tuple(x.shape)} has no batch axis, must be (B, {_sizes(shape)}); x[None] adds it")
    if x.dim() == 0 or tuple(x.shape[1:]) != shape or not x.shape[0]:
        remedy = _reordered(tuple(x.shape), shape)
        raise ValueError(f"x: shape {tuple(x.shape)}, must be (B, {_sizes(shape)}) with B of 1 or more{remedy}")
    if not x.is_floating_point():
        plain = model.spec.support == "real" or x.dtype == torch.bool
        remedy = "" if plain else " / 255 for pixels of 0..255"
        raise TypeError(f"x: dtype {_name(x.dtype)}, must be floating-point numbers; x.float(){remedy} makes them")
    _check_device(model, "x", x)
    _check_dtype(model, "x", x)
    if _readable(x):
        _check_range(x.nan_to_num(0.0, torch.inf, -torch.inf) if model.spec.missing else x, model.spec.support)


def _reordered(found: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Returns the call that makes a batch of this shape without mixing up pixels; empty if there is none."""
    if not found or not found[0]:
        return ""
    if len(shape) == 3 and found[1:] == (*shape[1:], shape[0]):
        return "; x.permute(0, 3, 1, 2) brings the channels to the front"
    flat = (math.prod(shape),)
    if shape[0] == 1 and {found, found[1:]} & {flat, shape[1:]}:
        return f"; x.reshape(-1, {_sizes(shape)}) makes it"
    return f"; x.reshape(-1, {_sizes(shape)}) makes it if the channels come first" if found[1:] == flat else ""


def _check_range(x: Tensor, support: str) -> None:
    least, most = (float(value) for value in x.detach().aminmax())
    if not (math.isfinite(least) and math.isfinite(most)):
        raise ValueError("x: has values that are not finite (NaN or infinite)")
    if support != "real" and (least < -_ROUNDING or most > 1 + _ROUNDING):
        remedy = "; x / 255 scales pixels of 0..255" if least >= 0 and 1 < most <= 255 else ""
        raise ValueError(
            f"x: values from {least:g} to {most:g}, must lie in [0, 1], as the model was built for{remedy}"
        )


def _check_device(model: LatentVariableModel, name: str, value: Tensor) -> None:
    parameter = _parameter(model)
    if parameter is not None and value.device != parameter.device:
        place = parameter.device
        raise ValueError(f"{name}: on {value.device}, but the model is on {place}; {name}.to('{place}') moves it")


def _check_dtype(model: LatentVariableModel, name: str, value: Tensor) -> None:
    parameter = _parameter(model)
    autocast = torch.is_autocast_enabled(value.device.type)
    if parameter is not None and parameter.is_floating_point() and value.dtype != parameter.dtype and not autocast:
        wanted = _name(parameter.dtype)
        raise TypeError(
            f"{name}: dtype {_name(value.dtype)}, but the model computes in {wanted}; {name}.to(torch.{wanted})"
            " converts it"
        )


def _parameter(model: LatentVariableModel) -> Tensor | None:
    return next(chain(model.parameters(), model.buffers()), None)


def _tracing() -> bool:
    return torch.compiler.is_compiling()


def _readable(value: Tensor) -> bool:
    """True if the values can be read, which those of meta tensors and within `torch.func` cannot."""
    return value.device.type != "meta" and not torch._C._are_functorch_transforms_active()


def _classes(model: LatentVariableModel) -> str:
    """Returns the classes that exist, as the end of a message."""
    if model.spec is None:
        return ""
    if _takes_rows(model):
        return columns(model.spec)
    spec = model.spec
    names = f" ({listed(spec.class_names)})" if spec.class_names != tuple(map(str, range(spec.num_classes))) else ""
    return f"; classes are 0 to {spec.num_classes - 1}{names if spec.class_names else ''}"


def _takes_rows(model: LatentVariableModel) -> bool:
    return model.spec is not None and model.spec.vector_condition


def _sizes(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
