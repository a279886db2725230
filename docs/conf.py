"""What sphinx-build makes the pages from; run by ``make docs``, without a network."""

import os
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent)]
# The same pictures everywhere, and no bar or colour in what commands print.
os.environ |= {"MPLBACKEND": "agg", "COLUMNS": "90", "NO_COLOR": "1"}

project = PROJECT["name"]
author = "The geoquant developers"
project_copyright = f"%Y, {author}"
version = release = PROJECT["version"]

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "command_help",
    "live_pages",
    "mathml",
    "pages_of_the_tree",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["gallery"]
templates_path = ["templates"]
language = "en_GB"
default_role = "py:obj"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say more
autodoc_default_options = {
    "members": True,
    "inherited-members": "BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, Module, "
    "TransformerMixin, object, tuple, Exception",
    "exclude-members": "get_metadata_routing, set_fit_request, set_output, set_score_request",
}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "backreferences_dir": "examples/of",
    "doc_module": ("geoquant",),
    "prefer_full_module": {r"geoquant\."},
    "reference_url": {"geoquant": None},
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 60,
    "write_computation_times": False,
    "download_all_examples": False,
    "first_notebook_cell": "%matplotlib inline",
    "plot_gallery": "True",
}
# What is remembered from page to page holds functions of sphinx-gallery, which cannot be stored.
suppress_warnings = ["config.cache"]

html_theme = "pydata_sphinx_theme"
html_title = "geoquant"
html_static_path = ["static"]
html_css_files = ["geoquant.css"]
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "geoquant"},
    "header_links_before_dropdown": 8,
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
ALONE = ("index", "start", "tutorial", "method", "reliability")
html_sidebars = {page: [] for page in ALONE}
