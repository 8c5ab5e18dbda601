"""A small Hub on loopback, for the real client: repositories, commits, files, and the refusals it is told to give."""

import hashlib
import importlib.util
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path

_spec = importlib.util.spec_from_file_location("protocol", Path(__file__).with_name("protocol.py"))
protocol = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(protocol)

TOKEN = "hf_loopback"  # noqa: S105 (known to nobody else)


@dataclass
class Repo:
    """A repository: the files of each commit of each branch, the newest last; titles of pull requests."""

    private: bool = False
    sdk: str | None = None
    branches: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=lambda: {"main": []})

    proposals: dict[int, str] = field(default_factory=dict)

    def __post_init__(self):
        self.commit({})

    @property
    def commits(self):
        return self.branches["main"]

    @property
    def files(self):
        return self.commits[-1][1]

    def commit(self, files, branch="main"):
        commits = self.branches[branch]
        number = f"{branch} {len(commits)}-{sorted((name, protocol.blob(content)) for name, content in files.items())}"
        commits.append((hashlib.sha1(number.encode(), usedforsecurity=False).hexdigest(), files))
        return commits[-1][0]

    def at(self, revision):
        """Return (commit, files) of a branch or a commit, None if there is none."""
        if revision in self.branches:
            return self.branches[revision][-1]
        every = [commit for commits in self.branches.values() for commit in commits]
        return next((commit for commit in every if commit[0] == revision), None)


class LoopbackHub:
    """The state of the server, for tests to look at and to disturb.

    `repos` maps ("dataset", "user/name") to `Repo`. `refuse` maps a route, such as "commit", to a status with which
    it answers; `times` says how often, always by default. `cut` counts the uploads to be broken off in the middle.
    `xet` is the address of the storage that Xet is sent to. `large` are the endings of files that go through LFS, and
    `objects` what came that way. `log` lists what was asked, as (route, path), and `created` the names of repositories
    and what was asked of their visibility.
    """

    def __init__(self, home: Path, run_python):
        self.run_python = run_python
        self.home, self.repos, self.refuse, self.log = home, {}, {}, []
        self.times, self.cut, self.large, self.objects = {}, 0, (".safetensors",), {}
        self.tokens = {TOKEN: "user"}
        self.created: list[tuple[str, str | None]] = []
        self.collections: list[dict] = []  # as the Hub answers them
        handler = type("Bound", (protocol.Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.xet = "http://127.0.0.1:9"  # where nobody listens
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    new_repo = Repo

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def environment(self, token=TOKEN):
        """Return the variables under which a process takes this server for the Hub."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(self.home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        # Xet is a storage of its own with a protocol of its own; this server speaks LFS
        own |= {"HF_DATASETS_CACHE": str(self.home / "datasets"), "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_XET": "1"}
        return kept | own | ({"HF_TOKEN": token} if token else {})

    def run(self, *arguments, token=TOKEN, forked=True):
        """Run `python ARGUMENTS` against this server; forked from a process with the libraries, or as users do."""
        if forked:
            return self.run_python(*arguments, environment=self.environment(token), timeout=240, small=["figures"])
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, env=self.environment(token), capture_output=True, text=True, timeout=240)

    def command(self, *arguments, token=TOKEN, forked=True):
        """Run `hf-breakhis ARGUMENTS` against this server."""
        code = "import sys; from hf_breakhis.cli import main; sys.exit(main())"
        return self.run("-c", code, *arguments, token=token, forked=forked)
