#!/usr/bin/env python3
"""Each namespace has one entry of the webhook configuration, and that of its Pod Security level. One line a case.

Selectors and levels are read here by the rules of Kubernetes: the conditions of a selector are ANDed, NotIn also matches
where the label is absent (apimachinery, labels.Requirement), and an enforce label with a value that is no level counts as
restricted (pod-security-admission, api.ParseLevel). Needs `helm` and nothing but Python.
"""
import itertools, json, pathlib, shutil, subprocess, sys, tempfile

CHART = pathlib.Path(__file__).resolve().parent.parent
ENFORCE, NAME = "pod-security.kubernetes.io/enforce", "kubernetes.io/metadata.name"
NEVER = ("memlock-system", "kube-system")
CASES = {
    "by default": {},
    "with exempt namespaces": {"exemptNamespaces": ["storage", "backup"]},
    "where baseline is the default": {"defaultLevel": "baseline"},
    "where restricted is the default and some are exempt": {"defaultLevel": "restricted", "exemptNamespaces": ["storage"]},
}
# The user's own conditions, and labels that meet them and do not.
OWN = {"matchLabels": {"swap": "allowed"}, "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["test"]}]}
LABELLED = (({"swap": "allowed"}, True), ({"swap": "allowed", "tier": "test"}, False), ({"tier": "storage"}, False))


def entries(pod_security, selector):
    """Helm itself says what the YAML means: a copy of the chart with one more template that prints it as JSON."""
    values = {"podSecurity": pod_security, "webhook": {"namespaceSelector": selector}}
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(CHART, pathlib.Path(folder, CHART.name))
        copy.joinpath("templates", "entries.yaml").write_text(
            '{{ include (print $.Template.BasePath "/webhook-configuration.yaml") . | fromYaml | toJson }}\n'
        )
        copy.joinpath("values.json").write_text(json.dumps(values))
        command = ["helm", "template", "memlock", copy, "--namespace", "memlock-system", "--kube-version", "1.30.0"]
        command += ["--show-only", "templates/entries.yaml", "--values", copy / "values.json"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(said[said.index("{") :])["webhooks"]


def matches(selector, labels):
    def met(condition):
        key, values = condition["key"], condition.get("values", [])
        return {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[condition["operator"]]

    wanted = selector.get("matchLabels", {}).items()
    return all(labels.get(k) == v for k, v in wanted) and all(map(met, selector["matchExpressions"]))


def level_path(name, enforce, pod_security):
    if name in pod_security.get("exemptNamespaces", []):
        return "/mutate/privileged"
    level = pod_security.get("defaultLevel", "privileged") if enforce is None else enforce
    return "/mutate/privileged" if level == "privileged" else "/mutate/baseline"


def faults(pod_security, selector):
    found = entries(pod_security, selector)
    names = ("default", "storage", "backup", *NEVER)
    values = (None, "", "privileged", "baseline", "restricted", "Privileged", "nonsense")
    for name, enforce, (own, met) in itertools.product(names, values, LABELLED):
        labels = own | {NAME: name} | ({} if enforce is None else {ENFORCE: enforce})
        served = name not in NEVER and (met or not selector)
        wanted = [level_path(name, enforce, pod_security)] if served else []
        paths = [e["clientConfig"]["service"]["path"] for e in found if matches(e["namespaceSelector"], labels)]
        if paths != wanted:
            yield f"{labels}: {paths}, not {wanted}"


def main():
    failed = False
    names = set()
    for (words, pod_security), selector in itertools.product(CASES.items(), ({}, OWN)):
        wrong = list(faults(pod_security, selector))
        name = f"each namespace has one entry, that of its level, {words}" + (" and a selector of the user" if selector else "")
        print(f"not ok - {name}: {wrong[0]} and {len(wrong) - 1} more" if wrong else f"ok - {name}")
        names.add(tuple(entry["name"] for entry in entries(pod_security, selector)))
        failed |= bool(wrong)
    same = len(names) == 1 and len(set(*names)) == 4
    print(("ok" if same else "not ok") + " - the entries have the same names whatever the values")
    return failed or not same


if __name__ == "__main__":
    sys.exit(main())
