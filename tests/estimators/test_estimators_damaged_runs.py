"""Saved estimators whose files are damaged: one clear line, whatever stands in them."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

from stepfold import estimators
from stepfold.data import DataError
from stepfold.estimators import RunError, SequenceClassifier, SequenceRegressor, TextClassifier, load
from text_helpers import make_sequences, make_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

JUNK = [None, True, -1, 0, 1e9, 2**70, "3", [], [[]], {}, [{}], {"a": 1}, float("nan"), float("inf")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    texts, labels = make_texts(rows=20)
    TextClassifier(units=3, embedding=4, length=6, epochs=1).fit(texts, labels).save(folder / "text")
    sequences, names, sums = make_sequences(20)
    SequenceClassifier(units=3, epochs=1).fit(sequences, names).save(folder / "classes")
    SequenceRegressor(units=3, epochs=1).fit(sequences, sums).save(folder / "numbers")
    return folder


@pytest.fixture
def runs(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "runs")


def change(run, path, value):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("text", ("settings", "units"), "3", "units must be an integer of at least 1, not '3'"),
        ("text", ("settings", "units"), 1e9, "units must be an integer of at least 1, not 1000000000.0"),
        (
            "text",
            ("settings", "length"),
            10**9,
            "the network takes (None, 6), the settings (None, 1000000000)",
        ),
        ("text", ("settings", "cell"), 5, "cell must be the name of a cell or its JSON text, not 5"),
        ("text", ("settings", "dropout"), float("nan"), "dropout must be a share from 0 to below 1, not nan"),
        ("text", ("settings",), [], "'settings' is []"),
        ("text", ("parameters", "untis"), 3, "there is no parameter 'untis'"),
        ("text", ("classes",), ["a"], "its classes are no list of two or more different names"),
        ("text", ("classes",), ["a", "a"], "its classes are no list of two or more different names"),
        ("text", ("classes",), ["a", 1], "its classes are no list of two or more different names"),
        ("text", ("classes",), [["a"], ["b"]], "its classes are no list of two or more different names"),
        ("text", ("classes",), [1, 2**80], "a class is out of range"),
        ("text", ("classes",), ["a", "b", "c"], "the network has (None, 1) outputs, the classes 3"),
        ("text", ("classes",), None, "its classes are no list of two or more different names"),
        ("text", ("size",), "x", "'size' is x"),
        ("text", ("size",), 7, "vocabulary.json has ids up to"),
        ("text", ("history",), {"loss": "x"}, "'history' is {'loss': 'x'}, not lists of numbers"),
        ("text", ("results",), 3, "'results' is 3, not the figures of a training"),
        ("text", ("estimator",), "Foo", "holds a 'Foo', which this version of stepfold has not"),
        ("classes", ("mean",), [1.0], "it has 3 features but 1 means and 3 variances"),
        ("classes", ("mean",), [[1.0]] * 3, "'mean' is [[1.0], [1.0], [1.0]], not a list of numbers"),
        (
            "classes",
            ("variance",),
            [float("inf")] * 3,
            "'variance' is [inf, inf, inf], not a list of numbers",
        ),
        ("classes", ("features",), 3.5, "'features' is 3.5, not a positive integer"),
        ("classes", ("features",), 10**12, "'features' is 1000000000000, not a positive integer"),
        ("numbers", ("target_mean",), [10**400], "not a list of numbers"),
        ("numbers", ("target_mean",), [1.0, 2.0], "it has 2 means of targets but 1 deviations"),
        ("text", ("results", "best_epoch"), 9, "'results' is"),
        ("text", ("results", "split"), "some", "'results' is"),
        ("numbers", ("history", "epoch"), [3], "'history' is"),
        ("classes", ("seed",), -1, "'seed' is -1, not an integer of at least 0"),
    ],
)
def test_damage_is_named(runs, kind, path, value, message):
    change(runs / kind, path, value)
    with pytest.raises(RunError) as caught:
        load(runs / kind)
    text = str(caught.value)
    assert message in text
    assert len(text) < 600
    assert "\n" not in text


def test_the_network_of_another_vocabulary_or_scale_is_refused(runs):
    vocabulary = json.loads((runs / "text" / "vocabulary.json").read_text(encoding="utf-8"))
    vocabulary["words"].append("another")
    (runs / "text" / "vocabulary.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    change(runs / "text", ("size",), len(vocabulary["words"]) + 4)
    with pytest.raises(
        RunError, match=r"do not belong together: the network knows ids below \d+, the vocabul"
    ):
        load(runs / "text")
    for name, value in {"features": 2, "mean": [0, 0], "variance": [1, 1]}.items():
        change(runs / "classes", (name,), value)
    with pytest.raises(RunError, match=r"the network takes .*, the scale 2 features"):
        load(runs / "classes")
    for name in ("target_mean", "target_deviation"):
        change(runs / "numbers", (name,), [1.0, 2.0])
    with pytest.raises(RunError, match=r"the network has \(None, 1\) outputs, the targets 2"):
        load(runs / "numbers")


@pytest.mark.parametrize("kind", ["text", "classes", "numbers"])
def test_junk_at_any_key_is_an_error_of_ours_or_harmless(runs, kind, monkeypatch):
    from stepfold.estimators import _saving

    loads = []
    monkeypatch.setattr(_saving, "load_network", loads.append)  # what follows is checked against the network
    whole = (runs / kind / "config.json").read_text(encoding="utf-8")
    config = json.loads(whole)
    paths = [(key,) for key in config] + [("settings", key) for key in config["settings"]]
    refused = []
    for path in paths:
        for value in JUNK:
            change(runs / kind, path, value)
            try:
                load(runs / kind)
            except RunError as error:
                refused.append(str(error))
            (runs / kind / "config.json").write_text(whole, encoding="utf-8")
    assert len(refused) > len(paths) * len(JUNK) // 3
    assert max(map(len, refused)) < 1000
    assert loads


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        "[]",
        "{",
        '{"format": "stepfold run 1"}',
        '{"format": 1}',
        "9" * 10_000,
        "\x00",
        "NaN",
    ],
)
@pytest.mark.parametrize("file", ["config.json", "vocabulary.json"])
def test_what_is_no_configuration_or_vocabulary(runs, file, text):
    (runs / "text" / file).write_text(text, encoding="utf-8")
    with pytest.raises((RunError, DataError), match=rf"{file} (is damaged|holds no vocabulary)"):
        load(runs / "text")


def test_a_configuration_of_absurd_length_is_not_read(runs):
    with (runs / "text" / "config.json").open("r+b") as file:
        file.truncate(2**31)  # a hole, which takes no room
    with pytest.raises(RunError, match=r"config\.json is too long to be a configuration"):
        load(runs / "text")


def test_a_message_names_an_option_of_the_command_only_beside_what_python_takes():
    found = []
    for file in sorted(Path(estimators.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += re.findall(r".{0,20}(?<!\w)--[a-z].*", node.value)
    assert len(found) > 20
    assert [text for text in found if not re.search(r"\w \(--[a-z][a-z-]*( 1)?\)", text)] == []
