"""Reads the columns of a Parquet file, batch by batch; pyarrow is imported only then."""

import contextlib
import gzip
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from ._errors import DataError, no_column
from ._files import open_bytes

_BATCH = 1024
_BUFFER = 2**20


def parquet_columns(path: Path, wanted: Sequence[str] | None) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield the column names with the number 0, then each row's values with its number, from 1.

    Args:
        path: a ``.parquet`` file, or one compressed as ``.parquet.gz``.
        wanted: the columns' names; None for all.

    Raises:
        DataError: pyarrow is missing, the file is damaged, or it has no such column.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(f'{path}: reading Parquet needs pyarrow: pip install "stepfold[parquet]"') from None
    with _seekable(path) as file:
        try:
            # A buffer of fixed size, or a whole column of a row group would be read at once.
            table = pq.ParquetFile(file, buffer_size=_BUFFER)
            present = table.schema_arrow.names
            names = present if wanted is None else list(wanted)
            for name in names:
                if name not in present:
                    raise no_column(path, name, present)
            yield 0, tuple(names)
            row = 0
            for batch in table.iter_batches(_BATCH, columns=names):
                for values in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
                    row += 1
                    yield row, values
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0][:200]
            raise DataError(f"{path} is no Parquet file, or is damaged ({reason}); make it again") from None


@contextlib.contextmanager
def _seekable(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that can be read in any order; a compressed one is unpacked to a temporary file."""
    with open_bytes(path) as file, contextlib.ExitStack() as stack:
        if not isinstance(file, gzip.GzipFile):
            yield file
        else:
            unpacked = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, unpacked, 2**20)
            unpacked.seek(0)
            yield unpacked
