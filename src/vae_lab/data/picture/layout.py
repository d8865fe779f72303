"""Assigns the pictures under a folder to splits and classes; layouts with two meanings are refused."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from vae_lab.data.array.remedies import STACK
from vae_lab.data.arrays import Indices
from vae_lab.data.picture.files import files_within, is_passed_over, looks_like_picture
from vae_lab.data.source import readable
from vae_lab.data.splits import may_be_split, split_of_folder
from vae_lab.types import SplitName, listed

Layout = Literal["auto", "splits", "classes"]


class Listing(NamedTuple):
    """Files that should be pictures, and the class of each; None for pictures without classes."""

    paths: Sequence[Path]
    labels: Indices | None


class FolderLayout:
    """The folders of a set of pictures.

    Args:
        data_root: folder of the pictures, as the user wrote it.
        layout: ``splits``: only the folders train, val and test are read; ``classes``: every folder is a class; auto:
            recognised by the names, or refused.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the folders can be read in two ways; it names the remedy.
    """

    def __init__(self, data_root: str, layout: Layout = "auto") -> None:
        self.root = Path(data_root).expanduser()
        self.layout = layout
        self._key = f"data.root={data_root}"
        self._listed: dict[Path, Sequence[Path]] = {}
        if self.root.is_file():
            raise ValueError(f"{self._key}: a file; expected a folder of pictures{_array_hint([self.root])}")
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self._key}: no such folder; expected pictures or class folders in it")

    @cached_property
    def splits(self) -> dict[SplitName, Path]:
        """The folder of each split; for pictures that are not in splits, the root as the training set."""
        folders = _folders(self.root)
        named = {name: split for name in folders if (split := split_of_folder(name))}
        others = [name for name in folders if name not in named]
        if self.layout == "auto" and (doubtful := [name for name in others if may_be_split(name)]):
            raise ValueError(
                f"{self._key}: {listed(doubtful)} may be a split under another name; rename it to val or test, or set"
                " data.images.layout=classes if it is a class, =splits to pass it over"
            )
        if self.layout == "classes" or (self.layout == "auto" and not named):
            return {"train": self.root}
        if self.layout == "auto" and others:
            raise ValueError(
                f"{self._key}: {listed(list(named))} look like splits, {listed(others)} like classes; set"
                " data.images.layout=splits to read the splits alone, or =classes to take every folder as a class"
            )
        found: dict[SplitName, Path] = {}
        for name, split in named.items():
            if split in found:
                raise ValueError(
                    f"{self._key}: {found[split].name} and {name} both look like the {split} split;"
                    " take one away, or set data.images.layout=classes if they are classes"
                )
            found[split] = self.root / name
        if "train" not in found:
            raise ValueError(
                f"{self._key}: {listed(list(named)) or 'nothing'} but no folder train in it;"
                " add one, or set data.images.layout=classes if these are classes"
            )
        return found

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the class folders that hold training pictures, in alphabetical order.

        Raises:
            ValueError: if another split has a class that the training set lacks.
        """
        train = self.splits["train"]
        if train == self.root and self.layout == "auto":
            self._refuse_other_depths()
        classes = tuple(self._with_pictures(train))
        for folder in self.splits.values():
            if unknown := [name for name in self._with_pictures(folder) if name not in classes]:
                raise ValueError(f"{folder}: class {unknown[0]} has no folder with pictures in {train}")
        beside = [path for path in _beside(train) if looks_like_picture(path)]
        within = [path for name in classes for path in self._files_of(train, name) if _may_be_picture(path)]
        if classes and self.layout == "auto" and len(beside) > len(within):
            raise ValueError(
                f"{train}: {len(beside)} pictures beside the folders {listed(list(classes))}, more than in them;"
                " take one or the other away, or set data.images.layout=classes to pass over what is in no class"
            )
        return classes

    def listing(self, split: SplitName) -> Listing:
        """Returns the files of a split that has a folder.

        Raises:
            FileNotFoundError: if there are none.
            ValueError: for pictures without classes in a set with classes.
        """
        folder = self.splits[split]
        if not self.classes:
            paths, labels = _beside(folder), None
        else:
            files = [(path, label) for label, name in enumerate(self.classes) for path in self._files_of(folder, name)]
            paths, labels = [path for path, _ in files], np.array([label for _, label in files], np.int64)
            if not paths and _beside(folder):
                raise ValueError(
                    f"{folder}: pictures without class folders, but {self.splits['train']} has the classes"
                    f" {listed(list(self.classes))}; sort them into such folders, or move {folder} away"
                )
        hint = _array_hint(paths)
        if not paths or (hint and not any(map(looks_like_picture, paths))):
            raise FileNotFoundError(f"{folder}: no pictures; expected files in it or in class folders{hint}")
        return Listing(paths, labels)

    def passed_over(self) -> list[str]:
        """Returns what is in the folders but not read as one would expect, in words."""
        found: list[str] = []
        for folder in dict.fromkeys((self.root, *self.splits.values())):
            place = "" if folder == self.root else f" of {folder.name}/"
            if self.classes or folder not in self.splits.values():
                beside = [readable(path.name) for path in _beside(folder)]
                what = "the class folders" if folder in self.splits.values() else "the folders of the splits"
                found += [f"{len(beside)} files beside {what}{place} ({listed(beside)})"] if beside else []
            if folder not in self.splits.values():
                ignored = [readable(name) for name in _folders(folder) if not split_of_folder(name)]
                found += [f"folders beside the splits ({listed(ignored)})"] if ignored else []
                continue
            others = [name for name in _folders(folder) if name not in self.classes]
            empty = [readable(name) for name in others if not self._files_of(folder, name)]
            found += [f"empty folders{place} ({listed(empty)})"] if empty else []
            texts = [readable(name) for name in others if self._files_of(folder, name)]
            found += [f"folders without pictures{place} ({listed(texts)})"] if texts else []
            nested = [readable(name) for name in self.classes if (folder / name).is_dir() and _folders(folder / name)]
            found += [f"folders within the classes{place} ({listed(nested)}): their pictures count"] if nested else []
        return found

    def _refuse_other_depths(self) -> None:
        """Refuses class folders that lie one level further down, and splits within class folders."""
        folders = self._with_pictures(self.root)
        within = {name: _folders(self.root / name) for name in folders}
        if len(folders) == 1 and within[folders[0]] and not _beside(self.root / folders[0]):
            raise ValueError(
                f"{self._key}: only the folder {folders[0]} in it, with folders within; set"
                f" data.root={self.root / folders[0]}, or data.images.layout=classes if {folders[0]} is the one class"
            )
        split = next((f"{name}/{inner}" for name in folders for inner in within[name] if split_of_folder(inner)), None)
        if split is not None:
            raise ValueError(
                f"{self._key}: {split} looks like a split within a class; move the splits to the top, as train/<class>,"
                " or set data.images.layout=classes to mix them"
            )

    def _with_pictures(self, folder: Path) -> list[str]:
        """Returns the names of the folders that hold pictures; of all that hold files, if no name says which do."""
        filled = [name for name in _folders(folder) if self._files_of(folder, name)]
        return [name for name in filled if any(map(_may_be_picture, self._files_of(folder, name)))] or filled

    def _files_of(self, folder: Path, name: str) -> Sequence[Path]:
        key = folder / name
        if key not in self._listed:
            self._listed[key] = files_within(key)
        return self._listed[key]


def _folders(folder: Path) -> list[str]:
    names = [path.name for path in folder.iterdir() if path.is_dir() and not is_passed_over(path.name)]
    return sorted(names, key=readable)  # the same order on every file system


def _beside(folder: Path) -> list[Path]:
    """Returns the files that lie in a folder itself."""
    return sorted(path for path in folder.iterdir() if not path.is_dir() and not path.name.startswith("."))


def _may_be_picture(path: Path) -> bool:
    return not path.suffix or looks_like_picture(path)


def _array_hint(paths: Sequence[Path]) -> str:
    arrays = [path for path in paths if path.suffix in (".npy", ".npz")]
    one_each = len({path.parent for path in arrays if path.suffix == ".npy"}) > 1
    return f"; {STACK}" if one_each else "; for arrays, set data=array" if arrays else ""
