"""How fast stepfold is, beside its peers: one module a question, `python -m benchmarks.NAME` or `make bench`.

`layer` a training step of a layer, `inference` its prediction, `stream` one timestep, `program` a whole Keras
program, `torch_users` the PyTorch modules, `company` the same among other PyTorch operations, `accuracy` how
soon it learns, `costs` import, compilation, memory. Sides are timed only after they gave the same numbers.
"""
