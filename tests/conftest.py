"""What every test runs under: Keras on JAX unless the caller chose otherwise, and how hypothesis searches."""

from __future__ import annotations

import os
import tempfile

# Before anything imports Keras, which reads this once.
os.environ.setdefault("KERAS_BACKEND", "jax")

# Networks that differ in nothing but their weights are compiled once.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="stepfold-tests-"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Compiling is most of what a small network costs; what is compiled here runs for milliseconds.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

# What PyTorch's compiler remembers on disk of earlier versions of this code is of no use here.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.mkdtemp(prefix="stepfold-tests-"))

# PyTorch's threads wait without turning in circles: on a busy machine these take the time of the others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from hypothesis import settings

# A first call compiles a kernel, so no example has a deadline; CI tries the same examples every time.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
