"""Where real data lies for tests: QA_ASSETS_TEST_SQUAD, or `../shared` of the checkout."""

import os
from pathlib import Path

import pytest

SQUAD_DIR = Path(
    os.environ.get(
        "QA_ASSETS_TEST_SQUAD",
        Path(__file__).resolve().parents[2] / "shared" / "data" / "squad_v2",
    )
)
requires_squad = pytest.mark.skipif(
    not (SQUAD_DIR / "dev-v2.0.json").is_file(),
    reason="no SQuAD v2 files: set QA_ASSETS_TEST_SQUAD to their directory",
)
CLINC150 = SQUAD_DIR.parent / "clinc150" / "data_full.json"
requires_clinc150 = pytest.mark.skipif(
    not CLINC150.is_file(), reason="no CLINC150: it lies beside the directory of SQuAD v2"
)
