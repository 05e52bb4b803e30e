#!/usr/bin/env python3
"""Holds manifests to the API of each supported Kubernetes version, strictly and without a cluster.

    schemas.py check FILE...   reads rendered manifests; exit 1 when a version would not know a field, or reads it differently
    schemas.py check-itself    a line a case: faults that must be found
    schemas.py write           makes schemas.json anew from the published sources; needs go, the network and PyYAML

schemas.json holds, of the API's own description, what the chart's kinds need. A definition is a list of [first version,
schema]: each holds until the next. Needs `helm` and nothing but Python.
"""
import json, pathlib, re, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent
FILE = HERE / "schemas.json"
KUBERNETES = ["v1.30.14", "v1.31.14", "v1.32.13", "v1.33.13", "v1.34.4", "v1.35.4", "v1.36.3", "v1.37.2"]
PROMETHEUS_OPERATOR = "v0.85.0"
KINDS = """v1 ConfigMap Namespace Pod ResourceQuota Secret Service ServiceAccount
apps/v1 Deployment
policy/v1 PodDisruptionBudget
networking.k8s.io/v1 NetworkPolicy
coordination.k8s.io/v1 Lease
rbac.authorization.k8s.io/v1 ClusterRole ClusterRoleBinding Role RoleBinding
apiextensions.k8s.io/v1 CustomResourceDefinition
admissionregistration.k8s.io/v1 MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding"""
MONITORS = {"ServiceMonitor": "servicemonitors", "PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}
KEPT = ("type", "format", "properties", "additionalProperties", "items", "required", "enum", "pattern", "$ref")
EXTENSIONS = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")


def minor(version):
    return ".".join(version.split(".")[:2])


def slim(node):
    """Types and names alone: descriptions and merge strategies say nothing of what is valid."""
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key in KEPT or key in EXTENSIONS}
    for key in ("items", "additionalProperties"):
        if key in kept:
            kept[key] = slim(kept[key])
    if "properties" in kept:
        kept["properties"] = {name: slim(child) for name, child in kept["properties"].items()}
    return kept


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix("#/definitions/")
        for child in node.values():
            yield from references(child)


def downloaded(module):
    said = subprocess.run(["go", "mod", "download", "-json", module], check=True, capture_output=True, text=True, cwd="/").stdout
    return pathlib.Path(json.loads(said)["Dir"])


def write():
    import yaml

    wanted = {(line.split()[0], kind) for line in KINDS.splitlines() for kind in line.split()[1:]}
    kinds, definitions = {}, {}
    for version in KUBERNETES:
        swagger = json.loads((downloaded(f"k8s.io/kubernetes@{version}") / "api/openapi-spec/swagger.json").read_text())["definitions"]
        found = {}
        for name, node in swagger.items():
            for gvk in node.get("x-kubernetes-group-version-kind", []):
                key = ("/".join(filter(None, (gvk["group"], gvk["version"]))), gvk["kind"])
                if key in wanted:
                    found[" ".join(key)] = name
        missing = {" ".join(key) for key in wanted} - set(found)
        if missing:
            sys.exit(f"Kubernetes {version} does not have {sorted(missing)}")
        kinds |= found
        todo = sorted(found.values())
        for name in todo:
            node = slim(swagger[name])
            todo.extend(sorted(set(references(node)) - set(todo)))
            history = definitions.setdefault(name, [])
            if not history or history[-1][1] != node:
                history.append([minor(version).removeprefix("v"), node])
    operator = downloaded(f"github.com/prometheus-operator/prometheus-operator@{PROMETHEUS_OPERATOR}")
    for kind, plural in MONITORS.items():
        crd = yaml.safe_load((operator / f"example/prometheus-operator-crd/monitoring.coreos.com_{plural}.yaml").read_text())
        node = slim(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        node["properties"]["metadata"] = {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
        kinds[f"monitoring.coreos.com/v1 {kind}"] = kind
        definitions[kind] = [[minor(KUBERNETES[0]).removeprefix("v"), node]]
    lines = [f'    {json.dumps(name)}: {json.dumps(history, sort_keys=True)}' for name, history in sorted(definitions.items())]
    text = {"kubernetes": KUBERNETES, "prometheusOperator": PROMETHEUS_OPERATOR, "kinds": dict(sorted(kinds.items()))}
    FILE.write_text(json.dumps(text, indent=2).removesuffix("\n}") + ',\n  "definitions": {\n' + ",\n".join(lines) + "\n  }\n}\n")


def documents(text):
    """Helm itself says what the YAML means: a chart whose one template prints a file as JSON."""
    template = """{{ $all := list }}{{ range splitList "\\n---" (printf "\\n%s" (.Files.Get "all.yaml")) }}
    {{- with fromYaml . }}{{ $all = append $all . }}{{ end }}{{ end }}{{ dict "documents" $all | toJson }}"""
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder)
        chart.joinpath("templates").mkdir()
        chart.joinpath("Chart.yaml").write_text("{apiVersion: v2, name: documents, version: 0.0.1}")
        chart.joinpath("all.yaml").write_text(text)
        chart.joinpath("templates", "documents.yaml").write_text(template)
        said = subprocess.run(["helm", "template", chart], check=True, capture_output=True, text=True).stdout
    return json.loads(said[said.index("{") :])["documents"]


class Version:
    def __init__(self, name, data):
        self.name, self.kinds = name, data["kinds"]
        number = int(name.split(".")[1])
        reached = lambda entry: int(entry[0].split(".")[1]) <= number
        self.definitions = {key: next(filter(reached, reversed(history)), [None, None])[1] for key, history in data["definitions"].items()}

    def faults(self, document):
        key = f"{document.get('apiVersion')} {document.get('kind')}"
        if key not in self.kinds:
            yield f"{key} is no kind that schemas.json knows"
            return
        yield from self.wrong(document, {"$ref": self.kinds[key]}, document["kind"])

    def wrong(self, value, schema, at):
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/definitions/")
            if name.endswith(".Quantity") and isinstance(value, (int, float)):
                return
            schema = self.definitions[name]
            if schema is None:
                yield f"{at}: not before {name}"
                return
        if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
            if not isinstance(value, (int, str)) or isinstance(value, bool):
                yield f"{at}: {value!r} is neither a number nor a string"
            return
        types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
        wanted = schema.get("type")
        if wanted and (not isinstance(value, types[wanted]) or isinstance(value, bool) != (wanted == "boolean")):
            yield f"{at}: {value!r} is no {wanted}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{at}: {value!r} is none of {schema['enum']}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{at}: {value!r} does not look like {schema['pattern']}"
        if isinstance(value, list):
            for n, item in enumerate(value):
                yield from self.wrong(item, schema.get("items", {}), f"{at}[{n}]")
        if isinstance(value, dict):
            yield from (f"{at}: {name} is missing" for name in schema.get("required", []) if name not in value)
            fields, others = schema.get("properties", {}), schema.get("additionalProperties")
            for name, child in value.items():
                if name in fields:
                    yield from self.wrong(child, fields[name], f"{at}.{name}")
                elif isinstance(others, dict):
                    yield from self.wrong(child, others, f"{at}.{name}")
                elif fields and not schema.get("x-kubernetes-preserve-unknown-fields"):
                    yield f"{at}: no field {name}"


def versions():
    data = json.loads(FILE.read_text())
    return [Version(minor(version).removeprefix("v"), data) for version in data["kubernetes"]]


def check(files):
    failed = False
    for file in files:
        found = documents(pathlib.Path(file).read_text())
        for version in versions():
            faults = [fault for document in found for fault in version.faults(document)]
            failed |= bool(faults) or not found
            for fault in faults or ([] if found else ["no document"]):
                print(f"{file}, Kubernetes {version.name}: {fault}")
    return failed


def check_itself():
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    policy = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy"}
    monitor = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": {"name": "m"}}
    spec = lambda **more: pod | {"spec": pod["spec"] | more}
    image = {"name": "agent", "image": {"reference": "i", "pullPolicy": "Always"}}
    everywhere = [version.name for version in versions()]
    cases = {
        "a plain pod": (pod, []),
        "a misspelt field": (policy | {"spec": {"failurPolicy": "Fail"}}, everywhere),
        "a number in place of a string": (spec(schedulerName=1), everywhere),
        "a string in place of a number": (spec(priority="1"), everywhere),
        "a boolean in place of a number": (spec(priority=True), everywhere),
        "a list in place of an object": (spec(nodeSelector=[]), everywhere),
        "null": (spec(affinity=None), everywhere),
        "a missing field": (pod | {"spec": {}}, everywhere),
        "a quantity as a number": (spec(containers=[{"name": "c", "resources": {"limits": {"cpu": 1}}}]), []),
        "an unknown kind": (pod | {"kind": "Pot"}, everywhere),
        "a field that came later": (spec(volumes=[image]), ["1.30"]),
        "a monitor without its selector": (monitor | {"spec": {"podMetricsEndpoints": []}}, everywhere),
        "a monitor's wrong duration": (monitor | {"spec": {"selector": {}, "podMetricsEndpoints": [{"interval": "1 m"}]}}, everywhere),
    }
    failed = False
    for name, (document, wanted) in cases.items():
        refused = [version.name for version in versions() if list(version.faults(json.loads(json.dumps(document))))]
        failed |= refused != wanted
        print(f"ok - the schemas judge {name}" if refused == wanted else f"not ok - the schemas judge {name}: refused by {refused}, not {wanted}")
    return failed


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write"]:
            write()
        case ["check-itself"]:
            sys.exit(check_itself())
        case ["check", *files] if files:
            sys.exit(check(files))
        case _:
            sys.exit(__doc__)
