"""The command compare: its grid, its figures, what it keeps, and its errors."""

import argparse
import json
import signal
import subprocess
import sys
import time

import pytest

from stepfold.app._compare import add_compare
from stepfold.app._options import given_options
from stepfold.app.cli import main
from text_helpers import SMALL

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


def options(*arguments):
    parser = argparse.ArgumentParser()
    add_compare(parser)
    return parser.parse_args(["imdb", *arguments])


def grid(*arguments):
    return given_options(options(*arguments))


def test_every_option_of_train_takes_a_list():
    assert grid("--cells", "lstm, gru") == grid("--cell", "lstm,gru") == {"cell": ["lstm", "gru"]}
    assert grid("--units", "16,32", "--dropout", "0,0.3") == {"units": [16, 32], "dropout": [0.0, 0.3]}
    assert grid("--words", "5000", "--batch", "8,16") == {"vocabulary_size": [5000], "batch_size": [8, 16]}
    assert grid("--mask", "yes,no", "--no-bidirectional") == {"mask": [True, False], "bidirectional": [False]}
    assert grid("--bidirectional") == {"bidirectional": [True]}
    assert grid("--pooling", "max,mean") == {"pooling": ["max", "mean"]}
    single = vars(options("--preset", "tutorial,standard", "--seeds", "2"))
    assert (single["preset"], single["seeds"]) == (["tutorial", "standard"], 2)


def test_the_rows_are_those_of_the_runs_and_a_report_is_left(texts, tmp_path, capsys):
    command = ["compare", str(texts), *SMALL, "--early-stopping", "0,5", "--seeds", "1", "--seed", "7"]
    command += ["--jobs", "1", "--out", str(tmp_path / "out")]
    assert main([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    rows = json.loads(out)
    assert {row["setting"] for row in rows} == {"early stopping 0", "early stopping 5"}
    for row in rows:
        run = tmp_path / "out" / "runs" / f"{row['setting'].replace(' ', '_')}-7"
        assert row["runs"] == [str(run)]
        config = json.loads((run / "config.json").read_text())
        assert config["settings"]["early_stopping"] == row["varied"]["early_stopping"]
        assert config["settings"]["tokens"] == "words"
        assert row["accuracy"] == row["scores"][0] == config["results"]["val_accuracy"]
        assert row["parameters"] == config["results"]["parameters"]
        assert row["best_epochs"] == [config["results"]["best_epoch"]]
        figure = config["history"]["val_accuracy"][0]
        assert f"{row['setting']}, seed 7: epoch 1, validation accuracy {figure:.4f}" in err
    assert "[2/2] early stopping 5, seed 7: done, validation accuracy " in err
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "texts, by early stopping" in page
    assert "<svg" in page

    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "[2/2] early stopping 5, seed 7: kept, validation accuracy " in err
    lines = out.splitlines()
    assert lines[0].split("  ")[0] == "setting"
    assert lines[1].startswith(f"{rows[0]['setting']}  ")
    assert f" {rows[0]['accuracy']:.4f} " in lines[1]
    assert lines[-1] == f"report: {tmp_path / 'out' / 'report.html'}"


def test_a_failed_run_makes_the_status_1(texts, tmp_path, capsys):
    arguments = ["--learning-rate", "1e30", "--clip-norm", "0", "--optimizer", "sgd", "--epochs", "2"]
    command = ["compare", str(texts), *SMALL, *arguments, "--cell", "simple_rnn_relu", "--seeds", "1"]
    assert main([*command, "--jobs", "1", "--out", str(tmp_path / "out"), "--json"]) == 1
    out, err = capsys.readouterr()
    (row,) = json.loads(out)
    assert row["accuracy"] is None
    assert "the loss became " in row["failed"]["42"]
    assert "stepfold: failed: simple_rnn_relu, seed 42: the loss became " in err
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imdb", "--cells", "lstm,lsmt"], "there is no cell 'lsmt'; the cells are "),
        (["imdb", "--cells", "lstm,lstm"], "argument --cell/--cells: 'lstm,lstm' has a value twice"),
        (["imdb", "--units", "16,"], "argument --units: '' is no integer from 1 to"),
        (["imdb", "--dropout", "0,1"], "argument --dropout: '1' is no share: give a number from 0"),
        (["imdb", "--mask", "maybe"], "argument --mask: 'maybe' is neither yes nor no"),
        (["imdb", "--optimizer", "adam,x"], "argument --optimizer: invalid choice: 'x' (choose from adam, "),
        (["imdb", "--preset", "x"], "argument --preset: invalid choice: 'x' (choose from tutorial, standard"),
        (["imdb", "--seeds", "0"], "argument --seeds: '0' is no integer from 1 to 999"),
        (["imdb", "--validation-split", "0.2,0"], "--validation-split 0 holds no examples out, by which"),
        (["imdb", "--text", "t"], "--text, --label, --id and --time name the columns of a file"),
        (["none.csv"], "cannot read none.csv: No such file or directory; check the path"),
    ],
)
def test_mistakes_are_answered_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["compare", *arguments])
    except SystemExit as leaving:  # argparse exits by itself
        code = leaving.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert message in err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_processes_interrupted_and_continued(texts, tmp_path):
    """A Ctrl-C when the first run is done: both processes end, and the same command goes on."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "stepfold.app.cli", "compare", str(texts), *SMALL, "--jobs", "2"]
    command += ["--cells", "simple_rnn,gru", "--seeds", "2", "--out", str(out), "--json"]
    noted = tmp_path / "stderr"
    with noted.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        for _ in range(3000):
            if "[1/4]" in noted.read_text():
                break
            assert process.poll() is None, noted.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, noted.read_text()
    assert rest == ""
    assert "Traceback" not in noted.read_text()
    last = noted.read_text().splitlines()[-1]
    assert last.startswith("stepfold: interrupted: ")
    assert last.endswith(f" of 4 runs are done and kept in {out}; the same command continues")
    assert not list(out.glob("runs/*/.*")), "no file is partly written"

    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert ": kept, validation accuracy " in done.stderr
    rows = json.loads(done.stdout)
    assert [len(row["scores"]) for row in rows] == [2, 2]
    for row in rows:
        for path, score in zip(row["runs"], row["scores"], strict=True):
            config = json.loads((tmp_path / path / "config.json").read_text())
            assert config["results"]["val_accuracy"] == score


def test_what_is_for_texts_alone_is_refused_for_sequences(tmp_path, capsys):
    rows = [f"{k},{t},{t * k},{'up' if k % 2 else 'down'}" for k in range(8) for t in range(3)]
    (tmp_path / "table.csv").write_text("\n".join(["series,hour,value,label", *rows]) + "\n")
    command = ["compare", str(tmp_path / "table.csv"), "--id", "series", "--time", "hour"]
    assert main([*command, "--preset", "tutorial,standard", "--out", str(tmp_path / "out")]) == 2
    assert "--preset is for texts, but these data are sequences" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
