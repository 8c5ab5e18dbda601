"""The Hub's routes, as far as the real client asks for them: repositories, commits, LFS, branches, pull requests."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

KINDS = {"datasets": "dataset", "models": "model", "spaces": "space"}
WHEN = "2026-01-01T00:00:00.000Z"


def blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body would wait 40 ms for the receipt of its header

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.route()

    do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815 (names of http.server)

    def do_PUT(self):
        """Take an object of LFS, or break off in the middle of it."""
        length, oid = int(self.headers["Content-Length"]), self.path.rpartition("/")[2]
        self.hub.log.append(("put", self.path))
        if self.hub.cut:
            self.hub.cut -= 1
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.close()
            return
        content = self.rfile.read(length)
        if hashlib.sha256(content).hexdigest() != oid:
            return self.fail(400, "not what was promised")
        self.hub.objects[oid] = content
        self.answer(b"")

    def route(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self.read_chunks()
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        self.query = parse_qs(urlsplit(self.path).query)
        if parts[:1] == ["api"]:
            kind, name, rest = KINDS.get(parts[1]), "/".join(parts[2:4]), parts[4:]
            action = "_".join(parts[1:3]) if kind is None else rest[0] if rest else "info"
            if parts[1] == "collections":
                action, self.slug = "collections", "/".join(parts[2:4])
        else:
            kind = KINDS.get(parts[0], "model")
            parts = parts[1:] if parts[0] in KINDS else parts
            name, rest = "/".join(parts[:2]), parts[2:]
            action = rest[0] if rest else "page"
        action = action.replace("-", "_")
        if parts == ["api", "models"]:  # what there is
            action, kind = "list", None
        self.hub.log.append((action, self.path))
        self.user = self.hub.tokens.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if parts[-3:] == ["lfs", "objects", "batch"]:
            action, name, rest = "batch", name.removesuffix(".git"), []
        if action in self.hub.refuse and self.hub.times.get(action, 1):
            if action in self.hub.times:
                self.hub.times[action] -= 1
            return self.fail(self.hub.refuse[action], "told to refuse")
        if kind is None:
            return getattr(self, f"do_{action}", self.absent)()
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and self.user is None):
            return self.fail(404, "Repository not found", "RepoNotFound")
        revision = rest[1] if len(rest) > 1 and action not in ("auth_check", "branch") else "main"
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
        headers |= {"Retry-After": "1"} if status == 429 else {}
        self.answer({"error": message}, status, headers)

    def absent(self, *_):
        self.fail(404, f"no route {self.path}", "EntryNotFound")

    # Without a repository

    def do_whoami_v2(self):
        if self.user is None:
            return self.fail(401, "Invalid credentials")
        return self.answer({"type": "user", "name": self.user, "orgs": [], "auth": {"type": "access_token"}})

    def do_list(self):
        self.answer([])

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
        self.hub.created.append((key[1], wanted.get("visibility")))
        self.hub.repos.setdefault(key, self.hub.new_repo(private=wanted.get("visibility") == "private"))
        self.hub.repos[key].sdk = self.hub.repos[key].sdk or wanted.get("sdk")
        folder = {"dataset": "datasets/", "space": "spaces/"}.get(key[0], "")
        return self.answer({"url": f"{self.hub.url}/{folder}{key[1]}", "name": key[1], "id": "1"}, status)

    def do_collections(self):
        """List those of an owner, each with its first items; show or create one; add an item to one."""
        found = [one for one in self.hub.collections if self.slug in ("", one["slug"])]
        if self.command == "GET" and not self.slug:
            owned = [one for one in found if [one["owner"]["name"]] == self.query.get("owner")]
            return self.answer(
                [{k: v for k, v in one.items() if k != "position"} | {"items": one["items"][:1]} for one in owned]
            )
        if self.slug and not found:
            return self.fail(404, "no such collection")
        if self.command == "GET":
            return self.answer(found[0])
        wanted = json.loads(self.body)
        if self.user is None or wanted.get("namespace", self.user) != self.user:
            return self.fail(403, "Forbidden: the collection belongs to someone else")
        if not self.slug:
            number = len(self.hub.collections)
            made = {
                "slug": f"{self.user}/{wanted['title'].lower().replace(' ', '-')}-{number:024x}", "items": [],
                "title": wanted["title"], "owner": {"name": self.user, "type": "user"}, "lastUpdated": WHEN,
                "position": number, "private": wanted["private"], "theme": "green", "upvotes": 0,
            }  # fmt: skip
            self.hub.collections.append(made)
            return self.answer(made)
        items = found[0]["items"]
        if any((item["id"], item["type"]) == (wanted["item"]["id"], wanted["item"]["type"]) for item in items):
            return self.fail(409, "already there")
        items.append({**wanted["item"], "_id": f"{len(items):024x}", "position": len(items)})
        return self.answer(found[0])

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
            "branches": [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commits[-1][0]}
                for name, commits in repo.branches.items() if not name.startswith("refs/pr/")
            ],
            "tags": [], "converts": [],
        })  # fmt: skip

    def on_discussions(self, name, repo, _revision, _path):
        found = [
            {"title": title, "num": number, "author": {"name": self.user}, "createdAt": WHEN, "status": "open",
             "repo": {"name": name, "type": "model"}, "isPullRequest": True}
            for number, title in repo.proposals.items()
        ]  # fmt: skip
        self.answer({"count": len(found), "start": 0, "discussions": found})

    def on_branch(self, _name, repo, _revision, _path):
        branch = unquote(urlsplit(self.path).path.rpartition("/")[2])
        if branch in repo.branches:
            return self.fail(409, "Reference already exists")
        repo.branches[branch] = list(repo.commits)
        return self.answer({})

    def entries(self, files, folder, recursive):
        """Yield the files below a folder as the Hub lists them, and its subfolders."""
        inside = {path: content for path, content in files.items() if not folder or path.startswith(f"{folder}/")}
        depth = folder.count("/") + 1 if folder else 0
        for parent in sorted({"/".join(path.split("/")[: depth + 1]) for path in inside if path.count("/") > depth}):
            yield {"type": "directory", "path": parent, "oid": blob(parent.encode()), "size": 0}
        for path, content in sorted(inside.items()):
            if recursive or path.count("/") == depth:
                entry = {"type": "file", "path": path, "oid": blob(content), "size": len(content)}
                if path.endswith(self.hub.large):  # the blob is a pointer then
                    oid = hashlib.sha256(content).hexdigest()
                    entry |= {"oid": blob(oid.encode()), "lfs": {"oid": oid, "size": len(content), "pointerSize": 130}}
                yield entry

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

    def on_preupload(self, _name, repo, revision, _path):
        there = repo.at(revision)[1]
        files = []
        for one in json.loads(self.body)["files"]:
            large = one["path"].endswith(self.hub.large)
            files.append({"path": one["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False})
            if one["path"] in there:
                content = there[one["path"]]
                files[-1]["oid"] = hashlib.sha256(content).hexdigest() if large else blob(content)
        self.answer({"files": files})

    def on_xet_write_token(self, _name, _repo, _revision, _path):
        """Say where the storage of Xet is: a folder that the client itself writes to ("local://"), or nowhere."""
        expires = {"X-Xet-Token-Expiration": "4102444800", "X-Xet-Access-Token": "x", "X-Xet-Cas-Url": self.hub.xet}
        self.answer({"casUrl": self.hub.xet, "exp": 4102444800, "accessToken": "x"}, 200, expires)

    def on_batch(self, _name, _repo, _revision, _path):
        """Say where objects of LFS go, and which are here already."""
        objects = []
        for one in json.loads(self.body)["objects"]:
            here = one["oid"] in self.hub.objects
            actions = {} if here else {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}}
            objects.append({"oid": one["oid"], "size": one["size"]} | ({"actions": actions} if actions else {}))
        self.answer({"transfer": "basic", "objects": objects})

    def on_commit(self, name, repo, revision, _path):
        if name.split("/")[0] != self.user:
            return self.fail(403, "Forbidden: you may not write")
        number = sum(branch.startswith("refs/pr/") for branch in repo.branches) + 1
        if self.query.get("create_pr") == ["1"]:
            repo.proposals[number] = json.loads(self.body.splitlines()[0])["value"]["summary"]
            repo.branches[f"refs/pr/{number}"] = list(repo.branches[revision])
            revision = f"refs/pr/{number}"
        files = dict(repo.at(revision)[1])
        for line in self.body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if self.hub.xet.startswith("local://"):  # the storage has the content, by another name
                    self.hub.objects.setdefault(value["oid"], b"in the storage of Xet: " + value["oid"].encode())
                if value["oid"] not in self.hub.objects:
                    return self.fail(400, f"{value['path']} was never uploaded")
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
            elif key != "header":
                return self.fail(400, f"no operation {key}")
        commit = repo.commit(files, revision)
        page = f"{self.hub.url}/{self.path.removeprefix('/api/').removeprefix('models/').partition('/commit/')[0]}"
        answer = {"success": True, "commitOid": commit, "commitUrl": f"{page}/commit/{commit}"}
        if revision.startswith("refs/pr/"):
            answer["pullRequestUrl"] = f"{page}/discussions/{number}"
        return self.answer(answer)

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
