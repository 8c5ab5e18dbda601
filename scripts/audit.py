"""Known holes in what is installed, by pip-audit; says so where it could not look.

python scripts/audit.py
"""

import json
import subprocess
import sys


def main() -> int:
    """Return 1 if a package has a known hole, 0 otherwise, also when nothing could be looked up."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own interpreter)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"audit: pip-audit could not reach its source, so nothing was looked at ({reason[:200]}).")
        return 0
    skipped = [one for one in found if "skip_reason" in one]
    holes = [(one, hole) for one in found for hole in one.get("vulns", [])]
    for one, hole in holes:
        print(
            f"{one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'none yet'}"
        )
    told = f"{len(found) - len(skipped)} packages looked up, {len(holes)} known holes"
    print(
        f"audit: {told}; {len(skipped)} could not be looked up{': nothing was' if len(skipped) == len(found) else ''}."
    )
    return int(bool(holes))


if __name__ == "__main__":
    sys.exit(main())
