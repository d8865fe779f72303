"""Optuna's studies, opened by the search and by each of its jobs, in whatever process; Optuna is an optional extra."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vae_lab.errors import RunError
from vae_lab.files import absolute

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

SECONDS_TO_WAIT = 60
"""For another process that writes to the same SQLite file."""

TABLES = 20
"""More than Optuna makes in a new database."""


def check_installed() -> None:
    """Raises `RunError` where Optuna is not installed."""
    try:
        import optuna  # noqa: PLC0415
    except ImportError as error:
        raise RunError("search=optuna: needs optuna; pip install 'vae-lab[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the table at the end says it all


def whole_storage(name: str) -> str:
    """Returns the name of a storage with the whole path of its file, as jobs and reports may run in other folders."""
    if "://" not in name:
        return absolute(name)
    scheme, _, path = name.partition(":///")
    in_file = scheme.partition("+")[0] == "sqlite" and path and not path.startswith((":", "file:"))
    return f"{scheme}:///{absolute(path)}" if in_file else name


def open_storage(name: str) -> BaseStorage:
    """A storage by its URL, or the path of a journal file, which is safe on network file systems where SQLite is not.

    Raises:
        RunError: where it cannot be opened.
    """
    from optuna.storages import JournalStorage, RDBStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    try:
        if "://" not in name:
            return JournalStorage(JournalFileBackend(name))
        options: dict[str, Any] = {"connect_args": {"timeout": SECONDS_TO_WAIT}} if name.startswith("sqlite:") else {}
        return _database(lambda: RDBStorage(name, engine_kwargs=options))
    except Exception as error:  # of SQLAlchemy, of a database's driver, of the file system, of Optuna
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"search.storage={name}: cannot be opened ({reason[:200]})") from error


def _database(open_it: Callable[[], BaseStorage]) -> BaseStorage:
    """Optuna makes each table that it did not find; another process may have made or filled it in between."""
    from sqlalchemy.exc import DBAPIError, IntegrityError  # noqa: PLC0415

    for _ in range(TABLES):
        try:
            return open_it()
        except DBAPIError as error:
            if not isinstance(error, IntegrityError) and "already exists" not in str(error):
                raise
    return open_it()
