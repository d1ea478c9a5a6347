"""A map of all faces: features, by PCA to 50 dimensions, then by t-SNE to the plane. Neighbours there are faces that
a net takes for similar; distances between far groups, and the groups' sizes, mean nothing.

van der Maaten and Hinton, JMLR 2008; in O(N log N) by Barnes-Hut, van der Maaten, JMLR 2014.
Shapes: N faces, M of them on the map, D features, P principal components.
"""

import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fer_core.errors import DataError
from fer_core.feature_file import Features, read_arrays, write_arrays

FORMAT = 1
"""Format number of `points.npz` and `map.npz`; a file of another is made anew."""

COMPONENTS = 50
ITERATIONS = 1000
LEAST_FACES = 8
_SECONDS_1000, _GROWTH = 4.0, 1.27
"""t-SNE's seconds of one core: 9.6 for 2,000 and 30.7 for 5,000 FER2013 faces (features of `small`); more faces than
that are extrapolated."""

OnIteration = Callable[[int], None]


class MapSettings(BaseModel):
    """What a map depends on beside its features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    faces: int | None = Field(None, ge=LEAST_FACES, description="So many faces, drawn by the seed. Left out: all.")
    perplexity: float = Field(30.0, ge=2, le=200, description="About how many neighbours of a face count.")
    seed: int = Field(0, ge=0, lt=2**31, description="Of the drawing of faces, and of t-SNE.")


@dataclass(frozen=True)
class Points:
    """Standardised features on their first principal components, float32 (N, P), and how much these hold."""

    values_NP: NDArray[np.float32]
    explained_P: NDArray[np.float64]
    """Each component's share of the variance of the standardised features."""

    @property
    def note(self) -> str:
        """As in "50 principal components hold 86% of the variance"."""
        return f"{len(self.explained_P)} principal components hold {self.explained_P.sum():.0%} of the variance"


@dataclass(frozen=True)
class FaceMap:
    """Faces in the plane."""

    rows_M: NDArray[np.int64]
    """Row of each face in the store, ascending."""
    xy_M2: NDArray[np.float32]
    settings: MapSettings
    explained: float
    """Share of the features' variance that the principal components hold, 0..1."""
    divergence: float
    """What t-SNE made small: the Kullback-Leibler divergence between neighbourhoods before and after, in nats."""
    seconds: float
    """How long t-SNE took."""


def principal_points(features: Features, components: int = COMPONENTS) -> Points:
    """Give every feature mean 0 and spread 1 (one that is the same for all faces stays 0), then PCA.

    Returns: as many components as there are, up to `components`.
    Raises: DataError: too few faces, or features, for a map.
    """
    from sklearn.decomposition import PCA  # takes seconds to import

    values = features.rows()
    if len(values) < LEAST_FACES or values.shape[1] < 2:
        raise DataError(f"{len(values)} faces with {values.shape[1]} features; a map takes {LEAST_FACES} and 2.")
    spread_D = values.std(axis=0, dtype=np.float64)
    values = ((values - values.mean(axis=0, dtype=np.float64)) / np.where(spread_D > 0, spread_D, 1)).astype(np.float32)
    pca = PCA(min(components, *values.shape), random_state=0)
    points = pca.fit_transform(values)
    return Points(points.astype(np.float32), np.nan_to_num(pca.explained_variance_ratio_.astype(np.float64)))


def drawn_rows(faces: int, settings: MapSettings) -> NDArray[np.int64]:
    """The rows that a map shows, ascending: all, or as many as its settings ask for, drawn by their seed."""
    if settings.faces is None or settings.faces >= faces:
        return np.arange(faces)
    return np.sort(np.random.default_rng(settings.seed).choice(faces, settings.faces, replace=False))


def lay_out(
    points: Points, settings: MapSettings, on_iteration: OnIteration = lambda k: None
) -> tuple[NDArray[np.float32], float]:
    """The chosen faces in the plane by t-SNE, started from the first two components; equal seeds give equal maps.

    Args: on_iteration: called with how many of `ITERATIONS` are done, each 50 (0 until the neighbours are found). What
        it raises ends the work.
    Returns: float32 (M, 2), and the divergence that is left.
    """
    from sklearn.manifold import TSNE

    chosen = points.values_NP[drawn_rows(len(points.values_NP), settings)]
    tsne = TSNE(
        perplexity=min(settings.perplexity, (len(chosen) - 1) / 3),
        max_iter=ITERATIONS,
        init="pca",
        random_state=settings.seed,
        verbose=2,  # it tells how far it is in no other way
    )
    with redirect_stdout(_Listener(on_iteration)):
        xy_M2 = tsne.fit_transform(chosen)
    return xy_M2.astype(np.float32), float(tsne.kl_divergence_)


class _Listener(io.TextIOBase):
    """Reads from what scikit-learn prints how many iterations are done."""

    def __init__(self, on_iteration: OnIteration) -> None:
        self._on_iteration, self._last, self._line = on_iteration, 0, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            found = re.search(r"Iteration (\d+)", line)
            self._last = max(self._last, int(found[1])) if found else self._last
            self._on_iteration(min(self._last, ITERATIONS))
        return len(text)


def estimate_s(faces: int) -> float:
    """About how long t-SNE takes on one core, in seconds."""
    return _SECONDS_1000 * (faces / 1000) ** _GROWTH


def write_points(folder: Path, points: Points) -> None:
    """Raises: DataError: the cache cannot be written."""
    write_arrays(folder / "points.npz", FORMAT, values=points.values_NP, explained=points.explained_P)


def read_points(folder: Path) -> Points | None:
    arrays = read_arrays(folder / "points.npz", FORMAT)
    return Points(arrays["values"], arrays["explained"]) if arrays.keys() == {"values", "explained"} else None


def write_map(folder: Path, found: FaceMap) -> None:
    """Raises: DataError: the cache cannot be written."""
    arrays = {**asdict(found), "settings": np.array(json.dumps(found.settings.model_dump()))}
    write_arrays(folder / "map.npz", FORMAT, **arrays)


def read_map(folder: Path, settings: MapSettings | None = None) -> FaceMap | None:
    """The map in a run's folder of features (`feature_file.features_folder`); None where there is none.

    Args: settings: None takes whatever map was made last; else it must have been made by these.
    """
    arrays = read_arrays(folder / "map.npz", FORMAT)
    if arrays.keys() != set(FaceMap.__dataclass_fields__):
        return None
    made_by = MapSettings.model_validate_json(str(arrays["settings"]))
    if settings not in (None, made_by):
        return None
    numbers = {name: float(arrays[name]) for name in ("explained", "divergence", "seconds")}
    return FaceMap(arrays["rows_M"], arrays["xy_M2"], made_by, **numbers)
