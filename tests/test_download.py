"""Downloads from a server on this machine: what is FER2013 is kept, and nothing else; every failure is one line."""

import errno
import io
import logging
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import kagglehub
import numpy as np
import pytest
import requests
from kagglehub import exceptions as kaggle

from fer_core.data import download as module
from fer_core.data import fetch as web
from fer_core.data.download import FERPLUS_URL, Expected, download, download_ferplus
from fer_core.data.ferplus import FILE_NAME
from fer_core.data.source import read_source
from fer_core.errors import ConfigError, DataError
from fer_core.labels import EMOTIONS, FERPLUS_COLUMNS, SPLITS
from tests.faces import FEW, USAGES, make_faces, no_progress, write_csv, write_folder

BAD_FACES = make_faces({"train": {"angry": 2, "happy": 3}, "public": {"sad": 1}, "private": {"happy": 1}})
VOTES_HEADER = ",".join(("Usage", "Image name", *FERPLUS_COLUMNS))


@pytest.fixture(autouse=True)
def ten_faces_are_fer2013(monkeypatch):
    """The ten faces of `make_faces` pass: 6 train, 2 public, 2 private."""
    splits = tuple(sum(FEW[split].values()) for split in SPLITS)
    monkeypatch.setattr(module, "FER2013", Expected(splits, dict(FEW["train"])))
    monkeypatch.setattr(web, "_TIMEOUT_S", 0.3)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that hangs up on a bad answer is what these tests are about."""


class Server:
    """Answers each path with its bytes, or with what its function does; `asked` is the paths asked for."""

    def __init__(self):
        self.routes, self.asked = {}, []
        routes, asked = self.routes, self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                answer = routes.get(self.path)
                if callable(answer):
                    answer(self)
                elif answer is None:
                    self.send_error(404)
                else:
                    send(self, answer)

            def log_message(self, *args):
                pass

        self.http = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def send(handler, body, length=None):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def redirect(to):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def server(tmp_path):
    server = Server()
    server.routes["/fer2013.csv"] = csv_bytes(tmp_path)
    server.routes["/fer2013new.csv"] = votes_bytes()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "new" / "data"


def csv_bytes(tmp_path, faces=None):
    return write_csv(tmp_path / "made" / "fer2013.csv", faces).read_bytes()


def votes_bytes(counts=(6, 2, 2)):
    usages = [usage for usage, n in zip(USAGES, counts, strict=True) for _ in range(n)]
    rows = [f"{usage},fer{row:07d}.png,9,1,0,0,0,0,0,0,0,0" for row, usage in enumerate(usages)]
    return "\n".join([VOTES_HEADER, *rows, ""]).encode()


def fetch(folder, server, path="/fer2013.csv", **options):
    options = {"ferplus_url": f"{server.url}/fer2013new.csv", "progress": no_progress, **options}
    return download(folder, url=server.url + path, **options)


def one_line(call):
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert ".download-" not in message  # a temporary name means nothing to a person
    return message


def names(folder):
    return sorted(place.name for place in folder.iterdir())


# From an address


def test_data_and_votes_arrive_as_they_were_sent(folder, server):
    told = []
    done = fetch(folder, server, progress=lambda *step: told.append(step))
    assert done.paths == [folder / "fer2013.csv", folder / FILE_NAME]
    assert done.notes == ()
    assert (folder / "fer2013.csv").read_bytes() == server.routes["/fer2013.csv"]
    assert (folder / FILE_NAME).read_bytes() == votes_bytes()
    assert names(folder) == ["fer2013.csv", FILE_NAME]
    size = len(server.routes["/fer2013.csv"])
    assert (size, size) in told


def test_the_votes_can_be_left_out_or_fetched_alone(folder, server):
    assert fetch(folder, server, with_ferplus=False).paths == [folder / "fer2013.csv"]
    url = f"{server.url}/fer2013new.csv"
    assert download_ferplus(folder, url=url, progress=no_progress) == folder / FILE_NAME
    assert names(folder) == ["fer2013.csv", FILE_NAME]


def test_a_file_of_the_challenge_s_other_name_keeps_it(folder, server):
    server.routes["/a/icml_face_data.csv?raw=1"] = server.routes["/fer2013.csv"]
    done = fetch(folder, server, "/a/icml_face_data.csv?raw=1", with_ferplus=False)
    assert done.paths == [folder / "icml_face_data.csv"]
    assert done.notes == ()


def test_an_npz_under_a_name_that_is_not_looked_for_says_how_to_name_it(folder, server, tmp_path):
    faces = make_faces()
    buffer = io.BytesIO()
    np.savez(buffer, pixels=faces.images_NHW, emotion=faces.labels_N, usage=np.array(USAGES)[faces.splits_N])
    server.routes["/faces.npz"] = buffer.getvalue()
    done = fetch(folder, server, "/faces.npz", with_ferplus=False)
    assert done.notes == (f"A file of this name is not looked for: name it, as in --data {folder / 'faces.npz'}",)
    np.testing.assert_array_equal(read_source(folder / "faces.npz", no_progress).images_NHW, faces.images_NHW)


def pack_zip(source):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in source.rglob("*"):
            archive.write(file, file.relative_to(source))
    return buffer.getvalue()


def pack_tar(source):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(source, "fer2013")
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "pack"), [("fer2013.zip", pack_zip), ("fer2013.tar.gz", pack_tar)])
def test_an_archive_is_looked_into_and_kept_packed(folder, server, tmp_path, name, pack):
    csv_bytes(tmp_path)
    server.routes[f"/{name}"] = pack(tmp_path / "made")
    assert fetch(folder, server, f"/{name}", with_ferplus=False).paths == [folder / name]
    assert (folder / name).read_bytes() == server.routes[f"/{name}"]


def test_an_archive_of_something_else_is_not_kept(folder, server, tmp_path):
    csv_bytes(tmp_path, BAD_FACES)
    server.routes["/fer2013.zip"] = pack_zip(tmp_path / "made")
    assert "is not FER2013" in one_line(lambda: fetch(folder, server, "/fer2013.zip"))
    assert not folder.parent.exists()


def test_a_redirect_is_followed(folder, server):
    server.routes["/moved/fer2013.csv"] = redirect("/fer2013.csv")
    fetch(folder, server, "/moved/fer2013.csv", with_ferplus=False)
    assert (folder / "fer2013.csv").read_bytes() == server.routes["/fer2013.csv"]


def never_ending(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"x" * 50_000)


def hangs_before_answering(handler):
    time.sleep(0.8)


def hangs_halfway(handler):
    send(handler, b"emotion,pixels,Usage\n", length=1000)
    time.sleep(0.8)


def ends_early(handler):
    send(handler, b"emotion,pixels,Usage\n", length=1000)
    handler.close_connection = True


def ends_a_chunk_early(handler):
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"ff\r\nemotion")
    handler.close_connection = True


def no_http(handler):
    handler.wfile.write(b"what?\r\n\r\n")


FAILURES = [
    (None, "the server answered 404 Not Found. Check the address."),
    (redirect("file:///etc/passwd"), "is not allowed"),
    (redirect("ftp://127.0.0.1/fer2013.csv"), "unknown url type: ftp"),
    (redirect("/fer.csv"), "the server answered 302"),
    (ends_early, "the connection ended after 21 of 1,000 bytes. Try again."),
    (ends_a_chunk_early, "could not be fetched (IncompleteRead"),
    (hangs_before_answering, "no answer for 0.3 s"),
    (hangs_halfway, "no answer for 0.3 s"),
    (no_http, "could not be fetched ("),
    (lambda handler: send(handler, b"", length=2_000_000_000), "more than the 0 MiB that FER2013 may take"),
    (never_ending, "more than the 0 MiB that FER2013 may take"),
    (b"<html>sign in</html>", "no column 'emotion' in the header"),
    (b"", "no column 'emotion' in the header"),
]


@pytest.mark.parametrize(("answer", "expected"), FAILURES)
def test_a_failed_fetch_is_one_line_that_names_the_address_and_leaves_nothing(
    folder, server, monkeypatch, answer, expected
):
    monkeypatch.setattr(module, "_MOST_BYTES", 200_000)
    server.routes["/fer.csv"] = server.routes["/bad/fer2013.csv"] = answer
    message = one_line(lambda: fetch(folder, server, "/bad/fer2013.csv"))
    assert message.startswith(f"{server.url}/bad/fer2013.csv: ")
    assert expected in message
    assert not folder.parent.exists()
    assert "/fer2013new.csv" not in server.asked


def test_a_server_that_is_not_there_is_one_line(folder, server):
    server.http.shutdown()
    server.http.server_close()
    assert "could not be fetched (" in one_line(lambda: fetch(folder, server))
    assert not folder.parent.exists()


def test_other_rows_than_fer2013_s_are_not_kept(folder, server, tmp_path):
    server.routes["/fer2013.csv"] = csv_bytes(tmp_path, BAD_FACES)
    assert one_line(lambda: fetch(folder, server)) == (
        f"{server.url}/fer2013.csv is not FER2013: 7 rows in Training / PublicTest / PrivateTest (5 / 1 / 1); expected "
        "10 (6 / 2 / 2). It was not kept."
    )
    assert not folder.parent.exists()


def test_other_emotions_than_fer2013_s_are_not_kept(folder, server, tmp_path):
    faces = make_faces({**FEW, "train": {"angry": 2, "happy": 2, "sad": 2}})
    server.routes["/fer2013.csv"] = csv_bytes(tmp_path, faces)
    message = one_line(lambda: fetch(folder, server))
    assert "2 happy (expected 3), 2 sad (expected 0), 0 neutral (expected 1). It was not kept." in message
    assert not folder.parent.exists()


def test_the_numbers_that_are_expected_are_fer2013_s(monkeypatch):
    monkeypatch.undo()
    assert module.FER2013.splits == (28_709, 3_589, 3_589)
    assert sum(module.FER2013.train.values()) == 28_709
    assert tuple(module.FER2013.train) == EMOTIONS


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/fer2013.csv",
        "data:,fer2013.csv",
        "/tmp/fer2013.csv",
        "http:///fer2013.csv",
        "http://[1/fer2013.csv",
    ],
)
def test_other_schemes_are_refused_before_anything_is_made(folder, url):
    message = one_line(lambda: download(folder, url=url, progress=no_progress))
    assert message.startswith(url)
    assert "https://" in message
    assert one_line(lambda: download_ferplus(folder, url=url, progress=no_progress)) == message
    assert not folder.parent.exists()


def test_a_bad_address_of_the_votes_is_refused_before_the_data_is_fetched(folder, server):
    assert one_line(lambda: fetch(folder, server, ferplus_url="file:///etc/passwd")).startswith("file:///etc/passwd: ")
    assert server.asked == []


@pytest.mark.parametrize("path", ["/faces.csv", "/", "/fer2013.csv.exe", "/..%2f.zip", "/.zip", "/a%0ab.zip"])
def test_other_names_are_refused_with_what_is_allowed(folder, server, path):
    message = one_line(lambda: fetch(folder, server, path))
    assert "Give the address of fer2013.csv or icml_face_data.csv, or of a file that ends in .zip" in message
    assert server.asked == []


@pytest.mark.parametrize("name", ["fer2013.csv", FILE_NAME])
def test_what_is_there_is_named_and_not_touched(folder, server, name):
    folder.mkdir(parents=True)
    (folder / name).write_text("mine")
    assert str(folder / name) in one_line(lambda: fetch(folder, server))
    assert (folder / name).read_text() == "mine"
    assert names(folder) == [name]
    assert server.asked == []


def test_what_came_while_fetching_is_not_overwritten(folder, server):
    def slow(handler):
        (folder / "fer2013.csv").write_text("mine")
        send(handler, csv)

    csv, server.routes["/fer2013.csv"] = server.routes["/fer2013.csv"], slow
    assert "is there already" in one_line(lambda: fetch(folder, server))
    assert (folder / "fer2013.csv").read_text() == "mine"
    assert names(folder) == ["fer2013.csv"]


def test_a_full_disk_is_one_line_and_leaves_nothing(folder, server):
    def full(done, total):
        raise OSError(errno.ENOSPC, "No space left on device")

    message = one_line(lambda: fetch(folder, server, progress=full))
    assert message.startswith(f"{folder}: cannot be written to (No space left on device)")
    assert not folder.parent.exists()


def test_an_interrupt_leaves_nothing(folder, server):
    def interrupted(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(folder, server, progress=interrupted)
    assert not folder.parent.exists()


# FER+


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, "answered 404"),
        (votes_bytes((6, 2, 1)), "is not FER+: 9 rows"),
        (b"Usage,neutral\n", "no column 'Image name' in the header"),
    ],
)
def test_when_the_votes_alone_fail_the_data_stays_and_the_error_says_so(folder, server, answer, expected):
    server.routes["/fer2013new.csv"] = answer
    message = one_line(lambda: fetch(folder, server))
    assert message.startswith(f"{folder / 'fer2013.csv'}: downloaded and checked, and stays; but not the FER+ votes.")
    assert expected in message
    assert message.endswith(f"By hand: fetch {FERPLUS_URL} in a browser and put it into {folder}.")
    assert names(folder) == ["fer2013.csv"]


# From Kaggle


@pytest.fixture
def from_kaggle(monkeypatch):
    """Have kagglehub do this with the folder that it is given; returns the handles that it was asked for."""
    asked = []

    def replace(act):
        def dataset_download(handle, path=None, *, force_download=False, output_dir=None):
            asked.append(handle)
            logging.getLogger("kagglehub.clients").error("Downloading to %s", output_dir)
            print("a word of kagglehub's")
            print("its bar", file=sys.stderr)
            return str(act(Path(output_dir)) or output_dir)

        monkeypatch.setattr(kagglehub, "dataset_download", dataset_download)
        return asked

    return replace


def raises(error):
    def act(output):
        raise error

    return act


def kaggle_csv(output):
    (output / ".complete").mkdir(parents=True)
    write_csv(output / "fer2013" / "fer2013.csv")


def test_kaggle_s_csv_is_found_in_its_folder_and_nothing_else_is_kept(folder, from_kaggle, capfd):
    asked = from_kaggle(kaggle_csv)
    done = download(folder, with_ferplus=False, progress=no_progress)
    assert asked == ["deadskull7/fer2013"]
    assert done.paths == [folder / "fer2013.csv"]
    assert names(folder) == ["fer2013.csv"]
    assert capfd.readouterr() == ("", "")


def test_kaggle_s_folder_with_the_challenge_s_names(folder, from_kaggle):
    asked = from_kaggle(lambda output: write_folder(output, suffix=".jpg") and None)
    done = download(folder, layout="folder", with_ferplus=False, progress=no_progress)
    assert asked == ["msambare/fer2013"]
    assert done.paths == [folder / "train", folder / "test"]
    assert done.notes == ()
    assert names(folder) == ["test", "train"]
    assert len(read_source(folder, no_progress).labels_N) == 10


def test_a_folder_without_the_challenge_s_names_is_checked_by_its_two_parts(folder, from_kaggle, monkeypatch):
    train = {"angry": 10, "happy": 30}  # enough that a tenth is held out when it is read
    faces = make_faces({**FEW, "train": train})
    monkeypatch.setattr(module, "FER2013", Expected((40, 2, 2), train))
    from_kaggle(lambda output: write_folder(output / "fer", faces, prefixes=False) and None)
    done = download(folder, layout="folder", with_ferplus=False, progress=no_progress)
    assert names(folder) == ["test", "train"]
    assert "checked were 40 faces in train and 4 in test." in done.notes[-1]


def test_a_folder_with_a_face_too_few_is_not_kept(folder, from_kaggle):
    def act(output):
        write_folder(output, prefixes=False)
        next((output / "test").rglob("*.png")).unlink()

    from_kaggle(act)
    message = one_line(lambda: download(folder, layout="folder", progress=no_progress))
    assert "kaggle.com/datasets/msambare/fer2013 is not FER2013: 9 rows" in message
    assert not folder.parent.exists()


def test_when_the_second_part_cannot_be_put_in_place_the_first_goes_too(folder, from_kaggle, monkeypatch):
    rename = Path.rename

    def fails_for_test(self, target):
        if Path(target) == folder / "test":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    from_kaggle(lambda output: write_folder(output) and None)
    monkeypatch.setattr(Path, "rename", fails_for_test)
    one_line(lambda: download(folder, layout="folder", progress=no_progress))
    assert not folder.parent.exists()


def test_what_a_notebook_has_mounted_elsewhere_is_copied(folder, from_kaggle, tmp_path):
    mounted = write_csv(tmp_path / "mount" / "fer2013.csv").parent
    from_kaggle(lambda output: mounted)
    download(folder, with_ferplus=False, progress=no_progress)
    assert names(folder) == names(mounted) == ["fer2013.csv"]


def http_error(status):
    response = requests.Response()
    response.status_code = status
    return kaggle.KaggleApiHTTPError(f"{status} Client Error.\n\nYou don't have permission", response=response)


KAGGLE_FAILURES = [
    (kaggle.UnauthenticatedError(), "Kaggle refuses deadskull7/fer2013: check the account"),
    (kaggle.CredentialError("A JWT Token is required"), "Kaggle refuses deadskull7/fer2013: check the account"),
    (http_error(401), "Kaggle refuses deadskull7/fer2013 (401): check the account"),
    (http_error(403), "Kaggle refuses deadskull7/fer2013 (403): check the account"),
    (http_error(404), "Kaggle has no data set deadskull7/fer2013 (404)."),
    (http_error(429), "Kaggle answered 429 for deadskull7/fer2013."),
    (requests.ConnectionError("Max retries exceeded\nwith url"), "Kaggle could not be reached (ConnectionError)"),
    (requests.exceptions.ProxyError("no"), "Kaggle could not be reached (ProxyError)"),
    (requests.ReadTimeout(), "Kaggle could not be reached (ReadTimeout)"),
    (requests.exceptions.ChunkedEncodingError("broken"), "could not be fetched (ChunkedEncodingError: broken)"),
    (kaggle.DataCorruptionError("a checksum\n\nof another"), "(DataCorruptionError: a checksum of another)"),
    (kaggle.NotFoundError(), "(NotFoundError: )"),
    (kaggle.BackendError("down"), "(BackendError: down)"),
    (kaggle.KaggleEnvironmentError("no proxy"), "(KaggleEnvironmentError: no proxy)"),
    (kaggle.ColabEnvironmentError("no runtime"), "(ColabEnvironmentError: no runtime)"),
    (ValueError("Invalid Kaggle credentials file"), "(ValueError: Invalid Kaggle credentials file)"),
    (zipfile.BadZipFile("cut"), "(BadZipFile: cut)"),
    (tarfile.ReadError("cut"), "(ReadError: cut)"),
]


@pytest.mark.parametrize(("error", "expected"), KAGGLE_FAILURES)
def test_whatever_kaggle_says_is_one_line_with_the_way_by_hand(folder, from_kaggle, capfd, error, expected):
    from_kaggle(raises(error))
    message = one_line(lambda: download(folder, progress=no_progress))
    assert expected in message
    assert "https://www.kaggle.com/datasets/deadskull7/fer2013 in a browser" in message
    assert f"put its archive.zip into {folder}" in message
    assert not folder.parent.exists()
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_during_kaggle_s_download_is_no_fault_of_kaggle_s(folder, from_kaggle):
    from_kaggle(raises(OSError(errno.ENOSPC, "No space left on device")))
    assert one_line(lambda: download(folder, progress=no_progress)).startswith(f"{folder}: cannot be written to (No sp")


def test_a_data_set_that_no_longer_holds_the_file_is_one_line(folder, from_kaggle):
    from_kaggle(lambda output: (output / "x").mkdir(parents=True))
    message = one_line(lambda: download(folder, progress=no_progress))
    assert message.startswith("kaggle.com/datasets/deadskull7/fer2013 no longer holds fer2013.csv. By hand:")


def test_without_kagglehub_the_line_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert "pip install -r requirements.txt" in one_line(lambda: download(folder, progress=no_progress))


def test_an_unknown_layout_lists_the_known_ones(folder):
    with pytest.raises(ConfigError, match="no layout to download named 'zip'. Known: csv, folder."):
        download(folder, layout="zip", progress=no_progress)


def test_kagglehub_s_log_is_silent_during_the_download_and_as_before_after_it(folder, from_kaggle):
    class Records(logging.Handler):
        def emit(self, record):
            told.append(record)

    told, logger, handler = [], logging.getLogger("kagglehub"), Records()
    before = logger.level
    from_kaggle(raises(kaggle.NotFoundError()))
    logger.addHandler(handler)
    try:
        one_line(lambda: download(folder, progress=no_progress))
    finally:
        logger.removeHandler(handler)
    assert told == []
    assert logger.level == before
