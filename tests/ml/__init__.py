"""Real training: transformers, Keras and Lightning write into directories that are mirrored; what `make test-ml` runs.

The one thing to know: the models are tiny and start from random weights, so nothing is downloaded; but the libraries,
the files they write and the loaders that read them back are the real ones.
"""
