"""The Data page: filters and what they find, addresses that are shared, label modes, sources; and in a real browser."""

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from fer_core.data import open_store
from fer_core.data.quality import near_copies
from fer_core.data.store import Faces
from fer_core.labels import FERPLUS_COLUMNS
from tests.browser import click_on, console_errors, serve, visit, wait_for, wait_idle
from tests.faces import USAGES, make_faces, write_csv, write_folder, write_rows
from tests.test_faults import zipped
from tests.test_pages import open_page, text_of
from tests.test_tour import main_text, press

HAPPY, CONTEMPT, DISPUTED, NO_FACE = (  # votes in the order of FERPLUS_COLUMNS
    [1, 9, 0, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 8, 0, 0], [3, 2, 2, 3, 0, 0, 0, 0, 0, 0], [0] * 9 + [10],
)  # fmt: skip


def faces_with_flaws() -> Faces:
    """60 train, 6 public, 6 private: row 1 is row 0 again, row 2 is black, row 66 (private) is row 5 again."""
    sizes = {"train": dict.fromkeys(("angry", "happy", "sad"), 20), "public": {"happy": 6}, "private": {"sad": 6}}
    faces = make_faces(sizes)
    images = faces.images_NHW.copy()
    images[1], images[2], images[66] = images[0], 0, images[5]
    return Faces(images, faces.labels_N, faces.splits_N)


def write_flawed(folder: Path, *, votes: bool = True) -> Path:
    faces = faces_with_flaws()
    if votes:
        kinds = [HAPPY, HAPPY, NO_FACE, CONTEMPT, CONTEMPT, DISPUTED]
        rows = [
            [USAGES[split], f"fer{i:07d}.png", *map(str, kinds[i] if i < len(kinds) else HAPPY)]
            for i, split in enumerate(faces.splits_N)
        ]
        write_rows(folder / "fer2013new.csv", rows, ",".join(("Usage", "Image name", *FERPLUS_COLUMNS)))
    return write_csv(folder / "fer2013.csv", faces)


@pytest.fixture
def voted(tmp_path, monkeypatch) -> Path:
    path = write_flawed(tmp_path / "voted")
    monkeypatch.setenv("FER_DATA", str(path))
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    return path


@pytest.fixture
def plain(tmp_path, monkeypatch) -> Path:
    """The very same faces, without votes."""
    path = write_flawed(tmp_path / "plain", votes=False)
    monkeypatch.setenv("FER_DATA", str(path))
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    return path


def found(at: AppTest) -> int:
    """How many faces the browser says that it has found."""
    assert not at.exception
    said = [c.value for c in at.caption if " face" in c.value and ("see it large" in c.value or c.value[0] == "0")]
    return int(said[0].split()[0].replace(",", ""))


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({}, 60),
        ({"split": "all"}, 72),
        ({"split": "public"}, 6),
        ({"emotion": "angry"}, 20),
        ({"split": "private", "emotion": "angry"}, 0),
        ({"flag": "copies", "split": "all"}, 2),
        ({"flag": "leaks", "split": "all"}, 1),
        ({"flag": "near-constant"}, 1),
        ({"flag": "no face"}, 1),
        ({"flag": "low agreement"}, 2),
        ({"ferplus": "contempt"}, 2),
        ({"ferplus": "none"}, 2),
        ({"agreement": ["0.7", "0.8"]}, 2),
        ({"split": "x", "emotion": "bored", "flag": "§", "sort": "?", "ferplus": "9", "agreement": "z"}, 60),
        ({"page": "7", "face": "99999"}, 60),
    ],
)
def test_an_address_is_a_view_of_the_faces(query, count, voted):
    assert found(open_page("data", **query)) == count


def test_the_orders_are_the_ones_that_are_named(voted):
    assert "row 2" in text_of(open_page("data", sort="darkest"))
    assert "row 2" in text_of(open_page("data", sort="least contrast"))
    assert "row 2" in text_of(open_page("data", sort="most disputed")), "nobody saw a face: no emotion has a vote"
    assert "row 5" in text_of(open_page("data", sort="most disputed", agreement=["0.1", "1.0"]))


def test_a_page_beyond_the_last_is_the_first(tmp_path, monkeypatch):
    counts = {"train": {"happy": 230, "sad": 20}, "public": {"happy": 1}, "private": {"happy": 1}}
    monkeypatch.setenv("FER_DATA", str(write_csv(tmp_path / "fer2013.csv", make_faces(counts))))
    at = open_page("data", page="2")
    assert "row 200" in text_of(at)
    at.segmented_control(key="emotion").set_value("sad").run()
    assert found(at) == 20 and "row 230" in text_of(at)
    assert found(open_page("data", page="3")) == 250


def test_a_face_in_the_address_is_shown_with_all_it_is_known_by(voted):
    text = text_of(open_page("data", face="5"))
    assert "**angry**, train, row 5" in text
    assert "**2 copies**, pixel for pixel" in text and "What ten taggers said" in text
    assert "Not among the faces" not in text


def test_a_face_that_the_filters_leave_out_says_so_and_stays(voted):
    at = open_page("data", face="5", emotion="sad")
    assert "row 5" in text_of(at) and "Not among the faces that the filters leave" in text_of(at)


def test_a_copy_that_the_labels_leave_out_has_no_split_and_no_label(voted):
    assert "**no label**, left out, row 2" in text_of(open_page("data", face="2", labels="majority"))


def test_the_eighth_emotion_goes_with_its_label_mode(voted):
    at = open_page("data", labels="majority", emotion="contempt")
    assert found(at) == 2
    at.segmented_control(key="labels").set_value("fer").run()
    assert found(at) == 60 and at.segmented_control(key="emotion").value == "all"
    assert found(open_page("data", labels="fer", emotion="contempt")) == 60
    assert found(open_page("data", labels="majority", contempt="false", emotion="contempt")) == 56


def test_the_cards_count_what_see_them_opens(voted):
    at = open_page("data", emotion="sad", ferplus="happy", labels="fer")
    counts = {metric.label: metric.value for metric in at.metric}
    assert counts["Copies"] == "2" and counts["Leaks"] == "1" and counts["No face"] == "1"
    assert counts["Low agreement"] == "2" and "Near copies" not in counts
    at.button(key="see_duplicate_of").click().run()
    assert found(at) == 2
    assert at.segmented_control(key="split").value == "all" and at.selectbox(key="ferplus").value == "any"
    assert at.button(key="see_label_conflict").disabled is False, "row 66 is a sad row 5, which is angry"


def test_near_copies_are_offered_until_they_are_known(voted):
    at = open_page("data", flag="near copies", split="all")
    assert "have not been looked for" in at.info[0].value
    at.button(key="near_in_browser").click().run()
    assert not at.exception and not [info for info in at.info if "looked for" in info.value]
    store = open_store(str(voted))
    assert len(near_copies(store)) == 0 and "No face fits" in at.info[0].value
    assert "Near copies" in [metric.label for metric in at.metric]
    assert "near_in_summary" not in [button.key for button in at.button]


def test_without_votes_nothing_speaks_of_them(plain):
    at = open_page("data", flag="low agreement", sort="most disputed", ferplus="happy", labels="majority")
    assert found(at) == 60
    assert at.selectbox(key="flag").value == "any" and "low agreement" not in at.selectbox(key="flag").options
    assert "most disputed" not in at.selectbox(key="sort").options
    assert "Low agreement" not in [metric.label for metric in at.metric]
    assert "taggers" not in text_of(at)


def test_the_same_faces_with_and_without_votes_are_not_mixed_up(voted, tmp_path, monkeypatch):
    assert "Low agreement" in [metric.label for metric in open_page("data").metric]
    monkeypatch.setenv("FER_DATA", str(write_flawed(tmp_path / "plain", votes=False)))
    assert "Low agreement" not in [metric.label for metric in open_page("data").metric]


def test_emotions_without_a_face_are_named(tmp_path, monkeypatch):
    counts = {"train": {"happy": 12, "sad": 3}, "public": {"happy": 1}, "private": {"sad": 1}}
    monkeypatch.setenv("FER_DATA", str(write_csv(tmp_path / "fer2013.csv", make_faces(counts))))
    text = text_of(open_page("data"))
    assert "4.0 happy faces for each sad face. It has none of angry, disgust, fear, surprise, neutral." in text
    assert "None of the public and private faces stands in train as well" in text


def test_pictures_of_another_size_are_browsed_too(tmp_path, monkeypatch):
    counts = {"train": {"happy": 20, "sad": 20}, "private": {"happy": 2}}
    monkeypatch.setenv("FER_DATA", str(write_folder(tmp_path / "faces", make_faces(counts, side=64), prefixes=False)))
    at = open_page("data")
    assert found(at) == 36 and "64 x 64 grey pixels" in text_of(at)


def keep(path: Path, cache: Path) -> str:
    (cache / "uploads").mkdir(parents=True, exist_ok=True)
    shutil.copy(path, cache / "uploads" / path.name)
    return path.name


def test_another_source_is_every_pages_and_outlives_the_pages_without_a_switch(voted, tmp_path):
    other = keep(write_csv(tmp_path / "other.csv", make_faces()), tmp_path / "cache")
    at = open_page("data", source=other, face="40", flag="no face")
    assert found(at) == 6
    at.switch_page("pages/train.py").run()
    assert "other.csv" in at.code[0].value
    at.switch_page("pages/mistakes.py").run()
    at.switch_page("pages/data.py").run()
    assert found(at) == 6 and at.selectbox(key="source").value == other
    at.selectbox(key="source").set_value("fer2013.csv").run()
    assert found(at) == 60
    at.switch_page("pages/train.py").run()
    assert str(voted) in at.code[0].value


def test_a_row_of_one_source_is_not_looked_for_in_another(voted, tmp_path):
    other = keep(write_csv(tmp_path / "other.csv", make_faces()), tmp_path / "cache")
    at = open_page("data", face="5", flag="low agreement", sort="most disputed")
    assert "row 5" in text_of(at)
    at.selectbox(key="source").set_value(other).run()
    assert found(at) == 6 and at.number_input(key="face").value is None
    assert at.selectbox(key="flag").value == "any"


def test_a_source_that_is_gone_is_not_the_end(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_DATA", str(tmp_path / "nowhere.csv"))
    at = open_page("data")
    assert "nowhere.csv: no such file" in at.error[0].value
    at.selectbox(key="source").set_value("sample").run()
    assert not at.error and "drawn sample faces" in text_of(at)


def test_a_damaged_source_says_where_and_another_can_be_chosen(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "fer2013.csv")
    path.write_bytes(path.read_bytes()[:9000] + b"\nfoo,bar\n")
    monkeypatch.setenv("FER_DATA", str(path))
    at = open_page("data")
    assert "line 3: 2 fields" in at.error[0].value and not at.exception
    assert at.selectbox(key="source").options == ["fer2013.csv", "sample"]


def test_an_unknown_source_in_the_address_is_the_apps_own(voted):
    assert found(open_page("data", source="../../etc/passwd")) == 60


# In a browser: clicks, addresses, files.


@pytest.fixture(scope="module")
def url(browser, tmp_path_factory) -> Iterator[str]:
    """The app on the faces with flaws and their votes, beside them a source of ten faces."""
    folder = tmp_path_factory.mktemp("app")
    keep(write_csv(folder / "other.csv", make_faces()), folder / "cache")
    env = {"FER_DATA": str(write_flawed(folder / "voted")), "FER_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    with serve(env=env | {"FER_RUNS": str(folder / "runs")}) as address:
        yield address


GALLERY = """
const host = document.querySelector('.st-key-browser_faces [data-testid="stBidiComponentIsolated"]')
const tiles = [...(host?.shadowRoot?.querySelectorAll('.tile') ?? [])]
"""


def tiles(browser) -> int:
    return browser.execute_script(GALLERY + "return tiles.length")


def pick(browser, place: int) -> None:
    click_on(browser, browser.execute_script(GALLERY + "return tiles[arguments[0]]", place))


def says(browser, *words: str) -> None:
    wait_for(lambda: all(word in main_text(browser) for word in words), what=f"{words} on the page")
    wait_idle(browser)


def go_to(browser, page: str) -> None:
    """Press a link of the bar and wait for that page's title."""
    next(link for link in browser.find_elements("css selector", "header a") if page in link.text).click()
    wait_for(lambda: browser.execute_script("return document.querySelector('h1')?.innerText") == page, what=page)
    wait_idle(browser)


def upload(browser, file: Path) -> None:
    if not browser.find_elements("css selector", "input[type=file]"):
        click_on(browser, "[data-testid=stPopover] button")
    wait_for(lambda: browser.find_elements("css selector", "input[type=file]"), what="the menu")[0].send_keys(str(file))
    wait_for(lambda: file.name in browser.page_source, what="the file")
    wait_idle(browser)
    press(browser, "Open it")


def test_see_them_leads_to_the_faces(browser, url):
    visit(browser, f"{url}/?split=public&emotion=happy&labels=majority")
    wait_for(lambda: tiles(browser) == 6, what="the faces of the address")
    click_on(browser, ".st-key-see_duplicate_of button")
    wait_for(lambda: tiles(browser) == 2, what="two copies")
    in_sight = "const box = tiles[0].getBoundingClientRect(); return box.top > 60 && box.bottom < window.innerHeight"
    wait_for(lambda: browser.execute_script(GALLERY + in_sight), what="the faces in sight")
    assert "flag=copies" in browser.current_url and "emotion" not in browser.current_url


def test_a_mean_face_leads_to_the_faces_of_its_emotion(browser, url):
    visit(browser, url)
    host = "document.querySelector('[data-testid=\"stBidiComponentIsolated\"]')"
    mean = f"return {host}.shadowRoot.querySelectorAll('.tile')"
    click_on(browser, wait_for(lambda: browser.execute_script(mean), what="mean faces")[3])
    wait_for(lambda: "emotion=happy" in browser.current_url and tiles(browser) == 20, what="happy faces")


def test_a_click_shows_votes_and_copies_and_the_address_brings_it_back(browser, url):
    visit(browser, f"{url}/?emotion=angry")
    wait_for(lambda: tiles(browser) == 20, what="20 faces")
    pick(browser, 5)
    says(browser, "angry, train, row 5", "2 copies, pixel for pixel", "What ten taggers said")
    wait_for(lambda: "face=5" in browser.current_url, what="the face in the address")
    shared = browser.current_url
    press(browser, "sad")
    says(browser, "row 5", "Not among the faces")
    visit(browser, shared)
    says(browser, "angry, train, row 5")
    marked = GALLERY + "return tiles.findIndex((tile) => tile.ariaSelected === 'true')"
    wait_for(lambda: browser.execute_script(marked) == 5, what="the marked face")
    assert console_errors(browser) == []


def test_the_export_has_as_many_rows_as_faces_found(browser, url, tmp_path):
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    visit(browser, f"{url}/?split=all&flag=copies")
    says(browser, "2 faces.")
    press(browser, "Export as CSV")
    file = wait_for(lambda: next(tmp_path.glob("faces*.csv"), None), what="the file")
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    found = [(row["row"], row["split"], row["duplicate_of"]) for row in rows]
    assert found == [("1", "train", "0"), ("66", "private", "5")]


def test_a_source_from_the_address_survives_other_pages_and_a_reload(browser, url):
    visit(browser, f"{url}/?source=other.csv")
    says(browser, "10 faces")
    go_to(browser, "Train")
    assert "source=other.csv" in browser.current_url
    go_to(browser, "Compare")
    go_to(browser, "Data")
    assert "source=other.csv" in browser.current_url
    browser.refresh()
    says(browser, "10 faces")


def test_uploads_that_are_good_damaged_or_votes(browser, url, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_bytes(write_csv(tmp_path / "good.csv").read_bytes()[:9000] + b"\nfoo,bar\n")
    votes = write_flawed(tmp_path).parent / "fer2013new.csv"
    pictures = zipped(write_folder(tmp_path / "pictures", make_faces(side=64)), tmp_path / "pictures.zip")
    visit(browser, f"{url}/augment")
    for file, words in ((bad, "bad.csv: line 3: 2 fields"), (votes, "FER+'s votes, without faces")):
        upload(browser, file)
        wait_for(lambda words=words: words in browser.find_element("css selector", "body").text, what=words)
        wait_idle(browser)
    upload(browser, pictures)
    wait_for(lambda: "source=pictures.zip" in browser.current_url, what="the new source")
    go_to(browser, "Data")
    says(browser, "10 faces of 64 x 64")
