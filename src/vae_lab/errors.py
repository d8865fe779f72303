"""Errors that end a run and are the run's, not the program's, fault."""


class RunError(RuntimeError):
    """Ends a run with one line instead of a stack trace."""


class PrunedError(RunError):
    """A search gave the run up, as others do better."""


class NonFiniteLossError(RunError):
    """A term of the loss became NaN or infinite."""
