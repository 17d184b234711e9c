"""How the documentation is built.

Knows: Sphinx' settings. Must not know: anything of mpflow but its metadata.
"""

from __future__ import annotations

from importlib.metadata import metadata

_META = metadata("multipart-flow")

project = "mpflow"
author = "the mpflow authors"
project_copyright = author
release = version = _META["Version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "examples"]
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}

html_theme = "furo"
html_title = f"mpflow {release}"
nitpicky = False
