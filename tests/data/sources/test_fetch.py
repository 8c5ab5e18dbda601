"""An archive arrives whole or not at all, whatever the server does. All servers are on loopback."""

import gzip
import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hf_breakhis.data.sources import fetch as module
from hf_breakhis.data.sources.fetch import fetch
from hf_breakhis.files import InputError

CONTENT = gzip.compress(random.Random(0).randbytes(300_000))
OTHER = gzip.compress(random.Random(1).randbytes(200_000))
CUT = 100_000


class Server(ThreadingHTTPServer):
    """Answers each request by the next of `plan`, then by the last of it; `asked` lists Range and If-Range."""

    def __init__(self, *plan):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.asked = list(plan), []
        self.ended = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/BreaKHis_v1.tar.gz"

    def handle_error(self, *_):
        """Clients go away when they have seen enough."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body would wait 40 ms for the receipt of its header

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.close_connection = True
        self.server.asked.append((self.headers["Range"], self.headers["If-Range"]))
        step = self.server.plan.pop(0) if len(self.server.plan) > 1 else self.server.plan[0]
        step(self)

    def head(self, status, length, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def serve(content=CONTENT, etag='"1"', ranges=True, stop=None, lie=0, stall=False, total=None):
    """A step of a plan: send `content`, from where it is asked for; up to `stop`, or with another length."""

    def step(handler):
        start, match = 0, handler.headers["If-Range"] in (None, etag)
        if ranges and match and handler.headers["Range"]:
            start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        more = {"ETag": etag} if etag else {}
        if start and start >= len(content):
            return handler.head(416, 0, Content_Range=f"bytes */{len(content)}")
        if start:
            more["Content_Range"] = f"bytes {start}-{len(content) - 1}/{total or len(content)}"
        handler.head(206 if start else 200, len(content) - start + lie, **more)
        handler.wfile.write(content[start:stop])
        if stall:
            handler.wfile.flush()
            handler.server.ended.wait(10)
        return None

    return step


def answer(status, body=b"", **headers):
    def step(handler):
        handler.head(status, len(body), **headers)
        handler.wfile.write(body)

    return step


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(module, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(module, "PROGRESS_BYTES", 1)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    """Start servers: `server(step, step, ...)`."""
    started = []

    def start(*plan):
        started.append(Server(*plan))
        return started[-1]

    yield start
    for one in started:
        one.ended.set()
        one.shutdown()
        one.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "downloads/BreaKHis_v1.tar.gz"


def check(path):
    try:
        gzip.decompress(path.read_bytes())
    except EOFError as error:
        raise InputError(f"The archive {path} is cut short.") from error


def refusal(server, path):
    with pytest.raises(InputError) as caught:
        fetch(server.url, path, check)
    assert "\n" not in str(caught.value)
    assert not path.exists()
    return str(caught.value)


def left(path):
    """What lies in the folder, save for the lock."""
    return sorted(entry.name for entry in path.parent.iterdir() if not entry.name.endswith(".lock"))


def test_a_file_is_fetched_once_and_nothing_else_is_left(server, path):
    one = server(serve())
    assert fetch(one.url, path, check) == path
    assert path.read_bytes() == CONTENT
    assert fetch(one.url, path, check) == path
    assert (one.asked, left(path)) == ([(None, None)], [path.name])


def test_after_a_cut_the_rest_is_asked_for(server, path):
    one = server(serve(stop=CUT), serve(stop=2 * CUT), serve())
    assert fetch(one.url, path, check).read_bytes() == CONTENT
    assert one.asked == [(None, None), (f"bytes={CUT}-", '"1"'), (f"bytes={2 * CUT}-", '"1"')]


def test_a_stall_is_a_cut(server, path):
    one = server(serve(stop=CUT, stall=True), serve())
    begun = time.monotonic()
    assert fetch(one.url, path, check).read_bytes() == CONTENT
    assert time.monotonic() - begun < 8
    assert one.asked[1] == (f"bytes={CUT}-", '"1"')


def test_the_next_call_goes_on_where_the_last_gave_up(server, path):
    broken = server(serve(stop=CUT), answer(503))
    assert f"answers 503 Service Unavailable. {CUT:,} bytes are kept" in refusal(broken, path)
    broken.plan = [serve()]
    assert fetch(broken.url, path, check).read_bytes() == CONTENT
    assert broken.asked[-1] == (f"bytes={CUT}-", '"1"')


def test_a_server_without_ranges_begins_anew_but_not_forever(server, path):
    one = server(serve(ranges=False, stop=CUT))
    assert f"broke off after {CUT:,} of {len(CONTENT):,} bytes" in refusal(one, path)
    assert len(one.asked) == module.TRIES
    one.plan = [serve(ranges=False)]
    assert fetch(one.url, path, check).read_bytes() == CONTENT


def test_a_file_that_changes_in_the_middle_is_fetched_anew(server, path):
    one = server(serve(stop=CUT), serve(OTHER, etag='"2"'))
    assert fetch(one.url, path, check).read_bytes() == OTHER


def test_a_change_that_the_server_hides_is_seen_by_etag_or_length(server, path):
    def careless(handler):  # sends the rest of another file, whatever If-Range says
        start = int((handler.headers["Range"] or "bytes=0-")[6:-1])
        about = {"ETag": '"2"', "Content_Range": f"bytes {start}-{len(OTHER) - 1}/{len(OTHER)}"}
        handler.head(206 if start else 200, len(OTHER) - start, **(about if start else {"ETag": '"2"'}))
        handler.wfile.write(OTHER[start:])

    one = server(serve(stop=CUT), careless)
    assert fetch(one.url, path, check).read_bytes() == OTHER
    two = server(serve(etag=None, stop=CUT), careless)
    path.unlink()
    assert fetch(two.url, path, check).read_bytes() == OTHER


def test_a_server_that_changes_again_and_again_comes_to_an_end(server, path):
    number = iter(range(1000))

    def restless(handler):
        serve(CONTENT, etag=f'"{next(number)}"', stop=CUT)(handler)

    assert f"broke off after {CUT:,} of" in refusal(server(restless), path)


def test_a_length_that_is_too_large_is_found_out(server, path):
    """A Range beyond the end tells the true length; without Ranges nothing does."""
    message = refusal(server(serve(lie=5000, ranges=False)), path)
    assert f"broke off after {len(CONTENT):,} of {len(CONTENT) + 5000:,} bytes" in message
    one = server(serve(lie=5000))
    assert fetch(one.url, path, check).read_bytes() == CONTENT
    assert one.asked[-1] == (f"bytes={len(CONTENT)}-", '"1"')


def test_a_length_that_is_too_small_is_found_out(server, path):
    assert "is not usable and was deleted: The archive" in refusal(server(serve(lie=-5000)), path)
    assert left(path) == []


def test_a_part_of_another_length_is_not_put_behind(server, path):
    one = server(serve(etag=None, stop=CUT), serve(etag=None, total=7))
    assert fetch(one.url, path, check).read_bytes() == CONTENT
    assert one.asked[1:] == [(f"bytes={CUT}-", None), (None, None)]


@pytest.mark.parametrize(("status", "text"), [(404, "404 Not Found"), (403, "403 Forbidden"), (410, "410 Gone")])
def test_a_refusal_is_told_at_once(server, path, status, text):
    one = server(answer(status, b"<html>sorry</html>"))
    assert f"the server answers {text}; look for" in refusal(one, path)
    assert len(one.asked) == 1


@pytest.mark.parametrize(
    ("step", "message"),
    [(answer(status), f"the server answers {status} ") for status in (500, 503, 429)]
    + [(lambda _handler: None, "the connection broke")],
)
def test_a_server_in_trouble_is_asked_again_but_not_forever(server, path, step, message):
    one = server(step)
    assert message in refusal(one, path)
    assert len(one.asked) == module.TRIES
    two = server(step, step, serve())
    assert fetch(two.url, path, check).read_bytes() == CONTENT
    assert len(two.asked) == 3


def test_a_page_in_place_of_the_archive_is_refused_at_once(server, path):
    one = server(answer(200, b"\n<!DOCTYPE html><html>moved</html>", Content_Type="text/html"))
    assert "gives a web page, not a .tar.gz archive" in refusal(one, path)
    assert (left(path), len(one.asked)) == ([], 1)


def test_a_redirect_is_followed_though_not_to_a_file(server, path):
    assert "the server answers 301" in refusal(server(answer(301, Location="file:///etc/passwd")), path)
    assert fetch(server(answer(302, Location=server(serve()).url)).url, path, check).read_bytes() == CONTENT


def test_no_server_is_hub_errors_in_one_line(path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x.tar.gz"
    with pytest.raises(InputError, match=r"the server cannot be reached \(.*refused.*\)\. try again later"):
        fetch(url, path, check)


def test_a_disk_without_room_is_told_before(server, path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2**20}))
    assert "GiB are needed for BreaKHis_v1.tar.gz; make room" in refusal(server(serve()), path)
    assert left(path) == []


def test_a_folder_that_cannot_be_made_is_told(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="Cannot write"):
        fetch(server(serve()).url, tmp_path / "file/BreaKHis_v1.tar.gz", check)


def test_a_part_of_unknown_origin_is_not_continued(server, path):
    path.parent.mkdir()
    part = path.with_name(f"{path.name}.part")
    for about in (None, "no JSON", json.dumps({"url": "http://elsewhere/x", "etag": '"1"'}), json.dumps({"odd": 1})):
        part.write_bytes(b"\x1f\x8bwrong beginning")
        if about is not None:
            part.with_name(f"{part.name}.json").write_text(about)
        one = server(serve())
        assert fetch(one.url, path, check).read_bytes() == CONTENT
        assert one.asked == [(None, None)]
        path.unlink()


def test_of_two_at_once_one_fetches_and_the_other_waits(server, path):
    def slow(handler):
        time.sleep(0.3)
        serve()(handler)

    one = server(slow)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: fetch(one.url, path, check), range(2)))
    assert (paths, one.asked) == ([path, path], [(None, None)])
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 400, "9" * 16, "many", "-1", "\u00b2"])
def test_a_number_that_no_file_has_counts_as_not_sent(digits):
    assert module._number(digits) is None
    assert module._read_range(f"bytes {digits}-9/10") == (-1, None)


def test_numbers_that_files_have_are_read():
    assert module._number(" 4273561758 ") == 4273561758
    assert module._read_range("bytes 5-9/10") == (5, 10)


def test_a_length_of_five_thousand_digits_and_a_long_wait_are_survived(server, tmp_path):
    def longest(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "9" * 5000)
        handler.end_headers()
        handler.wfile.write(CONTENT)

    one = server(answer(503, Retry_After="9" * 400), longest)
    assert module.fetch(one.url, tmp_path / "a.tar.gz", lambda _path: None).read_bytes() == CONTENT
