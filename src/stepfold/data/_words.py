"""Splits normalised texts into words of any language with the standard library alone."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right

_RANGES = """
    e01 e3b e40 e5c e81 e83 e84 e85 e86 e8b e8c ea4 ea5 ea6 ea7 ebe ec0 ec5 ec6 ec7 ec8 ecf ed0 eda edc ee0
    1000 10a0 1780 17de 17e0 17ea 17f0 17fa 19e0 1a00 2e80 2e9a 2e9b 2ef4 2f00 2fd6 3005 3006 3007 3008
    3021 302a 3038 303c 3041 3097 309d 30a0 30a1 30fb 30fd 3100 31f0 3200 32d0 32ff 3300 3358 3400 4dc0
    4e00 a000 a9e0 a9ff aa60 aa80 f900 fa6e fa70 fada ff66 ff70 ff71 ff9e 116d0 116e4 16fe2 16fe4 16ff0 16ff2
    1aff0 1aff4 1aff5 1affc 1affd 1afff 1b000 1b123 1b132 1b133 1b150 1b153 1b155 1b156 1b164 1b168
    1f200 1f201 20000 2a6e0 2a700 2b73a 2b740 2b81e 2b820 2cea2 2ceb0 2ebe1 2ebf0 2ee5e 2f800 2fa1e
    30000 3134b 31350 323b0
"""
_UNSPACED = tuple(int(each, 16) for each in _RANGES.split())
"""The code points of Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar, the scripts that put no spaces
between words: where a range begins, where it ends, and so on."""

_ASCII = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*|[!?]")
_CLASSES = re.compile(r"[lm]+(?:'[lm]+)*|[uv][mv]*|[!?]")


class _Classes(dict[int, str]):
    """The class of each character, found when it is first met: l a letter or digit and m a mark of scripts
    with spaces, u and v those of scripts without, ! what is a word by itself, ' itself, else a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if bisect_right(_UNSPACED, code) % 2:
            found = "v" if category[0] == "M" else "u"
        elif category[0] in "LN":
            found = "l"
        elif category[0] == "M":
            found = "m"
        elif character in "!?" or category == "So":
            found = "!"
        else:
            found = "'" if character == "'" else " "
        self[code] = found
        return found


_classes = _Classes()


def split_words(text: str) -> list[str]:
    """Return the words of a normalised text, as the pattern of ``UnicodeWords`` does in ``tokenizers``."""
    if text.isascii():
        return _ASCII.findall(text)
    return [text[match.start() : match.end()] for match in _CLASSES.finditer(text.translate(_classes))]
