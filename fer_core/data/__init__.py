"""Open a source of faces: `store = open_store()`; the first time parses and caches, later times map the cache."""

from fer_core.data.source import SAMPLE, Source, find_source, open_store, resolve_config
from fer_core.data.store import FaceStore

__all__ = ["SAMPLE", "FaceStore", "Source", "find_source", "open_store", "resolve_config"]
