"""How fast stepfold is, beside its peers: one module a question, `python -m benchmarks.NAME` or `make bench`.

`layer` a training step of a layer, `inference` its prediction, `stream` one timestep, `program` a whole Keras
program, `accuracy` how soon it learns, `costs` what stands around it. Sides are compared only after they gave
the same numbers.
"""
