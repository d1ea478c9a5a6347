"""The command that writes a run as one ONNX file, checked against the run's net; in 8 bits with what that costs."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic_settings import CliPositionalArg

from fer_core.catalog import VIEWS, check_name
from fer_core.cli_parts import Command, Json, print_result
from fer_core.compare import Comparison
from fer_core.console import progress
from fer_core.data import SAMPLE, FaceStore, open_store
from fer_core.data.views import judged_view
from fer_core.errors import DataError
from fer_core.files import refuse_existing, write_atomic, writing_into
from fer_core.runs import Run, find_run

if TYPE_CHECKING:
    from fer_core.onnx_export import Check  # torch comes with it

FORMATS = ("onnx",)
CHECKED_FACES = 1000

Images = NDArray[np.uint8]


class Export(Command):
    """Write a run as one file: grey faces in, probabilities out, by the decision that was kept with the run.

    onnxruntime runs the file, which must answer as the net does, before it is put in its place.
    """

    run: CliPositionalArg[str] = Field(description="Name or folder of a run.")
    format: str = Field("onnx", description=f"The kind of file: {', '.join(FORMATS)}.")
    view: str = Field("none", description=f"The test-time view that the file takes: {', '.join(VIEWS)}.")
    int8: bool = Field(False, description="In 8-bit numbers: a quarter of the size; accuracy on public is told.")
    data: str | None = Field(
        None, description="Faces to check with, a path or 'sample'. Left out: the run's own, else those that are there."
    )
    out: str | None = Field(None, description="The file to write. Left out: RUN.onnx or RUN-int8.onnx, here.")
    as_json: bool = Json

    def cli_cmd(self) -> None:
        check_name("format", self.format, FORMATS)
        check_name("view", self.view, VIEWS)
        run = find_run(self.run)
        target = Path(self.out or f"{run.name}{'-int8' if self.int8 else ''}.onnx")
        _check_target(target)
        values = export(run, target, view=self.view, int8=self.int8, data=self.data)
        print_result(values, self.as_json, partial(_show, values))


def export(
    run: Run, target: Path, *, view: str = "none", int8: bool = False, data: str | None = None
) -> dict[str, Any]:
    """Write a run's file and check it, in this order: a file that answers otherwise is never there.

    Returns: what the command prints as JSON.
    Raises: FerError: a package is missing, the net cannot be exported, the check fails, or there are no faces to
    calibrate on.
    """
    from fer_core.onnx_export import (
        check_export,
        face_size,
        facts_of,
        require_packages,
        require_same,
        to_onnx,
        with_facts,
    )
    from fer_core.pipeline import load_pipeline

    require_packages()
    pipeline, size = load_pipeline(run, view), face_size(run)
    store = _open(run, data, required=int8)
    with progress("exporting the net") as tell:
        tell(0, 1)
        model = to_onnx(pipeline, size)
    images, source = _faces_to_check(store, size)
    with progress("checking the file") as tell:
        check = check_export(model, pipeline, images, tell)
    require_same(check)
    quantised = None
    facts = facts_of(run, pipeline, size, "int8" if int8 else "float32")
    if int8:
        model, quantised = _quantised(model, run, store, pipeline.classes, size)
        facts["measured"] = quantised.pop("words")
    model = with_facts(model, facts)
    with writing_into(target.parent):
        write_atomic(target, lambda file: file.write(model))
    place = {"run": run.name, "file": str(target), "bytes": len(model), **facts, "classes": pipeline.classes}
    return {**place, "image_size": size, "check": _checked(check, source), "int8": quantised}


def _check_target(target: Path) -> None:
    refuse_existing(target)
    if not target.parent.is_dir():
        raise DataError(f"{target.parent}: no such folder. Make it, or name a file in another one by --out.")


def _open(run: Run, data: str | None, required: bool) -> FaceStore:
    """The data that is named, else the run's own, else what there is; the drawn sample will do for a check.

    Raises: DataError: what is named, or required to judge the run by, is not there.
    """
    config = run.config()
    own = None if run.shipped else config.data
    with progress("reading") as reading:
        try:
            store = open_store(data or own, reading, ferplus=None if data else config.ferplus)
        except DataError:
            if data or required:
                raise
            store = open_store(None, reading)
    if required and store.kind == SAMPLE and SAMPLE not in (data, own):
        raise DataError("--int8 needs faces to calibrate on and to judge by; give your FER2013 by --data.")
    return store


def _faces_to_check(store: FaceStore, size: tuple[int, int]) -> tuple[Images, str]:
    """Faces of `public` and `train`, and pictures of noise where these are too few; and what they are, in words."""
    rows = np.concatenate([store.rows("public"), store.rows("train")])[:CHECKED_FACES]
    missing = CHECKED_FACES - len(rows)
    noise = np.random.default_rng(0).integers(0, 256, (missing, *size), dtype=np.uint8)
    words = f"{len(rows):,} faces of {store.source}" + (f" and {missing:,} pictures of noise" if missing else "")
    return np.concatenate([_images(store, rows, size), noise]), words


def _images(store: FaceStore, rows_M: NDArray[np.int64], size: tuple[int, int]) -> Images:
    """Faces of a store in the size that the file takes."""
    images = np.array(store.images_NHW[rows_M])
    store.let_go()
    if store.image_size == size:
        return images
    import torch

    from fer_core.affine import resize
    from fer_core.augment import to_floats

    sized = resize(to_floats(torch.from_numpy(images)), *size).squeeze(1)
    return (sized * 255).round().to(torch.uint8).numpy()


def _quantised(
    model: bytes, run: Run, store: FaceStore, classes: tuple[str, ...], size: tuple[int, int]
) -> tuple[bytes, dict[str, Any]]:
    """The file in 8 bits, calibrated on `train`, and both judged on `public`. Raises: DataError: other emotions."""
    from fer_core.onnx_int8 import CALIBRATION_FACES, compare_files, to_int8

    judged = judged_view(store, run.config())
    if judged.classes != classes:
        raise DataError(f"{store.source} has the emotions {', '.join(judged.classes)}, the run {', '.join(classes)}.")
    train = judged.rows("train")
    rows = np.sort(np.random.default_rng(0).permutation(train)[:CALIBRATION_FACES])
    if not len(rows) or not len(judged.rows("public")):
        raise DataError(f"{store.source}: --int8 needs faces in train to calibrate on, and in public to judge by.")
    with progress("calibrating") as tell:
        small = to_int8(model, _images(store, rows, size), tell)
    with progress("judging both") as tell:
        found = compare_files(model, small, _images(store, judged.rows("public"), size), judged, tell)
    return small, {"calibrated_on": len(rows), "source": store.source, **_compared(found)}


def _compared(found: Comparison) -> dict[str, Any]:
    low, high = (100 * edge for edge in found.accuracy_delta_ci95)
    words = (
        f"accuracy on public, {found.a.n:,} faces: float {found.a.accuracy:.2%}, int8 {found.b.accuracy:.2%}, "
        f"{100 * found.accuracy_delta:+z.2f} points (95% interval {low:+z.2f} to {high:+z.2f})"
    )
    return {
        "split": "public",
        "n": found.a.n,
        "accuracy_float": found.a.accuracy,
        "accuracy_int8": found.b.accuracy,
        "accuracy_delta": found.accuracy_delta,
        "accuracy_delta_ci95": found.accuracy_delta_ci95,
        "mcnemar_p": found.mcnemar_p,
        "same_top": float(np.einsum("kaa->", found.joint_KKK)) / found.a.n,
        "words": words,
    }


def _checked(check: "Check", source: str) -> dict[str, Any]:
    return {"faces": check.faces, "of": source, "worst": check.worst, "same_top": check.same_top}


def _show(values: dict[str, Any]) -> None:
    height, width = values["image_size"]
    check, quantised = values["check"], values["int8"]
    print(f"{values['run']}, view {values['view']}, decision: {values['decision']}")
    print(f"faces {height} x {width} in grey -> probabilities of {', '.join(values['classes'])}")
    print(f"onnxruntime against the run's net: {check['of']}")
    print(f"  largest difference of a probability {check['worst']:.1g}, same top emotion on {check['same_top']:.2%}")
    if quantised:
        print(f"int8, calibrated on {quantised['calibrated_on']} faces of train: {values['measured']}")
        print(f"  same top emotion on {quantised['same_top']:.2%}, McNemar p = {quantised['mcnemar_p']:.3g}")
    print(f"{values['file']}, {values['bytes'] / 1e6:.1f} MB")
