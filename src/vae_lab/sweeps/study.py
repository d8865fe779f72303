"""Opens Optuna's studies, for the search and for each of its jobs; Optuna is an optional extra."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vae_lab.errors import RunError
from vae_lab.files import absolute

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage

_MAX_SECONDS = 60
"""Time to wait for another process that writes to the same SQLite file."""

_MAX_ATTEMPTS = 20
"""Attempts to open a new database, more than Optuna makes tables in it."""


def check_installed() -> None:
    """Raises `RunError` if Optuna is not installed."""
    try:
        import optuna  # noqa: PLC0415
    except ImportError as error:
        raise RunError("search=optuna: needs optuna; pip install 'vae-lab[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the table at the end has the results


def whole_storage(name: str) -> str:
    """Returns the name of a storage with the whole path of its file, because jobs may run in other folders."""
    if "://" not in name:
        return absolute(name)
    scheme, _, path = name.partition(":///")
    in_file = scheme.partition("+")[0] == "sqlite" and path and not path.startswith((":", "file:"))
    return f"{scheme}:///{absolute(path)}" if in_file else name


def open_storage(name: str) -> BaseStorage:
    """Opens a storage.

    Args:
        name: URL, or path of a journal file, which is safe on network file systems, unlike SQLite.

    Raises:
        RunError: if the storage cannot be opened.
    """
    from optuna.storages import JournalStorage, RDBStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    try:
        if "://" not in name:
            return JournalStorage(JournalFileBackend(name))
        options: dict[str, Any] = {"connect_args": {"timeout": _MAX_SECONDS}} if name.startswith("sqlite:") else {}
        return _database(lambda: RDBStorage(name, engine_kwargs=options))
    except Exception as error:  # SQLAlchemy's, a database driver's, the file system's, Optuna's
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"search.storage={name}: cannot be opened ({reason[:200]})") from error


def _database(open_it: Callable[[], BaseStorage]) -> BaseStorage:
    """Opens a database again if another process has made or filled a table that Optuna did not find."""
    from sqlalchemy.exc import DBAPIError, IntegrityError  # noqa: PLC0415

    for _ in range(_MAX_ATTEMPTS):
        try:
            return open_it()
        except DBAPIError as error:
            if not isinstance(error, IntegrityError) and "already exists" not in str(error):
                raise
    return open_it()


def find_trial(study: Study, storage: BaseStorage, number: int) -> Trial:
    """Returns a trial by its number, to go on with it."""
    from optuna import Trial  # noqa: PLC0415

    study_id = storage.get_study_id_from_name(study.study_name)
    return Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))
