"""Uploads an export to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vae_lab.errors import RunError, one_line
from vae_lab.exports.formats import check_installed


def check_push(repository: str) -> None:
    """Checks that an upload can begin, before any work.

    Raises:
        ImportError: if huggingface_hub is not installed.
        RunError: without a login, or with the Hub switched off.
    """
    hub = _hub(repository)
    if hub.constants.HF_HUB_OFFLINE:
        raise RunError(f"push={repository}: HF_HUB_OFFLINE is set, so that nothing can be uploaded; unset it")
    if not hub.get_token():
        raise RunError(f"push={repository}: not logged in; hf auth login, or set HF_TOKEN to a token that may write")


def push(folder: Path, repository: str, private: bool) -> str:
    """Makes the repository if there is none, uploads the folder as one commit, and returns its address.

    Args:
        private: make a new repository private; one that exists stays as it is.

    Raises:
        RunError: in one line, for whatever the Hub or the network refuses.
    """
    hub = _hub(repository)
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Upload a model exported by vae_lab"
        )
    except Exception as error:  # the Hub's own errors, and those of its HTTP library
        raise RunError(f"push={repository}: {one_line(error, 200)}; the export is in {folder}") from error
    return str(getattr(commit, "commit_url", commit))


def _hub(repository: str) -> Any:
    check_installed("huggingface_hub", f"push={repository}")
    import huggingface_hub.constants  # noqa: PLC0415  (an extra)

    return huggingface_hub
