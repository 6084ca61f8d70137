"""Realistic content for reports, the same at every run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepfold.report import (
    ComparisonReport,
    ComparisonRow,
    Confusion,
    Epoch,
    EvaluationReport,
    GradientFlow,
    LagAttempt,
    LongestLag,
    MemoryReport,
    Mistake,
    Predictions,
    Reading,
    TrainingReport,
)

REVIEW = """
I went in expecting very little, and for the first half hour this film gave me exactly that: a slow, dull
procession of people in raincoats who never finish a sentence. The script is clumsy, the jokes are awful,
and one scene on the ferry is so badly cut that half of the audience laughed. But then something
wonderful happens. The daughter comes home, the music stops, and two superb actors simply talk to each
other in a kitchen for twelve minutes. It is one of the best scenes I have seen in years, tender and
funny and quietly devastating, and from there on the story never puts a foot wrong. I left with tears in
my eyes. Not perfect, but I loved it and would happily see it again.
"""
HOSTILE = (
    '<script>alert("owned")</script><img src=x onerror=alert(1)> & "quotes" '
    "\x00\x1b[31m \ud800 $\\frac{1}{2$ %s {{ 7 * 7 }}"
)
EQUATIONS = """lstm: Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

  i  = sigmoid(W_i @ x + U_i @ h + b_i)
  f  = sigmoid(W_f @ x + U_f @ h + b_f)
  c~ = tanh(W_c @ x + U_c @ h + b_c)
  o  = sigmoid(W_o @ x + U_o @ h + b_o)
  c' = f * c + i * c~
  h' = o * tanh(c')

Computed outside the time loop, for many timesteps at once
  W_o @ x + b_o
  W_f @ x + b_f
  W_i @ x + b_i
  W_c @ x + b_c
"""
LATEX = r"""\begin{aligned}
i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i) \\
f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f) \\
\tilde{c}_t &= \tanh(W_c x_t + U_c h_{t-1} + b_c) \\
o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) \\
c_t &= f_t \odot c_{t-1} + i_t \odot \tilde{c}_t \\
h_t &= o_t \odot \tanh(c_t)
\end{aligned}"""
_TONE = {
    "slow": -0.5, "dull": -1.0, "clumsy": -0.9, "awful": -1.7, "badly": -1.2, "laughed": 0.2,
    "wonderful": 1.9,
    "superb": 1.5, "best": 1.0, "tender": 0.6, "funny": 0.5, "devastating": -0.2, "wrong": -0.5,
    "perfect": 0.5, "loved": 1.2, "happily": 0.5, "little": -0.4, "tears": 0.1,
}  # fmt: skip
_VERSIONS = {"stepfold": "0.1.0", "python": "3.11.2", "keras": "3.15.1", "jax": "0.8.0", "numpy": "2.3.5"}


def epochs(count: int = 8, seed: int = 0, ceiling: float = 0.89, held: bool = True) -> list[Epoch]:
    """A training whose held-out loss rises again after a while."""
    random = np.random.default_rng(seed)
    rows = []
    for k in range(1, count + 1):
        done = 1 - np.exp(-k / (count / 3.5))
        noise = random.normal(0, 0.004, 2)
        rows.append(
            Epoch(
                epoch=k,
                seconds=float(5.8 + random.normal(0, 0.2)),
                loss=float(0.68 - 0.55 * done + noise[0]),
                accuracy=float(0.55 + 0.43 * done + noise[0]),
                val_loss=float(0.66 - 0.38 * done + 0.05 * max(0.0, k - 0.6 * count) + noise[1])
                if held
                else None,
                val_accuracy=float(0.55 + (ceiling - 0.55) * min(1, 1.15 * done) + noise[1])
                if held
                else None,
            )
        )
    return rows


def words(times: int = 1) -> list[str]:
    """The words of a review."""
    plain = REVIEW.lower().replace(",", " ").replace(".", " ").replace(":", " ")
    return plain.split() * times


def reading(tokens: list[str] | None = None, units: int = 64) -> Reading:
    """A review with the probability after each word, and a state that decays and is pushed by the words."""
    tokens = words() if tokens is None else tokens
    random = np.random.default_rng(1)
    direction = random.normal(0, 1, units)
    decay = random.uniform(0.6, 0.995, units)
    state, score = np.zeros((len(tokens), units)), np.zeros(len(tokens))
    h, s = np.zeros(units), 0.0
    for k, token in enumerate(tokens):
        tone = _TONE.get(token, 0.0)
        s = 0.985 * s + tone
        h = decay * h + (1 - decay) * (direction * (3 * tone + 0.5 * s) + random.normal(0, 0.6, units))
        state[k], score[k] = np.tanh(h), s
    return two_classes(tokens, 1 / (1 + np.exp(-1.3 * score)), state=state, truth="positive")


def two_classes(
    tokens: list[str],
    output: ArrayLike,
    labels: tuple[str, str] = ("negative", "positive"),
    *,
    before: float = 0.5,
    known: list[bool] | None = None,
    state: ArrayLike | None = None,
    layer: str = "lstm",
    **changes: Any,
) -> Reading:
    """A text with the probability of the second class after each word."""
    second = np.asarray(output, np.float64)
    explanation = {
        "tokens": tokens,
        "known": known or [True] * len(tokens),
        "labels": labels,
        "outputs": np.stack((1 - second, second), 1),
        "before": [1 - before, before],
        "layers": [] if state is None else [{"name": layer, "cell": layer, "values": {"h": state}}],
    }
    equations = [{"name": layer, "cell": layer, "maths": EQUATIONS}]
    return Reading(**{"explanation": explanation, "equations": equations, "name": layer, **changes})


def mistakes() -> list[Mistake]:
    """Six mistakes, a long one and a hostile one among them."""
    texts = [
        "If you liked watching paint dry you will love this. A masterpiece of boredom, truly unforgettable.",
        REVIEW.strip().replace("\n", " ") * 3,
        "Not bad. Not bad at all.",
        HOSTILE,
        "My kids hated every minute and I could not stop smiling; the worst best film of the summer.",
        "Ein schöner, trauriger Film über Ärger, Abschied und die Straßenbahn.",
    ]
    return [
        Mistake(
            example=text,
            truth=("negative", "positive")[k % 2],
            predicted=("positive", "negative")[k % 2],
            probability=0.993 - 0.011 * k,
            number=1204 + 77 * k,
        )
        for k, text in enumerate(texts)
    ]


def confusion(size: int = 2) -> Confusion:
    """A table whose neighbouring classes are taken for each other."""
    if size == 2:
        return Confusion(("negative", "positive"), [[2251, 249], [287, 2213]])
    random = np.random.default_rng(size)
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    counts = random.poisson(90 * np.exp(-1.6 * distance) + 0.3)
    return Confusion([f"{_NAMES[k % len(_NAMES)]} {k + 1}" for k in range(size)], counts)


_NAMES = (
    "walking",
    "running",
    "standing",
    "badminton",
    "sitting down",
    "climbing the stairs of a lighthouse with a rucksack",
)


def training(**changes: object) -> TrainingReport:
    """A training of an LSTM on reviews."""
    values: dict[str, object] = {
        "title": "imdb, lstm",
        "history": epochs(ceiling=0.894),
        "score": 0.8928,
        "parameters": 2_593_153,
        "training_examples": 20_000,
        "held_out": 5_000,
        "split": "random",
        "best_epoch": 6,
        "examples": "reviews",
        "seconds": 47.6,
        "confusion": confusion(),
        "mistakes": mistakes(),
        "reading": reading(),
        "equations": {"lstm": EQUATIONS},
        "latex": {"lstm": LATEX},
        "command": "stepfold train imdb --cell lstm --units 64 --epochs 8 --seed 1 --out runs/imdb-lstm",
        "configuration": {
            "cell": "lstm", "units": 64, "embedding": 64, "length": 500, "words": 20_000, "dropout": 0.3,
            "seed": 1,
            "optimizer": {"name": "adam", "learning_rate": 0.001, "clipnorm": 1.0}, "early_stopping": None,
        },
        "versions": _VERSIONS,
    }  # fmt: skip
    return TrainingReport(**{**values, **changes})  # type: ignore[arg-type]


def regression() -> TrainingReport:
    """A training on sequences of measurements, with values to predict."""
    random = np.random.default_rng(4)
    truth = random.gamma(4, 6, 700)
    predicted = truth + random.normal(0, 3.2, 700)
    history = [
        Epoch(epoch=k, seconds=0.8, loss=90 * 0.8**k, mae=8 * 0.9**k, r2=1 - 0.8**k, val_loss=95 * 0.82**k,
              val_mae=8.4 * 0.91**k, val_r2=1 - 0.82**k)
        for k in range(1, 21)
    ]  # fmt: skip
    n = 140
    time = np.arange(n)
    inputs = np.stack([np.sin(time / 9), 0.6 * np.cos(time / 23), random.normal(0, 0.1, n)], 1)
    output = 24 + 6 * np.cumsum(inputs[:, 0]) / 10
    state = np.tanh(np.cumsum(inputs @ random.normal(0, 0.2, (3, 24)), 0) / 3)
    return training(
        title="pump.csv, gru",
        history=history,
        best_epoch=None,
        confusion=None,
        examples="sequences",
        predictions=Predictions(truth, predicted),
        mistakes=[Mistake(example="sequence 17, 140 timesteps", truth=31.2, predicted=18.93, number=17)],
        reading=Reading(
            explanation={
                "tokens": [str(k + 1) for k in range(n)],
                "known": [True] * n,
                "labels": ["litres a minute"],
                "outputs": output[:, None],
                "before": [np.nan],
                "layers": [{"name": "gru", "cell": "gru", "values": {"h": state}}],
            },
            name="gru",
            inputs=inputs,
            words=False,
            truth=31.2,
        ),
    )


def evaluation(size: int = 12) -> EvaluationReport:
    """An evaluation with several classes."""
    table = confusion(size)
    right = float(np.trace(table.table) / table.table.sum())
    return EvaluationReport(
        title="runs/motions",
        data="test.jsonl",
        count=int(table.table.sum()),
        accuracy=right,
        examples="sequences",
        confusion=table,
        mistakes=mistakes()[:2],
        seconds=1.9,
        command="stepfold evaluate runs/motions test.jsonl",
        versions=_VERSIONS,
    )


def comparison() -> ComparisonReport:
    """Six cells, three seeds each."""
    levels = {
        "simple_rnn": (0.861, 0.012, 1.9, 1_284_353), "lstm": (0.889, 0.003, 5.8, 1_313_153),
        "gru": (0.891, 0.002, 4.6, 1_305_025), "layer_norm_lstm": (0.894, 0.004, 7.7, 1_313_537),
        "ind_rnn": (0.872, 0.006, 1.6, 1_284_225),
        "peephole_lstm, dropout 0.5, recurrent dropout 0.2, weight averaging 0.5":
            (0.8925, 0.004, 9.2, 1_354_497),
    }  # fmt: skip
    rows = []
    for k, (name, (mean, deviation, seconds, parameters)) in enumerate(levels.items()):
        random = np.random.default_rng(k)
        scores = [float(v) for v in mean + deviation * random.normal(0, 1, 3)]
        rows.append(
            ComparisonRow(
                name=name,
                scores=scores,
                seconds_per_epoch=seconds,
                parameters=parameters,
                best_epochs=[int(v) for v in random.integers(4, 9, 3)],
                histories=[epochs(10, seed=10 * k + s, ceiling=score) for s, score in enumerate(scores)],
            )
        )
    return ComparisonReport(
        title="imdb, 6 settings",
        data="imdb",
        rows=rows,
        held_out=5_000,
        planned=18,
        seconds=1042.0,
        command="stepfold compare imdb --cells simple_rnn,lstm,gru,layer_norm_lstm --seeds 3",
        configuration={"epochs": 10, "seeds": 3},
        versions=_VERSIONS,
    )


def memory() -> MemoryReport:
    """Five cells: one that forgets, gated ones, one that starts with the identity."""
    lags = np.arange(0, 201, 2)
    rates = {
        "simple_rnn": (0.82, 0.9), "identity_rnn": (0.9995, 1.0), "gru": (0.93, 0.992), "lstm": (0.95, 0.996),
        "ind_rnn": (0.985, 0.9995),
    }  # fmt: skip
    solved = {
        "simple_rnn": (16, 32, 8), "identity_rnn": (256, 512, 64), "gru": (256, 512, 128),
        "lstm": (512, 512, 128),
        "ind_rnn": (512, 1024, 0),
    }  # fmt: skip
    random = np.random.default_rng(0)
    flows = [
        GradientFlow(
            cell=cell,
            lags=lags,
            initial=_decay(lags, before, random),
            trained=_decay(lags, after, random),
        )
        for cell, (before, after) in rates.items()
    ]
    tasks = ("temporal order", "adding", "copy")
    return MemoryReport(
        title="5 cells, 64 units",
        flows=flows,
        lags=[
            LongestLag(cell=cell, task=task, lag=lag, limit=1024, seeds=(lag // 2, lag, lag))
            for cell, found in solved.items()
            for task, lag in zip(tasks, found, strict=True)
        ],
        trained_on="temporal order",
        attempts=[
            LagAttempt(
                cell=cell,
                task="adding",
                lag=8 << k,
                solved=8 << k <= found[1],
                score=0.002 + 0.02 * k,
                steps=400 * (k + 1),
                seconds=3.0 * (k + 1),
                setting="seed 0, rate 0.01",
            )
            for cell, found in solved.items()
            for k in range(3)
        ],
        budget="2,000 batches of 64 sequences",
        seconds=412.0,
        command="stepfold probe --cells simple_rnn,identity_rnn,gru,lstm,ind_rnn",
        configuration={"units": 64, "seed": 0},
        versions=_VERSIONS,
    )


def _decay(lags: NDArray[np.int64], rate: float, random: np.random.Generator) -> NDArray[np.float64]:
    """A norm that falls by about `rate` a timestep."""
    return rate**lags * np.exp(0.05 * np.cumsum(random.normal(0, 1, len(lags))))
