"""Build the site: `python -m tools.website [FOLDER]` (build/site)."""

import argparse
import sys
import time
from pathlib import Path

from ._build import build
from ._check import check


def main() -> int:
    """Build and check the site; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.website", description="Build and check the site.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/site"), help="build/site")
    folder = parser.parse_args().folder
    start = time.perf_counter()
    status = build(folder)
    problems = check(folder / "html")
    for problem in problems:
        print(problem, file=sys.stderr)
    pages = sum(1 for _ in (folder / "html").rglob("*.html"))
    print(f"{folder / 'html' / 'index.html'}: {pages} pages in {time.perf_counter() - start:.0f} s")
    return 1 if status or problems else 0


if __name__ == "__main__":
    sys.exit(main())
