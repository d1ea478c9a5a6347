from ui.navigation import guard

guard()

import streamlit as st

from ui.balance_after import after_training
from ui.balance_before import before_training
from ui.source import title_with_source

WHEN = ("before training", "after training")

store = title_with_source("Balance")
when = st.segmented_control(
    "When", WHEN, default=WHEN[0], required=True, key="when", bind="query-params", label_visibility="collapsed"
)
if when == WHEN[1]:
    after_training()
else:
    before_training(store)
