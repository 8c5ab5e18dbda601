"""`python -m hf_breakhis`: the same commands as `hf-breakhis`, for launchers that start a module."""

import sys

from hf_breakhis.cli import main

if __name__ == "__main__":
    sys.exit(main())
