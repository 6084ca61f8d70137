"""Run every benchmark, each in its own process: `python -m benchmarks [--quick] [--out FOLDER] [NAME …]`.

`--page docs/figures/measured.md` keeps the page of the figures for the documents.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from . import _page, _report

NAMES = (
    *(
        "layer",
        "inference",
        "stream",
        "costs",
        "program",
        "torch_users",
        "one_step",
        "company",
        "model_file",
        "serve",
    ),
    *("gallery", "accuracy"),
)


def main() -> int:
    parser = _report.options(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)} (all)")
    parser.add_argument("--page", type=Path, help="another place for the page of the figures")
    chosen = parser.parse_args()
    others = [f"--threads={chosen.threads}", f"--out={chosen.out}", *(["--quick"] if chosen.quick else [])]
    unknown = set(chosen.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    failed = []
    start = time.perf_counter()
    for name in chosen.names or NAMES:
        before = time.perf_counter()
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *others], check=False).returncode:
            failed.append(name)
        print(f"({name}: {time.perf_counter() - before:.0f} s)\n", flush=True)
    page = _page.write(chosen.out, NAMES, chosen.page)
    print(f"The figures on one page: {page}")
    print(
        f"{time.perf_counter() - start:.0f} s in all" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
