"""The box that stands where there is nothing to show yet."""

import streamlit as st


def empty_state(title: str, text: str, *, page: str, label: str, icon: str) -> None:
    """Say why nothing is here and what to do next, with one button that goes there.

    Args:
        title, text: plain words (Markdown is shown as such); `text` names the next step.
        page: a file as `st.switch_page` takes it, e.g. "pages/data.py".
        label: the button's words, e.g. "Open the data".
        icon: of the box and the button, e.g. ":material/database:".
    """
    with st.container(border=True, horizontal_alignment="center", gap="small"):
        st.space("small")
        st.subheader(title, anchor=False, width="content", icon=icon)
        st.markdown(text, width="content", text_alignment="center")
        if st.button(label, type="primary", icon=":material/arrow_forward:", key=f"empty:{page}:{label}"):
            st.switch_page(page)
        st.space("small")
