"""The comparison of face detectors in Markdown; numbers are read from its values, none is written here."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import table

_GROUPS = {"upright": "upright", "turned": "turned 15, 30, 45", "dark": "dark", "photos": "photos"}


def detectors_text(values: Mapping[str, Any]) -> str:
    """How it was done and what came out, for the parts that were measured."""
    parts = {"scenes": _scenes, "photos": _photos, "settings": _settings, "crops": _crops}
    found = [text(values[name]) for name, text in parts.items() if name in values]
    return "\n".join(["# Which face detector\n", *found])


def _scenes(values: Mapping[str, Any]) -> str:
    kinds = values["kinds"]
    names = list(next(iter(kinds.values()))["candidates"])
    rows = [(kind, str(one["faces"]), *(_cell(one["candidates"][name], one["faces"]) for name in names))
            for kind, one in kinds.items()]  # fmt: skip
    total = sum(one["faces"] for one in kinds.values())
    sums = [{key: sum(one["candidates"][name][key] for one in kinds.values()) for key in ("found", "false_alarms")}
            for name in names]  # fmt: skip
    rows.append(("all", str(total), *(_share(one, total) for one in sums)))
    pictures = sum(one["pictures"] for one in kinds.values())
    return (
        "## Faces of FER2013 in textured scenes\n\n"
        f"{pictures} pictures of 1280 x 720 with three faces of public each: found, false alarms in all pictures of "
        "the kind, median milliseconds a picture, the detectors taking turns. A face counts as found where a find has "
        "its centre in FER2013's frame and shares 0.3 of their union; a find whose centre is in no frame is a false "
        "alarm, a second one in a frame too. "
        f"{_made_on(values)}\n\n{table(('kind', 'faces', *names), rows)}"
    )


def _photos(values: Mapping[str, Any]) -> str:
    rows = [
        (name, f"{one['found']} of {values['faces']}", str(one["false_alarms"]), f"{one['ms']:.0f}")
        for name, one in values["candidates"].items()
    ]
    return (
        "## Photos without faces\n\n"
        f"{values['pictures']} photos that scikit-image brings, {values['faces']} face in all of them (the astronaut). "
        f"{_made_on(values)}\n\n{table(('detector', 'found', 'false alarms', 'median ms'), rows)}"
    )


def _settings(values: Mapping[str, Any]) -> str:
    groups = values["groups"]
    names = list(next(iter(groups.values()))["candidates"])
    rows = [(name, *(_cell(one["candidates"][name], one["faces"]) for one in groups.values())) for name in names]
    head = [f"{_GROUPS[group]}: {one['faces']} faces, {one['pictures']} pictures" for group, one in groups.items()]
    return (
        "## The chosen detector's settings\n\n"
        f"On the same pictures, one thing changed at a time. {_made_on(values)}\n\n{table(('setting', *head), rows)}"
    )


def _crops(values: Mapping[str, Any]) -> str:
    frame = values["frame"]
    points = "; ".join(f"{name} {x:.3f}, {y:.3f}" for name, (x, y) in frame["points"].items())
    low, high = frame["roll_5_95"]
    rows = [
        (case, f"{one['found']:,}", f"{one['given']:.1%}", name, f"{way['accuracy']:.1%}", _points(way),
         f"{way['agree']:.1%}")
        for case, one in values["cases"].items()
        for name, way in one["ways"].items()
    ]  # fmt: skip
    head = (
        "case",
        "found",
        "given as they are, right",
        "found and cut",
        "right",
        "difference in points",
        "same answer",
    )
    return (
        "## What it costs that a face has to be found\n\n"
        f"{values['faces']:,} faces of public, three times enlarged, one a picture, their last pixels going on beyond "
        f"their frame; named by `{values['run']}`. Of those that were found, accuracy when they are given as they are, "
        f"and when they are found and cut, with the difference and its paired 95% interval. {_made_on(values)}\n\n"
        f"{table(head, rows)}\n"
        f"Where the points of {frame['n']:,} faces lie in FER2013's frame, in shares of it (medians): {points}. Boxes: "
        f"{', '.join(f'{edge:.3f}' for edge in frame['box'])}. FER2013's heads are turned by {frame['roll_sd']:.1f} "
        f"degrees (standard deviation; 5 to 95%: {low:.0f} to {high:.0f}).\n"
    )


def _points(way: Mapping[str, Any]) -> str:
    low, high = way["delta_ci95"]
    return f"{100 * way['delta']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _cell(one: Mapping[str, Any], faces: int) -> str:
    return f"{_share(one, faces)}, {one['ms']:.0f} ms"


def _share(one: Mapping[str, Any], faces: int) -> str:
    return f"{one['found'] / faces:.0%}, {one['false_alarms']} false"


def _made_on(values: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in values["versions"].items())
    return f"{values['machine']}, load {values['load']:.1f}; {versions}; code {values['code']}."
