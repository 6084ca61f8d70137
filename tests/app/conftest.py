"""Small made-up texts, and a run trained on them once for all tests that only look at it."""

import csv
import random

import pytest

from stepfold.app.cli import main

SMALL = ("--length", "12", "--units", "4", "--embedding", "5", "--learning-rate", "0.02")
WORDS = {
    "pos": ["good", "great", "fine", "lovely", "brilliant"],
    "neg": ["bad", "awful", "poor", "boring", "terrible"],
    "none": ["wooden", "paper", "plain", "empty", "grey"],
}


def write_texts(path, classes=("neg", "pos"), rows=70):
    """Write a CSV of short texts in which a few words tell the class."""
    pick = random.Random(1)
    filler = ["the", "film", "a", "story", "of", "it", "was", "and", "plot", "actor", "scene"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for k in range(rows):
            label = classes[k % len(classes)]
            words = [
                pick.choice(filler if pick.random() < 0.6 else WORDS[label])
                for _ in range(pick.randint(3, 14))
            ]
            writer.writerow((" ".join(words), label))
    return path


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts") / "texts.csv")


@pytest.fixture(scope="session")
def trained(texts, tmp_path_factory):
    """A finished run that no test may change."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert main(["train", str(texts), "--out", str(folder), "--epochs", "5", *SMALL]) == 0
    return folder
