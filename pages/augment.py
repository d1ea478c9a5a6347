from ui.navigation import guard

guard()

import numpy as np
import streamlit as st

from fer_core import catalog
from fer_core.mosaic import face_grid
from ui.config_form import setting, strength
from ui.source import title_with_source

FACES, VARIANTS = 6, 7

store = title_with_source("Augment")
st.markdown("In training, the net sees a face a little changed each time. Here is how.")
left, right = st.columns([1, 2.2], gap="large")
with left:
    recipe = setting("augment")
    own = catalog.AUGMENT_STRENGTHS[recipe]
    strengths = {name: strength(name, own[name], recipe) for name in own}
    emotion = st.selectbox("Faces of", ["all", *store.classes], key="faces_of", bind="query-params")
    draw = st.number_input("Other faces", 0, 9999, 0, key="draw", bind="query-params", help="Each number draws others.")


def variants(emotion: str, draw: int) -> np.ndarray:
    """Faces in rows: the original first, then what `augment` makes of it; the same code as in training."""
    import torch

    from fer_core.augment import augment_bytes

    rows = store.rows("train")
    if emotion != "all":
        rows = rows[store.labels_N[rows] == store.classes.index(emotion)]
    chosen = np.random.default_rng(draw).choice(rows, min(FACES, len(rows)), replace=False)
    originals = store.images_NHW[chosen]
    generator = torch.Generator().manual_seed(draw)
    copies = augment_bytes(originals.repeat(VARIANTS, axis=0), strengths, generator)
    return np.concatenate([originals[:, None], copies.reshape(len(chosen), VARIANTS, *store.image_size)], axis=1)


with right:
    st.caption("Left: the face as it is in the data. Right: seven random results of these settings.")
    st.image(face_grid(variants(emotion, draw), head=1, zoom=3), width="stretch")
    changed = {f"augment_{name}": str(value) for name, value in strengths.items() if value != own[name]}
    if st.button("Train with these", type="primary", icon=":material/model_training:"):
        # `augment` itself is bound on both pages and travels in the address by itself.
        st.switch_page("pages/train.py", query_params=changed)
