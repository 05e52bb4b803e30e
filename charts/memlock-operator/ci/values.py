#!/usr/bin/env python3
"""Holds values.yaml, values.schema.json, README.md and the templates together. Needs `helm` and nothing but Python.

    values.py check      one line a case, exit 1 when one is not in order
    values.py readme     writes the values table of README.md anew
"""
import json, pathlib, re, shutil, subprocess, sys, tempfile

CHART = pathlib.Path(__file__).resolve().parent.parent
EVERYTHING = CHART / "ci" / "everything-values.yaml"
# Values that act only beside another one.
BESIDE = {
    "webhook.hostNetwork": {"webhook.port": 9443},
    "certificates.mode": {"certificates.existingSecret": "pair"},
    "certificates.existingSecret": {"certificates.mode": "existingSecret", "certificates.existingSecret": "other"},
    "certificates.caBundle": {"certificates.manageCABundle": False},
    "certificates.certManager.issuer": {"certificates.mode": "certManager"},
    "certificates.certManager.issuerKind": {"certificates.mode": "certManager", "certificates.certManager.issuer": "x"},
}
BEGIN, END = "<!-- values: written by ci/values.py readme -->\n", "<!-- end of values -->\n"


def helm(*arguments):
    command = ["helm", "template", "memlock", *map(str, arguments), "--namespace", "memlock-system", "--kube-version", "1.36.0"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def values_as_json(*arguments):
    """Helm itself says what the YAML means: a copy of the chart with one template that prints its values."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, CHART.name)
        copy.joinpath("templates").mkdir(parents=True)
        for name in ("Chart.yaml", "values.yaml"):
            shutil.copy(CHART / name, copy)
        copy.joinpath("templates", "values.yaml").write_text("{{ toJson .Values }}\n")
        return json.loads(helm(copy, *arguments).split("\n", 2)[2])


def leaves(schema, path=()):
    """The values a user can set: what has a description of its own and no fixed parts."""
    for name, node in schema["properties"].items():
        if "properties" in node:
            yield from leaves(node, (*path, name))
        elif (*path, name) != ("global",):
            yield ".".join((*path, name)), node["description"]


def lookup(tree, path):
    for name in path.split("."):
        tree = tree[name]
    return tree


def paths(tree, known, path=()):
    for name, node in tree.items():
        here = ".".join((*path, name))
        if here in known or not isinstance(node, dict):
            yield here
        else:
            yield from paths(node, known, (*path, name))


def comments():
    """`# -- text` above a key of values.yaml, as path and text."""
    stack, text = [], None
    for line in (CHART / "values.yaml").read_text().splitlines():
        if found := re.match(r" *# -- (.*)$", line):
            text = found[1]
        elif found := re.match(r"( *)([A-Za-z]+):", line):
            stack = [*stack[: len(found[1]) // 2], found[2]]
            if text:
                yield ".".join(stack), text
            text = None


def open_objects(node, path="#"):
    """Objects of the schema that would let a misspelt key through."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "additionalProperties" not in node:
            yield path
        if node.get("additionalProperties") is True and path not in ("#/properties/global", "#/definitions/kubernetes"):
            yield path
        for name, child in node.items():
            yield from open_objects(child, f"{path}/{name}")


def used_in_templates():
    for file in sorted((CHART / "templates").rglob("*.*")):
        text = file.read_text()
        yield from re.findall(r"\.Values\.([A-Za-z]+(?:\.[A-Za-z]+)*)", text)
        # _pod.tpl is called once with .Values.webhook and once with .Values.controller as .values
        for name in re.findall(r"\.values\.([A-Za-z]+(?:\.[A-Za-z]+)*)", text):
            yield from (f"webhook.{name}", f"controller.{name}")


def switches(path, described):
    """What has to be given before the value can do anything: the switch of its section, of objects that need one."""
    section = path.rsplit(".", 1)[0]
    for name, value in BESIDE.get(path, {}).items():
        yield from ("--set-json", f"{name}={json.dumps(value)}")
    if path.endswith(".create"):
        # without an account of ours the name of another one has to be given
        yield from ("--set", f"{section}.name=existing")
    if f"{section}.enabled" in described and section.startswith(("metrics.", "networkPolicy")):
        if path != f"{section}.renderMode" and f"{section}.renderMode" in described:
            yield from ("--set", f"{section}.renderMode=alwaysRender")
        if path != f"{section}.enabled":
            yield from ("--set", f"{section}.enabled=true")


def without_effect(described):
    """Values whose change, alone, changes nothing in the manifests."""
    other, default = values_as_json("--values", EVERYTHING), values_as_json()
    plain = {}
    for path in described:
        if lookup(other, path) == lookup(default, path):
            yield f"{path} (ci/everything-values.yaml sets its default)"
            continue
        before = tuple(switches(path, described))
        if before not in plain:
            plain[before] = helm(CHART, *before)
        if helm(CHART, *before, "--set-json", f"{path}={json.dumps(lookup(other, path))}") == plain[before]:
            yield path


def table(described, default):
    rows = ["| value | meaning | default |", "|---|---|---|"]
    for path, text in described.items():
        rows.append(f"| `{path}` | {text} | `{json.dumps(lookup(default, path))}` |")
    return "\n".join(rows) + "\n"


def readme_with(block):
    text = (CHART / "README.md").read_text()
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + block + "\n" + END + rest.split(END)[1]


def main(action):
    schema = json.loads((CHART / "values.schema.json").read_text())
    described, default = dict(leaves(schema)), values_as_json()
    in_values = set(paths(default, described))
    if in_values != set(described):
        # nothing below can be looked up before this is in order
        print("not ok - values.yaml and values.schema.json know the same values:", *sorted(in_values ^ set(described)))
        return 1
    readme = readme_with(table(described, default))
    if action == "readme":
        (CHART / "README.md").write_text(readme)
        return 0
    said = dict(comments())
    sections = {path.rsplit(".", n)[0] for path in described for n in range(1, path.count(".") + 1)}
    cases = {
        "values.yaml and values.schema.json know the same values": [],
        "values.yaml says of each value what the schema says": sorted(p for p, t in described.items() if said.get(p) != t),
        "every object of the schema refuses unknown keys": list(open_objects(schema)),
        "every value that a template uses is in values.yaml": sorted(
            {u for u in used_in_templates() if u not in sections and not any(u == p or u.startswith(p + ".") for p in described)}
        ),
        "every value changes the manifests": list(without_effect(described)),
        "README.md's values table is current": [] if readme == (CHART / "README.md").read_text() else ["run ci/values.py readme"],
    }
    for name, faults in cases.items():
        print(f"not ok - {name}: {', '.join(faults)}" if faults else f"ok - {name}")
    return 1 if any(cases.values()) else 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["check"], ["readme"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
