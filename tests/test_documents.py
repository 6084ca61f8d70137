"""The runner of the documents' blocks: what it runs, what it compares, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.run_blocks import Block, MismatchError, blocks, commands, compare, main, run_console, run_python

SAMPLE = """
# A page

```python
import math
print(math.pi)  # 3.14160
x = {"a": 1}
x  # -> {'a': 1}
```

Words in between, and ```inline``` ones.

<!-- not run: there is no such machine -->
```sh
exit 3
```

```mermaid
graph LR
```

```python
for n in range(2):
    print(n, x["a"])
# 0 1
# 1 1

print("spread",
      "out")  # spread out
# a comment above code is no output
y = 1
```

```sh
test -z "$(cat)"   # no input
```

```console
$ echo one; \\
  echo two 0.12345
one
two 0.12346
$ true
```
"""


def page(folder: Path, text: str) -> str:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_page_passes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([page(tmp_path, SAMPLE)]) == 0
    printed = capfd.readouterr().out
    assert printed.endswith("\n4 passed, 0 failed, 1 skipped\n")
    assert "page.md:15 (sh): there is no such machine" in printed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("```python\nprint(1.5)  # 1.25\n```\n", "the text says\n    1.25\nbut it prints\n    1.5"),
        ("```python\nprint(1)\n# 1\n# 2\n```\n", "but it prints\n    1\n"),
        ("```python\nprint(1)\n# 2\nx = 1\n```\n", "the text says\n    2\nbut it prints\n    1"),
        ("```python\nsay = print\nsay(1)\n# 2\n```\n", "the text says\n    2\nbut it prints\n    1"),
        ("```python\n1 + 1  # -> 3\n```\n", "line 2: the text says\n    3\nbut it prints\n    2"),
        ("```python\nx = 1  # -> 1\n```\n", "but it prints\n    (nothing)"),
        ("```python\nmissing\n```\n", "NameError: name 'missing' is not defined"),
        ("```sh\nfalse\n```\n", "exit status 1 from\n    false"),
        ("```console\n$ echo 1\n2\n```\n", "the text says\n    2\nbut it prints\n    1"),
    ],
)
def test_a_wrong_page_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str], wrong: str, said: str) -> None:
    assert main([page(tmp_path, wrong)]) == 1
    printed = capfd.readouterr().out
    assert said in printed
    assert printed.endswith("0 passed, 1 failed, 0 skipped\n")


def test_of_several_pages_the_worst_counts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text("```python\nname = 1\n```\n", encoding="utf-8")
    bad.write_text("```python\nname\n```\n", encoding="utf-8")
    assert main([str(good), str(bad)]) == 1
    assert "1 passed, 0 failed, 0 skipped\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("0.873", "0.8735"),
        ("0.873", "0.872"),
        ("-1.20e-05", "-1.21e-05"),
        ("[1. 2.]", "[1.  2.]"),
        ("loss ... seconds", "loss 0.3 in 12 seconds"),
        ("(32, 500)", "(32,\n 500)"),
    ],
)
def test_near_enough(expected: str, printed: str) -> None:
    compare(expected, printed)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [("0.873", "0.875"), ("32", "33"), ("1.20e-05", "1.20e-06"), ("loss 1.0", "gain 1.0"), ("1 2", "1 2 3")],
)
def test_not_near_enough(expected: str, printed: str) -> None:
    with pytest.raises(MismatchError, match="but it prints"):
        compare(expected, printed)


def test_blocks_know_their_lines() -> None:
    assert [(block.language, block.line) for block in blocks(SAMPLE)] == [
        ("python", 5),
        ("sh", 15),
        ("python", 23),
        ("sh", 35),
        ("console", 39),
    ]


def test_an_open_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="begins on line 1 is never closed"):
        blocks("```python\nx = 1\n")


def test_errors_name_the_line_of_the_page() -> None:
    with pytest.raises(MismatchError, match=r"^line 41: "):
        run_python(Block("python", "x = 1\nprint(x)  # 2\n", 40), "page.md", {})


def test_console_commands() -> None:
    text = "$ a \\\n  b\nout\n\nmore\n$ c\n"
    assert list(commands(text)) == [("a \\\n  b", "out\n\nmore\n"), ("c", "")]
    with pytest.raises(MismatchError, match="exit status 4"):
        run_console(Block("console", "$ exit 4\n", 1))
