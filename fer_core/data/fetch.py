"""One file from a web address: http and https only, bounded in size, whole or an error in one line."""

import http.client
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from fer_core.data.csv_source import Progress
from fer_core.errors import DataError

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
"""A server that says nothing for so long is given up."""


def check_scheme(url: str) -> None:
    """Raises: DataError: not an address, or one of another kind than http and https."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise DataError(f"{url}: not an address ({error}). Give one that begins with https:// or http://.") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise DataError(f"{url}: only addresses that begin with https:// or http:// are fetched.")


def fetch(url: str, path: Path, most_bytes: int, progress: Progress) -> None:
    """Write what is at this address to `path`, as it is. Raises: DataError: it cannot be had whole."""
    too_much = DataError(f"{url}: more than the {most_bytes >> 20} MiB that FER2013 may take; not fetched.")
    done = 0
    with _open(url) as response, path.open("wb") as file:
        total = _length(response.headers.get("Content-Length"))
        if total is not None and total > most_bytes:
            raise too_much
        while chunk := _read(url, response):
            done += len(chunk)
            if done > most_bytes:
                raise too_much
            file.write(chunk)
            progress(done, total or done)
    if total is not None and done != total:
        raise DataError(f"{url}: the connection ended after {done:,} of {total:,} bytes. Try again.")


def _open(url: str) -> Any:
    # Built by hand: urllib's own opener also follows redirects to ftp, and takes file: and data: addresses.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    with _network_errors(url):
        return opener.open(url, timeout=_TIMEOUT_S)


def _read(url: str, response: Any) -> bytes:
    with _network_errors(url):
        return response.read(_CHUNK_BYTES)


def _length(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


@contextmanager
def _network_errors(url: str) -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        error.close()
        raise DataError(
            f"{url}: the server answered {error.code} {one_line(error.reason)}. Check the address."
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a host name that cannot be one
        reason = error.reason if isinstance(error, URLError) else error
        slow = isinstance(reason, TimeoutError)
        what = f"no answer for {_TIMEOUT_S:g} s" if slow else one_line(reason) or type(reason).__name__
        raise DataError(
            f"{url}: could not be fetched ({what}). Check the address and the network, or fetch it "
            "in a browser and put it into the folder."
        ) from None


def one_line(value: object) -> str:
    """What a server or library said, fit for one line of ours."""
    return " ".join(str(value).split())[:120]
