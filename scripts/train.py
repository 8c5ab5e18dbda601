"""Cross-validate one recipe and write its report.

accelerate launch scripts/train.py recipes/c3.yaml --data_dir BreaKHis_v1.tar.gz
accelerate launch scripts/train.py recipes/c3.yaml --fold 0 --num_train_epochs 1
"""

import sys

from hf_breakhis.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
