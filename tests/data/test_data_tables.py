"""CSV, TSV, JSON lines and Parquet: what is read, and the error when it cannot be."""

import csv
import gzip
import json
import pickle
import sys

import numpy as np
import pytest

from stepfold.data import DataError, labels_for, load_table, open_table

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


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_compressed_files_give_the_same(tmp_path, ending):
    if ending == "parquet":
        raw = parquet(
            tmp_path / "rows.parquet", {"review": [text for text, _ in ROWS], "mood": ["p", "n"] * 2}
        )
    elif ending == "jsonl":
        raw = "\n".join(json.dumps({"mood": mood, "review": text}) for text, mood in ROWS).encode()
    else:
        raw = quoted("," if ending == "csv" else "\t").encode()
    for name, content in ((f"a.{ending}", raw), (f"b.{ending}.gz", gzip.compress(raw))):
        table = open_table(write(tmp_path / name, content), text="review", label="mood")
        assert list(table.texts) == [text for text, _ in ROWS]
        assert list(table.texts) == [text for text, _ in ROWS], "the texts can be read again"
        assert list(pickle.loads(pickle.dumps(table)).texts) == [text for text, _ in ROWS]
        assert len(table) == len(table.texts) == 4
        assert table.labels.tolist() == [1, 0, 1, 0]
        assert table.labels.dtype == np.int32
        assert table.positions.tolist() == [0, 1, 2, 3]


def parquet(path, columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path.read_bytes()


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_csv_may_be_separated_otherwise(tmp_path, separator):
    path = write(tmp_path / "a.csv", "\ufeff" + quoted(separator))
    assert list(open_table(path, text="review", label="mood").texts) == [text for text, _ in ROWS]
    path = write(
        tmp_path / "b.csv", separator.join(("a,b,c", "label ", "text")) + f"\n0{separator}x{separator}y\n"
    )
    assert list(open_table(path, label=None).texts) == ["y"], "the wanted columns decide, not the commas"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path, encoding):
    path = write(tmp_path / "a.csv", "text,label\nÄrger,1\n好,0\n".encode(encoding))
    assert list(open_table(path).texts) == ["Ärger", "好"]


def test_utf_16_of_either_byte_order_is_read_and_its_damage_named(tmp_path):
    mark = "\ufeff"
    path = write(tmp_path / "a.csv", (mark + "text,label\nÄ,1\nb,0\n").encode("utf-16-be"))
    assert list(open_table(path).texts) == ["Ä", "b"]
    write(path, (mark + "text,label\nÄ,1\n").encode("utf-16-be") + b"\xdc\x00\x00,")
    with pytest.raises(DataError, match=r"a\.csv, line 3: byte 0xdc is not UTF-16 text, although"):
        open_table(path)


def test_an_invalid_byte_far_into_a_file_is_named_by_its_line(tmp_path):
    lines = ["text,label"] + [f"word {k} é,{k % 2}" for k in range(30_000)]
    raw = "\n".join(lines).encode() + b"\n\xe9,1\n"
    with pytest.raises(DataError, match="line 30002: byte 0xe9 is not UTF-8 text; convert"):
        open_table(write(tmp_path / "a.csv", raw))
    with pytest.raises(DataError, match="line 30002: byte 0xe9 is not UTF-8 text; convert"):
        open_table(write(tmp_path / "a.csv.gz", gzip.compress(raw)))


def test_texts_without_labels(tmp_path):
    table = open_table(write(tmp_path / "a.csv", "text\ngood\nbad\n"), label=None)
    assert list(table.texts) == ["good", "bad"]
    assert table.labels.shape == (0,)
    assert table.classes == ()


def test_integral_decimals_are_the_integers_that_they_stand_for(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\na,1.0\nb,0.0\nc,1\n")  # pandas writes integers so
    table = open_table(path)
    assert table.classes == ("0", "1")
    assert table.labels.tolist() == [1, 0, 1]


def test_few_marks_with_decimals_are_classes_and_many_decimals_a_regression(tmp_path):
    marks = [k / 2 for k in range(2, 11)] * 10
    table = open_table(write(tmp_path / "a.csv", "text,label\n" + "".join(f"x,{mark}\n" for mark in marks)))
    assert table.classes == ("1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0", "4.5", "5.0")

    prices = np.random.default_rng(0).uniform(1, 100, 200).round(2)
    message = (
        r"a\.csv, line \d: the label [\d.,]+ is no class: 'label' holds \d+ different numbers, which looks "
        "like regression. To predict them from sequences use SequenceRegressor; to classify, round the column"
    )
    with pytest.raises(DataError, match=message):
        open_table(write(tmp_path / "a.csv", "text,label\n" + "".join(f"x,{price}\n" for price in prices)))
    german = "".join(f"x;{str(price).replace('.', ',')}\n" for price in prices)
    with pytest.raises(DataError, match=message):
        open_table(write(tmp_path / "a.csv", "text;label\n" + german))
    many = "".join(f"x,{k + 0.5}\n" for k in range(30_000))
    with pytest.raises(DataError, match="holds 10,000 different numbers, which looks like regression"):
        open_table(write(tmp_path / "a.csv", "text,label\n" + many))


def test_a_column_that_cannot_be_the_class_is_named(tmp_path):
    rows = "".join(f"x,name {k}\n" for k in range(10_001))
    with pytest.raises(DataError, match=r"line 10002: 'label' has more than 10,000 different labels; check"):
        open_table(write(tmp_path / "a.csv", "text,label\n" + rows))
    with pytest.raises(
        DataError, match=r"line 2: the label is a text of 1,499 characters, which is no class"
    ):
        open_table(write(tmp_path / "a.csv", "text,label\nx," + "long " * 300 + "\n"))


def test_the_labels_of_an_evaluation_may_be_names_or_numbers(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": "pos"}\n{"text": "b", "label": 0}\n')
    table = open_table(path, classes=("neg", "pos"))
    assert table.classes == ("neg", "pos")
    assert table.labels.tolist() == [1, 0]
    one_class = write(tmp_path / "b.csv", "text,label\na,1\nb,1.0\n")
    assert open_table(one_class, classes=("neg", "pos")).labels.tolist() == [1, 1]
    message = r"b\.csv, line 2: \"1\" is none of the classes; they are '3', '4'$"
    with pytest.raises(DataError, match=message):
        open_table(one_class, classes=("3", "4"))
    with pytest.raises(DataError, match=r"they are 'neg', 'pos', 'so', or their numbers 0 to 2"):
        open_table(write(path, '{"text": "a", "label": 3}'), classes=("neg", "pos", "so"))


def test_labels_for_knows_names_and_numbers_but_never_both_meanings():
    assert labels_for(("no", "yes"), ["yes", 0, np.int64(1), "1", 1.0]).tolist() == [1, 0, 1, 1, 1]
    assert labels_for(("2", "1"), ["1", 2, "2"]).tolist() == [1, 0, 0], "a name comes before a number"
    assert labels_for(("no", "yes"), ["yes"]).dtype == np.int32
    with pytest.raises(
        DataError, match=r'answers, value 2: "maybe" is none of the classes; they are .no., .yes.'
    ):
        labels_for(("no", "yes"), ["yes", "maybe"], "answers")


def test_a_file_that_changes_while_it_is_open_is_named(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\na,1\nb,0\n")
    table = open_table(path)
    write(path, "text,label\na,1\nb,0\nc,0\n")
    with pytest.raises(DataError, match=r"a\.csv has changed since it was opened; leave it alone"):
        list(table.texts)
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .*a\.csv: No such file"):
        list(table.texts)


def test_damaged_compressed_files_are_named(tmp_path):
    packed = gzip.compress(quoted(",").encode())
    with pytest.raises(DataError, match=r"a\.csv\.gz is damaged or cut short \(.*\); make or fetch it again"):
        open_table(write(tmp_path / "a.csv.gz", packed[:-12]), text="review", label="mood")
    with pytest.raises(DataError, match=r"a\.csv\.gz is not compressed with gzip; take \.gz off its name"):
        open_table(write(tmp_path / "a.csv.gz", quoted(",")))
    table = open_table(write(tmp_path / "b.csv", packed), text="review", label="mood")
    assert len(table) == 4, "what is inside counts, not the name"


def test_damaged_and_foreign_parquet_files_are_named(tmp_path, monkeypatch):
    raw = parquet(tmp_path / "a.parquet", {"text": ["x", None, "y"], "label": [0.5, 1.0, None]})
    with pytest.raises(DataError, match=r"a\.parquet, row 2: 'text' is null, not a text"):
        open_table(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet has no column 'mood'; its columns are 'text', 'label'"):
        open_table(tmp_path / "a.parquet", label="mood")
    for damaged in (raw[:-30], b"PAR1", raw[:20] + bytes(60) + raw[80:]):
        with pytest.raises(DataError, match=r"b\.parquet is no Parquet file, or is damaged \(.*\)"):
            open_table(write(tmp_path / "b.parquet", damaged))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'reading Parquet needs pyarrow: pip install "stepfold\[parquet\]"'):
        open_table(tmp_path / "a.parquet")


def test_parquet_labels_of_every_type(tmp_path):
    for values, classes in (
        ([True, False, True], ("False", "True")),
        ([2, 1, 2], ("1", "2")),
        ([2.0, 1.0, 2.0], ("1", "2")),
    ):
        parquet(tmp_path / "a.parquet", {"text": ["x", "y", "z"], "label": values})
        table = open_table(tmp_path / "a.parquet")
        assert table.classes == classes
        assert table.labels.tolist() == [1, 0, 1]


def test_deep_or_absurd_json_is_named(tmp_path):
    for value in ("[" * 100_000 + "]" * 100_000, "9" * 100_000):
        path = write(tmp_path / "a.jsonl", f'{{"text": "x", "label": {value}}}\n')
        with pytest.raises(DataError, match=r"a\.jsonl, line 1: JSON too deep or with too long a number"):
            open_table(path)


def test_a_field_that_never_ends_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("stepfold.data._csv.LONGEST_LINE", 1000)
    limit = csv.field_size_limit()
    try:
        endless = write(tmp_path / "a.csv", 'text,label\nx,1\n"never closed\n' + "more text\n" * 200)
        with pytest.raises(DataError, match=r"line \d+: field larger than field limit .* begins in line 3\)"):
            open_table(endless)
    finally:
        csv.field_size_limit(limit)
    for name, start in (("b.csv", "text,label\n"), ("b.jsonl", '{"text": "x", "label": 1}\n')):
        with pytest.raises(DataError, match="line 2 has more than 1,000 characters; check that the file is"):
            open_table(write(tmp_path / name, start + "x" * 2000))


def test_iterating_may_end_early(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n')
    texts = iter(open_table(path).texts)
    assert next(texts) == "a"
    texts.close()  # and the file with it: an open one would be a ResourceWarning
