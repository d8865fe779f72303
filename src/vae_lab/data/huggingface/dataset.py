"""Data sets of Hugging Face, on disk or by name: pictures or tables (pip install 'vae-lab[huggingface]')."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vae_lab.data.arrays import Examples, Images, Indices, allocate
from vae_lab.data.framing import Fit, Fitted, ImageSize, Sides, check_fit, fitted_picture, is_changed, is_enlarged
from vae_lab.data.missing_values import Missing
from vae_lab.data.picture.files import GREY_MODES, over_white
from vae_lab.data.splits import split_named
from vae_lab.data.table.columns import check_column, others_in_words
from vae_lab.data.table.files import refuse_table
from vae_lab.data.table.table import Table
from vae_lab.types import SplitName, Support, listed


class HuggingFace(Table):
    """A data set that `datasets.save_to_disk` wrote, a folder of its Parquet files, or one by name from the hub.

    It has a column of pictures, or columns of numbers and categories. No code of a data set is run.

    Args:
        root: folder of the data set, if ``dataset`` is None.
        image_size: side in pixels of pictures, or height and width; None: as they are, all of one size.
        memory_limit_gb: pictures that take more, in 10^9 bytes, stay on disk.
        dataset: name on the hub, such as zalando-datasets/fashion_mnist; None: read ``root``.
        config: name of a part of the data set on the hub.
        image: name of the column of pictures; None: the only one, or none if ``columns`` are named.
        channels: 1 (grey) or 3 (colour) for all pictures; None: as the first one.
        fit: what happens to pictures of other proportions than ``image_size``; see `DataSource`.
        train_split, val_split, test_split: names of the splits; None: the usual ones.
        columns, label, attributes, numbers, categorical, missing, test_fraction, split_seed, leave_out: see `Table`.

    Raises:
        ValueError: as `Table`, and for a number of channels other than 1 and 3.
    """

    name = "huggingface"
    licence = "the one on the card of the data set"

    def __init__(
        self,
        root: str = "data",
        image_size: ImageSize = None,
        memory_limit_gb: float = 4.0,
        dataset: str | None = None,
        config: str | None = None,
        image: str | None = None,
        channels: int | None = None,
        fit: Fit = "crop",
        train_split: str | None = None,
        val_split: str | None = None,
        test_split: str | None = None,
        columns: Sequence[str] | None = None,
        label: str | None = None,
        attributes: Sequence[str] = (),
        numbers: Sequence[str] = (),
        categorical: Sequence[str] = (),
        missing: Missing = "refuse",
        test_fraction: float = 0.1,
        split_seed: int = 0,
        leave_out: Sequence[str] = (),
    ) -> None:
        super().__init__(
            root,
            image_size,
            memory_limit_gb,
            columns,
            label,
            attributes,
            numbers,
            categorical,
            missing,
            test_fraction,
            split_seed,
            leave_out=leave_out,
        )
        check_fit(fit)
        self.fit = fit
        if channels not in (None, 1, 3):
            raise ValueError(f"channels={channels}: must be 1 or 3, or null for those of the first picture")
        if image is not None and columns is not None:
            raise ValueError(f"image={image}: columns={list(columns)} are modelled; name one of both")
        self.dataset, self.config, self.channels = dataset, config, channels
        self._asked_image = image
        self._asked_splits = {"train": train_split, "val": val_split, "test": test_split}

    @property
    def place(self) -> str:
        return self.dataset or self.root

    @property
    def reads_root(self) -> bool:  # type: ignore[override]
        return self.dataset is None

    def prepare(self) -> None:
        _ = self._splits

    @cached_property
    def native_shape(self) -> tuple[int, ...]:
        if self._image is None:
            return (len(self.columns),)
        first = self._splits["train"][0][self._image]
        if first is None:
            raise ValueError(f"{self._files['train']}: column {self._image}, row 1: no picture")
        channels = self.channels or (1 if first.mode in GREY_MODES else 3)
        # Each is resized as it is read, because they may have different sizes.
        return (channels, *(self.sides or (first.height, first.width)))

    @property
    def support(self) -> Support:
        return "real" if self._image is None else "uint8"

    @property
    def columns(self) -> tuple[str, ...]:
        return super().columns if self._image is None else ()

    @property
    def categories(self) -> tuple[int, ...]:
        return super().categories if self._image is None else ()

    @property
    def missing(self) -> bool:
        return super().missing and self._image is None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        names = getattr(self._features.get(self._label), "names", None) if self._label else None
        return tuple(names) if names else super().class_names

    def passed_over(self) -> list[str]:
        columns = others_in_words(self._splits["train"].column_names, self._used)
        unread = [split for split in self._opened if split not in self._chosen.values()]
        return [
            *columns,
            *([f"{len(unread)} other split{'s' * (len(unread) > 1)} ({listed(unread)})"] if unread else []),
        ]

    def found(self) -> dict[str, Any]:
        if self._image is None:
            return super().found()
        return {"image": self._image} if self._asked_image is None else {}

    def _size(self) -> int:
        return len(self._splits["train"])

    def _x(self, split: SplitName, rows: Indices | None) -> Examples:
        if self._image is None:
            return super()._x(split, rows)
        held: SplitName = split if rows is None else "train"
        rows = np.arange(len(self._splits[split])) if rows is None else rows
        images, changed, enlarged = allocate((len(rows), *self.native_shape), self.memory_limit_gb), 0, 0
        for place, (row, picture) in enumerate(self._decoded(held, rows)):
            images[place] = self._as_array(picture, f"{self._files[held]}: column {self._image}, row {row + 1}")
            if self.sides:
                sides = Sides(picture.height, picture.width)
                changed += is_changed(sides, self.sides)
                enlarged += is_enlarged(sides, self.sides, self.fit)
        self.fitted[split] = Fitted(changed, enlarged, len(rows))
        return images

    def _decoded(self, split: SplitName, rows: np.ndarray) -> Iterator[tuple[int, Any]]:
        column = self._splits[split].select_columns([self._image]).select(rows)
        try:
            yield from zip(rows.tolist(), (example[self._image] for example in column), strict=True)
        except (OSError, SyntaxError) as error:  # Pillow raises both
            raise ValueError(
                f"{self._files[split]}: column {self._image}: a picture cannot be decoded ({error})"
            ) from None

    def _as_array(self, picture: Any, where: str) -> Images:
        if not isinstance(picture, Image.Image):
            raise ValueError(f"{where}: no picture")
        if picture.mode[0] in "IF":
            raise ValueError(f"{where}: pictures of more than 8 bits are read by data=image_folder or data=array")
        channels, *size = self.native_shape
        if self.channels is None and channels == 1 and picture.mode not in GREY_MODES:
            raise ValueError(f"{where}: in colour, but the first picture is grey; set data.images.channels=3 or 1")
        if not self.sides and [picture.height, picture.width] != size:
            found = f"{picture.height} x {picture.width}"
            raise ValueError(f"{where}: {found} pixels, but the first has {size[0]} x {size[1]}; set data.image_size")
        flat = over_white(picture).convert("L" if channels == 1 else "RGB")
        array = np.array(fitted_picture(flat, self.sides, self.fit) if self.sides else flat)
        return array.reshape(*array.shape[:2], channels).transpose(2, 0, 1)

    @cached_property
    def _image(self) -> str | None:
        """Name of the column of pictures; None for a table."""
        if self._asked is not None:
            return None
        for name in self._left_out if self._asked_image is None else ():  # as in a table
            check_column(self._splits["train"], name, self._files["train"])
        pictures = [name for name in self._pictures if name not in self._left_out]
        if self._asked_image is not None and self._asked_image not in pictures:
            raise ValueError(
                f"image={self._asked_image}: no column of pictures; {self.place} has {listed(pictures) or 'none'}"
            )
        if self._asked_image is None and len(pictures) > 1:
            raise ValueError(f"image: {self.place} has several columns of pictures ({listed(pictures)}); name one")
        return self._asked_image or (pictures[0] if pictures else None)

    @property
    def _used(self) -> set[str]:
        return {*self._of_condition, *([self._image] if self._image else self._modelled)}

    @property
    def _pictures(self) -> list[str]:
        """Names of the columns of pictures."""
        return [name for name, feature in self._features.items() if type(feature).__name__ == "Image"]

    @property
    def _features(self) -> dict[str, Any]:
        features: dict[str, Any] = self._splits["train"].features
        return features

    @cached_property
    def _files(self) -> dict[SplitName, Path]:
        """The split of each name, as messages show it."""
        return {split: Path(self.place) / name for split, name in self._chosen.items()}

    @cached_property
    def _splits(self) -> dict[SplitName, Any]:
        return {split: self._opened[name] for split, name in self._chosen.items()}

    @cached_property
    def _chosen(self) -> dict[SplitName, str]:
        """Name of the data set's split behind each of ours."""
        names = list(self._opened)
        found: dict[SplitName, str] = {split: name for name in names if (split := split_named(name)) is not None}
        if len(names) == 1:
            found = {"train": names[0]}
        for key, asked in self._asked_splits.items():
            if asked is not None and asked not in names:
                raise ValueError(f"{key}_split={asked}: {self.place} has the splits {listed(names)}")
        asked_for: dict[Any, str] = {split: asked for split, asked in self._asked_splits.items() if asked is not None}
        found = {split: name for split, name in found.items() if name not in asked_for.values()} | asked_for
        if "train" not in found:
            raise ValueError(f"train_split: which of {listed(names)} is the training split of {self.place}? Name it")
        for name in found.values():
            if not len(self._opened[name]):
                raise ValueError(f"{self.place}: the split {name} has no rows")
        return found

    @cached_property
    def _opened(self) -> dict[str, Any]:
        """Every split of the data set by name."""
        from vae_lab.data.huggingface.files import open_local, open_named  # noqa: PLC0415

        return open_local(self.root) if self.dataset is None else open_named(self.dataset, self.config)

    def _load(self, split: SplitName) -> Any:
        plain = [name for name in self._splits[split].column_names if name not in self._pictures]
        table = self._splits[split].select_columns(plain).with_format("arrow")[:]
        return refuse_table(table, self._files[split])

    @cached_property
    def _classes(self) -> tuple[Any, ...]:
        names = getattr(self._features.get(self._label), "names", None) if self._label else None
        return tuple(range(len(names))) if names else super()._classes
