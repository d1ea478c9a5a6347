"""The colours of everything that is drawn: one palette that reads on white and on near-black, colour-blind included.

Each colour keeps a contrast of at least 3:1 against both page backgrounds (WCAG 1.4.11), so one list serves the light
and the dark theme. The emotions were searched for the largest smallest distance between any two of them, as seen with
normal, protan, deutan and tritan vision (Machado et al. 2009): OKLab distance at least 0.068 (0.02 is just visible).
"""

from fer_core.labels import CONTEMPT, EMOTIONS

EMOTION_COLORS: dict[str, str] = dict(
    zip(
        (*EMOTIONS, CONTEMPT),
        # angry red, disgust olive, fear violet, happy amber, sad blue, surprise teal, neutral grey, contempt purple
        ("#dc1948", "#426f0b", "#937bed", "#c58728", "#1b6dac", "#4d9ea6", "#777075", "#a818f0"),
        strict=True,
    )
)
"""Emotion -> colour, in FER2013's order, then FER+'s eighth. The same colour on every page and in every chart."""

RUN_COLORS: dict[str, str] = {"A": "#c26a1b", "B": "#3b7dd8"}
"""The two compared runs: A is orange (imbalanced data), B is blue (balanced)."""

RIGHT_COLOR = "#1f8f6b"
WRONG_COLOR = "#d1493f"
"""A right and a wrong answer. Never the only sign of it: draw a tick or a cross, or say it in words, as well."""
