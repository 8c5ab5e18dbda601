"""A small Hub on loopback, for the real client: repositories, commits, files, and the refusals it is told to give."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

KINDS = {"datasets": "dataset", "models": "model", "spaces": "space"}
TOKEN = "hf_loopback"  # noqa: S105 (known to nobody else)
WHEN = "2026-01-01T00:00:00.000Z"


@dataclass
class Repo:
    """A repository: the files of each commit, the newest last."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def __post_init__(self):
        self.commit({})

    @property
    def files(self):
        return self.commits[-1][1]

    def commit(self, files):
        number = f"{len(self.commits)}-{sorted((name, blob(content)) for name, content in files.items())}"
        self.commits.append((hashlib.sha1(number.encode(), usedforsecurity=False).hexdigest(), files))
        return self.commits[-1][0]

    def at(self, revision):
        """Return (commit, files) of a branch or a commit, None if there is none."""
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


class LoopbackHub:
    """The state of the server, for tests to look at and to disturb.

    `repos` maps ("dataset", "user/name") to `Repo`. `refuse` maps a route, such as "commit", to a status with which it
    answers. `log` lists what was asked, as (route, path).
    """

    def __init__(self, home: Path):
        self.home, self.repos, self.refuse, self.log = home, {}, {}, []
        self.tokens = {TOKEN: "user"}
        handler = type("Bound", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
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
        own |= {"HF_DATASETS_CACHE": str(self.home / "datasets"), "OMP_NUM_THREADS": "1"}
        return kept | own | ({"HF_TOKEN": token} if token else {})

    def run(self, *arguments, token=TOKEN):
        """Run `python ARGUMENTS` against this server."""
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, env=self.environment(token), capture_output=True, text=True, timeout=240)

    def command(self, *arguments, token=TOKEN):
        """Run `hf-breakhis ARGUMENTS` against this server."""
        code = "import sys; from hf_breakhis.cli import main; sys.exit(main())"
        return self.run("-c", code, *arguments, token=token)


def blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.route()

    do_HEAD = do_POST = do_GET  # noqa: N815 (names of http.server)

    def route(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self.read_chunks()
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        self.query = parse_qs(urlsplit(self.path).query)
        if parts[:1] == ["api"]:
            kind, name, rest = KINDS.get(parts[1]), "/".join(parts[2:4]), parts[4:]
            action = "_".join(parts[1:3]) if kind is None else rest[0] if rest else "info"
        else:
            kind = KINDS.get(parts[0], "model")
            parts = parts[1:] if parts[0] in KINDS else parts
            name, rest = "/".join(parts[:2]), parts[2:]
            action = rest[0] if rest else "page"
        action = action.replace("-", "_")
        self.hub.log.append((action, self.path))
        self.user = self.hub.tokens.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if action in self.hub.refuse:
            return self.fail(self.hub.refuse[action], "told to refuse")
        if kind is None:
            return getattr(self, f"do_{action}", self.absent)()
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and self.user is None):
            return self.fail(404, "Repository not found", "RepoNotFound")
        revision = rest[1] if len(rest) > 1 and action != "auth_check" else "main"
        if repo.at(revision) is None:
            return self.fail(404, "Revision not found", "RevisionNotFound")
        return getattr(self, f"on_{action}", self.absent)(name, repo, revision, "/".join(rest[2:]))

    def read_chunks(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, value, status=200, headers=()):
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, text in dict(headers).items():
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def fail(self, status, message, code=""):
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer({"error": message}, status, headers)

    def absent(self, *_):
        self.fail(404, f"no route {self.path}", "EntryNotFound")

    # Without a repository

    def do_whoami_v2(self):
        if self.user is None:
            return self.fail(401, "Invalid credentials")
        return self.answer({"type": "user", "name": self.user, "orgs": [], "auth": {"type": "access_token"}})

    def do_validate_yaml(self):
        content = json.loads(self.body)["content"]
        metadata = yaml.safe_load(content.split("---")[1])
        self.answer({"errors": [], "warnings": [] if "license" in metadata else [{"message": "no license"}]})

    def do_repos_create(self):
        wanted = json.loads(self.body)
        owner = wanted.get("organization") or self.user
        if self.user is None:
            return self.fail(401, "Invalid credentials")
        if owner != self.user:
            return self.fail(403, f"You don't have the rights to create under {owner}")
        key = (wanted.get("type", "model"), f"{owner}/{wanted['name']}")
        status = 409 if key in self.hub.repos else 200
        self.hub.repos.setdefault(key, Repo(private=wanted.get("visibility") == "private"))
        folder = {"dataset": "datasets/", "space": "spaces/"}.get(key[0], "")
        return self.answer({"url": f"{self.hub.url}/{folder}{key[1]}", "name": key[1], "id": "1"}, status)

    # Of a repository

    def on_info(self, name, repo, revision, _path):
        commit, files = repo.at(revision)
        siblings = [{"rfilename": path, "size": len(content)} for path, content in files.items()]
        self.answer({
            "id": name, "sha": commit, "private": repo.private, "siblings": siblings, "tags": [], "downloads": 0,
            "likes": 0, "lastModified": WHEN, "createdAt": WHEN, "disabled": False, "gated": False,
        })  # fmt: skip

    on_revision = on_info

    def on_auth_check(self, name, _repo, _revision, _path):
        """Say whether the user may write; everybody may read here."""
        if self.user is None:
            return self.fail(401, "Invalid credentials")
        owns = name.split("/")[0] == self.user
        return self.answer({}) if owns else self.fail(403, "Forbidden: you may not write")

    def on_refs(self, _name, repo, _revision, _path):
        self.answer({
            "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1][0]}],
            "tags": [], "converts": [],
        })  # fmt: skip

    def entries(self, files, folder, recursive):
        """Yield the files below a folder as the Hub lists them, and its subfolders."""
        inside = {path: content for path, content in files.items() if not folder or path.startswith(f"{folder}/")}
        depth = folder.count("/") + 1 if folder else 0
        for parent in sorted({"/".join(path.split("/")[: depth + 1]) for path in inside if path.count("/") > depth}):
            yield {"type": "directory", "path": parent, "oid": blob(parent.encode()), "size": 0}
        for path, content in sorted(inside.items()):
            if recursive or path.count("/") == depth:
                yield {"type": "file", "path": path, "oid": blob(content), "size": len(content)}

    def on_tree(self, _name, repo, revision, path):
        files = repo.at(revision)[1]
        found = list(self.entries(files, path, self.query.get("recursive", ["false"])[0].lower() in ("true", "1")))
        return self.answer(found) if found or not path else self.fail(404, "Entry not found", "EntryNotFound")

    def on_paths_info(self, _name, repo, revision, _path):
        try:
            paths = json.loads(self.body)["paths"]
        except json.JSONDecodeError:
            paths = parse_qs(self.body.decode())["paths"]
        every = list(self.entries(repo.at(revision)[1], "", recursive=True))
        self.answer([entry for entry in every if entry["path"] in paths])

    def on_preupload(self, _name, repo, _revision, _path):
        files = [
            {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
            | ({"oid": blob(repo.files[one["path"]])} if one["path"] in repo.files else {})
            for one in json.loads(self.body)["files"]
        ]
        self.answer({"files": files})

    def on_commit(self, name, repo, _revision, _path):
        if name.split("/")[0] != self.user:
            return self.fail(403, "Forbidden: you may not write")
        files = dict(repo.files)
        for line in self.body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "deletedFile":
                del files[value["path"]]
            elif key != "header":
                return self.fail(400, f"no operation {key}")
        commit = repo.commit(files)
        page = f"{self.hub.url}/{self.path.removeprefix('/api/').partition('/commit/')[0]}/commit/{commit}"
        return self.answer({"success": True, "commitOid": commit, "commitUrl": page})

    def on_resolve(self, _name, repo, revision, path):
        commit, files = repo.at(revision)
        if path not in files:
            return self.fail(404, "Entry not found", "EntryNotFound")
        content = files[path]
        headers = {"ETag": f'"{blob(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        wanted = (self.headers.get("Range") or "").removeprefix("bytes=")
        if wanted and self.command == "GET":
            first, _, last = wanted.partition("-")
            part = content[int(first) : int(last) + 1 if last else None]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
            return self.answer(part, 206, headers)
        return self.answer(content, 200, headers)
