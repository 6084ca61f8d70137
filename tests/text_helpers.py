"""Small made-up texts and sequences in which the class can be told."""

import csv
import random

import numpy as np

SMALL = (
    "--length=12",
    "--units=4",
    "--embedding=5",
    "--learning-rate=0.05",
    "--epochs=5",
    "--embedding-dropout=0",
    "--word-dropout=0",
)
WORDS = {
    "pos": ["good", "great", "fine", "lovely", "brilliant"],
    "neg": ["bad", "awful", "poor", "boring", "terrible"],
    "none": ["wooden", "paper", "plain", "empty", "grey"],
}
_FILLER = ["the", "film", "a", "story", "of", "it", "was", "and", "plot", "actor", "scene"]


def make_texts(classes=("neg", "pos"), rows=70):
    """Return short texts, in which a few words tell the class, and their classes."""
    pick = random.Random(1)
    texts, labels = [], []
    for k in range(rows):
        label = classes[k % len(classes)]
        words = [
            pick.choice(_FILLER if pick.random() < 0.6 else WORDS[label]) for _ in range(pick.randint(3, 14))
        ]
        texts.append(" ".join(words))
        labels.append(label)
    return texts, labels


def write_texts(path, classes=("neg", "pos"), rows=70):
    """Write the texts as a CSV file; return its path."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(zip(*make_texts(classes, rows), strict=True))
    return path


def make_sequences(rows=60, features=3, seed=0):
    """Return sequences of unequal length, whether the sum of the first feature is positive, and that sum."""
    random = np.random.default_rng(seed)
    sequences = [
        random.normal(size=(random.integers(4, 12), features)).astype(np.float32) for _ in range(rows)
    ]
    sums = np.array([sequence[:, 0].sum() for sequence in sequences])
    return sequences, np.where(sums > 0, "up", "down"), sums
