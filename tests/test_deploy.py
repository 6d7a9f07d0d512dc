"""The files of deploy/ say what the server does: its command, its port, its paths, and who runs it."""

import json
import re
import threading
import tomllib
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import yaml
from making import status_of
from onnxruntime import InferenceSession

import manyhot
from manyhot.cli.parser import build_parser

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # of an object of Kubernetes, RFC 1123


def instructions():
    """The instructions of the Dockerfile in order: pairs of a word and what follows it."""
    lines = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def last_stage():
    """The instructions of the image itself."""
    words = instructions()
    return words[max(i for i, (word, _) in enumerate(words) if word == "FROM") :]


def only(word, among=None):
    (found,) = [rest for each, rest in among or last_stage() if each == word]
    return found


def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def kubernetes():
    """The objects of the manifest by their kind."""
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


def pod():
    return kubernetes()["Deployment"]["spec"]["template"]["spec"]


def container():
    (found,) = pod()["containers"]
    return found


def command_of(words):
    """What the parser makes of the image's own command followed by words."""
    program, *given = [*json.loads(only("ENTRYPOINT")), *words]
    assert program == "manyhot"
    return build_parser().parse_args(given)


def paths_of(given):
    """The folders that a command reads or writes."""
    return [value for value in given if value.startswith("/")] + [
        value.partition("=")[2] for value in given if "=/" in value
    ]


def test_an_image_is_built_from_what_is_there():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    seen = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored  # so that only these are seen
    sources = [
        name
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for name in rest.split()[:-1]
    ]
    assert sources
    for name in sources:
        assert (ROOT / name).exists(), name
        assert any(fnmatch(name, pattern) for pattern in seen), f"{name} is hidden from the build"
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= set(sources)


def test_an_image_holds_what_serves_and_nothing_that_trains():
    (install,) = [rest for word, rest in instructions() if word == "RUN" and " install " in rest]
    names = re.findall(r'"\.\[([\w,]+)\]"', install)
    assert names == ["serve"]
    brought = " ".join([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["serve"]])
    assert not re.search(r"\b(torch\w*|timm|scipy|scikit-learn|pandas)\b", brought)
    assert "torch" not in install


def test_an_image_is_built_in_stages_of_one_python_and_runs_as_nobody():
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1, "a virtual environment is of the Python that made it"
    user, group = map(int, only("USER").split(":"))
    assert user >= 10000
    assert group >= 10000
    assert f"-o {user} -g {group} /corrections" in only("RUN")
    security = pod()["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (user, group)


def test_an_image_asks_whether_it_is_ready():
    check = only("HEALTHCHECK")
    program, option, code = json.loads(check[check.index("[") :])
    assert (program, option) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert f"http://127.0.0.1:{only('EXPOSE')}/v2/health/ready" in code


def test_commands_are_those_of_the_server():
    given = command_of(json.loads(only("CMD")))
    assert str(given.port) == only("EXPOSE")
    assert given.host == "0.0.0.0"
    for words in (compose()["services"]["manyhot"]["command"], container()["args"]):
        given = command_of(words)
        assert given.command == "serve"
        assert given.models == ["/model"]
        assert str(given.port) == only("EXPOSE")


def test_the_server_is_given_its_token_and_the_time_to_end():
    from manyhot.serve.server import DRAIN, LINGER

    assert "MANYHOT_TOKEN" in COMMANDS  # so that no list of processes shows it
    assert "${MANYHOT_TOKEN:?" in compose()["services"]["manyhot"]["environment"]["MANYHOT_TOKEN"]
    assert [each["name"] for each in container()["env"]] == ["MANYHOT_TOKEN"]
    assert int(compose()["services"]["manyhot"]["stop_grace_period"].removesuffix("s")) >= LINGER + DRAIN
    (_, seconds) = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert pod()["terminationGracePeriodSeconds"] >= int(seconds) + LINGER + DRAIN


def test_compose_gives_a_container_no_more_than_it_needs():
    ((name, service),) = compose()["services"].items()
    assert name == "manyhot"
    assert (ROOT / "deploy" / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    ((address, outside, inside),) = [each.split(":") for each in service["ports"]]
    assert (address, outside, inside) == ("127.0.0.1", only("EXPOSE"), only("EXPOSE"))
    # A variable that is not set stops compose with a line; its message may hold no colon of a volume's.
    mounts = [re.sub(r"\$\{\w+:\?[^}]+\}", "GIVEN", each).split(":") for each in service["volumes"]]
    assert mounts[0] == ["GIVEN", "/model", "ro"]
    assert {mount[0] for mount in mounts[1:]} == set(compose()["volumes"])
    places = [*(mount[1] for mount in mounts), *service["tmpfs"]]
    for path in paths_of(service["command"]):
        assert any(Path(path).is_relative_to(place) for place in places), f"{path} is not mounted"
    cache = re.search(r"MANYHOT_CACHE=(\S+)", only("ENV"))[1]
    assert any(Path(cache).is_relative_to(place) for place in service["tmpfs"])


def test_objects_of_kubernetes_are_whole():
    objects = kubernetes()
    assert {kind: each["apiVersion"] for kind, each in objects.items()} == {
        "Deployment": "apps/v1",
        "Service": "v1",
    }
    for each in objects.values():
        assert set(each) == {"apiVersion", "kind", "metadata", "spec"}
        assert NAME.fullmatch(each["metadata"]["name"])
    deployment, service = objects["Deployment"]["spec"], objects["Service"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()  # else it is refused
    assert service["selector"].items() <= labels.items()  # else nobody answers
    assert {each["targetPort"] for each in service["ports"]} <= {
        each["name"] for each in container()["ports"]
    }
    assert [str(each["containerPort"]) for each in container()["ports"]] == [only("EXPOSE")]


def test_kubernetes_asks_where_the_server_answers():
    given = container()
    names = {each["name"] for each in given["ports"]}
    probes = {name: each["httpGet"] for name, each in given.items() if name.endswith("Probe")}
    assert {name: each["path"] for name, each in probes.items()} == {
        "startupProbe": "/v2/health/ready",
        "readinessProbe": "/v2/health/ready",
        "livenessProbe": "/v2/health/live",  # one that is busy or leaves is not killed
    }
    assert {each["port"] for each in probes.values()} <= names
    assert given["lifecycle"]["preStop"]["exec"]["command"][0] == "sleep"


def test_kubernetes_gives_a_container_no_more_than_it_needs():
    given = container()
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["automountServiceAccountToken"] is False
    assert given["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(given["resources"]) == {"requests", "limits"}
    for amounts in given["resources"].values():
        assert set(amounts) == {"cpu", "memory"}
        for amount in amounts.values():  # a number that is no text is refused by some versions
            assert re.fullmatch(r"\d+(m|Mi|Gi)?", amount), amount
    mounts = {each["name"]: each for each in given["volumeMounts"]}
    volumes = {each["name"]: each for each in pod()["volumes"]}
    assert set(mounts) == set(volumes)
    assert mounts["model"]["readOnly"] is True
    assert volumes["tmp"].keys() == {"name", "emptyDir"}
    for path in paths_of(given["args"]):
        assert any(Path(path).is_relative_to(each["mountPath"]) for each in mounts.values()), path


def test_the_token_of_kubernetes_is_a_secret():
    (variable,) = container()["env"]
    assert set(variable) == {"name", "valueFrom"}
    secret = variable["valueFrom"]["secretKeyRef"]
    text = (DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")
    assert f"create secret generic {secret['name']} --from-literal={secret['key']}=" in text
    assert "Secret" not in kubernetes()


class Triton(BaseHTTPRequestHandler):
    """What Triton does with a request in the binary form, for one model repository."""

    repository: Path

    def do_POST(self):
        _, _, _, name, _ = self.path.split("/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        size = int(self.headers["Inference-Header-Content-Length"])
        (given,) = json.loads(body[:size])["inputs"]
        assert given["parameters"]["binary_data_size"] == len(body) - size
        dtype = {"FP32": "<f4", "UINT8": "u1"}[given["datatype"]]
        session = InferenceSession(self.repository / name / "1" / "model.onnx")
        x = np.frombuffer(body[size:], dtype).reshape(given["shape"])
        names = [each.name for each in session.get_outputs()]
        outputs = [
            {"name": name, "datatype": "FP32", "shape": found.shape, "data": found.ravel().tolist()}
            for name, found in zip(names, session.run(None, {given["name"]: x}), strict=True)
        ]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"outputs": outputs}).encode())

    def log_message(self, *_):
        pass


def test_the_client_for_triton_gives_the_answers_of_predict(fitted_tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status_of("export", fitted_tables / "model", "--out", "flowers.onnx") == 0
    page = (ROOT / "docs" / "guide" / "deploy.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S):
        exec(block.partition("\ngraph = ")[0], names)
    graph = names["open_graph"](Path("flowers.onnx"))

    config = (tmp_path / "repository" / "flowers" / "config.pbtxt").read_text()
    assert 'name: "flowers"\n' in config
    assert '{ name: "x", data_type: TYPE_FP32, dims: [3] }' in config
    for target in graph.schema.targets:
        output = names["outputs_of"](graph.schema.targets)[target.name]
        outcomes = f"data_type: TYPE_FP32, dims: [{target.outcomes}]"
        assert f'{{ name: "{output}", {outcomes} }}' in config

    server = HTTPServer(("127.0.0.1", 0), type("Here", (Triton,), {"repository": tmp_path / "repository"}))
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v2/models/flowers/infer"
    answers = names["ask"](url, graph, fitted_tables / "table.csv")
    thread.join()
    server.server_close()
    assert answers == manyhot.load(fitted_tables / "model").predict(fitted_tables / "table.csv")
