"""CSV, TSV and JSON lines: what is read, and the error when it cannot be."""

import json

import pytest

from stepfold.data import DataError, load_table

ROWS = [("good, really", "pos"), ('a "bad" film\nin two lines', "neg"), ("fine", "pos"), ("awful", "neg")]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def quoted(separator):
    lines = [separator.join('"' + field.replace('"', '""') + '"' for field in row) for row in ROWS]
    return separator.join(("review", "mood")) + "\n" + "\r\n".join(lines) + "\r\n"


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_the_three_kinds_of_file_give_the_same(tmp_path, ending):
    content = {
        "csv": quoted(","),
        "tsv": "\ufeff" + quoted("\t"),
        "jsonl": "\n".join(json.dumps({"mood": mood, "review": text}) for text, mood in ROWS) + "\n\n",
    }[ending]
    corpus = load_table(write(tmp_path / f"rows.{ending}", content), text="review", label="mood")
    assert corpus.classes == ("neg", "pos")
    assert corpus.labels.tolist() == [1, 0, 1, 0]
    assert corpus.vocabulary is not None
    decoded = [corpus.vocabulary.decode(ids) for ids in corpus.sequences]
    assert decoded == [
        "<start> good really",
        "<start> a bad film in two lines",
        "<start> fine",
        "<start> awful",
    ]


def test_numbers_as_classes_are_ordered_as_numbers(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\n" + "".join(f"word,{k}\n" for k in (10, 9, 1, -2)))
    assert load_table(path).classes == ("-2", "1", "9", "10")
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": 1.0}\n{"text": "b", "label": 0}\n')
    assert load_table(path).classes == ("0", "1")


def test_a_field_may_be_longer_than_csv_allows_by_itself(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\n" + "word " * 50_000 + ",x\nshort,y\n")
    assert len(load_table(path).sequences[0]) == 50_001


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv is empty; give a file with a header line"),
        ("a.jsonl", "\n \n", "a.jsonl is empty"),
        ("a.csv", "text,label\n", "a.csv has a header but no rows"),
        ("a.csv", "review,label\nx,1\n", "a.csv has no column 'text'; its columns are 'review', 'label'"),
        ("a.csv", "text,mood\nx,1\n", "a.csv has no column 'label'; its columns are 'text', 'mood'"),
        ("a.jsonl", '{"text": "x"}', "a.jsonl, line 1 has no key 'label'; its keys are 'text'"),
        ("a.csv", "text,label\nx,1\ny,1\n", "every label in 'label' is '1'; a classifier needs two classes"),
        (
            "a.csv",
            "text,label\nx,1\ny, \n",
            "a.csv, line 3: the label is empty, which is no class; fill it in",
        ),
        ("a.csv", "text,label\nx,1\na, b,1\n", "a.csv, line 3: 3 fields where the header has 2; put fields"),
        (
            "a.csv",
            'text,label\nx,1\n"y,0\nz,1\n',
            "a.csv, line 4: unexpected end of data; close every quoted",
        ),
        (
            "a.csv",
            "text,label\nfine,1\nx,0\n".encode("utf-16-le"),
            "a.csv, line 1: the file looks like UTF-16 without its byte-order mark; convert it first",
        ),
        (
            "a.csv",
            "text,label\nfine,1\n".encode("utf-16") + b"\x00\xdc,",
            "a.csv, line 3: byte 0x00 is not UTF-16 text, although the file begins with its byte-order mark",
        ),
        ("a.csv", b"text,label\nfine,1\ncaf\xe9,0\n", "a.csv, line 3: byte 0xe9 is not UTF-8 text; convert"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text"', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", "[1]", "a.jsonl, line 1: not an object; each line must be one with the keys 'text'"),
        ("a.jsonl", '{"text": 3, "label": 1}', "a.jsonl, line 1: 'text' is 3, not a text"),
        ("a.jsonl", '{"text": "x", "label": null}', "line 1: the label null is no class; write a word or"),
        ("a.jsonl", '{"text": "x", "label": [1]}', r"line 1: the label [1] is no class"),
        ("a.jsonl", '{"text": "x", "label": 0.5}', "line 1: the label 0.5 is no class"),
        ("a.jsonl", '{"text": "x", "label": NaN}', "line 1: the label NaN is no class"),
        ("a.jsonl", '{"text": "x", "label": " "}', 'line 1: the label " " is no class'),
        ("a.txt", "x", "a.txt: unknown kind of file '.txt'; give a .csv, .tsv or .jsonl file"),
    ],
)
def test_bad_files_are_named_with_the_cure(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        load_table(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(
        DataError, match=r"cannot read .*none\.csv: No such file or directory; check the path"
    ):
        load_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"cannot read .*folder\.csv: Is a directory"):
        load_table(tmp_path / "folder.csv")
