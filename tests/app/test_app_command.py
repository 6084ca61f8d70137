"""The command line: what it prints where, how fast it answers, and its errors."""

import io
import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile

import pytest

from stepfold import cells
from stepfold.app.cli import main
from text_helpers import SMALL, write_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

FILES = {"model.keras", "vocabulary.json", "config.json", "history.csv", "report.html", "checkpoint.npz"}


def refused(capsys, *arguments, status=2):
    """Run the command, check that it refuses in one line on standard error, and return that line."""
    capsys.readouterr()
    try:
        code = main(list(map(str, arguments)))
    except SystemExit as leaving:  # argparse exits by itself
        code = leaving.code
    out, err = capsys.readouterr()
    assert code == status
    assert out == ""
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("stepfold")
    return last


@pytest.fixture(scope="module")
def seconds(tmp_path_factory):
    """Return what measures Python's processor time with the given arguments, and checks what it printed."""
    # With bytecode, as every user has it after the first run; a machine may be set to write none.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("bytecode"))

    def measure(arguments, start):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0
        assert done.stdout.startswith(start)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return measure


@pytest.mark.parametrize("command", [[], ["train"], ["predict"]])
def test_help_takes_little_more_than_importing_numpy(command, seconds):
    # 0.2 seconds where numpy takes 0.09. Which machine runs this, and how busy it is, both feel alike.
    helping, numpy = [], []
    for _ in range(5):
        helping.append(seconds(["-m", "stepfold.app.cli", *command, "--help"], "usage: stepfold"))
        numpy.append(seconds(["-c", "import numpy"], ""))
    assert min(helping) < 3.5 * min(numpy)


@pytest.mark.parametrize("command", [[], ["train"], ["predict"], ["cache"], ["probe"]])
def test_help_traces_no_cell_and_imports_no_framework(command):
    slow = ["stepfold.cells", "stepfold.serve", "keras", "jax", "sklearn", "rich"]
    script = (
        "import contextlib, io, sys\n"
        "from stepfold.app.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        f"    main([*{command}, '--help'])\n"
        f"print(*[each for each in {slow} if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_help_names_the_defaults_of_texts_and_of_sequences(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for shown in (
        "units of each recurrent layer (32; sequences: 64)",
        "recurrent layers (1)",
        "read in both directions (no; sequences: yes)",
        "more where there are few (3; sequences: 10)",
        "0 to train on everything (0.2; sequences: 0)",
        "after which to stop; 0 for never (0)",
        "weigh classes by how rare they are (none)",
    ):
        assert shown in text


def test_neither_the_core_nor_the_command_imports_a_framework():
    heavy = "{'keras', 'jax', 'torch', 'tensorflow', 'matplotlib'}"
    code = f"import sys, stepfold, stepfold.data, stepfold.app.cli; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_predicting_needs_no_matplotlib(trained):
    # Keras imports it by itself where it can, so it is taken away here.
    code = (
        "import sys; sys.modules['matplotlib'] = None; from stepfold.app.cli import main; "
        f"sys.exit(main(['predict', {str(trained)!r}, 'a good film']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("a good film\n")


def test_a_run_leaves_its_folder_and_nothing_else(trained):
    assert {file.name for file in trained.iterdir()} == FILES
    lines = (trained / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,accuracy,val_loss,val_accuracy,seconds"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4", "5"]
    config = json.loads((trained / "config.json").read_text())
    assert config["settings"]["units"] == 4
    assert config["settings"]["vocabulary_size"] == 10000
    assert config["settings"]["optimizer"] == "adam"
    assert config["parameters"]["random_state"] == 42
    assert config["classes"] == ["neg", "pos"]
    report = (trained / "report.html").read_text(encoding="utf-8")
    assert "<svg" in report
    assert "--overwrite" in report, "the command would be refused without"


def test_json_is_one_line_with_the_figures_of_the_saved_model(texts, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(texts), "--out", str(run), *SMALL, "--epochs", "3", "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    figures = json.loads(out)
    assert {"val_accuracy", "val_loss", "epochs", "seconds", "parameters", "split"} <= figures.keys()
    rows = [line.split(",") for line in (run / "history.csv").read_text().splitlines()[1:]]
    best = max(rows, key=lambda row: (float(row[4]), -float(row[3])))
    assert figures["val_accuracy"] == pytest.approx(float(best[4]), abs=1e-4)
    assert figures["val_loss"] == pytest.approx(float(best[3]), abs=1e-4)
    assert figures["epochs"] == 3
    assert figures["seconds"] == pytest.approx(sum(float(row[5]) for row in rows), abs=0.01)
    assert figures["seconds_per_epoch"] == pytest.approx(sorted(float(row[5]) for row in rows)[1], abs=0.01)
    words = json.loads((run / "config.json").read_text())["size"]
    assert figures["parameters"] == words * 5 + 4 * (5 + 4 + 1) * 4 + 8 + 1, "maximum and mean of 4 units"
    assert "Epoch 3/3" in err


def test_the_saved_model_has_the_accuracy_that_is_reported(texts, trained):
    from stepfold.data import open_table, split
    from stepfold.estimators import evaluate, load

    table = open_table(texts)
    _, held = split(table.labels, table.classes, seed=42)
    chosen = [text for k, text in enumerate(table.texts) if k in set(held)]
    labels = [table.classes[table.labels[k]] for k in sorted(held)]
    found = evaluate(load(trained), chosen, labels)
    rows = [line.split(",") for line in (trained / "history.csv").read_text().splitlines()[1:]]
    best = max(rows, key=lambda row: (float(row[4]), -float(row[3])))
    assert found.accuracy == pytest.approx(float(best[4]), abs=1e-6)
    assert found.log_loss == pytest.approx(float(best[3]), rel=1e-4)


def test_predict_prints_label_and_probability(trained, capsys):
    assert main(["predict", str(trained), "a lovely brilliant great film", "awful terrible boring plot"]) == 0
    out, _ = capsys.readouterr()
    (first, p, text), (second, q, _) = (line.split("\t") for line in out.splitlines())
    assert (first, second) == ("pos", "neg")
    assert 0.5 < float(p) <= 1
    assert 0.5 < float(q) <= 1
    assert text == "a lovely brilliant great film"


def stdin(monkeypatch, raw):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))


def test_predict_takes_lines_on_standard_input(trained, capsys, monkeypatch):
    stdin(monkeypatch, "great lovely film\r\nbad\u2028été\n".encode())
    assert main(["predict", str(trained), "--json"]) == 0
    out = capsys.readouterr().out
    assert "été" in out, "real letters"
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["text"] for answer in answers] == ["great lovely film", "bad\u2028été"]
    assert [answer["label"] for answer in answers] == ["pos", "neg"]
    assert all(0.5 <= answer["probability"] <= 1 for answer in answers)


def test_predict_refuses_what_is_no_text(trained, capsys, monkeypatch):
    stdin(monkeypatch, b"")
    assert "there is no text to predict" in refused(capsys, "predict", trained)
    stdin(monkeypatch, b"fine\ncaf\xe9\n")
    assert main(["predict", str(trained)]) == 2
    out, err = capsys.readouterr()
    assert out.endswith("\tfine\n"), "what came before is answered"
    assert "standard input, line 2: byte 0xe9 is not UTF-8" in err
    argument = os.fsdecode(b"caf\xe9")
    assert "the command line, line 1: byte 0xe9 is not UTF-8" in refused(capsys, "predict", trained, argument)


def test_three_classes_and_every_option(tmp_path, capsys):
    texts = write_texts(tmp_path / "three.csv", ("neg", "none", "pos"), 120)
    run = tmp_path / "run"
    options = (
        "--cell gru --layers 2 --bidirectional --mask --dropout 0.1 --recurrent-dropout 0.1 --optimizer adam"
    )
    assert main(["train", str(texts), "--out", str(run), *SMALL, "--epochs", "20", *options.split()]) == 0
    assert main(["predict", str(run), "great lovely", "wooden grey paper", "bad awful poor"]) == 0
    out = capsys.readouterr().out
    assert [line.split("\t")[0] for line in out.splitlines()[1:]] == ["pos", "none", "neg"]


def test_cells_are_listed_by_family_with_year_and_paper(capsys):
    assert main(["cells"]) == 0
    blocks = capsys.readouterr().out.strip().split("\n\n")
    for block, (family, members) in zip(blocks, cells.FAMILIES.items(), strict=True):
        title, *lines = block.splitlines()
        assert title == family
        assert [line.split()[0] for line in lines] == [cell.name for cell in members]
    line = next(line for line in blocks[1].splitlines() if line.split()[0] == "lstm")
    assert line.split(maxsplit=2)[1:] == ["1997", line[line.index("Long short-term memory") :]]
    assert "(Hochreiter & Schmidhuber 1997" in line


def test_a_pipe_of_another_encoding_gets_every_line(capsys, monkeypatch):
    assert main(["cells"]) == 0
    wanted = capsys.readouterr().out
    assert "\u2212" in wanted  # a minus sign
    with io.TextIOWrapper(io.BytesIO(), "cp1252", errors="strict", newline="\n") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["cells"]) == 0
        found = pipe.buffer.getvalue()
    assert found == wanted.encode("cp1252", errors="replace")
    assert b"?" in found


def test_one_cell_is_shown_in_every_view(capsys):
    for view in ("maths", "latex", "graph", "gradient"):
        assert main(["show", "gru", view]) == 0
        assert capsys.readouterr().out == cells.by_name("gru").show(view) + "\n"
    assert main(["show", "lstm", "llvm", "--units", "3", "--dtype", "float64", "--kernel", "backward"]) == 0
    code = cells.by_name("lstm").show("llvm", units=3, dtype="float64", kernel="backward")
    assert capsys.readouterr().out == code + "\n"
    for name, near in (("gruu", "; did you mean gru"), ("LSTM", "; did you mean lstm"), ("xyzzy", "rhn")):
        told = refused(capsys, "show", name)
        assert f"there is no cell {name!r}; the cells are " in told
        assert near in told
    assert "did you mean" not in told
    assert "the view 'latex' has no option units; it has no options" in refused(
        capsys, "show", "gru", "latex", "--units", "3"
    )
    assert "there is no kernel 'x'; choose from" in refused(capsys, "show", "gru", "asm", "--kernel", "x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND (see stepfold --help)"),
        (["trian"], "invalid choice: 'trian'"),
        (["train"], "stepfold train: error: the following arguments are required: imdb|FILE"),
        (["train", "imdb", "--units", "0"], "argument --units: '0' is no integer from 1 to 2147483647"),
        (["train", "imdb", "--words", "4"], "argument --vocabulary-size/--words: '4' is no integer from 5"),
        (["train", "imdb", "--epochs", "two"], "argument --epochs: 'two' is no integer from 1"),
        (["train", "imdb", "--seed", "4294967296"], "'4294967296' is no integer from 0 to 4294967295"),
        (["train", "imdb", "--dropout", "1"], "argument --dropout: '1' is no share: give a number from 0"),
        (["train", "imdb", "--learning-rate", "-1"], "argument --learning-rate: '-1' is no number above 0"),
        (["train", "imdb", "--learning-rate", "nan"], "argument --learning-rate: 'nan' is no number above 0"),
        (["train", "imdb", "--optimizer", "x"], "argument --optimizer: invalid choice: 'x'"),
        (["train", "imdb", "--cell", "lsmt"], "there is no cell 'lsmt'; the cells are "),
        (
            ["train", "imdb", "--cell", "phased_lstm"],
            "phased_lstm has the inputs x, time_now, and here is one",
        ),
        (["train", "imdb", "--text", "t"], "--text, --label, --id and --time name the columns of a file"),
        (["train", "a.csv", "--data", "b"], "--data gives the path of imdb; for a file, its path alone"),
        (["train", "none.csv"], "cannot read none.csv: No such file or directory; check the path"),
        (["train", "imdb", "--data", "none.npz"], "none.npz does not exist; give imdb.npz"),
        (["train", "imdb", "--resume"], "holds no run (there is no config.json); give the folder"),
        (["predict", "none", "x"], "none holds no run (there is no config.json); give the folder"),
        (["predict", __file__, "x"], "is no model; give FILE.safetensors, or the folder that train wrote"),
    ],
)
def test_mistakes_are_answered_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *arguments)


def test_a_folder_in_use_is_left_alone_and_the_alternatives_are_named(texts, trained, tmp_path, capsys):
    before = {file.name: file.read_bytes() for file in trained.iterdir()}
    line = refused(capsys, "train", texts, "--out", trained, *SMALL)
    assert (
        "already holds a run: continue it with resume=True (--resume), replace it with overwrite=True" in line
    )
    # Data that cannot be read must not cost the run that would have been replaced.
    refused(capsys, "train", tmp_path / "none.csv", "--out", trained, "--overwrite", *SMALL)
    assert {file.name: file.read_bytes() for file in trained.iterdir()} == before

    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in ([], ["--overwrite"]):
        assert "holds files that are no run" in refused(capsys, "train", texts, "--out", tmp_path, *overwrite)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_overwrite_replaces_a_run(texts, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    assert main(["train", str(texts), "--out", str(run), *SMALL, "--epochs", "1", "--overwrite"]) == 0
    assert {file.name for file in run.iterdir()} == FILES
    assert len((run / "history.csv").read_text().splitlines()) == 2


def test_a_folder_that_cannot_be_written_is_named(texts, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        line = refused(capsys, "train", texts, "--out", folder)
        assert f"cannot write to {folder}: " in line
        assert "choose another folder (--out)" in line


def damage_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_byte(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 255
    path.write_bytes(bytes(raw))


def rename_setting(path):
    path.write_text(path.read_text().replace('"units"', '"untis"'))


def make_foreign(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("model.keras", damage_half, "model.keras is damaged or cut short"),
        ("model.keras", damage_byte, "model.keras is damaged (its part "),
        ("model.keras", make_foreign, "model.keras cannot be loaded ("),
        (
            "model.keras",
            os.unlink,
            "holds no model yet: no epoch was finished; continue with resume=True (--resume)",
        ),
        ("vocabulary.json", damage_half, "vocabulary.json holds no vocabulary"),
        ("vocabulary.json", os.unlink, "vocabulary.json is missing, without which no text can be read"),
        ("config.json", rename_setting, "there is no parameter 'untis'"),
        ("config.json", damage_half, "config.json is damaged; train again (--overwrite)"),
    ],
)
def test_a_damaged_run_is_named(trained, tmp_path, capsys, file, damage, message):
    run = shutil.copytree(trained, tmp_path / "run")
    damage(run / file)
    assert message in refused(capsys, "predict", run, "a good film")


def test_a_vocabulary_of_another_model_is_refused(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "vocabulary.json").write_text('{"format": "stepfold vocabulary 1", "words": ["good"]}')
    line = refused(capsys, "predict", run, "a good film")
    assert "vocabulary.json has ids up to 4 but the model up to" in line
    assert "copy the vocabulary from where the model was trained" in line
