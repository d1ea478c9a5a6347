from ui.navigation import guard

guard()

import numpy as np
import streamlit as st

from fer_core.augmentations import Augmentation
from ui import augment_editor as editor
from ui.source import title_with_source

FACES, DRAWS = 6, 4
WIDTHS = (1.1, 1)

store = title_with_source("Augment")
st.markdown("In training, the net sees a face a little changed each time. Here is how.")
left, right = st.columns(WIDTHS, gap="large")
with left:
    augmentation = editor.choose_recipe()
    editor.share_slider(augmentation)
    which, others, pixels = st.columns(3)
    emotion = which.selectbox("Faces of", ["all", *store.classes], key="faces_of", bind="query-params")
    tip = "Each number draws others."
    seed = others.number_input("Other faces", 0, 9999, 0, key="draw", bind="query-params", help=tip)
    own = "x".join(map(str, dict.fromkeys(store.image_size)))
    tip = "A training may make faces larger (its image size). Here it is only to look at."
    sizes = list(dict.fromkeys([own, "96", "224"]))
    shown = pixels.selectbox("Size (px)", sizes, key="size", bind="query-params", help=tip)
    editor.save_as()
    if st.button("Train with these", type="primary", icon=":material/model_training:"):
        # `augment` itself is bound on both pages and travels in the address by itself.
        changed = editor.differences(st.session_state[editor.NAME], augmentation)
        st.switch_page("pages/train.py", query_params=changed)

st.subheader("Each step alone", anchor=False)
st.caption(
    "Training does the steps that move pixels first, all in one resampling, then the others; both in this order."
)
strips = []
for place in range(len(augmentation.steps)):
    controls, strip = st.columns(WIDTHS, gap="large", vertical_alignment="center")
    with controls:
        editor.step_controls(augmentation, place)
    strips.append(strip)
with st.columns(WIDTHS, gap="large")[0]:
    editor.add_step(augmentation)

rows_N = store.rows("train")
if emotion != "all":
    rows_N = rows_N[store.labels_N[rows_N] == store.classes.index(emotion)]
chosen = tuple(np.random.default_rng(seed).choice(rows_N, min(FACES, len(rows_N)), replace=False).tolist())


def show(augmentation: Augmentation, times: int = 1) -> None:
    """Rows of the same faces: below one another they stand in columns."""
    size = None if shown == own else int(shown)
    st.image(editor.picture(store, chosen, augmentation, seed, times, size), width="stretch", output_format="PNG")


# Pictures last: the controls are there while torch is being loaded.
if chosen:
    with right:
        st.caption("In the data")
        show(Augmentation())
        st.caption(f"After the whole recipe, {DRAWS} draws")
        show(augmentation, DRAWS)
    for place, strip in enumerate(strips):
        with strip:
            show(augmentation.only(place))
else:
    right.info(f"There is no {emotion} face to train on.")
