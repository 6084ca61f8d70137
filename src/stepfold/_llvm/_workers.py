"""Threads of our own, where no host has any: they wait in native code, on a futex of Linux's.

A worker (`WORKER`) has a mailbox. It is idle while that is empty; whoever puts a block there has claimed it.
It looks at the mailbox for some microseconds before it sleeps, for phases and calls follow each other
closely.

A thread that is woken is often put on the processor of the one that woke it, and then waits for it while
another processor idles; so each is sent to the other processors first, and is free again once it runs."""

from __future__ import annotations

from ._control import Routine, pause
from ._layout import Kernel
from ._program import FORK
from ._support import Struct
from ._text import Module, Value

WORKERS = ("count", "help", "first")
"""What `parallel` finds as its host: how many workers, `help` of `_program`, where their addresses stand."""
WORKER = ("mail", "sleeping", "thread", "sent", "processors")
"""`sleeping` is 1 while the worker waits for the futex; `sent`: its processors are to be set back to
`processors`, a set of 1,024 bits."""
PROCESSOR_WORDS = 16
SYSTEM_CALLS = {"x86_64": 202, "aarch64": 98}
"""The number of `futex`, where it is known."""
_PATIENCE = 1000  # looks at the mailbox before sleeping, some 20 to 40 µs
_WAIT, _WAKE = 128, 129  # FUTEX_WAIT and FUTEX_WAKE, private to this process


def workers_kernel(architecture: str) -> Kernel:
    """`parallel(function, fork, threads, flags)` on workers, and `serve(worker)`, which they never leave."""
    module = Module()
    _futex(module, architecture)
    _serve(module, architecture)
    _send(module)
    _parallel(module)
    return Kernel(module.text(), "parallel", (), exports=("serve",))


def _futex(module: Module, architecture: str) -> None:
    """futex(word, operation, value)."""
    f = Routine(module, "futex", [("word", "ptr"), ("operation", "i64"), ("value", "i64")], local=True)
    word, operation, value = f.arguments
    module.declare("syscall", "i64", ["i64", "..."])
    number = SYSTEM_CALLS[architecture]
    f.line(
        f"call i64 (i64, ...) @syscall(i64 {number}, {word}, {operation}, {value}, ptr null, ptr null, i64 0)"
    )
    f.finish()


def _serve(module: Module, architecture: str) -> None:
    """serve(worker): wait for mail, work, for ever."""
    f = Routine(module, "serve", [("worker", "ptr"), ("help", "ptr")])
    turns = f.stack(1)
    worker, help_ = Struct(f, WORKER, f.arguments[0]), f.arguments[1]
    module.declare("sched_setaffinity", "i32", ["i32", "i64", "ptr"])
    never = Value("false", "i1")
    with f.forever() as leave:
        f.store(f.integer(0), turns, 8)
        with f.forever() as mailed:
            mailed(f.compare("ne", f.atomic_load(worker.at("mail")), 0))
            turn = f.add(f.load("i64", turns, 8), 1)
            f.store(turn, turns, 8)
            pause(f, architecture)
            with f.when(f.compare("sgt", turn, _PATIENCE)):
                f.atomic_store(1, worker.at("sleeping"))
                with f.when(f.compare("eq", f.atomic_load(worker.at("mail")), 0)):
                    f.invoke("futex", worker.at("sleeping"), f.integer(_WAIT), f.integer(1))
        f.atomic_store(0, worker.at("sleeping"))
        with f.when(f.compare("ne", f.atomic_load(worker.at("sent")), 0)):
            f.atomic_store(0, worker.at("sent"))
            size = 8 * PROCESSOR_WORDS
            f.line(f"call i32 @sched_setaffinity(i32 0, i64 {size}, {worker.at('processors')})")
        f.invoke(help_, f.to_address(f.atomic_load(worker.at("mail"))))
        f.atomic_store(0, worker.at("mail"))
        leave(never)
    f.finish()


def _send(module: Module) -> None:
    """send(worker): let a sleeping worker wake on another processor than this one."""
    f = Routine(module, "send", [("worker", "ptr")], local=True)
    others = f.stack(PROCESSOR_WORDS)
    worker = Struct(f, WORKER, f.arguments[0])
    size = 8 * PROCESSOR_WORDS
    allowed = worker.at("processors")
    module.declare("sched_getaffinity", "i32", ["i32", "i64", "ptr"])
    module.declare("sched_getcpu", "i32", [])
    found = f.emit("i32", f"call i32 @sched_getaffinity(i32 0, i64 {size}, {allowed})")
    here = f.emit("i64", f"sext {f.emit('i32', 'call i32 @sched_getcpu()')} to i64")
    known = f.emit("i1", f"icmp sge {found}, 0")
    inside = f.compare("ult", here, 64 * PROCESSOR_WORDS)
    with f.when(f.emit("i1", f"and {known}, {inside.name}")):
        with f.loop(0, PROCESSOR_WORDS, 1, [f.integer(0)]) as loop:
            word = f.load("i64", f.offset(allowed, loop.index, "i64"), 8)
            mine = f.compare("eq", f.emit("i64", f"lshr {here}, 6"), loop.index)
            bit = f.emit("i64", f"shl i64 1, {f.emit('i64', f'and {here}, 63').name}")
            without = f.emit("i64", f"and {word}, {f.emit('i64', f'xor {bit}, -1').name}")
            word = f.select(mine, without, word)
            f.store(word, f.offset(others, loop.index, "i64"), 8)
            loop.next([f.emit("i64", f"or {loop.carried[0]}, {word.name}")])
        with f.when(f.compare("ne", loop.results[0], 0)):
            thread = f.emit("i32", f"trunc {worker.get('thread')} to i32")
            f.atomic_store(1, worker.at("sent"))
            f.line(f"call i32 @sched_setaffinity({thread}, i64 {size}, {others})")
    f.finish()


def _parallel(module: Module) -> None:
    """parallel(function, fork, threads, flags): the function on this thread, and `help` on idle workers."""
    f = Routine(
        module, "parallel",
        [("function", "ptr"), ("fork", "ptr"), ("threads", "i32"), ("flags", "i32")],
    )  # fmt: skip
    function, block, threads, _ = f.arguments
    fork = Struct(f, FORK, block)
    workers = Struct(f, WORKERS, fork.get("host", "ptr"))
    wanted, left = f.emit("i64", f"sext {threads} to i64"), f.stack(1)
    f.store(f.sub(wanted, 1), left, 8)
    module.declare("sched_setaffinity", "i32", ["i32", "i64", "ptr"])
    with f.loop(0, workers.get("count")) as loop:
        worker = Struct(f, WORKER, f.load("ptr", f.offset(workers.at("first"), loop.index, "i64"), 8))
        with f.when(f.compare("sgt", f.load("i64", left, 8), 0)):
            f.atomic_add(fork.at("references"), 1)
            claimed = f.atomic_claim(worker.at("mail"), 0, f.to_integer(block))
            with f.either(claimed) as otherwise:
                f.store(f.sub(f.load("i64", left, 8), 1), left, 8)
                with f.when(f.compare("ne", f.atomic_load(worker.at("sleeping")), 0)):
                    f.invoke("send", worker.address)
                    f.atomic_store(0, worker.at("sleeping"))
                    f.invoke("futex", worker.at("sleeping"), f.integer(_WAKE), f.integer(1))
                otherwise()
                f.atomic_add(fork.at("references"), -1)
    f.invoke(function, block)
    f.finish()
