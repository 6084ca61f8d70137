"""Ensembles with n-gram evidence: what they compute, their files, what damaged files hold."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_model_damage import edited, joined, load, parts, refused

from ensemble_helpers import GRAMS, MARKED, SIZE, WORDS, ensemble_model, keys, ngrams
from stepfold import scan
from stepfold.data import KerasWords
from stepfold.model import (
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    EnsembleLayer,
    EvidenceLayer,
    JoinEvidenceLayer,
    Model,
    ModelError,
    PoolingLayer,
    Sequences,
    Texts,
    read_model,
    write_model,
)

TEXTS = [
    "The film not good very bad. Very good film?",
    "",
    "unheard",
    "not good",
    "film",
    "film not not very the good bad good good . film not good",
]


def evidence_of(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Channels and logits by the definition: n-grams as texts, looked up one by one."""
    scores = ngrams()
    tokens = WORDS.tokens(text)
    marked, left = [], 0
    for token in tokens:
        left = 0 if token == "." else left
        marked.append(f"*{token}" if left > 0 else token)
        left = 5 if token == "not" else left - 1
    orders = keys(GRAMS)[1], keys(MARKED)[1]
    shift = len(orders[0])
    channels, seen = [], set()
    for end in range(1, len(tokens) + 1):
        row: list[float] = []
        for words, order, start, longest in ((tokens, orders[0], 0, 3), (marked, orders[1], shift, 2)):
            for n in range(1, longest + 1):
                gram = " ".join(words[end - n : end]) if n <= end else ""
                if gram in order:
                    seen.add(start + order.index(gram))
                    place = start + order.index(gram)
                    row += [scores.ratios[place, 0], 5 * scores.weights[place, 0]]
                else:
                    row += [0.0, 0.0]
        channels.append(row)
    logit = scores.bias + sum((scores.weights[k] for k in sorted(seen)), np.zeros(1))
    return np.array(channels, np.float32).reshape(-1, 10), logit


def expected_logit(model: Model, text: str) -> float:
    """The ensemble's logit by the definition: one text, unpadded."""
    first, both, _ = model.layers
    assert isinstance(first, EvidenceLayer)
    assert isinstance(both, EnsembleLayer)
    channels, logit = evidence_of(text)
    ids = np.array([WORDS.words.index(t) + 2 if t in WORDS.words else 1 for t in WORDS.tokens(text)], int)
    ids = np.where(ids < first.embedded, ids, 1)
    if len(ids) > first.length:
        kept = np.r_[: first.length // 2, len(ids) - (first.length - first.length // 2) : len(ids)]
        ids, channels = ids[kept], channels[kept]
    found = []
    for table, recurrent, _, _, dense in both.members:
        assert isinstance(table, EmbeddingLayer)
        assert isinstance(recurrent, BidirectionalLayer)
        assert isinstance(dense, DenseLayer)
        assert dense.bias is not None
        pooled = np.zeros(16)
        if len(ids):
            inputs = np.concatenate((table.table[ids], channels), axis=1)[None]
            states = np.concatenate(
                [
                    scan(each.cell, inputs, each.params, reverse=each.reverse, return_sequences=True)[0]
                    for each in (recurrent.forward, recurrent.backward)
                ],
                axis=1,
            )
            pooled = np.concatenate((states.max(axis=0), states.mean(axis=0)))
        joined_values = np.concatenate((pooled, channels.sum(axis=0), logit))
        found.append(joined_values @ dense.kernel + dense.bias)
    return float(np.mean(found))


def test_it_computes_what_its_definition_says() -> None:
    model = ensemble_model()
    expected = 1 / (1 + np.exp([-expected_logit(model, text) for text in TEXTS]))
    found = model.predict_proba(TEXTS)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(expected) > 0.1
    assert not np.allclose(ensemble_model(length=20).predict_proba(TEXTS)[0], found[0]), "the cut matters"
    with pytest.raises(IndexError, match="ids run from 0 to 11: give ids from 0 to 10"):
        model.run(np.array([[0, 1, 11]]))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weights", ["f32", "bf16", "int8"])
def test_a_file_says_the_same(classes: int, weights: Any, tmp_path: Path) -> None:
    model = ensemble_model(classes)
    write_model(model, tmp_path / "m.safetensors", weights)
    again = read_model(tmp_path / "m.safetensors")
    found, expected = again.predict_proba(TEXTS), model.predict_proba(TEXTS)
    np.testing.assert_allclose(found, expected, atol=0 if weights == "f32" else 0.03)
    assert again.labels == model.labels
    assert again.inputs == model.inputs
    header, _, _ = parts((tmp_path / "m.safetensors").read_bytes())
    small = header["layers.0.ratios"]["dtype"], header["layers.1.1.1.forward.W_z"]["dtype"]
    assert small == {"f32": ("F32", "F32"), "bf16": ("BF16", "BF16"), "int8": ("BF16", "I8")}[weights]
    assert header["layers.0.words.2"]["dtype"] == "I64"


def test_without_ngrams_of_some_length(tmp_path: Path) -> None:
    model, scores = ensemble_model(), ngrams()
    none = np.zeros(0, np.int64)
    rest = np.r_[0:8, 9 : len(scores.ratios)]  # without the only one of three words
    fewer = replace(
        scores,
        words=(*scores.words[:2], none),
        stops=none,
        ratios=scores.ratios[rest],
        weights=scores.weights[rest],
    )
    model = replace(model, layers=(EvidenceLayer(fewer, SIZE - 1, 6), *model.layers[1:]))
    write_model(model, tmp_path / "m.safetensors")
    found = read_model(tmp_path / "m.safetensors").predict_proba(TEXTS)
    np.testing.assert_array_equal(found, model.predict_proba(TEXTS))


def test_an_explanation_reads_every_beginning() -> None:
    model = ensemble_model(length=9)
    text = "The film not unheard good, very bad."
    found = model.explain(text, values=True)
    assert found.tokens == tuple(WORDS.tokens(text))
    assert found.known == (True, True, True, False, True, False, True, True, True)
    beginnings = [" ".join(found.tokens[:k]) for k in range(len(found.tokens) + 1)]
    np.testing.assert_allclose([found.before, *found.outputs], model.predict_proba(beginnings), atol=1e-6)
    assert [(layer.name, layer.cell) for layer in found.layers] == [
        ("network 1, layer 1, forward", "lstm"),
        ("network 2, layer 1, forward", "gru"),
    ]
    assert [each["name"] for each in model.equations()] == [layer.name for layer in found.layers]
    # a state is that of a scan over the words so far and their channels
    both = model.layers[1]
    assert isinstance(both, EnsembleLayer)
    table, recurrent, *_ = both.members[0]
    assert isinstance(table, EmbeddingLayer)
    assert isinstance(recurrent, BidirectionalLayer)
    ids = np.array([1, 2, 3, 1])  # "the" has no row
    inputs = np.concatenate((table.table[ids], evidence_of("the film not unheard")[0]), axis=1)[None]
    _, *states = scan(recurrent.forward.cell, inputs, recurrent.forward.params, return_state=True)
    for name, state in zip(recurrent.forward.cell.states, states, strict=True):
        np.testing.assert_allclose(found.layers[0].values[name][3], state[0], atol=1e-6)
    assert found.layers[0].values["i"].shape == (9, 4)


def test_of_a_long_text_the_last_tokens_are_explained() -> None:
    model = ensemble_model()
    tokens = WORDS.tokens(" ".join(["film not good . very bad the good"] * 9))
    found = model.explain(" ".join(tokens))
    assert found.tokens == tuple(tokens[-6:])
    beginnings = [" ".join(tokens[:k]) for k in range(len(tokens) - 6, len(tokens) + 1)]
    np.testing.assert_allclose([found.before, *found.outputs], model.predict_proba(beginnings), atol=1e-6)
    assert np.ptp(found.outputs[:, 0]) > 0.01


def test_no_stream() -> None:
    model = ensemble_model()
    with pytest.raises(ValueError, match=r"layer 1 \(ensemble\) of an ensemble reads from the last timestep"):
        model.stream()
    both = model.layers[1]
    assert isinstance(both, EnsembleLayer)
    forward = tuple(
        (member[0], member[1].forward, *member[2:4], DenseLayer(np.ones((19, 1), np.float32)))  # type: ignore[union-attr]
        for member in both.members
    )
    model = replace(model, layers=(model.layers[0], EnsembleLayer(forward), model.layers[2]))
    with pytest.raises(ValueError, match=r"layer 0 \(evidence\) of an ensemble reads whole texts"):
        model.stream()
    assert model.explain("not good").outputs.shape == (2, 2)


def _with_layers(*layers: Any, inputs: Any = None) -> Callable[[], Any]:
    return lambda: Model(layers, inputs or Texts(WORDS, 9))


FIRST, NETWORKS, LAST = ensemble_model().layers
MEMBER = NETWORKS.members[0]  # type: ignore[union-attr]
ONES = np.ones((SIZE, 3), np.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_with_layers(FIRST, NETWORKS, inputs=Texts(KerasWords(("a",)), 9)), "the inputs have 5 ids of"),
        (_with_layers(FIRST, NETWORKS, inputs=Sequences(None)), "the inputs have no ids of words"),
        (_with_layers(NETWORKS), "layer 0 (ensemble) cannot take ids; an evidence layer must be before it"),
        (_with_layers(FIRST, FIRST), "layer 1 (evidence): n-grams are of ids, so it can only be the first"),
        (_with_layers(FIRST, LAST), "layer 1 (activation) cannot take ids"),
        (_with_layers(FIRST, EmbeddingLayer(ONES[:5])), "has 5 rows, but the evidence layer gives ids"),
        (
            _with_layers(FIRST, EmbeddingLayer(ONES), PoolingLayer("max", masked=False)),
            "layer 2 (pooling) pools over padding too",
        ),
        (_with_layers(FIRST, EmbeddingLayer(ONES), JoinEvidenceLayer()), "and a layer that pools over time"),
        (
            _with_layers(FIRST, EnsembleLayer((MEMBER, MEMBER[:2]))),
            "layer 1 (ensemble): network 2 gives values at every timestep",
        ),
        (
            _with_layers(FIRST, EnsembleLayer((MEMBER, MEMBER[:4]))),
            "layer 1 (ensemble): its networks give 1, 27 outputs; give them alike",
        ),
        (
            _with_layers(FIRST, EnsembleLayer((MEMBER[1:],))),
            "layer 1 (ensemble), network 1, layer 0 (bidirectional) cannot take ids",
        ),
        (lambda: EnsembleLayer(()), "an ensemble needs at least one network"),
        (lambda: EnsembleLayer(((NETWORKS,),)), "cannot hold another ensemble"),
        (lambda: EvidenceLayer(ngrams(), SIZE + 1, 9), "embedded must be an integer from 2 to 9, not 10"),
        (lambda: EvidenceLayer(ngrams(), SIZE, 0), "length must be an integer from 1 to 1,000,000, not 0"),
        (lambda: replace(ngrams(), words=()), "words must be the keys of 1 to 8 lengths"),
        (lambda: replace(ngrams(), bias=np.ones(2, np.float32)), "expected (features, scores) = (16, 2)"),
        (lambda: replace(ngrams(), stops=np.array([3, 1])), "stops must be ascending integers of at least 0"),
    ],
)  # fmt: skip
def test_what_cannot_be(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert message in str(caught.value)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("ensemble") / "m.safetensors"
    write_model(ensemble_model(), path)
    return path.read_bytes()


def _layer(k: int, **changes: Any) -> Callable[[dict[str, Any], Any], Any]:
    return lambda header, stored: stored["layers"][k].update(changes)


def _swapped(first: str, second: str) -> Callable[[dict[str, Any], Any], Any]:
    def swap(header: dict[str, Any], stored: Any) -> None:
        header[first], header[second] = header[second], header[first]

    return swap


EDITS: list[tuple[Callable[[dict[str, Any], Any], Any], str]] = [
    (_layer(0, words=0), "layers.0: 'words' is 0, expected the length of n-grams"),
    (_layer(0, words=10**9), "layers.0: 'words' is 1000000000, expected the length of n-grams"),
    (_layer(0, words=4), "it has no tensor layers.0.words.4"),
    (_layer(0, words=2), "ratios has shape (16, 1), expected (features, scores) = (15, 1)"),
    (_layer(0, embedded=99), "embedded must be an integer from 2 to 9"),
    (_layer(0, length=-1), "length must be an integer from 1"),
    (_layer(1, members=[]), "an ensemble needs at least one network"),
    (_layer(1, members=[[]]), "an ensemble needs at least one network, and each at least one layer"),
    (_layer(1, members=[1]), "layers.1: member 0 is no list of layers"),
    (_layer(1, members=[[{}] * 999] * 9), "it has 8,994 layers, more than 1,000"),
    (_layer(1, members=[[{"kind": "ensemble", "members": []}]]), "cannot hold another ensemble"),
    (lambda header, stored: header["layers.0.words.1"].update(shape=[5, 1]), "is not described by"),
    (lambda header, stored: header["layers.0.words.1"].update(dtype="F64"), "cannot be F64 in a model of"),
    (_swapped("layers.0.words.1", "layers.0.bias"), "must be integers, int64 (n,), not float32 (1,)"),
    (_swapped("layers.0.words.3", "layers.1.0.4.bias"), "must be integers, int64 (n,), not float32 (1,)"),
]


@pytest.mark.parametrize(("edit", "message"), EDITS, ids=range(len(EDITS)))
def test_headers_that_say_what_cannot_be(
    edit: Callable[[dict[str, Any], Any], Any], message: str, raw: bytes, tmp_path: Path
) -> None:
    assert message in refused(edited(raw, edit), tmp_path)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("layers.0.words.1", -1, 0, "words.1 must be ascending integers of at least 0"),
        ("layers.0.words.2", 0, -5, "words.2 must be ascending integers of at least 0"),
        ("layers.0.ratios", 3, np.nan, "the tensor layers.0.ratios holds NaN or infinity"),
    ],
)
def test_numbers_that_are_none(
    name: str, place: int, value: Any, message: str, raw: bytes, tmp_path: Path
) -> None:
    header, stored, data = parts(raw)
    array = np.frombuffer(data, np.uint8).copy()
    start, end = header[name]["data_offsets"]
    array[start:end].view({"I64": "<i8", "F32": "<f4"}[header[name]["dtype"]])[place] = value
    assert message in refused(joined(header, stored, array.tobytes()), tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_are_refused_or_read(data: st.DataObject, raw: bytes, tmp_path: Path) -> None:
    (length,) = struct.unpack("<Q", raw[:8])
    at = data.draw(st.integers(0, 8 + length) | st.integers(0, len(raw) - 1))
    try:
        model = load(raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :], tmp_path)
    except ModelError:
        return
    assert model.predict_proba(TEXTS).shape == (len(TEXTS), 2)
