"""Entry point: `streamlit run streamlit_app.py`."""

import streamlit as st

from ui import navigation

# An emoji is drawn by the browser itself; a material icon would be fetched from Google at every visit.
st.set_page_config(page_title="FER2013 explorer", page_icon="🙂", layout="wide")
navigation.enter()
