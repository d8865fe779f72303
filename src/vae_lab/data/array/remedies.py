"""Remedies for files that `data=array` does not read: pictures, tables, tensors, matrices and the like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vae_lab.data.picture.files import looks_like_picture
from vae_lab.types import listed

STACK = "np.save('train.npy', np.stack([np.load(file) for file in files])) makes one array of a file for each example"
MAX_NAMED = 5
"""Names that a message lists."""
_TABLE = "for tables, set data=table"
_REMEDIES = {
    ".csv": _TABLE,
    ".tsv": _TABLE,
    ".parquet": f"{_TABLE}, or data=huggingface",
    ".arrow": "set data=huggingface, or data=table",
    ".pt": "np.save('train.npy', torch.load(FILE).numpy()) makes an array of a tensor",
    ".pth": "np.save('train.npy', torch.load(FILE).numpy()) makes an array of a tensor",
    ".mat": "np.save('train.npy', scipy.io.loadmat(FILE)['NAME']) makes an array of it",
    ".h5ad": "vae_lab.fit(anndata.read_h5ad(FILE)) trains on it",
    ".pkl": "pickles are never loaded; np.save writes arrays",
}
"""Remedy by the suffix of a file."""


def remedy_for(paths: Sequence[Path], within: bool = True) -> str:
    """Returns the remedy if something other than arrays lies there, and what lies ``within`` a folder; may be empty."""
    if any(each.suffix == ".npy" for path in paths if path.is_dir() for each in path.iterdir()):
        return f"; {STACK}"
    if any(path.is_dir() or looks_like_picture(path) for path in paths):
        return "; for pictures, set data=image_folder"
    known = [_REMEDIES[path.suffix.lower()] for path in paths if path.suffix.lower() in _REMEDIES]
    holds = f" (it holds {listed_names(paths)})" if paths and within else ""
    return f"{holds}; {known[0]}" if known else holds


def listed_names(paths: Iterable[Path]) -> str:
    """Returns the names of the first files, in words."""
    return listed([path.name for path in paths], MAX_NAMED)


def refuse_sparse(names: Sequence[str], path: Path) -> None:
    """Raises ValueError for the parts of a sparse matrix, which are not arrays of examples."""
    if {"format", "shape", "data"} <= {*names}:
        raise ValueError(
            f"{path}: a sparse matrix of scipy; np.save('train.npy', scipy.sparse.load_npz(FILE).toarray()) makes an"
            " array of it"
        )
