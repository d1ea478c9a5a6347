"""The only list of pages, and the guard that keeps a first deep link inside the app."""

from pathlib import Path

import streamlit as st

from ui.plugins import use_plugins

_FOLDER = Path(__file__).resolve().parent.parent / "pages"
_ENTRY = "_entry"

# Addresses (/data, /train) come from the file names: the guard relies on it, see `guard`.
PAGES: dict[str, tuple[str, str, str]] = {
    "data": ("Data", ":material/database:", "The faces and how they are spread over the seven emotions."),
    "augment": ("Augment", ":material/auto_fix_high:", "What augmentation does to the faces."),
    "balance": ("Balance", ":material/balance:", "What balancing does to an epoch, before anything is trained."),
    "train": ("Train", ":material/model_training:", "Start a run, watch its curves, stop and resume it."),
    "runs": ("Runs", ":material/table_rows:", "All runs in one table: what differed, what came of it, what you noted."),
    "compare": ("Compare", ":material/compare_arrows:", "Two runs side by side, with intervals on the differences."),
    "mistakes": ("Mistakes", ":material/search:", "The faces that a run gets wrong, and why."),
    "predict": ("Predict", ":material/add_reaction:", "Your own photos, your camera: faces found, emotions named."),
}
"""File name in `pages/` -> title, icon and tooltip, in the order of the bar. The first one is the front page."""


def enter() -> None:
    """Show the bar of pages and run the page of the address. Only the entry point calls this."""
    st.session_state[_ENTRY] = True
    page = _declare()
    use_plugins()
    page.run()


def guard() -> None:
    """First line of every page: go through the entry point if this session has not come that way.

    Until some session has called `st.navigation`, a fresh server takes `pages/` for an old-style app and runs a page
    alone when its address is opened directly (/train). Declaring the pages and rerunning puts the entry point in
    front; the address stays, because old and new style infer it from the same file name.

    Raises: RuntimeError: the page itself was started (`streamlit run pages/train.py`): no entry point to go to.
    """
    if st.session_state.get(_ENTRY):
        return
    if _ENTRY in st.session_state:
        raise RuntimeError("this page is part of an app: start it with `streamlit run streamlit_app.py`")
    st.session_state[_ENTRY] = False  # a second visit without the entry point must end in words, not in a loop
    _declare(icons=False)  # without a page config the icon would become the tab's, and be fetched from Google
    st.rerun()


def _declare(icons: bool = True) -> st.Page:
    front = next(iter(PAGES))
    pages = [_page(name, icons, front=name == front) for name in PAGES]
    # The front page answers to "/" alone, and /data would be "Page not found": so it is there a second time, unlisted.
    pages.append(st.Page(_FOLDER / f"{front}.py", title=PAGES[front][0], visibility="hidden"))
    # On top, not in the sidebar: `client.showSidebarNavigation = false` (it keeps the old-style list of files from
    # flashing up on a fresh server) hides a sidebar list too, and faces want the width.
    return st.navigation(pages, position="top")


def _page(name: str, icons: bool, front: bool) -> st.Page:
    title, icon, text = PAGES[name]
    return st.Page(
        _FOLDER / f"{name}.py",
        title=title,
        icon=icon if icons else None,
        help=text,
        default=front,
        url_path="front" if front else None,  # never seen, but it must differ from the unlisted twin's
    )
