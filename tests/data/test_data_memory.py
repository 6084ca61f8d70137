"""Files larger than what may be in memory: texts are streamed, ids go to a file."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

import stepfold
from stepfold.data import open_table

MEGABYTES = 30
PROGRAM = """
import resource, sys
from stepfold.data import VOCABULARIES, _growing, open_table

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

kind, small, large, folder = sys.argv[1:]
_growing._IN_MEMORY = 2**20

def walk(path):
    table = open_table(path)
    ids = VOCABULARIES[kind].learn(table.texts, 1000).encode_all(table.texts, folder)
    return len(table), len(ids.values)

walk(small)  # what is loaded and built once does not count
before = peak()
rows, ids = walk(large)
print(rows, ids, peak() - before)
"""


def write(path, rows):
    sentence = " ".join(f"word{k}" for k in range(30))
    with path.open("w") as file:
        file.write("text,label\n")
        for k in range(rows):
            file.write(f'"{sentence} number{k % 5000}, and so on",{k % 2}\n')
    return path


def test_a_walk_through_a_file_holds_a_few_of_its_texts(tmp_path):
    path = write(tmp_path / "a.csv", 8_000)
    size = path.stat().st_size
    tracemalloc.start()
    try:
        table = open_table(path)
        characters = sum(map(len, table.texts))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert characters > 0.9 * size
    assert peak < 0.2 * size


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras", "words"])
def test_a_file_of_many_megabytes_is_read_in_a_few(tmp_path, kind):
    pytest.importorskip("resource")
    large = write(tmp_path / "large.csv", MEGABYTES * 4500)
    assert large.stat().st_size > MEGABYTES * 1e6
    small = write(tmp_path / "small.csv", 5000)
    (tmp_path / "ids").mkdir()
    source = str(Path(stepfold.__file__).parents[1])
    arguments = [kind, small, large, tmp_path / "ids"]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        env={"PYTHONPATH": source, "RAYON_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    rows, ids, growth = map(float, ended.stdout.split())
    assert rows == MEGABYTES * 4500
    assert ids > 30 * rows
    # The texts alone would be 30 MB, the ids 18 MB, the ids as Python's objects 150 MB.
    assert growth < MEGABYTES * 0.5
    assert list((tmp_path / "ids").iterdir()) == []
