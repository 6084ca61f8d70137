"""How Sphinx sets the site. The pages are written by `tools.website`, which says where everything is."""

import os

project = "stepfold"
author = "the stepfold authors"
version = release = os.environ["STEPFOLD_DOCUMENTS_VERSION"]
language = "en"
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
maximum_signature_line_length = 80
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
nitpicky = False
exclude_patterns: list[str] = []

html_theme = "furo"
html_title = f"stepfold {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = True
html_permalinks_icon = "#"
html_last_updated_fmt = None
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
pygments_style = "default"
pygments_dark_style = "github-dark"
