"""The command that predicts: pictures and folders in, faces with their emotions out."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg

from fer_core.catalog import SMALLEST_FACE, VIEWS, check_name
from fer_core.cli_parts import Command, Json
from fer_core.console import prediction_lines, printable, progress
from fer_core.data.image_file import FORMATS
from fer_core.errors import ConfigError, DataError, FerError, SomeFailed
from fer_core.files import refuse_existing, write_atomic
from fer_core.runs import Run, find_run
from fer_core.shipped import DEFAULT_RUN

if TYPE_CHECKING:  # torch comes with it
    from fer_core.predict import Prediction, Predictor


class Predict(Command):
    """Find the faces of pictures, and say which emotion each of them shows. Exit code 1 where some pictures failed."""

    paths: CliPositionalArg[list[str]] = Field(
        description=f"Pictures, or folders of them; before them, if not {DEFAULT_RUN}, the name or folder of a RUN."
    )
    view: str = Field("none", description=f"The test-time view: {', '.join(VIEWS)}.")
    threshold: float = Field(0.0, ge=0, le=1, description="Below this probability, a face is 'not sure'.")
    whole: bool = Field(False, description="Where no face is found, take the picture's middle square for one.")
    smallest: float = Field(
        SMALLEST_FACE, ge=0.01, le=1, description="Smallest face looked for, as a share of the picture's shorter side."
    )
    annotate: str | None = Field(None, description="A new folder for the pictures with boxes and emotions drawn in.")
    as_json: bool = Json
    as_csv: bool = Field(False, alias="csv", description="Print CSV, one line a face.")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.as_json and self.as_csv:
            raise ConfigError("--json and --csv do not go together.")
        return self

    def cli_cmd(self) -> None:
        check_name("view", self.view, VIEWS)
        run, paths = _run_and_paths(self.paths)
        pictures = list(_pictures(paths))
        if not pictures:
            raise DataError(f"{', '.join(map(str, paths))}: no pictures in there ({', '.join(sorted(FORMATS))}).")
        folder = None if self.annotate is None else _new_folder(Path(self.annotate))
        from fer_core.predict import Predictor  # torch comes with it

        predictor = Predictor.load(run, view=self.view, smallest=self.smallest)
        print(f"note: {predictor.name} predicts", file=sys.stderr)
        self._predict_all(predictor, pictures, folder)

    def _predict_all(self, predictor: "Predictor", pictures: Sequence[tuple[Path, Path]], folder: Path | None) -> None:
        from fer_core.prediction_export import predictions_csv

        found: list[Prediction] = []
        failed = 0
        with progress("predicting") as tell:
            for done, (path, short) in enumerate(pictures, 1):
                try:
                    one = self._predict_one(predictor, path, None if folder is None else folder / short)
                except FerError as error:
                    failed += 1
                    print(f"failed: {printable(str(error))}", file=sys.stderr)
                else:
                    found.append(one)
                    if not self.as_json and not self.as_csv:
                        prediction_lines(one, self.threshold)
                tell(done, len(pictures))
        if self.as_json:
            print(json.dumps([one.to_json() for one in found], indent=1, allow_nan=False))
        elif self.as_csv:
            print(predictions_csv(found, predictor.classes, self.threshold), end="")
        if failed:
            raise SomeFailed(f"{failed:,} of {len(pictures):,} pictures failed; the others are done.")

    def _predict_one(self, predictor: "Predictor", path: Path, target: Path | None) -> "Prediction":
        one = predictor.predict(path, whole=self.whole)
        if target is not None:
            from fer_core.data.image_file import decode_photo
            from fer_core.prediction_export import annotated

            drawn = annotated(decode_photo(path), one, self.threshold)
            write_atomic(_free(target), lambda file: drawn.save(file, format="JPEG", quality=92))
        return one


def _run_and_paths(words: Sequence[str]) -> tuple[Run, list[Path]]:
    """The first word is a run where there is one of that name and nothing of that name lies in the working folder, or
    where it is a run's own folder."""
    try:
        named = find_run(words[0])
    except FerError:
        named = None
    if named is not None and (not Path(words[0]).exists() or Path(words[0]).resolve() == named.path.resolve()):
        if len(words) == 1:
            raise ConfigError(f"{words[0]} is a run; name the pictures or folders to look at after it.")
        return named, [Path(word) for word in words[1:]]
    return find_run(DEFAULT_RUN), [Path(word) for word in words]


def _pictures(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Each picture, and its place below the folder that was named."""
    for path in paths:
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        for inner in sorted(path.rglob("*")):
            if inner.suffix.lower() in FORMATS and inner.is_file():
                yield inner, inner.relative_to(path)


def _new_folder(path: Path) -> Path:
    if not path.is_dir() or any(path.iterdir()):
        refuse_existing(path)
    return path


def _free(path: Path) -> Path:
    """As JPEG; two pictures of one name, from two folders, get numbers."""
    first = path.with_suffix(".jpg")
    number, free = 1, first
    while free.exists():
        number += 1
        free = first.with_name(f"{first.stem}-{number}.jpg")
    return free
