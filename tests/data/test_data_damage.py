"""Files with random damage: read, or refused by one line that says why; nothing else."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepfold.data import DataError, Subwords, load_sequences, open_table, vocabulary_from_json

CSV = b'text,label\n"good, really",pos\n"a ""bad"" film\nin two lines",neg\nfine,pos\n'
JSON = b'{"text": "good", "label": 1}\n{"text": "b\\u00e4d", "label": 0}\n'
LONG = b"id,time,label,x,y\na,0,1,0.5,2\na,1,1,1e3,\nb,2026-01-01,0,-1,nan\n"
TS = b"# small\n@problemName x\n@timestamps false\n@classLabel true 0 1\n@data\n1,2:3,4:0\n1:?:1\n"
VOCABULARY = Subwords.learn(["unlikely likely", "happy unhappy"], 40).to_json().encode()


def parquet():
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = io.BytesIO()
    pq.write_table(pa.table({"text": ["good", "bad"], "label": ["x", "y"]}), whole)
    return whole.getvalue()


def read_texts(path):
    for text in open_table(path).texts:
        assert isinstance(text, str)


def read_vocabulary(path):
    vocabulary = vocabulary_from_json(path.read_bytes().decode("latin1"))
    assert len(vocabulary.encode("unlikely")) >= 1


READERS = {
    "a.csv": (CSV, read_texts),
    "b.csv": (CSV.decode().encode("utf-16"), read_texts),
    "a.tsv": (CSV.replace(b",", b"\t"), read_texts),
    "a.jsonl": (JSON, read_texts),
    "a.jsonl.gz": (gzip.compress(JSON, mtime=0), read_texts),
    "a.parquet": (parquet(), read_texts),
    "c.csv": (LONG, load_sequences),
    "a.ts": (TS, load_sequences),
    "a.json": (VOCABULARY, read_vocabulary),
}
PIECES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b'"', b"\n", b"\r", b",", b";", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"[" * 2000, b"9" * 5000]
    ),
    st.sampled_from(
        [b"@data\n", b":", b"nan", b"1e999", b"null", b"{}", b"\x1f\x8b", json.dumps("\ud800").encode()]
    ),
)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, name, data):
    raw, read = READERS[name]
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(start + 20, len(raw))))
    path = tmp_path / name
    path.write_bytes(raw[:start] + data.draw(PIECES) + raw[end:])
    message = ""
    try:
        read(path)
    except DataError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 2000
