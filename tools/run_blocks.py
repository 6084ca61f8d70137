"""Run the code blocks of Markdown files as a reader would, and compare the output with what the text says.

    python tools/run_blocks.py README.md docs/*.md

* ```python blocks of one file run in order, in one namespace. Expected output stands in comments: `# -> text`
  at the end of a statement (what it prints, or else the value of an expression), any comment at the end of a
  statement that prints, and the comment lines straight below it: up to an empty line or the block's end, and
  up to the next statement where no comment stands at the end of this one.
* ```sh blocks run in bash from the current folder. In ```console blocks the lines after `$ ` are run, and
  the others are their output.
* `<!-- not run: reason -->` on the line above a block skips it, and the reason is printed.

In a comparison a number may differ by one in its last digit, spaces may vary, and `...` matches anything.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\s*$")
NOT_RUN = re.compile(r"^<!--\s*not run:\s*(\S.*?)\s*-->$")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
ARROW = "# -> "


class MismatchError(Exception):
    """A block printed something else than the text says."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, the line where the text begins, why it is not run (or "")."""

    language: str
    text: str
    line: int
    not_run: str = ""


@dataclass
class Tally:
    """The numbers of blocks that passed, failed and were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)


def blocks(markdown: str) -> list[Block]:
    """Return the python, sh and console blocks of a text, in order; an open fence at its end is an error."""
    found: list[Block] = []
    lines = markdown.splitlines()
    language, start, reason = None, 0, ""
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if fence and language is None:
            note = NOT_RUN.match(lines[number - 1]) if number else None
            language, start, reason = fence[1], number + 1, note[1] if note else ""
        elif line.rstrip() == "```" and language is not None:
            if language in ("python", "sh", "console"):
                found.append(Block(language, "\n".join(lines[start:number]) + "\n", start + 1, reason))
            language = None
    if language is not None:
        raise ValueError(f"the block that begins on line {start} is never closed; end it with a line of ```")
    return found


def compare(expected: str, printed: str) -> None:
    """Raise unless the printed text is the expected one, up to spaces, last digits and `...`."""
    pattern, numbers = "", []
    for piece in re.split(rf"(\.\.\.|{NUMBER.pattern})", " ".join(expected.split())):
        if piece == "...":
            pattern += ".*"
        elif NUMBER.fullmatch(piece):
            pattern += f"({NUMBER.pattern})"
            numbers.append(piece)
        else:
            pattern += r"\s*".join(re.escape(word) for word in re.split(r"\s+", piece))
    match = re.fullmatch(pattern, " ".join(printed.split()))
    if match is None or not all(map(_near, numbers, match.groups())):
        raise MismatchError(f"the text says\n{_indent(expected)}\nbut it prints\n{_indent(printed)}")


def _near(expected: str, printed: str) -> bool:
    mantissa, _, exponent = expected.partition("e")
    decimals = len(mantissa.partition(".")[2])
    if not decimals and not exponent:
        return expected == printed
    return abs(float(expected) - float(printed)) <= 1.01 * 10.0 ** (int(exponent or 0) - decimals)


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.rstrip().splitlines()) or "    (nothing)"


def run_python(block: Block, name: str, namespace: dict[str, object]) -> None:
    """Run a python block statement by statement in a namespace, and compare what it prints."""
    lines = block.text.splitlines()
    tree = ast.parse("\n" * (block.line - 1) + block.text, filename=name)
    for statement in tree.body:
        last = (statement.end_lineno or statement.lineno) - block.line
        printed, value = io.StringIO(), None
        with contextlib.redirect_stdout(printed):
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), name, "eval"), namespace)
            else:
                exec(compile(ast.Module([statement], []), name, "exec"), namespace)
        expected = _expected(lines, last, statement, printed=bool(printed.getvalue()))
        if value is not None and expected is not None:
            printed.write(repr(value))
        if expected is not None:
            try:
                compare(expected, printed.getvalue())
            except MismatchError as error:
                raise MismatchError(f"line {statement.lineno}: {error}") from None


def _expected(lines: list[str], last: int, statement: ast.stmt, printed: bool) -> str | None:
    """The output that the comments at and below the end of a statement promise, or None."""
    comment = lines[last][statement.end_col_offset or 0 :].strip()
    prints = printed or any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(statement))
    promised = []
    if comment.startswith(ARROW) or (prints and comment.startswith("#")):
        promised.append(comment)
    if prints or promised:
        below = last + 1
        while below < len(lines) and lines[below].startswith("#"):
            below += 1
        if not promised or below == len(lines) or not lines[below].strip():
            promised += lines[last + 1 : below]
    return (
        "\n".join(line.removeprefix(ARROW).removeprefix("#").strip() for line in promised)
        if promised
        else None
    )


def run_shell(script: str) -> str:
    """Run a script in bash, without input, and return what it prints; a failing command raises."""
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "PATH": here},
        text=True,
        check=False,
    )
    if done.returncode:
        raise MismatchError(
            f"exit status {done.returncode} from\n{_indent(script)}\nwhich printed\n{_indent(done.stdout)}"
        )
    return done.stdout


def run_console(block: Block) -> None:
    """Run the commands of a console block one after the other and compare the output below each."""
    for command, expected in commands(block.text):
        printed = run_shell(command)
        if expected.strip():
            compare(expected, printed)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, rest = part.partition("\n")
        while command.endswith("\\"):
            more, _, rest = rest.partition("\n")
            command += "\n" + more
        yield command, rest


def run_file(path: Path, tally: Tally) -> None:
    """Run every block of a file, and count."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(path.read_text(encoding="utf-8")):
        where = f"{path}:{block.line} ({block.language})"
        if block.not_run:
            tally.skipped += 1
            print(f"skipped {where}: {block.not_run}", flush=True)
            continue
        try:
            if block.language == "python":
                run_python(block, str(path), namespace)
            elif block.language == "sh":
                run_shell(block.text)
            else:
                run_console(block)
        except MismatchError as error:
            tally.failures.append(f"{where}: {error}")
        except Exception:
            tally.failures.append(f"{where}:\n{traceback.format_exc()}")
        else:
            tally.passed += 1
            print(f"passed  {where}", flush=True)
            continue
        tally.failed += 1
        print(f"FAILED  {tally.failures[-1]}", flush=True)


def main(arguments: list[str]) -> int:
    """Run the files named; several files run in a process each, so that they share no modules."""
    if not arguments:
        print(__doc__)
        return 2
    if len(arguments) > 1:
        results = [subprocess.run([sys.executable, __file__, name], check=False) for name in arguments]
        return max(result.returncode for result in results)
    tally = Tally()
    run_file(Path(arguments[0]), tally)
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
