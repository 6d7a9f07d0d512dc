"""The process: slow and odd senders over real connections, signals, the command."""

import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from making import status_of
from serving import ask, listening, table_model

from manyhot.serve import server

HERE = Path(__file__).parent
BODY = json.dumps({"width": 1, "price": "1,5", "origin": "n"}).encode()
HEAD = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)


def status(reply):
    return int(reply.split(b" ", 2)[1]) if reply else None


def read_all(connection, seconds=5):
    """All that a server sends until it closes, or until nothing more comes for so long."""
    got = b""
    while select.select([connection], [], [], seconds)[0]:
        try:
            data = connection.recv(1 << 16)
        except ConnectionResetError:
            break
        if not data:
            break
        got += data
    return got


def let_go(app):
    """Wait until a server holds nothing of any request."""
    until = time.monotonic() + 5
    while app.held and time.monotonic() < until:
        time.sleep(0.01)
    assert app.held == 0


def dribble(address, data, pause, stop):
    """Send a byte at a time until somebody answers or closes; what came, and after how many seconds."""
    began = time.monotonic()
    with socket.create_connection(address, 5) as connection:
        for at in range(len(data)):
            if select.select([connection], [], [], pause)[0] or time.monotonic() - began > stop:
                break
            connection.sendall(data[at : at + 1])
        return read_all(connection), time.monotonic() - began


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(server, "FIRST", 0.3)


@pytest.mark.parametrize(
    "data", [HEAD + BODY, HEAD.replace(b"%d" % len(BODY), b"90000") + BODY, b"\r\n" * 999]
)
def test_a_slow_sender_is_refused_from_his_first_byte_on(impatient, data):
    with listening() as (_, address):
        reply, seconds = dribble(address, data, 0.05, 3)
    assert status(reply) == 408
    assert json.loads(reply.partition(b"\r\n\r\n")[2]) == {"error": "The request came too slowly."}
    assert 0.25 < seconds < 2


def test_a_slow_body_is_refused_after_the_headers_came_at_once(impatient):
    with listening() as (app, address):
        with socket.create_connection(address, 5) as connection:
            connection.sendall(HEAD + BODY[:-1])
            reply = read_all(connection)
        assert status(reply) == 408
        let_go(app)
        assert app.state.batcher.waiting.total() == 0


def test_a_connection_that_sends_nothing_is_closed(impatient):
    with listening() as (_, address), socket.create_connection(address, 5) as connection:
        assert read_all(connection) == b""


def test_a_second_request_on_a_connection_has_its_own_deadline(impatient):
    with listening() as (_, address), socket.create_connection(address, 5) as connection:
        for _ in range(3):
            connection.sendall(HEAD + BODY)
            assert status(read_all(connection, 0.2)) == 200
        connection.sendall((HEAD + BODY) * 2 + HEAD + BODY[:-1])  # at once, the third cut short
        replies = read_all(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", replies) == [b"200", b"200", b"408"]


def test_who_sends_steadily_has_more_time(impatient, monkeypatch):
    monkeypatch.setattr(server, "RATE", 10)
    with listening() as (_, address):
        reply, _ = dribble(address, HEAD.replace(b"Host", b"Connection: close\r\nHost") + BODY, 0.005, 5)
    assert status(reply) == 200


def test_endless_headers_are_refused():
    with listening() as (_, address), socket.create_connection(address, 5) as connection:
        connection.sendall(b"GET /models HTTP/1.1\r\nX: " + b"x" * (server.MAX_HEAD + 1))
        reply = read_all(connection)
    assert status(reply) == 431


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\0\1\0", b"GET\r\n\r\n", b"rubbish " * 9, b"POST / HTTP/9\r\n\r\n"]
)
def test_what_is_no_http_is_refused(data):
    with listening() as (_, address), socket.create_connection(address, 5) as connection:
        connection.sendall(data)
        reply = read_all(connection)
    assert status(reply) == 400
    assert json.loads(reply.partition(b"\r\n\r\n")[2]) == {"error": "This is no HTTP request."}


@pytest.mark.parametrize("body", [BODY, b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_a_body_for_another_protocol_is_refused_and_never_read_as_a_request(body):
    """As Java's client asks for HTTP/2; what is no body is answered as ever."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\nHost"
    head = HEAD.replace(b"%d" % len(BODY), b"%d" % len(body)).replace(b"Host", upgrade)
    with listening() as (_, address):
        with socket.create_connection(address, 5) as connection:
            connection.sendall(head)
            with suppress(OSError):
                time.sleep(0.05)
                connection.sendall(body)
            reply = read_all(connection)
        assert re.findall(rb"HTTP/1.1 (\d+)", reply) == [b"400"]
        assert b"without the header Upgrade" in reply
        with socket.create_connection(address, 5) as connection:
            connection.sendall(b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\n".replace(b"Host", upgrade))
            assert status(read_all(connection, 0.2)) == 200


def test_a_large_body_is_refused_while_it_comes(impatient):
    """And who goes on sending it is not listened to for long."""
    with listening() as (_, address), socket.create_connection(address, 5) as connection:
        connection.sendall(HEAD.replace(b"%d" % len(BODY), b"99000000"))
        assert status(read_all(connection, 0.2)) == 413
        began = time.monotonic()
        with suppress(OSError):  # it is closed
            while time.monotonic() - began < 5:
                connection.sendall(bytes(4096))
                time.sleep(0.01)
        assert time.monotonic() - began < 3


def test_too_many_connections_are_refused(monkeypatch):
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    with listening() as (_, address):
        others = [socket.create_connection(address, 5) for _ in range(2)]
        time.sleep(0.05)
        with socket.create_connection(address, 5) as connection:
            reply = read_all(connection)
        for other in others:
            other.close()
    assert status(reply) == 503
    assert b"Retry-After: 1" in reply


def test_rubbish_and_leavers_leave_no_trace_and_no_traceback(capfd, log_lines):
    with listening() as (app, address):
        for data in (HEAD, HEAD + BODY[:5], HEAD + BODY, b"GET / HT"):
            for _ in range(5):
                with socket.create_connection(address, 5) as connection:
                    connection.sendall(data)
        let_go(app)
        assert ask_over(address)["rows"][0]["error"] is None
    assert log_lines == []
    assert capfd.readouterr().err == ""


def ask_over(address):
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    assert reply.status == 200
    found = json.load(reply)
    connection.close()
    return found


# signals

SERVER = """
import sys
sys.path.insert(0, {here!r})
from serving import build, Rules, State, table_model
from manyhot.serve import server
state = State([table_model(seconds={seconds})], 2)
listener = server.listen("127.0.0.1", 0, None)
print(listener.getsockname()[1], flush=True)
print(server.run(build(state, Rules()), state, listener), flush=True)
"""


@pytest.fixture
def started():
    """Start a server whose model takes so many seconds; the process and its address."""
    processes = []

    def start(seconds):
        program = SERVER.format(here=str(HERE), seconds=seconds)
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process, ("127.0.0.1", int(process.stdout.readline()))

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ready(address):
    connection = http.client.HTTPConnection(*address, timeout=5)
    connection.request("GET", "/v2/health/ready", headers={"Connection": "close"})
    with connection.getresponse() as reply:
        return reply.status


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that could be caught")
def test_sigterm_loses_nothing(started):
    process, address = started(0.1)
    assert ready(address) == 200
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(ask_over, address) for _ in range(30)]
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert ready(address) == 503  # while it still answers
        late = pool.submit(ask_over, address)
        assert [len(each.result()["rows"]) for each in [*asked, late]] == [1] * 31
    out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")
    assert out.strip() == f"({int(signal.SIGTERM)}, None)"
    with pytest.raises(OSError, match="refused"):
        ready(address)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that could be caught")
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(started, second):
    process, address = started(60)
    connection = http.client.HTTPConnection(*address, timeout=5)
    connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    began = time.monotonic()
    process.send_signal(second)
    out, _ = process.communicate(timeout=10)
    connection.close()
    assert time.monotonic() - began < 3
    assert out.strip() == f"({int(signal.SIGTERM)}, {int(second)})"


# the command


def test_others_may_only_ask_with_a_token(capsys):
    assert status_of("serve", "nowhere", "--host", "0.0.0.0", "--port", "0") == 2
    line = capsys.readouterr().err
    assert re.fullmatch(
        r"manyhot: --host 0.0.0.0 lets other machines ask. Add a secret .* such as --token [\w-]{16}\n", line
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: no such model"),
        (["nowhere", "--port", "70000"], "--port 70000: must be from 0 to 65535."),
        (["nowhere", "--host", "no such host"], "--host no such host: no address of that name."),
        (["nowhere", "--host", "203.0.113.7", "--token", "word"], "cannot be listened on"),
    ],
)
def test_a_mistake_is_said_in_one_line(capsys, words, said):
    if "--port" not in words:
        words = [*words, "--port", "0"]
    assert status_of("serve", *words) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
    assert len(line) < 300


def test_a_port_in_use_is_said_in_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert status_of("serve", "nowhere", "--port", port) == 2
    line = capsys.readouterr().err
    assert line.startswith(
        f"manyhot: --port {port}: 127.0.0.1 cannot be listened on there (Address already in use)"
    )
    assert "--port 0" in line


def test_two_models_of_one_name_are_refused(capsys, fitted_tables, fitted_pictures):
    assert status_of("serve", fitted_tables / "model", fitted_pictures / "model", "--port", "0") == 2
    assert "another model is called 'model' too; rename one of the folders" in capsys.readouterr().err


def test_what_is_not_installed_is_said_in_one_line():
    program = (
        "import sys; sys.modules['starlette'] = None\n"
        "from manyhot.cli import main; main(['serve', 'x', '--port', '0'])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stderr == "manyhot: serving needs starlette and more: pip install 'manyhot[serve]'.\n"


WITHOUT_TORCH = "import sys; sys.modules |= dict.fromkeys(['torch', 'scipy', 'pandas', 'sklearn']); "


@pytest.mark.parametrize("exported", [False, True], ids=["as trained", "exported"])
def test_the_command_serves_what_predict_answers(fitted_tables, tmp_path, capsys, exported):
    """End to end: what is said at the start, the answers of `predict`, a line for each request."""
    model, table = shutil.copytree(fitted_tables / "model", tmp_path / "model"), fitted_tables / "table.csv"
    assert status_of("predict", model, table, "--json") == 0
    expected = json.loads(capsys.readouterr().out)["rows"]
    if exported:
        assert status_of("export", model) == 0
    program = "from manyhot.cli import main; raise SystemExit(main())"
    command = [
        sys.executable,
        "-c",
        WITHOUT_TORCH * exported + program,
        "serve",
        model,
        "--port",
        "0",
        "--json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        assert said["models"] == ["model"]
        host, port = said["url"].removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("POST", "/predict", table.read_bytes(), {"Content-Type": "text/csv"})
        served = json.load(connection.getresponse())["rows"]
        connection.request("GET", "/models")
        card = json.load(connection.getresponse())["models"][0]["card"]
        connection.close()
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert bool(card) == exported
    lines = [json.loads(line) for line in err.splitlines()[:2]]
    assert [(line["path"], line["rows"]) for line in lines] == [("/predict", 60), ("/models", 0)]
    assert err.splitlines()[2:] == ["", "stopped"]
    assert process.returncode == 130
    for row, wanted in zip(served, expected, strict=True):
        for name, found in row["answers"].items():
            answer = found["answer"]
            assert (answer if isinstance(answer, str) else ";".join(answer) or "[]") == wanted[name]
            for label, chance in found["probabilities"].items():
                assert chance == pytest.approx(wanted[f"{name}.{label}"], abs=2e-6)


def test_a_model_that_was_not_exported_is_said_to_be_slower(fitted_tables):
    from manyhot.cli.commands.serve import opened

    said = []
    (served,) = opened([str(fitted_tables / "model")], said.append).values()
    assert served.one is served.wide
    assert len(said) == 1
    assert "`manyhot export " in said[0]


def test_a_model_is_named_by_its_folder_however_it_is_written(fitted_tables, monkeypatch):
    from manyhot.cli.commands.serve import opened

    monkeypatch.chdir(fitted_tables / "model")
    for path in (".", "../model/", str(fitted_tables / "model")):
        (served,) = opened([path], print).values()
        assert served.name == "model"


def test_ask_and_a_socket_say_the_same():
    """Of the helpers of these tests."""
    with listening(table_model()) as (app, address):
        assert ask(app, "POST", "/predict", BODY, "application/json").json == ask_over(address)
