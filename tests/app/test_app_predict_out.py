"""Predictions into files: the same as on standard output, in every format, in little memory."""

import csv
import gzip
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from stepfold.app._predict_out import predict_out
from stepfold.app.cli import main
from stepfold.estimators import SequenceRegressor, load
from text_helpers import make_sequences, make_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


def separated(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines(), delimiter=delimiter))


def test_every_format_says_what_standard_output_says(texts, trained, tmp_path, capsys):
    assert main(["predict", str(trained), str(texts), "--json", "--all"]) == 0
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(expected) == 70
    for name in ("out.jsonl", "out.jsonl.gz", "out.csv", "out.tsv.gz", "out.parquet"):
        assert main(["predict", str(trained), str(texts), "--all", "--out", str(tmp_path / name)]) == 0
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("70 predictions in ")
        assert said.err.endswith(f"; saved in {tmp_path / name}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.csv", "out.jsonl", "out.jsonl.gz", "out.parquet", "out.tsv.gz"
    ]  # fmt: skip

    lines = (tmp_path / "out.jsonl").read_text()
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()).decode() == lines
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [*rows[0]] == ["label", "probability", "probabilities", "text"]
    for row, other in zip(rows, expected, strict=True):
        assert (row["label"], row["text"]) == (other["label"], other["text"])
        assert row["probability"] == pytest.approx(other["probability"], abs=2e-6)
        assert row["probabilities"] == pytest.approx(other["probabilities"], abs=2e-6)

    flat = [
        {
            "label": row["label"],
            "probability": row["probability"],
            **{f"probability {name}": value for name, value in row["probabilities"].items()},
            "text": row["text"],
        }
        for row in rows
    ]
    as_text = [{name: str(value) for name, value in row.items()} for row in flat]
    assert separated((tmp_path / "out.csv").read_text()) == as_text
    assert separated(gzip.decompress((tmp_path / "out.tsv.gz").read_bytes()).decode(), "\t") == as_text
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist() == flat


def test_texts_of_the_command_line_and_odd_ones_are_written_too(trained, tmp_path):
    out = tmp_path / "out.csv"
    odd = 'said "good",\nand\tbad \u2028'
    assert main(["predict", str(trained), odd, "", "--out", str(out)]) == 0
    with out.open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == [odd, ""]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("out.xls", "unknown kind of file '.xls'; give a .csv, .tsv or .jsonl file"),
        ("out.parquet.gz", "a .parquet is compressed as it is; take .gz off its name"),
        ("none/out.csv", "there is no folder {folder}/none; make it first"),
        ("folder.csv", "is a folder; give the name of a file in it"),
        ("texts.csv", "is the file that is read; give another name"),
    ],
)
def test_files_that_cannot_be_written_are_named_at_once(trained, texts, tmp_path, capsys, name, text):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "texts.csv").symlink_to(texts)
    before = sorted(tmp_path.iterdir())
    assert main(["predict", str(trained), str(texts), "--out", str(tmp_path / name)]) == 2
    assert text.format(folder=tmp_path) in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_an_error_in_the_middle_leaves_the_file_that_was_there(trained, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("as before")

    def broken():
        yield from ((text, text) for text in make_texts(rows=40)[0] * 60)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        predict_out(load(trained).to_model(), "text", broken(), None, str(out), False)
    assert out.read_text() == "as before"
    assert [*tmp_path.iterdir()] == [out]


@pytest.mark.slow
def test_inputs_without_end_take_little_memory(trained, tmp_path):
    model, out = load(trained).to_model(), tmp_path / "out.jsonl"
    sentence = " ".join(make_texts(rows=8)[0])

    def peak(count):
        inputs = ((text, text) for number in range(count) for text in [f"{sentence} {number}"])
        tracemalloc.start()
        try:
            assert predict_out(model, "text", inputs, count, str(out), False) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what is loaded and recorded once does not count
    assert peak(8 * 1024) < 1.2 * peak(1024)


@pytest.mark.slow
def test_sequences_are_read_one_after_the_other(tmp_path, capsys):
    sequences, _, sums = make_sequences(40)
    targets = np.stack([sums, -sums], axis=1)
    estimator = SequenceRegressor(units=3, epochs=1, random_state=0).fit(sequences, targets)
    estimator.save(tmp_path / "run")
    rows = ["id,time,a,b,c,label"]
    for number, sequence in enumerate(sequences):
        rows += [f"s{number},{t},{','.join(map(str, step))},?" for t, step in enumerate(sequence)]
    file = tmp_path / "sequences.csv"
    file.write_text("\n".join(rows))
    command = ["predict", str(tmp_path / "run"), str(file), "--id=id", "--out"]
    assert main([*command, str(tmp_path / "out.csv")]) == 0
    found = separated((tmp_path / "out.csv").read_text())
    assert [row["sequence"] for row in found] == [f"s{number}" for number in range(40)]
    values = [[float(row["value 0"]), float(row["value 1"])] for row in found]
    np.testing.assert_allclose(values, estimator.predict(sequences), rtol=1e-4, atol=1e-5)

    file.write_text("\n".join([*rows, rows[1]]))
    out = Path(tmp_path / "apart.csv")
    assert main([*command, str(out)]) == 2
    assert (
        "other sequences stand between the rows of id 's0'; sort the file by 'id'" in capsys.readouterr().err
    )
    assert not out.exists()
