"""Sequences of numbers from long-form tables and .ts files."""

import datetime
import gzip

import numpy as np
import pytest

from stepfold.data import DataError, load_sequences, stream_sequences

TABLE = """id,time,label,x,y
a,2,up,3,30
b,0,down,,50
a,0,up,1,10
a,1,up,2,20
b,1,down,6,nan
"""
TS = """# A comment, in any encoding: caf\u00e9
@problemName Small
@timestamps false
@missing true
@univariate false
@dimension 2
@equalLength false
@classLabel true left right
@data
1,2,3:10,20,30:left

4,?:40,50:right
7:70:left
"""


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lists(data):
    return [np.nan_to_num(sequence, nan=-1).tolist() for sequence in data.sequences]


def test_rows_of_a_table_become_sequences_in_the_order_of_time(tmp_path):
    for path in (
        write(tmp_path / "a.csv", TABLE),
        write(tmp_path / "b.tsv", TABLE.replace(",", "\t")),
        write(tmp_path / "c.csv.gz", gzip.compress(TABLE.replace(",", ";").encode("utf-16"))),
    ):
        data = load_sequences(path)
        assert lists(data) == [[[1, 10], [2, 20], [3, 30]], [[-1, 50], [6, -1]]]
        assert all(sequence.dtype == np.float32 for sequence in data.sequences)
        assert data.ids == ("a", "b")
        assert data.features == ("x", "y")
        assert data.classes == ("down", "up")
        assert data.labels.tolist() == [1, 0]
        assert data.labels.dtype == np.int32
        assert data.targets is None
        assert len(data) == 2


def test_columns_may_have_other_names_and_times_may_be_dates(tmp_path):
    rows = "flight,when,f\n7,2026-01-02T10:00,2\n7,2026-01-02,1\n8,2026-01-01,5\n7,2026-01-03,3\n"
    data = load_sequences(write(tmp_path / "a.csv", rows), id="flight", time="when", label=None)
    assert lists(data) == [[[1], [2], [3]], [[5]]]
    assert data.ids == ("7", "8")
    assert data.labels is data.classes is data.targets is None


def test_a_parquet_table(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    day = datetime.datetime(2026, 1, 1)
    columns = {
        "x": [1.0, None, 3.0],
        "id": [5, 5, 6],
        "time": [day + datetime.timedelta(1), day, day],
        "on": [True, False, True],
        "label": ["a", "a", "b"],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    data = load_sequences(tmp_path / "a.parquet")
    assert data.features == ("x", "on")
    assert lists(data) == [[[-1, 0], [1, 1]], [[3, 1]]]
    assert data.labels.tolist() == [0, 1]
    with pytest.raises(DataError, match=r"a\.parquet has no column 'who'; its columns are 'x', 'id', 'time'"):
        load_sequences(tmp_path / "a.parquet", id="who")


def labelled(path, labels):
    return write(path, "id,time,label,x\n" + "".join(f"{k},0,{label},1\n" for k, label in enumerate(labels)))


def test_decimals_are_targets_and_other_labels_classes_unless_the_task_is_given(tmp_path):
    path = labelled(tmp_path / "a.csv", ["0.5", "2", "-1e1"])
    data = load_sequences(path)
    assert data.targets.tolist() == [0.5, 2, -10]
    assert data.targets.dtype == np.float32
    assert data.labels is data.classes is None
    assert load_sequences(path, task="classify").classes == ("-1e1", "0.5", "2")

    path = labelled(tmp_path / "a.csv", ["1.0", "3.0", "1"])
    assert load_sequences(path).classes == ("1", "3")
    assert load_sequences(path, task="regress").targets.tolist() == [1, 3, 1]
    path = labelled(tmp_path / "a.csv", ["1", "two"])
    with pytest.raises(DataError, match=r'line 3: the target "two" is no number; write numbers'):
        load_sequences(path, task="regress")
    many = labelled(tmp_path / "b.csv", [k + 0.5 for k in range(60)])
    assert len(load_sequences(many, task="classify").classes) == 60


def test_classes_of_a_model_by_name_or_number(tmp_path):
    path = labelled(tmp_path / "a.csv", ["right", "0", "1"])
    data = load_sequences(path, classes=("left", "right"))
    assert data.labels.tolist() == [1, 0, 1]
    with pytest.raises(
        DataError, match=r'line 2: "right" is none of the classes; they are .a., .b., or their'
    ):
        load_sequences(path, classes=("a", "b"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", "id,time,label,x\n", "a.csv has a header but no rows; give a row for each timestep"),
        ("a.csv", "id,time,x\na,0,1\n", "a.csv has no column 'label'; its columns are 'id', 'time', 'x'"),
        ("a.csv", "id,time,label\na,0,1\n", "a.csv has no columns but 'id', 'time', 'label'; features need"),
        ("a.csv", TABLE + "b,2,up,1,1\n", """line 7: id 'b' has the label "up" here but "down" in line 3"""),
        ("a.csv", TABLE + "c,2,,1,1\n", "line 7: 'label' is empty, which is neither a class nor a number"),
        ("a.csv", TABLE + ",2,up,1,1\n", "line 7: the id is empty; fill it in or remove the row"),
        (
            "a.csv",
            TABLE + "c,soon,up,1,1\n",
            'line 7: the time "soon" is neither a number nor a date such as',
        ),
        ("a.csv", TABLE + "c,,up,1,1\n", 'line 7: the time "" is neither a number nor a date'),
        ("a.csv", TABLE + "c,nan,up,1,1\n", 'line 7: the time "nan" is neither a number nor a date'),
        (
            "a.csv",
            TABLE + 'c,0,up,1,"2,5"\n',
            """line 7: 'y' is "2,5", which is no number; write numbers with""",
        ),
        ("a.csv", TABLE + "c,0,up,1\n", "line 7: 4 fields where the header has 5"),
        (
            "a.csv",
            "id,time,label,x\na,0,1,1\nb,0,1,1\n",
            "every label in 'label' is '1'; a classifier needs two",
        ),
        ("a.jsonl", "{}", "unknown kind of file '.jsonl'; give a long-form table as .csv, .tsv or .parquet"),
        ("a.ts", "", "a.ts has no line @data; give a .ts file of sktime or aeon"),
        ("a.ts", "@problemName x\n1,2:a\n", 'a.ts, line 2: "1,2:a" stands before @data; a .ts file begins'),
        ("a.ts", "@classLabel true a\n@data\n", "a.ts has no sequences after @data; give a line for each"),
        ("a.ts", "@timestamps true\n@data\n", "a.ts, line 1: sequences with timestamps are not read; write"),
        ("a.ts", TS + "1,x:3,4:left\n", 'line 14: "x" is no number; a missing one is written ?'),
        ("a.ts", TS + "(0,1),(1,2):3,4:left\n", 'line 14: "(0" is no number; values with timestamps are not'),
        ("a.ts", TS + "1,2:3,4,5:left\n", "line 14: the dimensions have different lengths (2, 3); all need"),
        ("a.ts", TS + "1,2:left\n", "line 14: 1 dimensions where the first sequence has 2; separate"),
        ("a.ts", TS + "left\n", "line 14: the dimensions have different lengths (none)"),
        ("a.ts", TS + "1:1:up\n", """line 14: "up" is none of the classes; they are 'left', 'right'"""),
        ("a.ts", TS + "1:1:\n", "line 14: 'label' is empty, which is neither a class nor a number"),
        ("a.ts", "@targetLabel true\n@data\n1,2:0.5\n1,2:x\n", 'line 4: the target "x" is no number'),
    ],
)
def test_bad_files_of_sequences_are_named_with_the_cure(tmp_path, name, content, message):
    with pytest.raises(DataError) as caught:
        load_sequences(write(tmp_path / name, content))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_ts_file_with_dimensions_of_unequal_lengths_and_missing_values(tmp_path):
    for raw in (TS.encode(), TS.encode("latin1"), TS.replace("\n", "\r\n").encode()):
        data = load_sequences(write(tmp_path / "a.ts", raw))
        assert lists(data) == [[[1, 10], [2, 20], [3, 30]], [[4, 40], [-1, 50]], [[7, 70]]]
        assert all(sequence.dtype == np.float32 for sequence in data.sequences)
        assert data.labels.tolist() == [0, 1, 0]
        assert data.classes == ("left", "right")
        assert data.features == ("dimension 0", "dimension 1")


def test_the_classes_of_a_ts_file_are_those_of_its_header(tmp_path):
    path = write(tmp_path / "a.ts", "@classLabel true 10 9 1\n@data\n0.5:9\n1.5:10.0\n")
    data = load_sequences(path)
    assert data.classes == ("1", "9", "10"), "as numbers, and those that no line has too"
    assert data.labels.tolist() == [1, 2]
    with pytest.raises(DataError, match=r'line 3: "0" is none of the classes; they are .a., .b.$'):
        load_sequences(write(path, "@classLabel true a b\n@data\n0.5:0\n"))


def test_targets_and_missing_labels_of_ts_files(tmp_path):
    data = load_sequences(write(tmp_path / "a.ts", "@targetLabel true\n@data\n1,2:7\n3,4,5:8\n"))
    assert data.targets.tolist() == [7, 8]
    data = load_sequences(
        write(tmp_path / "a.ts", "@univariate true\n@classLabel false\n@data\n1,2\n3,4,5\n")
    )
    assert data.targets is data.labels is None
    assert lists(data) == [[[1], [2]], [[3], [4], [5]]]


def test_sequences_come_one_after_the_other(tmp_path):
    rows = ["key,t,a,b,label", "x,2,3,4,u", "x,1,1,?,u", "", " y ,1,5,6,v"]
    path = tmp_path / "long.csv"
    path.write_text("\n".join(rows))
    found = list(stream_sequences(path, id="key", time="t"))
    assert [name for name, _ in found] == ["x", "y"]
    np.testing.assert_array_equal(found[0][1], np.array([[1, np.nan], [3, 4]], np.float32))  # by time
    np.testing.assert_array_equal(found[1][1], np.array([[5, 6]], np.float32))
    path.write_text("\n".join([*rows[:2], rows[-1], *rows[2:]]))
    stream = stream_sequences(path, id="key", time="t")
    assert next(stream)[0] == "x"
    with pytest.raises(
        DataError, match=r"line 4: other sequences stand between the rows of key 'x'; sort the"
    ):
        list(stream)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,time,a\n", "has a header but no rows"),
        ("id,time,label\n1,2,3\n", "has no columns but 'id', 'time', 'label'; features need columns too"),
        ("id,time,a\n1,2,x\n", "line 2: 'a' is \"x\", which is no number"),
        ("id,time,a\n,2,3\n", "line 2: the id is empty"),
    ],
)
def test_a_stream_of_sequences_names_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "long.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        list(stream_sequences(path))
