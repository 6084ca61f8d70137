"""Views of a cell as text: its equations, its loop, its derivative, its code."""

from ._show import show

__all__ = ["show"]
