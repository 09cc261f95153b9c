"""An OpenAI-compatible server on loopback that answers, or fails, as it is told."""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What becomes of one request. `{authorization}` in the body becomes the header as sent."""

    status: int = 200
    body: str = "{}"
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    drip_s: float = 0.0
    """Pause before each byte of the body."""
    sent_share: float = 1.0
    """Less than 1: the connection is cut after that part of the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    path: str
    authorization: str
    body: Any
    at_s: float


def completion(message: dict[str, Any], finish_reason: str, **more: Any) -> Behaviour:
    """A completion; 1,000 prompt and 20 completion tokens unless told otherwise."""
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "served",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020},
        **more,
    }
    return Behaviour(body=json.dumps(body))


def call(
    arguments: str = '{"actions": ["do"]}',
    name: str = "interact_many",
    times: int = 1,
    delay_s: float = 0.0,
) -> Behaviour:
    """A completion with tool calls, arguments as given, valid or not."""
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i in range(times)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    return replace(completion(message, finish_reason="tool_calls"), delay_s=delay_s)


def words(content: str) -> Behaviour:
    return completion({"role": "assistant", "content": content}, finish_reason="stop")


def error(
    status: int, message: str = "as told", code: str = "", retry_after: str = ""
) -> Behaviour:
    headers = (("Retry-After", retry_after),) if retry_after else ()
    body = {"error": {"message": message, "code": code}}
    return Behaviour(status=status, body=json.dumps(body), headers=headers)


def models(*names: str) -> Behaviour:
    return Behaviour(body=json.dumps({"object": "list", "data": [{"id": name} for name in names]}))


@dataclass(slots=True)
class FaultyServer:
    """Plays `chat` in order, one per chat request; the last one goes on for ever."""

    chat: Sequence[Behaviour] = field(default_factory=lambda: [call()])
    routes: dict[str, Behaviour] = field(default_factory=dict)
    """Answers to GET, by path; 404 elsewhere."""
    requests: list[SeenRequest] = field(default_factory=list)
    most_in_flight: int = 0
    _in_flight: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _http: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        assert self._http
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def chats(self) -> list[SeenRequest]:
        return [request for request in self.requests if request.path == "/v1/chat/completions"]

    def next_behaviour(self, request: SeenRequest) -> Behaviour:
        with self._lock:
            self.requests.append(request)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            if request.body is None:
                return self.routes.get(request.path, error(404, "no such route"))
            return self.chat[min(len(self.chats), len(self.chat)) - 1]

    def finished(self) -> None:
        with self._lock:
            self._in_flight -= 1

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the server's end."""
        self._stopping.wait(seconds)

    def __enter__(self) -> "FaultyServer":
        handler = type("Handler", (_Handler,), {"faulty": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._http
        assert self._thread
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    faulty: ClassVar[FaultyServer]

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        authorization = self.headers.get("Authorization", "")
        behaviour = self.faulty.next_behaviour(
            SeenRequest(
                path=self.path, authorization=authorization, body=body, at_s=time.monotonic()
            )
        )
        self.faulty.pause(behaviour.delay_s)
        # Before the answer leaves: the client may send its next request at once.
        self.faulty.finished()
        try:
            self._send(behaviour, behaviour.body.replace("{authorization}", authorization))
        except OSError:
            # The client gave up first, as some behaviours are meant to make it.
            self.close_connection = True
        if behaviour.sent_share < 1.0:
            self.close_connection = True

    def _send(self, behaviour: Behaviour, text: str) -> None:
        data = text.encode()
        self.send_response(behaviour.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in behaviour.headers:
            self.send_header(name, value)
        self.end_headers()
        data = data[: int(len(data) * behaviour.sent_share)]
        if not behaviour.drip_s:
            self.wfile.write(data)
            return
        for byte in data:
            self.faulty.pause(behaviour.drip_s)
            self.wfile.write(bytes([byte]))

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: pytest shows what matters."""
