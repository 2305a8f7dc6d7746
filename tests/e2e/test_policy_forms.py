"""Policies that move between this gateway and AWS, through the real command line."""

import json
from pathlib import Path

import pytest
import yaml

from tests.e2e.stage import Stage

pytestmark = pytest.mark.rule("R15")


def test_every_policy_comes_out_as_a_document_and_goes_in_again(on: Stage, folder: Path) -> None:
    person = on.administrator.person
    listed = json.loads(person.run("policies", "list", "--output", "json").stdout)["policies"]
    assert listed
    for policy in listed:
        name, kind = policy["name"], policy["kind"].removeprefix("POLICY_KIND_").lower()
        shown = person.run("policies", "show", name, "--form", "aws")
        assert shown.returncode == 0, shown.stderr
        assert json.loads(shown.stdout)["schemaVersion"] == "0.3"
        file = folder / f"{name}.json"
        file.write_bytes(shown.stdout)
        called = ("--name", name) if kind == "manual" else ()
        done = person.run("policies", "put", file, "--kind", kind, *called)
        assert done.returncode == 0, done.stderr
        again = person.run("policies", "show", name, "--form", "aws")
        assert again.stdout == shown.stdout
        own = person.run(
            "policies", "show", name, "--form", "yaml" if kind == "manual" else "cedar"
        ).stdout.decode()
        assert kind == "manual" or own.strip() == policy["text"].strip()
        assert kind != "manual" or yaml.safe_load(own)["name"] == name


def test_what_is_wrong_inside_a_string_is_pointed_at(on: Stage, folder: Path) -> None:
    file = folder / "bad.json"
    content = 'permit(principal, action, resource) when { principal.organisation == "x" };'
    document = {"schemaVersion": "0.3", "AutoApprovalPolicyDocuments": [{"type": "Cedar", "content": content}]}
    file.write_text(json.dumps(document, indent=2))
    done = on.administrator.person.run("policies", "validate", file, "--kind", "auto")
    said = done.stderr.decode()
    assert done.returncode == 1
    line = next(number for number, line in enumerate(file.read_text().split("\n"), 1) if "permit" in line)
    assert f"{file}:{line}:" in said
    assert "organization" in said
