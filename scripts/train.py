# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-breakhis"]
# ///
"""Cross-validate one recipe and write its report.

accelerate launch scripts/train.py recipes/c3.yaml --data_dir BreaKHis_v1.tar.gz
uv run scripts/train.py c3 --data_dir BreaKHis_v1.tar.gz    # installs the package first
"""

import sys

from hf_breakhis.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
