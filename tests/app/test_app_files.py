"""Files of every kind through the command: texts, sequences, odd names of classes, answers line by line."""

import csv
import gzip
import json
import shutil
import subprocess
import sys
import threading

import pytest

from stepfold.app.cli import main
from text_helpers import SMALL, make_sequences, make_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
COLUMNS = ("--id", "id", "--time", "time")


def write_sequences(path, labels, sequences):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "time", "a", "b", "c", "label"))
        for k, (sequence, label) in enumerate(zip(sequences, labels, strict=True)):
            writer.writerows([f"s{k}", t, *map(float, step), label] for t, step in enumerate(sequence))
    return path


def test_an_answer_comes_before_the_next_line_is_sent(trained):
    command = [sys.executable, "-m", "stepfold.app.cli", "predict", str(trained), "--json"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(120, process.kill)
    timer.start()
    try:
        for text in ("a lovely brilliant film", "", "awful boring plot"):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait() == 0
    finally:
        timer.cancel()
        process.kill()
        process.stdout.close()


def test_tables_of_every_kind_are_judged_by_name_or_number(trained, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    run = shutil.copytree(trained, tmp_path / "run")
    texts, labels = make_texts(rows=30)
    numbers = [int(label == "pos") for label in labels]
    rows = "".join(f"{text};{label}\n" for text, label in zip(texts, labels, strict=True))
    (tmp_path / "semicolons.csv").write_text("text;label\n" + rows, encoding="utf-16")
    with gzip.open(tmp_path / "numbers.jsonl.gz", "wt") as file:
        for text, number in zip(texts, numbers, strict=True):
            file.write(json.dumps({"text": text, "label": number}) + "\n")
    parquet.write_table(pyarrow.table({"text": texts, "label": labels}), tmp_path / "columns.parquet")
    found = []
    for name in ("semicolons.csv", "numbers.jsonl.gz", "columns.parquet"):
        assert main(["evaluate", str(run), str(tmp_path / name), "--json"]) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        found.append(json.loads(out))
        page = (run / "evaluations" / name / "report.html").read_text(encoding="utf-8")
        assert "<dt>random_state</dt>" in page
        assert "As text, with the loop" in page
    assert found[0]["accuracy"] > 0.8
    assert found[0] == found[1] == found[2]
    assert main(["predict", str(run), str(tmp_path / "columns.parquet")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 30


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A run whose classes have odd names."""
    folder = tmp_path_factory.mktemp("odd")
    names = ["a b", "c,d", "e\tf", "g\nh", "😀", "x" * 900, '"q"', "a=b", "-1", "007"]
    with (folder / "names.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((f"w{k % 10} v", names[k % 10]) for k in range(40))])
    assert (
        main(["train", str(folder / "names.csv"), "--out", str(folder / "run"), *SMALL, "--epochs", "1"]) == 0
    )
    return folder, names


def test_odd_names_of_classes_stay_in_their_line(odd, capsys):
    folder, names = odd
    run = str(folder / "run")
    capsys.readouterr()
    assert main(["predict", run, "w1 v", "w2 v", "--all", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 2
    assert set(answers[0]["probabilities"]) == set(names)
    assert main(["predict", run, "w1 v", "w2 v", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in lines:
        _, probability, pairs, text = line.split("\t")
        assert 0 < float(probability) <= 1
        assert text.startswith("w")
        for shown in ('"a b"=0.', " c,d=0.", '"e\\tf"=0.', '"g\\nh"=0.', " 😀=0.", '"a=b"=0.', " 007=0."):
            assert shown in f" {pairs}"
    assert main(["evaluate", run, str(folder / "names.csv")]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) < 400, "long names are cut"
    assert main(["evaluate", run, str(folder / "names.csv"), "--json"]) == 0
    assert {each["class"] for each in json.loads(capsys.readouterr().out)["classes"]} == set(names)


def test_sequences_with_classes(tmp_path, capsys):
    sequences, labels, _ = make_sequences(30)
    file = write_sequences(tmp_path / "s.csv", labels, sequences)
    run = str(tmp_path / "run")
    options = ("--units", "4", "--epochs", "2", "--label", "label")
    assert main(["train", str(file), "--out", run, *COLUMNS, *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training_examples"] == 30
    assert main(["evaluate", run, str(file), *COLUMNS, "--json"]) == 0
    by_name = json.loads(capsys.readouterr().out)
    numbers = write_sequences(tmp_path / "n.csv", [int(label == "up") for label in labels], sequences)
    assert main(["evaluate", run, str(numbers), *COLUMNS, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == by_name
    series = "".join(
        f"{':'.join(','.join(map(str, c)) for c in s.T)}:{v}\n"
        for s, v in zip(sequences, labels, strict=True)
    )
    (tmp_path / "s.ts").write_text(
        "@problemName s\n@timeStamps false\n@univariate false\n@dimensions 3\n@equalLength false\n"
        f"@classLabel true down up\n@data\n{series}"
    )
    assert main(["evaluate", run, str(tmp_path / "s.ts"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == by_name["accuracy"]
    assert main(["predict", run, str(tmp_path / "s.ts"), "--json", "--all"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 30
    assert set(answers[0]["probabilities"]) == {"down", "up"}
    model = str(tmp_path / "s.safetensors")
    assert main(["export", run, model]) == 0
    capsys.readouterr()
    assert main(["predict", model, str(tmp_path / "s.ts"), "--json", "--all"]) == 0
    for line, expected in zip(capsys.readouterr().out.splitlines(), answers, strict=True):
        assert json.loads(line)["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    for kind, what in ((run, "the run holds a SequenceClassifier"), (model, "is a model of sequences")):
        assert main(["predict", kind, "a text"]) == 2
        assert f"{what}, which predicts from a file of sequences; give its path" in capsys.readouterr().err
    assert main(["evaluate", run, str(file), "--json"]) == 2
    assert "is read as texts: name the columns of its sequences (--id and --time)" in capsys.readouterr().err


def test_sequences_with_numbers_and_a_missing_value(tmp_path, capsys):
    sequences, _, sums = make_sequences(30)
    file = write_sequences(tmp_path / "s.csv", [round(float(value)) for value in sums], sequences)
    run = str(tmp_path / "run")
    command = ["train", str(file), "--out", run, *COLUMNS, "--units", "4", "--epochs", "2"]
    assert main([*command, "--task", "regress"]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, str(file), *COLUMNS, "--json"]) == 0
    assert {"r2", "mean_absolute_error"} <= json.loads(capsys.readouterr().out).keys()
    model, values = str(tmp_path / "s.safetensors"), []
    assert main(["export", run, model]) == 0
    capsys.readouterr()
    for each in (run, model):
        assert main(["predict", each, str(file), *COLUMNS, "--json"]) == 0
        values.append([json.loads(line)["value"] for line in capsys.readouterr().out.splitlines()])
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    sequences[3][1, 1] = float("nan")
    broken = write_sequences(tmp_path / "b.csv", [1.5] * 30, sequences)
    assert main(["evaluate", run, str(broken), *COLUMNS]) == 2
    assert "contains NaN or infinity, which SequenceRegressor does not take" in capsys.readouterr().err
    assert main(["train", str(broken), "--out", str(tmp_path / "other"), *COLUMNS]) == 2
    assert "contains NaN or infinity" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
