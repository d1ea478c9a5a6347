from ui.navigation import guard

guard()

import streamlit as st

from ui.predict_pictures import camera, drop_pictures
from ui.predictors import pick_predictor

WAYS = ("pictures", "camera", "live")

st.title("Predict", anchor=False)
way = st.segmented_control(
    "From", WAYS, default=WAYS[0], required=True, key="from", bind="query-params", label_visibility="collapsed"
)
chosen = pick_predictor()
if way == "camera":
    camera(chosen)
elif way == "live":
    from ui.live_camera import live_view

    live_view(chosen.load(), chosen.threshold)
else:
    drop_pictures(chosen)
