"""A user's arrays found by their names, in .npy files or in .npz archives, and opened without unpickling anything."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from vae_lab.data.array import hdf5
from vae_lab.data.array.remedies import MAX_NAMED, listed_names, refuse_sparse, remedy_for
from vae_lab.data.arrays import allocate
from vae_lab.data.conditions import written_names
from vae_lab.data.splits import split_named
from vae_lab.types import IN_MEMORY, SplitName, listed

Kind = Literal["images", "labels", "attributes", "numbers", "factors"]
Role = tuple[SplitName, Kind]
_Array = NDArray[np.generic]

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("images", "image", "imgs", "img", "x", "data"), "images"),
    **dict.fromkeys(("labels", "label", "y", "targets", "target"), "labels"),
    **dict.fromkeys(("attributes", "attribute", "attrs", "attr"), "attributes"),
    **dict.fromkeys(("factors", "factor"), "factors"),
    **dict.fromkeys(("numbers", "number", "conditions", "condition"), "numbers"),
}
_ALONE: Role = ("train", "images")
"""Role of a file that is read alone."""
_PART_BYTES = 2**24


class Stored(NamedTuple):
    """One array on disk: a .npy file, or a member of a .npz archive."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """Name of the array in its archive, or of its file."""
        return self.member or self.path.name


class ArrayStore:
    """The arrays under a root, by role: a folder of .npy files or with one .npz file, or either file itself.

    Names are split words (train, val, test, ...) and kind words (images, x, labels, y, attributes, numbers, factors):
    ``train_images.npy``, ``x_train`` and ``val_labels`` have a role, and a name without a split word belongs to the
    training set.

    Args:
        root: folder or file.
        memory_limit_gb: size above which members of an archive are unpacked to a temporary file.

    Raises:
        FileNotFoundError: if there are no training images; it says what there is and what to do.
        ValueError: for two arrays of one role.
    """

    def __init__(self, root: str, memory_limit_gb: float) -> None:
        self.root = root
        self.memory_limit_gb = memory_limit_gb
        self.place = Path(root).expanduser()
        self.found: dict[Role, Stored] = {}
        self.passed_over: list[str] = []
        self._unpacked: dict[Stored, _Array] = {}
        if self.place.is_dir():
            self._find_in_folder()
        elif self.place.suffix == ".npz" and self.place.is_file():
            self._take(_members(self.place))
        elif self.place.suffix in hdf5.SUFFIXES and self.place.is_file():
            self._take_hdf5()
        elif self.place.suffix == ".npy" and self.place.is_file():
            self.found["train", "images"] = Stored(self.place)
        elif root == IN_MEMORY:
            raise FileNotFoundError(
                f"data.root={root}: the run was trained on arrays in memory; save them as train.npy and the like"
                " in a folder, and name it"
            )
        elif self.place.exists():
            raise ValueError(
                f"data.root={root}: not a folder, nor a .npy, .npz or .h5 file{remedy_for([self.place], False)}"
            )
        else:
            raise FileNotFoundError(
                f"data.root={root}: no such file or folder; expected train.npy in a folder, or a .npz file"
            )
        if ("train", "images") not in self.found:
            raise FileNotFoundError(self._nothing_found())
        alone = [stored for (split, _), stored in self.found.items() if (split, "images") not in self.found]
        self.passed_over += [f"{stored.name} without its examples" for stored in alone]

    def open(self, role: Role) -> _Array:
        """Opens an array: a memory map of a .npy file, or what a member of an archive or an HDF5 file holds.

        Raises:
            ValueError: naming the file, if it is corrupt or holds Python objects.
        """
        stored = self.found[role]
        try:
            if not stored.member:
                return npy.open_memmap(stored.path, mode="r")
            if stored not in self._unpacked:
                hdf = stored.path.suffix in hdf5.SUFFIXES
                whole = hdf5.read(*stored, self.memory_limit_gb) if hdf else self._unpack(stored)
                self._unpacked[stored] = whole
            return self._unpacked[stored]
        except Exception as error:  # of a corrupt header anything may come
            reason = " ".join(str(error).split())
            if "Python objects" in reason or "Object arrays" in reason:
                raise ValueError(
                    f"{stored}: holds Python objects, which are never loaded; save a plain array of numbers or strings"
                ) from error
            raise ValueError(f"{stored}: corrupt, truncated or not an array ({reason})") from error

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Returns the lines of the file of names beside the arrays, such as ``class_names.txt``; empty if none.

        Raises:
            ValueError: as `written_names`, and for names without the array that they belong to.
        """
        one = {"images": "column", "labels": "class"}.get(kind, kind.removesuffix("s"))
        folder = self.place if self.place.is_dir() else self.place.parent
        path = folder / f"{one}_names.txt"
        names = written_names(path)
        if names and ("train", kind) not in self.found:
            what, array = "classes" if kind == "labels" else kind, folder / f"train_{kind}.npy"
            lacking = f"data.root={folder} reads {array.name}, too" if array.exists() else f"{array} is missing"
            raise ValueError(f"{path}: names of {what}, but {lacking}")
        return names

    def _find_in_folder(self) -> None:
        files, arrays = self._files()
        archives = [path for path in files if path.suffix == ".npz"]
        self._take((path.stem, Stored(path)) for path in arrays)
        if ("train", "images") in self.found:
            self.passed_over += [path.name for path in archives]
            return
        splits = {path: split_named(path.stem) for path in archives}
        if archives and all(splits.values()):
            named = [(splits[path], _sole_is_images(_members(path))) for path in archives]
            self._take((f"{split}_{_kind(name)}", stored) for split, members in named for name, stored in members)
        elif len(archives) == 1:
            self._take(_members(archives[0]))
        elif archives:
            raise ValueError(
                f"data.root={self.root}: {listed_names(archives)}: several archives; set data.root to one of them"
            )

    def _take_hdf5(self) -> None:
        """Takes the arrays of an HDF5 file; labels of several columns are the values of factors, as in 3D Shapes."""
        self._take((name, Stored(self.place, name)) for name in hdf5.members(self.place))
        labels: Role = ("train", "labels")
        if labels in self.found and self.open(labels).ndim == 2 and self.open(labels).dtype.kind == "f":
            self.found["train", "factors"] = self.found.pop(labels)

    def _files(self) -> tuple[list[Path], list[Path]]:
        """Returns what lies in the folder, and the .npy files in it."""
        files = sorted(path for path in self.place.iterdir() if not path.name.startswith("."))
        return files, [path for path in files if path.suffix == ".npy"]

    def _take(self, named: Iterable[tuple[str, Stored]]) -> None:
        for name, stored in _sole_is_images(named):
            role = _role(name)
            if role is None:
                self.passed_over.append(stored.name)
            elif role in self.found:
                raise ValueError(
                    f"data.root={self.root}: {self.found[role]} and {stored} are both {role[0]} {role[1]};"
                    " rename one of them"
                )
            else:
                self.found[role] = stored

    def _nothing_found(self) -> str:
        if not self.place.is_dir():
            names = self._other_names()
            if all(re.fullmatch(r"arr_\d+", name) for name in self.passed_over) and self.passed_over:
                return (
                    f"data.root={self.root}: {names} in it, which does not say what they are; save them by name:"
                    " np.savez(FILE, train_images=..., train_labels=...)"
                )
            return f"data.root={self.root}: no array train_images, x_train or images in it, but {names}; rename one"
        files, arrays = self._files()
        if archives := [path for path in files if path.suffix == ".npz"]:
            names = self._other_names()
            return f"{self.place}: no array train_images in {listed_names(archives)}, but {names}; rename one"
        if not arrays:
            return f"{self.place}: no train.npy and no .npz file in it{remedy_for(files)}"
        one = f", or set data.root={arrays[0]}" if len(arrays) == 1 else ""
        return f"{self.place}: no train.npy, but {listed_names(arrays)}; rename the training images to it{one}"

    def _other_names(self) -> str:
        """Returns the names of what there is instead of training images."""
        others = [stored.name for stored in self.found.values()]
        return listed(list(dict.fromkeys([*others, *self.passed_over])), MAX_NAMED) or "nothing"

    def _unpack(self, stored: Stored) -> _Array:
        with zipfile.ZipFile(stored.path) as archive, archive.open(f"{stored.member}.npy") as stream:
            shape, fortran, dtype = _header(stream)
            if dtype.hasobject:
                raise ValueError("Object arrays cannot be loaded")
            size = int(np.prod(shape, dtype=object)) * dtype.itemsize
            if size != archive.getinfo(f"{stored.member}.npy").file_size - stream.tell():
                raise ValueError(f"{size} bytes announced, others present")
            whole = allocate((size,), self.memory_limit_gb)
            filled = 0
            while filled < size and (part := stream.read(min(size - filled, _PART_BYTES))):
                whole[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
                filled += len(part)
        if filled < size:
            raise ValueError(f"{size} bytes announced, {filled} present")
        array = whole.view(dtype)
        return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def unread_arrays(root: str) -> list[str]:
    """Returns the arrays with a role that lie beside the one file that is read, in words; empty for a folder."""
    place = Path(root).expanduser()
    if place.suffix not in (".npy", ".npz") or not place.is_file():
        return []
    others = [path for path in sorted(place.parent.glob(f"*{place.suffix}")) if path != place]
    known = [path for path in others if _role(path.stem) not in (None, _ALONE)]
    if not known:
        return []
    renamed = "" if _role(place.stem) == _ALONE else f", once {place.name} is named train{place.suffix}"
    return [f"{listed_names(known)} beside {place.name}; data.root={place.parent} reads all of them{renamed}"]


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype


def _sole_is_images(named: Iterable[tuple[str, Stored]]) -> list[tuple[str, Stored]]:
    """Returns arrays by name, where the only one of an archive, saved without a name, is called images."""
    everything = list(named)
    if [name for name, _ in everything] == ["arr_0"]:
        return [("images", everything[0][1])]
    return everything


def _members(path: Path) -> Iterator[tuple[str, Stored]]:
    """Returns the arrays of a .npz file by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except Exception as error:  # of a corrupt archive anything may come
        raise ValueError(f"{path}: corrupt, truncated or not an archive ({' '.join(str(error).split())})") from error
    refuse_sparse(names, path)
    return ((name, Stored(path, name)) for name in names)


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", name.casefold()) if word]


def _kind(name: str) -> str:
    """Returns the one kind that the words of a name say; the name itself if they say none, or two."""
    kinds = {_KINDS[word] for word in _words(name) if word in _KINDS}
    return kinds.pop() if len(kinds) == 1 else name


def _role(name: str) -> Role | None:
    """Returns the role that every word of a name supports; None if there is no such role."""
    if name == "latents_classes":  # as dSprites calls them
        return ("train", "factors")
    words = _words(name)
    splits = {split for word in words if (split := split_named(word))}
    kinds = {_KINDS[word] for word in words if word in _KINDS}
    known = all(word in _KINDS or split_named(word) for word in words)
    if not words or not known or len(splits) > 1 or len(kinds) > 1:
        return None
    return (splits.pop() if splits else "train", kinds.pop() if kinds else "images")
