"""Loads the training libraries once, before any test looks at what is open and what runs.

The one thing to know: they warn about their own future all the time, so here alone a warning fails no test.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

# Nothing comes from a hub, Keras computes with torch, and one thread each is quickest for models of this size.
os.environ |= {"HF_HUB_OFFLINE": "1", "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "0"}

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras  # noqa: F401  (loaded here for the reason above)
    import pytorch_lightning  # noqa: F401
    import torch
    import transformers

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets the libraries warn."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))
