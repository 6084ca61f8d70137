"""The code that runs a program: native, so that a call is one call, whoever makes it.

A program (`PROGRAM`) is a list of phases. A phase (`PHASE`) has some tasks; each runs the launches of its own
list once, then those of a common list for each of its groups of rows: task t of n has the groups t, t + n, ….
A launch is a kernel and its arguments, each told by six words (`ARGUMENT`): slots[slot] + offset +
group * per_group + task * per_task, or what is loaded from there, + `add`. The first slots are 0, the
workspace, and the address of the slots themselves; the others are the operands' addresses.

Phases run one after the other. The tasks of one are claimed by an atomic counter, so that they are done by
however many threads turn up: `parallel(function, data, threads, flags)`, the interface of OpenMP's
`GOMP_parallel`, brings them. The caller works too, and waits only for tasks that were claimed; a helper that
comes late finds nothing. What threads share lies in a block (`FORK`) that the last of them frees.

In a cooperative phase all ranks run the same launches at once and meet at barriers: it is formed of whoever
has arrived when the first of them has waited a little."""

from __future__ import annotations

from ._control import Routine, pause, wait
from ._layout import Kernel
from ._support import STATUS, STATUS_WORDS, Struct
from ._text import Module, Value

CALL = ("program", "slots", "parallel", "host", "threads", "status", "forked")
PROGRAM = ("workspace", "runs", "phases")
"""`runs` counts the calls."""
PHASE = ("tasks", "once", "each", "cooperative")
LAUNCH = ("kernel", "count")
ARGUMENT = ("slot", "offset", "per_group", "per_task", "load", "add")
FORK = (
    "next", "tasks", "finished", "references", "phase", "slots", "mode", "cooperative", "host", "arrived",
    "ranks",
)  # fmt: skip
MOST_ARGUMENTS = 60
POOL_BLOCKS = 8
POOL = ("lock", "bytes", "bound")
"""The workspaces that are free: a lock, how many bytes they have, at most how many; then (address, size)."""
_CLOSED = 1 << 32
_GATHERING = 2000  # turns of waiting for the other threads of a cooperative phase
_HEAD = 128  # bytes before a workspace that say where its memory begins, and how large it is


def program_kernel(architecture: str) -> Kernel:
    """`run(call)`, and what it needs: `drain` (the body of every thread), `help` (that of a borrowed one)."""
    module = Module()
    module.variable("stepfold_pool", 8 * (len(POOL) + 2 * POOL_BLOCKS))
    for write in (_launch_list, _task):
        write(module)
    _mode(module, architecture)
    _drain(module)
    _cooperate(module, architecture)
    _release(module)
    _body(module)
    _retain(module)
    _help(module)
    _acquire(module)
    _put_back(module)
    _in_turn(module)
    _run(module, architecture)
    return Kernel(module.text(), "run", (), exports=("body", "help", "retain", "stepfold_pool"))


def _launch_list(module: Module) -> None:
    """launch_list(list, slots, group, task): run the launches of a list."""
    f = Routine(
        module, "launch_list",
        [("list", "ptr"), ("slots", "ptr"), ("group", "i64"), ("task", "i64")], local=True,
    )  # fmt: skip
    list_, slots, group, task = f.arguments
    block = f.stack(MOST_ARGUMENTS)
    count = f.load("i64", list_, 8)
    with f.loop(0, count, 1, [f.offset(list_, 1, "i64")]) as launches:
        launch = Struct(f, LAUNCH, launches.carried[0])
        arguments = f.offset(launch.address, len(LAUNCH), "i64")
        size = launch.get("count")
        with f.loop(0, size) as loop:
            line = f.offset(arguments, f.mul(loop.index, len(ARGUMENT)), "i64")
            argument = Struct(f, ARGUMENT, line)
            slot = f.load("i64", f.offset(slots, argument.get("slot"), "i64"), 8)
            value = f.add(slot, argument.get("offset"))
            value = f.add(value, f.mul(argument.get("per_group"), group))
            value = f.add(value, f.mul(argument.get("per_task"), task))
            at = f.offset(block, loop.index, "i64")
            f.store(value, at, 8)
            with f.when(f.compare("ne", argument.get("load"), 0)):
                found = f.load("i64", f.to_address(value), 8)
                f.store(f.add(found, argument.get("add")), at, 8)
        f.invoke(launch.get("kernel", "ptr"), block)
        launches.next([f.offset(arguments, f.mul(size, len(ARGUMENT)), "i64")])
    f.finish()


def _task(module: Module) -> None:
    """run_task(phase, slots, task): a task's own launches, then the common ones for each of its groups."""
    f = Routine(module, "run_task", [("phase", "ptr"), ("slots", "ptr"), ("task", "i64")], local=True)
    phase, slots, task = Struct(f, PHASE, f.arguments[0]), *f.arguments[1:]
    once = f.load("ptr", f.offset(phase.get("once", "ptr"), task, "i64"), 8)
    f.invoke("launch_list", once, slots, f.integer(0), task)
    each = phase.get("each", "ptr")
    with f.when(f.emit("i1", f"icmp ne {each}, null")):
        tasks = phase.get("tasks")
        status = Struct(f, STATUS, f.load("ptr", f.offset(slots, 1, "i64"), 8))
        with f.loop(task, status.get("groups"), tasks) as groups:
            f.invoke("launch_list", each, slots, groups.index, task)
    f.finish()


def _mode(module: Module, architecture: str) -> None:
    """get_mode and set_mode: how this thread rounds, and what it does with denormal numbers."""
    get = Routine(module, "get_mode", [], result="i64", local=True)
    set_ = Routine(module, "set_mode", [("mode", "i64")], local=True)
    if architecture == "x86_64":
        word = get.stack(1)
        module.declare_void("llvm.x86.sse.stmxcsr", ["ptr"])
        get.line(f"call void @llvm.x86.sse.stmxcsr({word})")
        found = get.load("i32", word, 4)
        # the lowest six bits say what has happened, not what is to be done
        get.give(get.emit("i64", f"zext {get.emit('i32', f'and {found}, -64')} to i64"))
        word = set_.stack(1)
        module.declare_void("llvm.x86.sse.ldmxcsr", ["ptr"])
        set_.store(set_.emit("i32", f"trunc {set_.arguments[0]} to i32"), word, 4)
        set_.line(f"call void @llvm.x86.sse.ldmxcsr({word})")
    elif architecture == "aarch64":
        get.give(get.call("llvm.aarch64.get.fpcr", "i64", []))
        module.declare_void("llvm.aarch64.set.fpcr", ["i64"])
        set_.line(f"call void @llvm.aarch64.set.fpcr({set_.arguments[0]})")
    else:
        get.give(get.integer(0))
    get.finish()
    set_.finish()


def _drain(module: Module) -> None:
    """drain(fork): claim tasks and run them until none is left."""
    f = Routine(module, "drain", [("fork", "ptr")], local=True)
    fork = Struct(f, FORK, f.arguments[0])
    with f.forever() as leave:
        task = f.atomic_add(fork.at("next"), 1)
        leave(f.compare("sge", task, fork.get("tasks")))
        f.invoke("run_task", fork.get("phase", "ptr"), fork.get("slots", "ptr"), task)
        f.atomic_add(fork.at("finished"), 1)
    f.finish()


def _cooperate(module: Module, architecture: str) -> None:
    """cooperate(fork): take a rank and run all launches beside the other ranks.

    The first to arrive waits a little for the others, says how many ranks there are, and closes the door.
    """
    f = Routine(module, "cooperate", [("fork", "ptr")], local=True)
    turns = f.stack(1)
    fork = Struct(f, FORK, f.arguments[0])
    slots = fork.get("slots", "ptr")
    rank = f.atomic_add(fork.at("arrived"), 1)
    with f.when(f.compare("eq", rank, 0)):
        f.store(f.integer(0), turns, 8)
        with f.forever() as leave:
            leave(f.compare("sge", f.atomic_load(fork.at("arrived")), fork.get("tasks")))
            turn = f.add(f.load("i64", turns, 8), 1)
            f.store(turn, turns, 8)
            leave(f.compare("sgt", turn, _GATHERING))
            pause(f, architecture)
        arrived = f.minimum(f.atomic_exchange(fork.at("arrived"), _CLOSED), fork.get("tasks"))
        status = Struct(f, STATUS, f.load("ptr", f.offset(slots, 1, "i64"), 8))
        status.set("ranks", arrived)
        f.atomic_store(arrived, fork.at("ranks"))
    with f.when(f.compare("slt", rank, fork.get("tasks"))):
        wait(f, lambda: f.compare("ne", f.atomic_load(fork.at("ranks")), 0), architecture)
        with f.when(f.compare("slt", rank, f.atomic_load(fork.at("ranks")))):
            each = Struct(f, PHASE, fork.get("phase", "ptr")).get("each", "ptr")
            f.invoke("launch_list", each, slots, f.integer(0), rank)
            f.atomic_add(fork.at("finished"), 1)
    f.finish()


def _release(module: Module) -> None:
    """release(fork): one thread fewer needs the block; the last one frees it."""
    f = Routine(module, "release", [("fork", "ptr")], local=True)
    fork = Struct(f, FORK, f.arguments[0])
    module.declare_void("free", ["ptr"])
    with f.when(f.compare("eq", f.atomic_add(fork.at("references"), -1), 1)):
        f.line(f"call void @free({fork.address})")
    f.finish()


def _body(module: Module) -> None:
    """body(fork): what every thread of a phase does, in the floating-point mode of the caller."""
    f = Routine(module, "body", [("fork", "ptr")])
    fork = Struct(f, FORK, f.arguments[0])
    mine = f.ask("get_mode", "i64")
    f.invoke("set_mode", fork.get("mode"))
    # Not the phase: a thread that comes late must not look at it, it may be gone.
    cooperative = fork.get("cooperative")
    with f.either(f.compare("ne", cooperative, 0)) as otherwise:
        f.invoke("cooperate", fork.address)
        otherwise()
        f.invoke("drain", fork.address)
    f.invoke("set_mode", mine)
    f.finish()


def _retain(module: Module) -> None:
    """retain(fork): one thread more needs the block."""
    f = Routine(module, "retain", [("fork", "ptr")])
    f.atomic_add(Struct(f, FORK, f.arguments[0]).at("references"), 1)
    f.finish()


def _help(module: Module) -> None:
    """help(fork): the body of a borrowed thread, which may come after everything is done."""
    f = Routine(module, "help", [("fork", "ptr")])
    f.invoke("body", f.arguments[0])
    f.invoke("release", f.arguments[0])
    f.finish()


def _blocks(f: Routine) -> tuple[Struct, Value]:
    pool = Struct(f, POOL, Value("@stepfold_pool", "ptr"))
    return pool, f.offset(pool.address, len(POOL), "i64")


def _acquire(module: Module) -> None:
    """acquire(size): a workspace on a cache line, one that is free or new memory; null if there is none."""
    f = Routine(module, "acquire", [("size", "i64")], result="ptr", local=True)
    (size,) = f.arguments
    found = f.stack(1)
    f.store(f.integer(0), found, 8)
    pool, blocks = _blocks(f)
    # If another thread is at the pool, or was when the process was forked, new memory is as good.
    with f.when(f.atomic_claim(pool.at("lock"), 0, 1)):
        with f.loop(0, POOL_BLOCKS) as loop:
            block = f.offset(blocks, f.mul(loop.index, 2), "i64")
            address, there = f.load("i64", block, 8), f.load("i64", f.offset(block, 1, "i64"), 8)
            none = f.compare("eq", f.load("i64", found, 8), 0)
            enough = f.compare("sge", there, size)
            close = f.compare("sle", there, f.add(f.mul(size, 4), 1 << 16))
            some = f.compare("ne", address, 0)
            takes = f.emit("i1", f"and {none}, {f.emit('i1', f'and {enough}, {close.name}').name}")
            with f.when(f.emit("i1", f"and {takes}, {some.name}")):
                f.store(address, found, 8)
                f.store(f.integer(0), block, 8)
                pool.set("bytes", f.sub(pool.get("bytes"), there))
        f.atomic_store(0, pool.at("lock"))
    with f.when(f.compare("eq", f.load("i64", found, 8), 0)):
        module.declare("malloc", "ptr", ["i64"])
        memory = f.to_integer(f.emit("ptr", f"call ptr @malloc({f.add(size, _HEAD + 64)})"))
        with f.when(f.compare("ne", memory, 0)):
            aligned = f.emit("i64", f"and {f.add(memory, _HEAD + 63)}, -64")
            f.store(aligned, found, 8)
            f.store(memory, f.to_address(f.sub(aligned, 16)), 8)
            f.store(size, f.to_address(f.sub(aligned, 8)), 8)
    f.give(f.load("ptr", found, 8))
    f.finish()


def _put_back(module: Module) -> None:
    """put_back(workspace): keep a workspace for the next call, if it and its like stay within the bound."""
    f = Routine(module, "put_back", [("workspace", "ptr")], local=True)
    workspace = f.to_integer(f.arguments[0])
    pending = f.stack(1)
    f.store(workspace, pending, 8)
    size = f.load("i64", f.to_address(f.sub(workspace, 8)), 8)
    pool, blocks = _blocks(f)
    bound = f.load("i64", pool.at("bound"), 8)
    module.declare_void("free", ["ptr"])

    def free(address: Value) -> None:
        memory = f.load("ptr", f.to_address(f.sub(address, 16)), 8)
        f.line(f"call void @free({memory})")

    small = f.compare("sle", size, bound)
    with f.when(small), f.when(f.atomic_claim(pool.at("lock"), 0, 1)):
        full = f.compare("sgt", f.add(pool.get("bytes"), size), bound)
        with f.when(full), f.loop(0, POOL_BLOCKS) as loop:
            block = f.offset(blocks, f.mul(loop.index, 2), "i64")
            address = f.load("i64", block, 8)
            with f.when(f.compare("ne", address, 0)):
                free(address)
                f.store(f.integer(0), block, 8)
            pool.set("bytes", 0)
        with f.loop(0, POOL_BLOCKS) as loop:
            block = f.offset(blocks, f.mul(loop.index, 2), "i64")
            empty = f.compare("eq", f.load("i64", block, 8), 0)
            left = f.compare("ne", f.load("i64", pending, 8), 0)
            with f.when(f.emit("i1", f"and {empty}, {left.name}")):
                f.store(workspace, block, 8)
                f.store(size, f.offset(block, 1, "i64"), 8)
                f.store(f.integer(0), pending, 8)
                pool.set("bytes", f.add(pool.get("bytes"), size))
        f.atomic_store(0, pool.at("lock"))
    with f.when(f.compare("ne", f.load("i64", pending, 8), 0)):
        free(workspace)
    f.finish()


def _in_turn(module: Module) -> None:
    """run_in_turn(phase, slots): a phase's tasks one after the other on this thread."""
    f = Routine(module, "run_in_turn", [("phase", "ptr"), ("slots", "ptr")], local=True)
    phase, slots = Struct(f, PHASE, f.arguments[0]), f.arguments[1]
    with f.either(f.compare("ne", phase.get("cooperative"), 0)) as otherwise:
        Struct(f, STATUS, f.load("ptr", f.offset(slots, 1, "i64"), 8)).set("ranks", 1)
        f.invoke("launch_list", phase.get("each", "ptr"), slots, f.integer(0), f.integer(0))
        otherwise()
        with f.loop(0, phase.get("tasks")) as loop:
            f.invoke("run_task", phase.address, slots, loop.index)
    f.finish()


def _run(module: Module, architecture: str) -> None:
    """run(call): all phases of a program, until one of them has something wrong to say."""
    f = Routine(module, "run", [("call", "ptr")])
    call = Struct(f, CALL, f.arguments[0])
    program, slots = Struct(f, PROGRAM, call.get("program", "ptr")), call.get("slots", "ptr")
    out, forked = Struct(f, STATUS, call.get("status", "ptr")), f.stack(1)
    f.store(f.integer(0), forked, 8)
    f.atomic_add(program.at("runs"), 1)
    workspace = f.ask("acquire", "ptr", program.get("workspace"))
    memory = f.emit("i1", f"icmp ne {workspace}, null")
    out.set("code", -1)
    with f.when(memory):
        status = Struct(f, STATUS, workspace)
        f.store(workspace, f.offset(slots, 1, "i64"), 8)
        f.store(slots, f.offset(slots, 2, "i64"), 8)
        with f.loop(0, STATUS_WORDS) as loop:
            f.store(f.integer(0), f.offset(workspace, loop.index, "i64"), 8)
        phases = f.offset(program.address, len(PROGRAM), "i64")
        with f.loop(0, program.get("phases")) as loop:
            phase = Struct(f, PHASE, f.offset(phases, f.mul(loop.index, len(PHASE)), "i64"))
            with f.when(f.compare("eq", status.get("code"), 0)):
                _run_phase(f, call, phase, slots, forked, architecture)
        with f.loop(0, STATUS_WORDS) as loop:
            f.store(
                f.load("i64", f.offset(workspace, loop.index, "i64"), 8),
                f.offset(out.address, loop.index, "i64"), 8,
            )  # fmt: skip
        f.invoke("put_back", workspace)
    call.set("forked", f.load("i64", forked, 8))
    f.finish()


def _run_phase(
    f: Routine, call: Struct, phase: Struct, slots: Value, forked: Value, architecture: str
) -> None:
    threads = f.minimum(call.get("threads"), phase.get("tasks"))
    parallel = call.get("parallel", "ptr")
    can = f.emit("i1", f"icmp ne {parallel}, null")
    many = f.emit("i1", f"and {f.compare('sgt', threads, 1)}, {can.name}")
    with f.either(many) as otherwise:
        f.module.declare("malloc", "ptr", ["i64"])
        block = f.emit("ptr", f"call ptr @malloc(i64 {8 * len(FORK)})")
        with f.either(f.emit("i1", f"icmp ne {block}, null")) as without_memory:
            _fork(f, call, phase, slots, Struct(f, FORK, block), threads, architecture)
            f.store(f.integer(1), forked, 8)
            without_memory()
            f.invoke("run_in_turn", phase.address, slots)
        otherwise()
        f.invoke("run_in_turn", phase.address, slots)


def _fork(
    f: Routine, call: Struct, phase: Struct, slots: Value, fork: Struct, threads: Value, architecture: str
) -> None:
    """Share a phase out, and wait for what was claimed."""
    cooperative = f.compare("ne", phase.get("cooperative"), 0)
    tasks = phase.get("tasks")
    fork.set("next", 0)
    # a cooperative phase has as many ranks as threads, if they all come
    fork.set("tasks", f.select(cooperative, threads, tasks))
    fork.set("finished", 0)
    fork.set("references", 1)
    fork.set("phase", phase.address)
    fork.set("slots", slots)
    fork.set("mode", f.ask("get_mode", "i64"))
    fork.set("cooperative", phase.get("cooperative"))
    fork.set("host", call.get("host", "ptr"))
    fork.set("arrived", 0)
    fork.set("ranks", 0)
    number = f.emit("i32", f"trunc {threads} to i32")
    parallel = call.get("parallel", "ptr")
    f.invoke(parallel, Value("@body", "ptr"), fork.address, number, Value("0", "i32"))
    # once more, for an executor that was interrupted before it came to this thread: mostly nothing is left
    f.invoke("body", fork.address)

    def ready() -> Value:
        wanted = f.select(cooperative, f.atomic_load(fork.at("ranks")), tasks)
        done = f.compare("eq", f.atomic_load(fork.at("finished")), wanted)
        return f.emit("i1", f"and {done}, {f.compare('ne', wanted, 0).name}")

    wait(f, ready, architecture)
    f.invoke("release", fork.address)
