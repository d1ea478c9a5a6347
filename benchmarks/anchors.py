"""Published figures that stand between our own on the leaderboard, each with its protocol in words.

Their accuracies are those of `fer_core.catalog` and `fer_core.recipes`, and of the papers named here. Most higher
published figures choose the checkpoint on the split that they report, or begin with ImageNet weights.
"""

import re
from dataclasses import dataclass

from fer_core.catalog import FER2013_REFERENCES, FERPLUS_REFERENCES, Reference
from fer_core.recipes import RECIPES


@dataclass(frozen=True)
class Anchor:
    """A published accuracy on `private`, as its author calls it, and how it came about."""

    title: str
    accuracy: float
    protocol: str
    judged_by: str = "fer"
    """`fer`: FER2013's labels; `majority`: FER+'s majority rows."""


_GOODFELLOW = "Goodfellow et al. 2013, arXiv 1307.0414"
_PRAMERDORFER = "from scratch, no further data, no face registration; Pramerdorfer & Kampel 2016, arXiv 1612.02903"

_PROTOCOLS = {
    "always happy": "no net: the commonest emotion for every face",
    "human": f"people on a part of the data, give or take 5 points; {_GOODFELLOW}",
    "challenge winner 2013": f"the challenge's final test; {_GOODFELLOW}",
    "FER+ paper, VGG13": "best of its label modes on the majority rows; Barsoum et al. 2016, arXiv 1608.01041",
}
_PAPERS = (
    Anchor("Pramerdorfer & Kampel 2016, VGG", 0.727, f"single net, {_PRAMERDORFER}"),
    Anchor("Pramerdorfer & Kampel 2016, ensemble of eight", 0.752, f"eight nets, {_PRAMERDORFER}"),
)
_UNKNOWN = "protocol not stated"


def anchors() -> list[Anchor]:
    """Every published figure that we know of, the best first."""
    known = [_anchor(one, "fer") for one in FER2013_REFERENCES]
    voted = [_anchor(one, "majority") for one in FERPLUS_REFERENCES]
    titles = {one.title for one in (*known, *voted)}
    papers = [one for one in _PAPERS if one.title not in titles]
    return sorted([*known, *voted, *papers], key=lambda one: -one.accuracy)


def _anchor(reference: Reference, judged_by: str) -> Anchor:
    # The line beside a chart ends with the figure, which has a column of its own here.
    title = re.sub(r"\s+\d+(\.\d+)?(\s*±\s*\d+)?$", "", reference.title)
    return Anchor(title, reference.accuracy, _PROTOCOLS.get(title) or _claim(reference), judged_by)


def _claim(reference: Reference) -> str:
    """What the author of a recipe states, with the split as the author calls it."""
    recipe = next((one for one in RECIPES.values() if one.published == reference), None)
    return f"{recipe.source}: {recipe.claim}" if recipe and recipe.claim else _UNKNOWN
