"""The seven emotions of FER2013, its three splits, and the columns of FER+.

This is the only list of classes in the project: every report is keyed by these names.
"""

EMOTIONS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER2013's classes in the order of its integer labels: 0 is angry, 6 is neutral."""

SPLITS: tuple[str, ...] = ("train", "public", "private")
"""The official splits in code order. `train` trains, `public` selects, `private` is read once, at the end."""

USAGE_TO_SPLIT: dict[str, str] = {"Training": "train", "PublicTest": "public", "PrivateTest": "private"}
"""The challenge's own names for the splits (column `Usage`, and file-name prefixes of folder copies)."""

CONTEMPT = "contempt"
"""The eighth emotion, which only FER+ has."""

ALIASES: dict[str, str] = {
    **{name: name for name in EMOTIONS},
    "anger": "angry", "disgusted": "disgust", "afraid": "fear", "fearful": "fear", "scared": "fear",
    "happiness": "happy", "joy": "happy", "sadness": "sad", "surprised": "surprise", "calm": "neutral",
}  # fmt: skip
"""What other data sets and people call the emotions, in lower case, to FER2013's names."""

FERPLUS_COLUMNS: tuple[str, ...] = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
"""The vote columns of `fer2013new.csv` (Barsoum et al., ICMI 2016, arXiv 1608.01041), in file order."""

FERPLUS_TO_EMOTION: dict[str, str] = {
    "neutral": "neutral", "happiness": "happy", "surprise": "surprise", "sadness": "sad",
    "anger": "angry", "disgust": "disgust", "fear": "fear",
}  # fmt: skip
"""FER+ column -> FER2013 emotion. `contempt`, `unknown` and `NF` (no face) have no counterpart."""

# Full FER2013, for people who have not opened it yet: the counts behind "16 happy for each disgust".
FER2013_ROWS = 35_887
FER2013_TRAIN_COUNTS: dict[str, int] = {
    "angry": 3995, "disgust": 436, "fear": 4097, "happy": 7215, "sad": 4830, "surprise": 3171, "neutral": 4965,
}  # fmt: skip
