"""A page on which one watches a network change its mind word by word: live from a server, or stored.

One component of plain modules, SVG and canvas; nothing is fetched from elsewhere and nothing is built.
"""

from ._assets import hash_source
from ._page import live_page, live_policy, script_hash, stored_fragment
from ._stored import probabilities, shown_class

__all__ = [
    "hash_source",
    "live_page",
    "live_policy",
    "probabilities",
    "script_hash",
    "shown_class",
    "stored_fragment",
]
