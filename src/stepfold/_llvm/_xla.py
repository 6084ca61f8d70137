"""The handler that XLA calls, native: it finds the program of a call, fills in addresses, and runs it.

The layouts are those of XLA's C interface, `xla/ffi/api/c_api.h`, version 0.3, on 64-bit machines. A call
names its recipe with one integer attribute, the key; an `ENTRY` of the table has a program for one key and
one set of shapes, which are compared with those of the call. What is rare is left to Python: recording a
program for new shapes (`resolve`), and the text of an error (`refuse`). Handlers run side by side: entries
are read-only, and `active` says how many calls are under way, so that Python knows when an entry that left
the table is free."""

from __future__ import annotations

from ._control import Routine
from ._layout import Kernel
from ._program import CALL, FORK
from ._support import STATUS, STATUS_WORDS, Struct
from ._text import Module, Value

XLA = ("resolve", "refuse", "run", "help", "active")
"""The words before the table; the first four are addresses of functions."""
TABLE_SIZE, PROBES = 512, 16
ENTRY = ("key", "program", "threads", "arguments", "results", "signature")
"""`signature` points to (dtype, rank, sizes …) of each buffer."""
MOST_SLOTS = 512
_FRAME = {"extension": 8, "api": 16, "context": 24, "arguments": 56, "argument_items": 72, "results": 96,
          "result_items": 112, "attributes": 136, "attribute_types": 144, "attribute_items": 160}  # fmt: skip
_BUFFER = {"dtype": 16, "data": 24, "rank": 32, "sizes": 40}
_API = {"size": 0, "minor": 36, "destroy": 64, "schedule": 136, "num_threads": 144}
_VERSION_IN_METADATA = 24
_METADATA, _MINOR = 1, 3
_SCALAR, _INT64 = 3, 5  # the type of an attribute, the dtype of a scalar
_RESERVED = 3


def xla_kernel() -> Kernel:
    """`handle(frame)`, to be registered with XLA, and its variables `stepfold_xla`."""
    module = Module()
    module.variable("stepfold_xla", 8 * (len(XLA) + TABLE_SIZE))
    _describe(module)
    _threads(module)
    _parallel(module)
    _matches(module)
    _key(module)
    _find(module)
    _execute(module)
    _handle(module)
    return Kernel(module.text(), "handle", (), exports=("stepfold_xla",))


def _at(f: Routine, address: Value, distance: int, type_: str = "ptr") -> Value:
    """Load what lies so many bytes further on."""
    place = f.emit("ptr", f"getelementptr i8, {address}, i64 {distance}")
    return f.load(type_, place, 4 if type_ == "i32" else 8)


def _variables(f: Routine) -> Struct:
    return Struct(f, XLA, Value("@stepfold_xla", "ptr"))


def _is_null(f: Routine, address: Value) -> Value:
    return f.emit("i1", f"icmp eq {address}, null")


def _describe(module: Module) -> None:
    """describe(frame) -> 1 if XLA asked, at registration, for the version that the handler was written
    for."""
    f = Routine(module, "describe", [("frame", "ptr")], result="i64", local=True)
    (frame,) = f.arguments
    asked, extension = f.stack(1), f.stack(1)
    f.store(f.integer(0), asked, 8)
    f.store(f.to_integer(_at(f, frame, _FRAME["extension"])), extension, 8)
    with f.forever() as leave:
        here = f.load("i64", extension, 8)
        leave(f.compare("eq", here, 0))
        address = f.to_address(here)
        kind = f.emit("i64", f"sext {_at(f, address, 8, 'i32')} to i64")
        with f.when(f.compare("eq", kind, _METADATA)):
            metadata, api = _at(f, address, 24), _at(f, frame, _FRAME["api"])
            minor = f.emit("i64", f"sext {_at(f, api, _API['minor'], 'i32')} to i64")
            minor = f.emit("i32", f"trunc {f.minimum(minor, _MINOR)} to i32")
            version = f.emit("ptr", f"getelementptr i8, {metadata}, i64 {_VERSION_IN_METADATA}")
            f.store(Value("0", "i32"), version, 4)
            f.store(minor, f.emit("ptr", f"getelementptr i8, {version}, i64 4"), 4)
            f.store(f.integer(1), asked, 8)
        f.store(f.to_integer(_at(f, address, 16)), extension, 8)
    f.give(f.load("i64", asked, 8))
    f.finish()


def _destroy(f: Routine, frame: Value, error: Value, block: Value) -> None:
    """Destroy an error that XLA gave us."""
    for word, value in enumerate((f.integer(24), f.integer(0), f.to_integer(error))):
        f.store(value, f.offset(block, word, "i64"), 8)
    f.invoke(_at(f, _at(f, frame, _FRAME["api"]), _API["destroy"]), block)


def _threads(module: Module) -> None:
    """pool_size(frame): how many threads XLA's pool has; 1 if it has none."""
    f = Routine(module, "pool_size", [("frame", "ptr")], result="i64", local=True)
    (frame,) = f.arguments
    block, size = f.stack(4), f.stack(1)
    f.store(f.integer(1), size, 8)
    api = _at(f, frame, _FRAME["api"])
    knows = f.compare("sgt", _at(f, api, _API["size"], "i64"), _API["num_threads"])
    with f.when(knows):
        context = f.to_integer(_at(f, frame, _FRAME["context"]))
        for word, value in enumerate((f.integer(32), f.integer(0), context, f.to_integer(size))):
            f.store(value, f.offset(block, word, "i64"), 8)
        error = f.ask(_at(f, api, _API["num_threads"]), "ptr", block)
        with f.when(f.emit("i1", f"icmp ne {error}, null")):
            f.store(f.integer(1), size, 8)
            _destroy(f, frame, error, block)
    f.give(f.load("i64", size, 8))
    f.finish()


def _parallel(module: Module) -> None:
    """borrow(function, fork, threads, flags): the function on this thread, `help` on those of XLA's pool."""
    f = Routine(
        module, "borrow",
        [("function", "ptr"), ("fork", "ptr"), ("threads", "i32"), ("flags", "i32")], local=True,
    )  # fmt: skip
    function, block, threads, _ = f.arguments
    call = f.stack(5)
    fork, variables = Struct(f, FORK, block), _variables(f)
    frame = fork.get("host", "ptr")
    context, api = f.to_integer(_at(f, frame, _FRAME["context"])), _at(f, frame, _FRAME["api"])
    schedule = _at(f, api, _API["schedule"])
    with f.loop(1, f.emit("i64", f"sext {threads} to i64")):
        words = (f.integer(40), f.integer(0), context, variables.get("help"), f.to_integer(block))
        for word, value in enumerate(words):
            f.store(value, f.offset(call, word, "i64"), 8)
        f.atomic_add(fork.at("references"), 1)
        error = f.ask(schedule, "ptr", call)
        with f.when(f.emit("i1", f"icmp ne {error}, null")):
            f.atomic_add(fork.at("references"), -1)
            _destroy(f, frame, error, call)
    f.invoke(function, block)
    f.finish()


def _matches(module: Module) -> None:
    """matches(signature, items, count) -> where the signature goes on, null if a buffer is another."""
    f = Routine(
        module, "matches",
        [("signature", "ptr"), ("items", "ptr"), ("count", "i64")], result="ptr", local=True,
    )  # fmt: skip
    signature, items, count = f.arguments
    good = Value("true", "i1")
    with f.loop(0, count, 1, [signature, good]) as loop:
        here, fine = loop.carried
        buffer = f.load("ptr", f.offset(items, loop.index, "ptr"), 8)
        dtype = f.emit("i64", f"sext {_at(f, buffer, _BUFFER['dtype'], 'i32')} to i64")
        rank, sizes = _at(f, buffer, _BUFFER["rank"], "i64"), _at(f, buffer, _BUFFER["sizes"])
        wanted = f.load("i64", f.offset(here, 1, "i64"), 8)
        same = f.compare("eq", dtype, f.load("i64", here, 8))
        same = f.emit("i1", f"and {same}, {f.compare('eq', rank, wanted).name}")
        fine = f.emit("i1", f"and {fine}, {same.name}")
        axes = f.select(same, rank, f.integer(0))
        with f.loop(0, axes, 1, [fine]) as axis:
            size = f.load("i64", f.offset(sizes, axis.index, "i64"), 8)
            expected = f.load("i64", f.offset(here, f.add(axis.index, 2), "i64"), 8)
            equal = f.compare("eq", size, expected)
            axis.next([f.emit("i1", f"and {axis.carried[0]}, {equal.name}")])
        loop.next([f.offset(here, f.add(wanted, 2), "i64"), axis.results[0]], axis.results[0])
    end, fine = loop.results
    f.give(f.select(fine, end, Value("null", "ptr")))
    f.finish()


def _key(module: Module) -> None:
    """key_of(frame): the first attribute, if it is an integer of 64 bits; else 0, which no program has, so
    that Python finds out what is wrong."""
    f = Routine(module, "key_of", [("frame", "ptr")], result="i64", local=True)
    (frame,) = f.arguments
    key = f.stack(1)
    f.store(f.integer(0), key, 8)
    with f.when(f.compare("sgt", _at(f, frame, _FRAME["attributes"], "i64"), 0)):
        kind = _at(f, _at(f, frame, _FRAME["attribute_types"]), 0, "i32")
        with f.when(f.emit("i1", f"icmp eq {kind}, {_SCALAR}")):
            scalar = f.load("ptr", _at(f, frame, _FRAME["attribute_items"]), 8)
            with f.when(f.emit("i1", f"icmp eq {_at(f, scalar, 0, 'i32')}, {_INT64}")):
                f.store(f.load("i64", _at(f, scalar, 8), 8), key, 8)
    f.give(f.load("i64", key, 8))
    f.finish()


def _find(module: Module) -> None:
    """find(frame, key) -> the entry of a call, null if there is none."""
    f = Routine(module, "find", [("frame", "ptr"), ("key", "i64")], result="ptr", local=True)
    frame, key = f.arguments
    found = f.stack(1)
    f.store(f.integer(0), found, 8)
    table = f.offset(Value("@stepfold_xla", "ptr"), len(XLA), "i64")
    arguments, results = (_at(f, frame, _FRAME[n], "i64") for n in ("arguments", "results"))
    first = f.emit("i64", f"and {key}, {TABLE_SIZE - 1}")
    with f.loop(0, PROBES) as loop:
        at = f.emit("i64", f"and {f.add(first, loop.index)}, {TABLE_SIZE - 1}")
        address = f.atomic_load(f.offset(table, at, "i64"))
        none = f.compare("eq", f.load("i64", found, 8), 0)
        there = f.emit("i1", f"and {f.compare('ne', address, 0)}, {none.name}")
        with f.when(there):
            entry = Struct(f, ENTRY, f.to_address(address))
            same = f.compare("eq", entry.get("key"), key)
            same = f.emit("i1", f"and {same}, {f.compare('eq', entry.get('arguments'), arguments).name}")
            same = f.emit("i1", f"and {same}, {f.compare('eq', entry.get('results'), results).name}")
            with f.when(same):
                signature = f.ask(
                    "matches", "ptr", entry.get("signature", "ptr"),
                    _at(f, frame, _FRAME["argument_items"]), arguments,
                )  # fmt: skip
                with f.when(f.emit("i1", f"icmp ne {signature}, null")):
                    items = _at(f, frame, _FRAME["result_items"])
                    end = f.ask("matches", "ptr", signature, items, results)
                    with f.when(f.emit("i1", f"icmp ne {end}, null")):
                        f.store(address, found, 8)
    f.give(f.load("ptr", found, 8))
    f.finish()


def _execute(module: Module) -> None:
    """execute(frame, found, size) -> null, or the error of the program."""
    f = Routine(
        module, "execute", [("frame", "ptr"), ("found", "ptr"), ("size", "i64")], result="ptr", local=True
    )
    frame, address, size = f.arguments
    slots, status, block, error = f.stack(MOST_SLOTS), f.stack(STATUS_WORDS), f.stack(len(CALL)), f.stack(1)
    entry, call, variables = Struct(f, ENTRY, address), Struct(f, CALL, block), _variables(f)
    f.store(f.integer(0), error, 8)
    f.store(f.integer(0), slots, 8)
    begin = f.integer(_RESERVED)
    for kind in ("argument", "result"):
        items, count = _at(f, frame, _FRAME[f"{kind}_items"]), entry.get(f"{kind}s")
        with f.loop(0, count) as loop:
            buffer = f.load("ptr", f.offset(items, loop.index, "ptr"), 8)
            data = _at(f, buffer, _BUFFER["data"], "i64")
            f.store(data, f.offset(slots, f.add(begin, loop.index), "i64"), 8)
        begin = f.add(begin, count)
    call.set("program", entry.get("program"))
    call.set("slots", slots)
    call.set("parallel", Value("@borrow", "ptr"))
    call.set("host", frame)
    call.set("threads", f.minimum(entry.get("threads"), size))
    call.set("status", status)
    call.set("forked", 0)
    f.invoke(variables.get("run", "ptr"), block)
    code = Struct(f, STATUS, status).get("code")
    with f.when(f.compare("ne", code, 0)):
        made = f.ask(variables.get("refuse", "ptr"), "ptr", frame, status)
        f.store(f.to_integer(made), error, 8)
    f.give(f.load("ptr", error, 8))
    f.finish()


def _handle(module: Module) -> None:
    """handle(frame) -> null, or an error of XLA's."""
    f = Routine(module, "handle", [("frame", "ptr")], result="ptr")
    (frame,) = f.arguments
    error, found = f.stack(1), f.stack(1)
    f.store(f.integer(0), error, 8)
    variables = _variables(f)
    asked = f.ask("describe", "i64", frame)
    with f.when(f.compare("eq", asked, 0)):
        f.atomic_add(variables.at("active"), 1)
        key = f.ask("key_of", "i64", frame)
        size = f.ask("pool_size", "i64", frame)
        entry = f.ask("find", "ptr", frame, key)
        f.store(f.to_integer(entry), found, 8)
        with f.when(_is_null(f, entry)):
            made = f.ask(variables.get("resolve", "ptr"), "ptr", frame, key, size, error)
            f.store(f.to_integer(made), found, 8)
        entry = f.load("ptr", found, 8)
        with f.when(f.emit("i1", f"icmp ne {entry}, null")):
            f.store(f.to_integer(f.ask("execute", "ptr", frame, entry, size)), error, 8)
        f.atomic_add(variables.at("active"), -1)
    f.give(f.load("ptr", error, 8))
    f.finish()
