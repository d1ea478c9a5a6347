"""The `data` commands: fetch a source, count it, check it, write it in another layout."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import CliApp, CliSubCommand

from fer_core import console
from fer_core.catalog import LABELS, check_name
from fer_core.cli_parts import Command, Json, config_flag, print_notes, print_result
from fer_core.data import FaceStore, open_store, quality
from fer_core.data.agreement import ferplus_agreement
from fer_core.data.download import FERPLUS_URL, Downloaded, download, download_ferplus
from fer_core.data.export import LAYOUTS, export
from fer_core.data.labelling import labelled
from fer_core.data.source import DEFAULT_FOLDER


class _SourceCommand(Command):
    """A command that opens a source: which one, with whose votes."""

    data: str | None = config_flag("data")
    ferplus: str | None = config_flag("ferplus")
    rescan: bool = Field(False, description="Read the source again, even where its size and time are as before.")

    def open(self) -> FaceStore:
        with console.progress("reading") as progress:
            return open_store(self.data, progress, ferplus=self.ferplus, rescan=self.rescan)


class DataInfo(_SourceCommand):
    """Count the faces of a source by split and emotion, under a label mode."""

    labels: str = config_flag("labels")
    contempt: bool = config_flag("contempt")
    as_json: bool = Json

    def cli_cmd(self) -> None:
        check_name("label mode", self.labels, LABELS)
        store = self.open()
        view = labelled(store, self.labels, contempt=self.contempt)
        info = {
            "n": len(view),
            "splits": view.counts(),
            "fingerprint": view.fingerprint,
            "source": store.source,
            "labels": self.labels,
            "left_out": len(store) - len(view),
            "ferplus": store.votes_NV is not None,
            "notes": list(store.notes),
        }
        print_result(info, self.as_json, lambda: console.data_info(info))


class DataCheck(_SourceCommand):
    """Look for what is wrong with a source: copies, leaks between splits, near copies, label conflicts, no faces."""

    near: bool = Field(True, description="Look for near copies too; a minute at most for FER2013, then kept.")
    as_json: bool = Json

    def cli_cmd(self) -> None:
        store = self.open()
        with console.progress("comparing faces") as progress:
            near = quality.near_copies(store, progress) if self.near else quality.cached_near_copies(store)
        values = quality.summary(quality.check(store), near)
        agreement = None if store.votes_NV is None else ferplus_agreement(store)
        values["ferplus"] = None if agreement is None else agreement.to_json()
        print_result(values, self.as_json, lambda: console.quality(store.source, values))


class DataExport(_SourceCommand):
    """Write a source in another layout."""

    layout: str = Field(description=f"{', '.join(LAYOUTS)}.")
    out: Path = Field(description="Folder to write; it must not be there yet, or be empty.")

    def cli_cmd(self) -> None:
        check_name("layout", self.layout, LAYOUTS)
        store = self.open()
        with console.progress("writing") as progress:
            written = export(store, self.layout, self.out, progress)
        print_notes(written.notes)
        print(written.path)


class DataDownload(Command):
    """Fetch FER2013 and FER+'s votes, and check that they are what they should be."""

    to: Path = Field(DEFAULT_FOLDER, description="Folder to put them into.")
    what: Literal["all", "faces", "votes"] = Field("all", description="The faces, FER+'s votes, or both.")
    layout: Literal["csv", "folder"] = Field("csv", description="Which of Kaggle's copies: the CSV, or image folders.")
    url: str | None = Field(None, description="Fetch this CSV or archive instead of Kaggle's copy.")
    ferplus_url: str = Field(FERPLUS_URL, description="Where FER+'s fer2013new.csv is.")

    def cli_cmd(self) -> None:
        with console.progress("fetching") as progress:
            if self.what == "votes":
                found = Downloaded([download_ferplus(self.to, url=self.ferplus_url, progress=progress)])
            else:
                votes = self.what == "all"
                found = download(
                    self.to,
                    layout=self.layout,
                    url=self.url,
                    ferplus_url=self.ferplus_url,
                    with_ferplus=votes,
                    progress=progress,
                )
        print_notes(found.notes)
        for path in found.paths:
            print(path)


class Data(Command):
    """Fetch a data source, look at it, check it, write it in another layout."""

    info: CliSubCommand[DataInfo]
    check: CliSubCommand[DataCheck]
    download: CliSubCommand[DataDownload]
    export: CliSubCommand[DataExport]

    def cli_cmd(self) -> None:
        CliApp.run_subcommand(self, cli_exit_on_error=False)
