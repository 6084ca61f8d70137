"""Views of a step as text: its equations, its flowchart, its backward step, its code."""

from ._names import named_values
from ._show import show

__all__ = ["named_values", "show"]
