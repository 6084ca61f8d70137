"""The speed of stepfold beside its peers, one module per question: `python -m benchmarks.NAME`, `make bench`.

`layer` a training step of a layer, `inference` its prediction, `stream` one timestep, `program` a whole Keras
program, `torch_users` the PyTorch modules, `company` the same among other PyTorch operations, `accuracy` how
soon it learns, `costs` import, compilation, memory. Sides are timed only if their results are equal.
"""
