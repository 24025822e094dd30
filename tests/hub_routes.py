"""What the stand-in for the Hub answers, address by address: see hub_server."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from hub_repositories import (
    Answer,
    PullRequest,
    Refusal,
    as_json,
    file_facts,
    git_hash,
    is_lfs,
    metadata_errors,
)

if TYPE_CHECKING:
    from hub_server import HubServer


def _whoami(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    if role is None:
        raise Refusal(401, "Invalid username or password.")
    return as_json({"type": "user", "name": hub.user, "auth": {"accessToken": {"role": role}}})


def _create(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    asked = json.loads(body)
    owner = asked.get("organization") or hub.user
    repo = f"{owner}/{asked['name']}"
    if role is None:
        raise Refusal(401, "Invalid username or password.")
    if role != "write" or owner != hub.user:
        raise Refusal(403, f"You don't have the rights to create a model under the namespace {owner}")
    if repo in hub.repositories:
        answer = {"error": "You already created this model repo", "url": f"{hub.endpoint}/{repo}"}
        return as_json(answer, 409)
    hub.create(repo, asked.get("visibility") == "private")
    return as_json({"url": f"{hub.endpoint}/{repo}", "name": repo})


def _validate_yaml(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    errors = list(metadata_errors(json.loads(body)["content"]))
    told = {"errors": [{"message": error} for error in errors], "warnings": []}
    return as_json(told, 400 if errors else 200)


def _info(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub.repository(parts["repo"], role)
    commit = hub.find(parts["repo"], parts.get("revision") or "main")
    told = {
        "_id": "0", "id": parts["repo"], "modelId": parts["repo"], "sha": commit.id, "private": found.private,
        "gated": found.gated, "tags": [], "siblings": [{"rfilename": path} for path in sorted(commit.tree)],
    }  # fmt: skip
    return as_json(told)


def _settings(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub.repository(parts["repo"], role, write=True)
    asked = json.loads(body)
    found.gated = asked.get("gated", found.gated)
    found.private = asked.get("visibility", "private" if found.private else "public") == "private"
    return as_json({"gated": found.gated, "private": found.private})


def _tree(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    hub.repository(parts["repo"], role)
    tree = hub.find(parts["repo"], parts["revision"]).tree
    top = f"{parts['path']}/" if parts.get("path") else ""
    inside = {path: content for path, content in tree.items() if path.startswith(top)}
    if top and not inside:
        raise Refusal(404, f"{parts['path']} does not exist on this revision", "EntryNotFound")
    deep = query.get("recursive", "").lower() in ("true", "1")
    listed = [
        file_facts(path, content) for path, content in inside.items() if deep or "/" not in path[len(top) :]
    ]
    folders = {top + path[len(top) :].split("/")[0] for path in inside if "/" in path[len(top) :]}
    listed += [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in folders]
    return as_json(sorted(listed, key=lambda item: str(item["path"])))


def _paths_info(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    hub.repository(parts["repo"], role)
    tree = hub.find(parts["repo"], parts["revision"]).tree
    asked = parse_qs(body.decode())["paths"]
    return as_json([file_facts(path, tree[path]) for path in asked if path in tree])


def _preupload(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    hub.repository(parts["repo"], role, write="create_pr" not in query)
    commit = hub.find(parts["repo"], parts["revision"])
    files = []
    for asked in json.loads(body)["files"]:
        path, as_lfs = asked["path"], is_lfs(asked["path"], asked["size"])
        told = {"path": path, "uploadMode": "lfs" if as_lfs else "regular", "shouldIgnore": False}
        if (there := commit.tree.get(path)) is not None:
            told["oid"] = hashlib.sha256(there).hexdigest() if as_lfs else git_hash(there)
        files.append(told)
    return as_json({"files": files, "commitOid": commit.id})


def _lfs_batch(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    hub.repository(parts["repo"], role)
    if role is None:
        raise Refusal(401, "Invalid username or password.")
    objects = []
    for asked in json.loads(body)["objects"]:
        told = {"oid": asked["oid"], "size": asked["size"]}
        if asked["oid"] not in hub.blobs:
            # The Hub lets clients put blobs into a store of its own, whose addresses carry their permission.
            told["actions"] = {
                "upload": {"href": f"{hub.endpoint}/store/{asked['oid']}?X-Amz-Signature=abc", "header": {}},
                "verify": {"href": f"{hub.endpoint}/{parts['repo']}.git/info/lfs/objects/verify"},
            }
        objects.append(told)
    return as_json({"transfer": "basic", "objects": objects})


def _store(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    if hashlib.sha256(body).hexdigest() != parts["oid"]:
        raise Refusal(400, "BadDigest")
    hub.blobs[parts["oid"]] = body
    return Answer(headers={"ETag": f'"{parts["oid"]}"'})


def _verify(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    asked = json.loads(body)
    if len(hub.blobs.get(asked["oid"], b"")) != asked["size"]:
        raise Refusal(404, "Object does not exist on the server")
    return as_json({})


def _commit(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    asks = "create_pr" in query
    found = hub.repository(parts["repo"], role, write=not asks)
    if role is None:
        raise Refusal(401, "Invalid username or password.")
    base = hub.find(parts["repo"], parts["revision"])
    lines = [json.loads(line) for line in body.splitlines()]
    header = lines[0]["value"]
    if not asks and header.get("parentCommit") not in (None, base.id):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    tree = _changed(hub, dict(base.tree), lines[1:])
    branch = parts["revision"]
    told: dict[str, Any] = {"success": True, "hookOutput": ""}
    if asks:
        request = PullRequest(len(found.requests) + 1, header["summary"])
        found.requests.append(request)
        branch = f"refs/pr/{request.number}"
        found.branches[branch] = base.id
        told["pullRequestUrl"] = f"{hub.endpoint}/{parts['repo']}/discussions/{request.number}"
    if branch not in found.branches:
        raise Refusal(404, f"{branch} is no branch", "RevisionNotFound")
    made = found.commit(header["summary"], tree, branch)
    told |= {"commitOid": made.id, "commitUrl": f"{hub.endpoint}/{parts['repo']}/commit/{made.id}"}
    return as_json(told)


def _changed(hub: "HubServer", tree: dict[str, bytes], operations: list[Any]) -> dict[str, bytes]:
    for operation in operations:
        key, value = operation["key"], operation["value"]
        path = value["path"]
        if key == "file":
            tree[path] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            if value["oid"] not in hub.blobs:
                raise Refusal(400, f"lfs object {value['oid']} is not there")
            tree[path] = hub.blobs[value["oid"]]
        elif key == "deletedFile":
            if tree.pop(path, None) is None:
                raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
        elif key == "deletedFolder":
            tree = {name: content for name, content in tree.items() if not name.startswith(f"{path}/")}
        else:
            raise Refusal(400, f"unknown operation {key}")
    return tree


def _refs(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub.repository(parts["repo"], role)

    def told(refs: dict[str, str], kind: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": to} for name, to in refs.items()]

    branches = {name: to for name, to in found.branches.items() if not name.startswith("refs/")}
    return as_json({"branches": told(branches, "heads"), "converts": [], "tags": told(found.tags, "tags")})


def _add_tag(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub.repository(parts["repo"], role, write=True)
    tag, commit = json.loads(body)["tag"], hub.find(parts["repo"], parts["revision"])
    if tag in found.tags:
        raise Refusal(409, f"Tag reference exists already: {tag}")
    found.tags[tag] = commit.id
    return as_json({})


def _discussions(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub.repository(parts["repo"], role)
    wanted = query.get("status", "all")
    listed = [
        {
            "num": request.number, "title": request.title, "status": request.status, "isPullRequest": True,
            "author": {"name": hub.user}, "createdAt": "2026-01-01T00:00:00.000Z",
            "repo": {"name": parts["repo"], "type": "model"},
        }
        for request in found.requests
        if wanted == "all" or (request.status == "open") == (wanted == "open")
    ]  # fmt: skip
    return as_json({"discussions": listed, "count": len(listed), "start": 0})


def _resolve(hub: "HubServer", parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    hub.repository(parts["repo"], role)
    commit = hub.find(parts["repo"], parts["revision"])
    if (content := commit.tree.get(parts["path"])) is None:
        raise Refusal(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": commit.id})
    told = file_facts(parts["path"], content)
    headers = {"X-Repo-Commit": commit.id, "ETag": f'"{told["oid"]}"', "Accept-Ranges": "bytes"}
    if "lfs" in told:
        headers |= {"X-Linked-Etag": f'"{told["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
    return Answer(200, content, headers)


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/models/{_REPO}"
_REVISION = r"(?P<revision>[^/]+)"
Route = Callable[["HubServer", Any, Any, bytes, str | None], Answer]
ROUTES: list[tuple[str, str, Route]] = [
    ("GET", "/api/whoami-v2", _whoami),
    ("POST", "/api/repos/create", _create),
    ("POST", "/api/validate-yaml", _validate_yaml),
    ("GET", _API, _info),
    ("GET", rf"{_API}/revision/{_REVISION}", _info),
    ("PUT", rf"{_API}/settings", _settings),
    ("GET", rf"{_API}/tree/{_REVISION}(/(?P<path>.*))?", _tree),
    ("POST", rf"{_API}/paths-info/{_REVISION}", _paths_info),
    ("POST", rf"{_API}/preupload/{_REVISION}", _preupload),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _lfs_batch),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/verify", _verify),
    ("PUT", r"/store/(?P<oid>[0-9a-f]{64})", _store),
    ("POST", rf"{_API}/commit/{_REVISION}", _commit),
    ("GET", rf"{_API}/refs", _refs),
    ("POST", rf"{_API}/tag/{_REVISION}", _add_tag),
    ("GET", rf"{_API}/discussions", _discussions),
    ("GET", rf"/{_REPO}/resolve/{_REVISION}/(?P<path>.*)", _resolve),
    ("HEAD", rf"/{_REPO}/resolve/{_REVISION}/(?P<path>.*)", _resolve),
]
