"""What a run trains on and what judges it: the store under the run's label mode, without what it leaves out."""

from fer_core.config import RunConfig
from fer_core.data.labelling import judged_by, labelled
from fer_core.data.quality import leave_out
from fer_core.data.store import FaceStore


def training_view(store: FaceStore, config: RunConfig) -> FaceStore:
    """The faces that `config` trains on, in split `train`, under its label mode and without its flagged rows.

    Raises: DataError: the mode or a flag needs votes that the store does not have.
    """
    if config.leave_out or config.min_vote_share:
        store = leave_out(store, config.leave_out, config.min_vote_share)
    return labelled(store, config.labels, contempt=config.contempt)


def judged_view(store: FaceStore, config: RunConfig) -> FaceStore:
    """The faces of `public` and `private` that judge the run: no flag touches them, and FER+ figures are on majorities.

    Raises: DataError: the mode needs votes that the store does not have.
    """
    return labelled(store, judged_by(config.labels), contempt=config.contempt)
