"""Sphinx's settings; `make docs` builds."""

from importlib.metadata import version as version_of

from sphinx.pycode import ModuleAnalyzer

project = "Conveyor"
author = "The Conveyor authors"
copyright = f"2026, {author}"
release = version_of("conveyor")
version = ".".join(release.split(".")[:2])

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False
napoleon_use_ivar = True  # else an attribute listed in a docstring is described twice

# Without prompts, and without the output of what stands after one.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# A reference that leads nowhere fails the build (-n -W). Those into Python's, anyio's and trio's
# documentation would need intersphinx, which fetches their inventories: the build is to work
# without a network, so they stay plain text.
nitpick_ignore_regex = [
    (r"py:.*", r"(anyio|asyncio|trio|sniffio)(\..*)?"),
    (r"py:.*", r"(abc|collections|contextlib|contextvars|dataclasses|enum|functools|inspect)\..*"),
    (r"py:.*", r"(logging|math|random|types|typing|typing_extensions)\..*"),
    # What is private is not documented, nor are type variables.
    (r"py:.*", r"conveyor\._.*"),
    (r"py:.*", r"(conveyor\.(\w+\.)*)?([A-Z]|In|Out|Item|Failed|Missing)"),
    # The alias of the strings that name a mode, and the modes themselves.
    (r"py:.*", r"Mode"),
]


def setup(app):
    """Show how a function is defined: its overloads are for type checkers, and autodoc has no
    option that leaves them out.
    """
    analyze = ModuleAnalyzer.analyze

    def without_overloads(self):
        analyze(self)
        self.overloads = {}

    ModuleAnalyzer.analyze = without_overloads
