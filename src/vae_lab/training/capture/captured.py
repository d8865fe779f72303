"""Captures an optimizer step as a CUDA graph: one launch instead of hundreds.

A small network's step is hundreds of short kernels, and the host needs longer to launch them than the device to run
them. A graph holds all of them, from the batch to the new weights. It is captured for one shape of batches; others,
such as a short last batch, run uncaptured. Random numbers are the same either way.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from vae_lab.data.loader import StoredRows
from vae_lab.objectives import Scheduled
from vae_lab.training.capture.device_steps import DeviceStep, StepNumbers
from vae_lab.training.optimization import zero_grad
from vae_lab.types import Batch

_Input = Batch | StoredRows

WARM_UP = 3
"""Uncaptured steps before a capture: they make the optimizer's state and the libraries' workspaces, and compile."""

_WAITS = "called a synchronizing CUDA operation"
"""PyTorch's warning in the debug mode for synchronisation."""


class Graph(Protocol):
    """Work of a device that is recorded once and repeated as a whole."""

    def warm_up(self, work: Callable[[], DeviceStep]) -> DeviceStep:
        """Does the work as it will be recorded."""

    def capture(self, work: Callable[[], Batch]) -> Batch:
        """Records the work without doing it; returns the memory of its result."""

    def replay(self) -> None:
        """Does the recorded work."""


class CudaGraph:
    """A CUDA graph, and the stream that it is captured on."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def warm_up(self, work: Callable[[], DeviceStep]) -> DeviceStep:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = work()
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def capture(self, work: Callable[[], Batch]) -> Batch:
        gc.collect()  # the destructor of an old tensor would end the capture
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        try:
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                return work()
        except Exception:
            # The state of a capture that failed would refuse all random numbers from here on.
            generator.graphsafe_set_state(generator.clone_state())
            raise

    def replay(self) -> None:
        self._graph.replay()


class CapturedStep:
    """Takes optimizer steps, captured once `WARM_UP` of them in a row had the same shapes and options of the optimizer.

    Of the options only the learning rate may change from step to step. A step that makes the host wait for the device,
    or that fails to be captured, is never captured, with a warning.

    Args:
        step: takes one optimizer step on a batch on the device, with the scheduled numbers, ();
            whatever it changes, it changes in place, and it leaves the gradients None.
        optimizer: the optimizer that it steps, whose learning rate may change between steps.
        device: where it runs.
        kept: steps whose numbers stay as they are while later steps are taken.
        graph: makes the graph.
    """

    def __init__(
        self,
        step: Callable[[_Input, Scheduled], DeviceStep],
        optimizer: Optimizer,
        device: torch.device,
        kept: int,
        graph: Callable[[], Graph] = CudaGraph,
    ) -> None:
        self._step, self._optimizer = step, optimizer
        self._device = device
        self._scheduled: dict[str, _Number] = {}
        self._rates = [_Number(device) for _ in optimizer.param_groups]
        self._kept = kept
        self._make_graph = graph
        self._graph: Graph | None = graph()
        self._last: Any = None  # shapes and options of the last step, and how many steps in a row had them
        self._in_a_row = 0
        self._captured: Any = None  # those of the graph
        self._example: DeviceStep | None = None
        self._input: _Input | None = None
        self._results: StepNumbers | None = None

    @property
    def replaying(self) -> bool:
        """True once a step has been captured."""
        return self._input is not None

    def __call__(self, batch: _Input, scheduled: Mapping[str, float]) -> DeviceStep:
        """Takes an optimizer step on a batch whose tensors are on the device, with the scheduled numbers."""
        for name, number in scheduled.items():
            self._scheduled.setdefault(name, _Number(self._device)).set(number)
        for rate, group in zip(self._rates, self._optimizer.param_groups, strict=True):
            rate.set(group["lr"])
        if self._graph is None:
            return self._uncaptured(batch)
        now = (_shapes(batch), _options(self._optimizer))
        self._in_a_row = self._in_a_row + 1 if now == self._last else 1
        self._last = now
        if self._input is None:
            if self._in_a_row <= WARM_UP:
                return self._warmed_up(batch)
            if not self._try_capture(batch):
                return self._uncaptured(batch)
            self._captured = now
        if now != self._captured:
            return self._uncaptured(batch)
        assert self._input is not None
        assert self._results is not None
        for static, tensor in zip(_tensors(self._input), _tensors(batch), strict=True):
            static.copy_(tensor)
        self._graph.replay()
        return self._results.next()

    def forget(self) -> None:
        """Drops the graph, because what it has captured may have changed; later steps are captured again."""
        if self._input is not None:
            self._graph, self._input, self._results, self._in_a_row = self._make_graph(), None, None, 0

    def _uncaptured(self, batch: _Input) -> DeviceStep:
        with _rates_on_device(self._optimizer, self._rates):
            return self._step(batch, {name: number.value for name, number in self._scheduled.items()})

    def _warmed_up(self, batch: _Input) -> DeviceStep:
        """Takes a step as it will be captured; the last of `WARM_UP` shows whether the host waits in it."""
        assert self._graph is not None
        with _waits(self._in_a_row == WARM_UP) as places:
            self._example = self._graph.warm_up(lambda: self._uncaptured(batch))
        if places:
            self._give_up(f"the host waits for the device at {places[0]}")
        return self._example

    def _try_capture(self, batch: _Input) -> bool:
        """Captures the step for the shape of a batch; returns False, with a warning, if that fails."""
        assert self._graph is not None
        assert self._example is not None
        fields: Any = batch._asdict()
        copies = {name: value.clone() for name, value in fields.items() if isinstance(value, Tensor)}
        static = batch._replace(**copies)  # type: ignore[arg-type]
        results = StepNumbers(self._example, self._kept)
        try:
            results.batch = self._graph.capture(lambda: results.keep(self._uncaptured(static)))
        except Exception as error:  # those of a capture have no common class
            zero_grad(self._optimizer)
            self._give_up(str(error).strip().partition("\n")[0])
            return False
        self._input, self._results = static, results
        return True

    def _give_up(self, reason: str) -> None:
        self._graph = None
        warnings.warn(f"the training step is not captured as a CUDA graph: {reason}", stacklevel=3)


class _Number:
    """A number of the host in memory of the device, where a captured step reads it."""

    def __init__(self, device: torch.device) -> None:
        self.value = torch.zeros((), device=device)
        self._number = 0.0

    def set(self, number: float) -> None:
        if number != self._number:
            self._number = number
            self.value.fill_(number)


def _tensors(batch: Any) -> list[Tensor]:
    return [value for value in batch if isinstance(value, Tensor)]


def _shapes(batch: Any) -> tuple[Any, ...]:
    return tuple((value.shape, value.dtype) if isinstance(value, Tensor) else value for value in batch)


def _options(optimizer: Optimizer) -> list[Any]:
    """Options that a graph holds as they were at its capture."""
    changing = ("params", "lr")
    return [value for group in optimizer.param_groups for key, value in group.items() if key not in changing]


@contextmanager
def _rates_on_device(optimizer: Optimizer, rates: list[_Number]) -> Iterator[None]:
    """Context manager in which the optimizer reads its learning rates from the device, as in a capture."""
    keys = ("lr", "capturable")
    before: list[dict[str, Any]] = [
        {key: group[key] for key in keys if key in group} for group in optimizer.param_groups
    ]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate.value
        if "capturable" in group:
            group["capturable"] = True
    try:
        yield
    finally:
        for group, options in zip(optimizer.param_groups, before, strict=True):
            group.update(options)


@contextmanager
def _waits(asked: bool) -> Iterator[list[str]]:
    """Context manager that lists the places where the host waits for a GPU, if that is asked for.

    It passes on all other warnings.
    """
    places: list[str] = []
    if not asked:
        yield places
        return
    with warnings.catch_warnings(record=True) as caught, _debug_mode("warn"):
        warnings.filterwarnings("always", message=f".*{_WAITS}")
        yield places
    for warning in caught:
        if _WAITS in str(warning.message):
            places.append(f"{warning.filename}:{warning.lineno}")
        else:
            warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)


@contextmanager
def _debug_mode(mode: str) -> Iterator[None]:
    """Context manager in which PyTorch reports each operation that waits for a GPU; without one it does nothing."""
    if not torch.cuda.is_available():
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
