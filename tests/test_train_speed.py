"""The benchmark of training speed: both ways do the same work, and the figures are what they say."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from benchmarks import notebook_way, train_speed
from benchmarks.step_parts import PARTS, PartsClock, look_inside, matmul_share
from benchmarks.train_speed import CASES, Case, summary
from benchmarks.trainer_steps import train_steps
from fer_core.augmentations import Augmentation, find
from fer_core.config import RunConfig
from fer_core.data import resolve_config
from fer_core.models import FaceClassifier
from fer_core.train import loop
from tests.toy import toy_csv

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = Case("small", 24, 8, 16)
TRANSFORMS: dict[str, type] = {
    "flip": transforms.RandomHorizontalFlip, "rotate": transforms.RandomAffine, "shift": transforms.RandomAffine,
    "scale": transforms.RandomAffine, "brightness": transforms.ColorJitter, "erase": transforms.RandomErasing,
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """140 training faces."""
    monkeypatch.setattr(notebook_way, "WORKERS", 0)
    return str(toy_csv(tmp_path / "faces.csv", train=20))


def chain_of(augmentation: Augmentation, size: int = 48) -> list[Any]:
    return notebook_way.transform_of(augmentation, size, 0.5, 0.25).transforms


# --- the same work --------------------------------------------------------------------------------------------------


def test_the_notebooks_transforms_have_the_strengths_of_our_default_augmentation():
    augmentation = RunConfig(data="sample").augmentation()
    found = {type(one): one for one in chain_of(augmentation)}
    chances = {step.operation: step.probability for step in augmentation.active()}
    side, scale = augmentation.strength("erase"), augmentation.strength("scale")
    affine, light = found[transforms.RandomAffine], augmentation.strength("brightness")
    assert found[transforms.RandomHorizontalFlip].p == chances["flip"]
    assert affine.degrees == [-augmentation.strength("rotate"), augmentation.strength("rotate")]
    assert affine.translate == (augmentation.strength("shift"),) * 2 and affine.scale == (1 - scale, 1 + scale)
    assert affine.interpolation is transforms.InterpolationMode.BILINEAR, "as ours"
    assert list(found[transforms.ColorJitter].brightness) == [1 - light, 1 + light]
    erasing = found[transforms.RandomErasing]
    assert erasing.p == chances["erase"] and erasing.scale == pytest.approx((side**2 / 9, side**2))


def test_each_step_of_ours_has_its_transform_and_none_stands_for_nothing():
    steps = find("standard").augmentation.active()
    kinds = {type(one) for one in chain_of(Augmentation(steps))}
    fixed = {transforms.Grayscale, transforms.Resize, transforms.ToTensor, transforms.Normalize}
    assert kinds - fixed == {TRANSFORMS[step.operation] for step in steps}
    for step in steps:
        alone = {type(one) for one in chain_of(Augmentation((step,)))}
        assert alone - fixed == {TRANSFORMS[step.operation]}


def test_a_step_without_a_transform_is_refused():
    for steps, share in ((["shear:5"], 1.0), (["rotate:5@0.5"], 1.0), (["flip@0.5"], 0.5), (["rotate:5"] * 2, 1.0)):
        with pytest.raises(ValueError, match="no notebook's transforms"):
            chain_of(Augmentation.parse(steps, share))


def test_a_transformed_face_is_what_the_net_takes_in_normalised():
    face = Image.fromarray(np.full((48, 48), 191, np.uint8)).convert("RGB")
    seen = notebook_way.transform_of(Augmentation(), 32, 0.5, 0.25)(face)
    assert seen.shape == (1, 32, 32) and seen.dtype == torch.float32
    assert seen.unique().tolist() == pytest.approx([(191 / 255 - 0.5) / 0.25])


def test_the_folder_holds_the_training_faces_under_their_emotions(tmp_path: Path, data: str):
    from fer_core.data import open_store

    grey = notebook_way.write_folder(data, tmp_path / "folder", 70)
    store, files = open_store(data), list((tmp_path / "folder").rglob("*.png"))
    assert len(files) == 70
    for file in files:
        row = int(file.stem)
        assert store.splits_N[row] == 0 and store.classes[store.labels_N[row]] == file.parent.name
        assert np.array_equal(np.asarray(Image.open(file)), store.images_NHW[row])
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]) / 255
    assert grey == pytest.approx({"mean": pixels.mean(), "std": pixels.std()})


def test_the_notebooks_way_trains_the_net_of_ours(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch):
    made: list[dict[str, Any]] = []
    create = notebook_way.create_model
    monkeypatch.setattr(notebook_way, "create_model", lambda **named: made.append(named) or create(**named))
    grey = notebook_way.write_folder(data, tmp_path / "folder", 64)
    found = notebook_way.train(resolve_config(TINY.config(data)), tmp_path / "folder", grey, steps=2, warm_up=1)
    assert (made[0]["name"], made[0]["image_size"], made[0]["num_classes"]) == ("small", 24, 7)
    assert found["images_per_s"] > 0 and 0 < found["wait_share"] < 1
    with pytest.raises(ValueError, match="20 batches of 8 are needed, the folder has 8"):
        notebook_way.train(resolve_config(TINY.config(data)), tmp_path / "folder", grey, steps=19, warm_up=1)


# --- figures --------------------------------------------------------------------------------------------------------


def turn(speed: float, warm_up_s: float = 1.0) -> dict[str, Any]:
    return {"images_per_s": speed, "warm_up_s": warm_up_s, "path": "cpu fp32"}


def test_the_ratio_is_the_median_of_the_rounds_ratios():
    turns = {"baseline": [turn(100), turn(50), turn(10)], "ours": [turn(200), turn(150), turn(50)]}
    found = summary(turns)
    assert found["ratio"] == 3, "of 2, 3 and 5"
    assert (found["images_per_s"], found["baseline_images_per_s"]) == (150, 50)
    assert found["all_rounds"] == {"baseline": [100, 50, 10], "ours": [200, 150, 50]}


def test_compiling_pays_once_the_faster_steps_have_saved_the_longer_warm_up():
    found = summary({"ours": [turn(100, 1.0)], "compiled": [turn(200, 11.0)]})
    assert found["pays_after_faces"] == pytest.approx(10 / (0.01 - 0.005))
    assert found["ratio"] == 2
    assert summary({"ours": [turn(200)], "compiled": [turn(100)]})["pays_after_faces"] is None


def test_what_runs_inside_a_part_belongs_to_that_part(monkeypatch: pytest.MonkeyPatch):
    times = iter((0.0, 3.0, 3.0, 4.0))
    monkeypatch.setattr(PartsClock, "_now", staticmethod(lambda: next(times)))
    clock = PartsClock()
    inner = clock.around("augment", lambda: None)
    clock.around("forward", inner)()
    inner()
    shares = clock.shares(8.0)
    assert (shares["forward"], shares["augment"], shares["rest"]) == (3 / 8, 1 / 8, 4 / 8)
    assert sum(shares.values()) == 1


def event(key: str, cpu_us: float, device_us: float = 0.0, device: str = "DeviceType.CPU") -> SimpleNamespace:
    return SimpleNamespace(key=key, self_cpu_time_total=cpu_us, self_device_time_total=device_us, device_type=device)


def test_matrix_work_is_told_by_its_operators():
    matrix = ("mkldnn_convolution", "convolution_backward", "cudnn_convolution", "addmm", "mm", "bmm", "mkldnn_linear")
    other = (
        "aten::copy_",
        "aten::grid_sampler_2d",
        "aten::_upsample_bilinear2d_aa",
        "aten::lerp_",
        "ConvolutionBackward0",
    )
    events = [event(f"aten::{name}", 100_000) for name in matrix] + [event(name, 100_000) for name in other]
    assert matmul_share(events, wall_s=2.0) == pytest.approx(0.7 / 2)


def test_on_a_gpu_the_share_is_of_its_kernels_each_counted_once():
    events = [event("aten::mm", 1, 300), event("aten::add", 1, 100), event("gemm_kernel", 0, 300, "DeviceType.CUDA")]
    assert matmul_share(events, wall_s=1.0) == pytest.approx(0.75)


def test_a_bar_is_as_long_as_its_share():
    assert [train_speed.bar(share, 10) for share in (1, 0.5, 0.001)] == ["#" * 10, "#" * 5, "."]


# --- through the real trainer ---------------------------------------------------------------------------------------


def test_the_parts_of_a_step_are_its_whole_and_the_trainer_is_left_as_it_was(data: str):
    before = (loop.augment, loop.FaceTensors.batch, FaceClassifier.forward, torch.Tensor.backward)
    found = look_inside(TINY.config(data), steps=3, profiled=1)
    assert list(found["step_share"]) == [*PARTS, "rest"]
    assert sum(found["step_share"].values()) == pytest.approx(1)
    assert all(0 < share < 1 for share in found["step_share"].values()), "every part was met"
    assert found["augment_share"] == found["step_share"]["augment"]
    assert 0 < found["matmul_share"] < 1
    assert (loop.augment, loop.FaceTensors.batch, FaceClassifier.forward, torch.Tensor.backward) == before


def test_more_steps_than_an_epoch_has_are_refused(data: str):
    with pytest.raises(ValueError, match="18 steps are needed, an epoch has 18: fewer --faces"):
        train_steps(TINY.config(data), 18, lambda done: None)  # the last has 4 of 8 faces


def test_compiling_is_asked_for_in_the_mode_that_was_named(data: str, monkeypatch: pytest.MonkeyPatch):
    modes: list[str] = []
    monkeypatch.setattr(FaceClassifier, "compile", lambda model, mode: modes.append(mode))
    found = train_speed.train_ours(TINY.config(data), 1, "reduce-overhead")
    assert modes == ["reduce-overhead"] and found["images_per_s"] > 0


def test_a_tiny_run_prints_the_figures_of_every_case(
    data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked: list[str] = []

    def here(way: str, case: str, arguments: Any) -> dict[str, Any]:
        asked.append(way)
        return train_speed._turn(way, CASES[case], arguments)

    monkeypatch.setitem(CASES, "small_48", TINY)
    monkeypatch.setattr(train_speed, "_in_a_process", here)
    words = ["train_speed", "--data", data, "--only", "small_48", "--rounds", "2"]
    monkeypatch.setattr("sys.argv", [*words, "--json"])
    train_speed.main()
    values = json.loads(capsys.readouterr().out)
    assert asked == ["write", "baseline", "ours", "baseline", "ours", "look"], "they take turns"
    row = values["small_48"]
    assert {"baseline_images_per_s", "images_per_s", "ratio", "matmul_share", "step_share", "augment_share"} <= set(row)
    assert row["peak_mb"] > 100 and row["faces"] == 16
    assert values["path"].startswith("c") and values["machine"]
    train_speed.print_table(values, ("baseline", "ours"))
    table = capsys.readouterr().out
    assert "ratio" in table and all(part in table for part in PARTS)
