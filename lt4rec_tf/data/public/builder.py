"""Base of the builders of public data sets: their features, and files that were got by hand.

Only builders import this module: it loads TensorFlow Datasets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.public import archives

Examples = Iterator[tuple[str | int, dict[str, Any]]]  # (key, values by column)


class PublicBuilder(tfds.core.GeneratorBasedBuilder):
    """Builds a data set of one version from files, most of which are got by hand.

    A builder says where the files come from (MANUAL_DOWNLOAD_INSTRUCTIONS) and makes the splits.

    Attributes:
        columns: Of an example.
        homepage: Of the data set.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    columns: ClassVar[Sequence[archives.Column]]
    homepage: ClassVar[str]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=archives.features(self.columns), homepage=self.homepage
        )

    def _manual_folder(self, manager: tfds.download.DownloadManager) -> epath.Path:
        """Returns the folder for files that can only be downloaded by hand.

        Raises:
            DataError: There is none, or it is empty; says what to download and where to put it.
        """
        folder = manual_folder(manager)
        if folder is None:
            raise DataError(
                f"--manual_dir: found no folder with files, expected those of {self.name}.\n"
                f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        return folder

    def _manual_files(
        self, manager: tfds.download.DownloadManager, *names: str
    ) -> list[epath.Path]:
        """Returns the paths of files, or folders, in the manual folder.

        Raises:
            DataError: One of them is missing; says what to download and where to put it.
        """
        folder = self._manual_folder(manager)
        return [self._need(folder / name) for name in names]

    def _need(self, path: epath.Path) -> epath.Path:
        """Returns a path that must exist.

        Raises:
            DataError: It does not; says what to download and where to put it.
        """
        if not path.exists():
            raise DataError(
                f"{path}: found nothing there, expected what follows.\n"
                f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        return path


class SplitFilesBuilder(PublicBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds a data set whose splits have a CSV file each, in one folder.

    Attributes:
        folder: Of the files, in the manual folder.
    """

    folder: ClassVar[str]
    files: ClassVar = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        names = (f"{self.folder}/{file}" for file in self.files.values())
        paths = self._manual_files(dl_manager, *names)
        examples = map(self._generate_examples, paths)
        return dict(zip(self.files, examples, strict=True))

    def _generate_examples(self, path: epath.Path) -> Examples:
        for number, row in archives.read_rows(path):
            yield number, archives.example(self.columns, row, f"{path.name}: row {number}")


def manual_folder(manager: tfds.download.DownloadManager) -> epath.Path | None:
    """Returns the folder for files that were downloaded by hand, None if it is absent or empty."""
    try:
        return epath.Path(manager.manual_dir)
    except AssertionError:  # TensorFlow Datasets raises it for such a folder
        return None
