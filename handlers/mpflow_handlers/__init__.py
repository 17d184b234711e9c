"""Handlers that are ready to use, one a file, written against mpflow's public names alone.

Knows: the names of the classes. Must not know: anything else; each stands by itself.
"""

from __future__ import annotations

from mpflow_handlers.collect import Collect
from mpflow_handlers.digest import Digest
from mpflow_handlers.discard import Discard
from mpflow_handlers.form import Form
from mpflow_handlers.forward import Forward, Forwarded
from mpflow_handlers.json import Json
from mpflow_handlers.nested import Nested
from mpflow_handlers.objectstore import ObjectStore, Stored
from mpflow_handlers.save import Save, Saved
from mpflow_handlers.spool import Spool, Spooled
from mpflow_handlers.sync import SyncHandler
from mpflow_handlers.tee import Tee
from mpflow_handlers.text import Text

__all__ = [
    "Collect",
    "Digest",
    "Discard",
    "Form",
    "Forward",
    "Forwarded",
    "Json",
    "Nested",
    "ObjectStore",
    "Save",
    "Saved",
    "Spool",
    "Spooled",
    "Stored",
    "SyncHandler",
    "Tee",
    "Text",
]
