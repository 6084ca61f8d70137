"""compare and predict on a Dask cluster: the runs and rows of this machine, whoever computes them."""

import importlib.util
import json
import sys
import time

import numpy as np
import pytest

from stepfold.app.cli import main
from stepfold.estimators import RunError, TextClassifier, _dask, compare, load, outputs_of_blocks
from text_helpers import SMALL, make_texts, write_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
needs_dask = pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="Dask is not installed")
TEXTS, LABELS = make_texts()


def test_without_dask_the_cure_is_named(texts_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    out = str(tmp_path / "out")
    command = ["compare", str(texts_file), *SMALL, "--seeds=1", "--out", out, "--dask", "tcp://127.0.0.1:1"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.endswith('stepfold: error: a cluster (--dask) needs Dask: pip install "stepfold[dask]"\n')


@pytest.fixture(scope="module")
def texts_file(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts") / "texts.csv")


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as found:
        yield found


@needs_dask
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")
def test_a_cluster_leaves_the_comparison_of_one_process(cluster, texts_file, tmp_path, capsys):
    command = ["compare", str(texts_file), *SMALL, "--epochs=2", "--cells=gru,lstm", "--seeds=2", "--json"]
    assert main([*command, "--jobs=1", "--out", str(tmp_path / "one")]) == 0
    expected = {row["setting"]: row["scores"] for row in json.loads(capsys.readouterr().out)}
    on_cluster = [*command, "--dask", cluster.scheduler_address, "--out", str(tmp_path / "two")]
    assert main(on_cluster) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert "[4/4]" in said.err
    assert {row["setting"]: row["scores"] for row in found} == expected
    for name in sorted(path.name for path in (tmp_path / "one" / "runs").iterdir()):
        mine, other = (load(tmp_path / each / "runs" / name) for each in ("two", "one"))
        for weight, same in zip(mine.network_.get_weights(), other.network_.get_weights(), strict=True):
            np.testing.assert_allclose(weight, same, rtol=0, atol=1e-5)
    assert main(on_cluster) == 0  # everything is there
    assert json.loads(capsys.readouterr().out) == found


@needs_dask
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")
def test_a_cluster_predicts_what_this_process_does(cluster, texts_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("stepfold.app._predict_out._BLOCK", 7)
    run, here, there = (str(tmp_path / name) for name in ("run", "here.jsonl", "there.jsonl"))
    assert main(["train", str(texts_file), *SMALL, "--cell=gru", "--out", run]) == 0
    assert main(["predict", run, str(texts_file), "--all", "--out", here]) == 0
    on_cluster = ["predict", run, str(texts_file), "--all", "--out", there, "--dask"]
    assert main([*on_cluster, cluster.scheduler_address]) == 0
    assert (tmp_path / "there.jsonl").read_text() == (tmp_path / "here.jsonl").read_text()
    capsys.readouterr()

    model, read = load(run).to_model(), []

    def blocks(count):
        for k in range(count):
            read.append(k)
            yield TEXTS[k : k + 3]

    found = outputs_of_blocks(model, blocks(50), dask=cluster.scheduler_address)
    for k, outputs in enumerate(found):
        np.testing.assert_array_equal(outputs, model.outputs(TEXTS[k : k + 3]))
        assert len(read) - k <= 2 * 4  # two workers of two threads each
    assert read == list(range(50))
    with pytest.raises(TypeError, match="no string but float") as here_error:
        list(outputs_of_blocks(model, [[3.5]]))
    with pytest.raises(TypeError, match="no string but float") as there_error:
        list(outputs_of_blocks(model, [[3.5]], dask=cluster.scheduler_address))
    assert str(there_error.value) == str(here_error.value)
    assert main([*on_cluster[:4], "--dask", cluster.scheduler_address]) == 2
    assert capsys.readouterr().err.endswith("whose predictions go to a file: give --out FILE\n")


@needs_dask
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")
def test_what_is_wrong_there_is_said_here(cluster, tmp_path, monkeypatch):
    estimator, grid = TextClassifier(units=3, epochs=1, length=9), {"cell": ["gru"]}
    monkeypatch.setattr(_dask, "_CONNECT", 1)
    with pytest.raises(RunError, match=r"there is no Dask scheduler at tcp://127.0.0.1:1 .*: dask scheduler"):
        compare(estimator, TEXTS, LABELS, grid, seeds=1, dask="tcp://127.0.0.1:1")
    monkeypatch.setattr(_dask, "_CONNECT", 10)
    with pytest.raises(ValueError, match="two classes"):
        compare(estimator, TEXTS, ["one"] * len(TEXTS), grid, seeds=1, dask=cluster.scheduler_address)
    cluster.scale(0)
    monkeypatch.setattr(_dask, "_WORKERS", 3.0)
    client = cluster.get_client()
    for _ in range(200):
        if not client.nthreads():
            break
        time.sleep(0.1)
    client.close()
    with pytest.raises(RunError, match=r"has no workers; begin one: dask worker tcp://127\.0\.0\.1:"):
        compare(estimator, TEXTS, LABELS, grid, seeds=1, dask=cluster.scheduler_address)
