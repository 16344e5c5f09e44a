"""The runbook covers the vocabulary, and links in the docs lead somewhere."""

from __future__ import annotations

import re

import pytest

from schemas.codes import FailureCode
from tests.cli.conftest import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])

NOT_A_PERSONS = {FailureCode.CONFLICT, FailureCode.LEASE_LOST, FailureCode.BAD_COMMAND, FailureCode.STOPPED}
NOT_A_PERSONS |= {FailureCode.EXPIRED, FailureCode.INTERNAL_ERROR}


def test_the_runbook_names_every_code_that_a_person_can_mend() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    missing = [code.value for code in FailureCode if f"`{code.value}`" not in runbook and code not in NOT_A_PERSONS]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: object) -> None:
    text = page.read_text()  # type: ignore[attr-defined]
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target  # type: ignore[attr-defined]


def test_the_architecture_page_names_files_that_exist_and_all_tables() -> None:
    from orchestrator.store import tables

    page = (ROOT / "docs" / "architecture.md").read_text()
    for path in re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", page):
        here = ROOT / path
        assert here.exists() or (ROOT / "orchestrator" / path).exists(), path
    for kind in tables.TableKind:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {kind.value} |")]
        named = set(re.findall(r"`([a-z_]+)`", row.split("|")[2]))
        assert named == {t.name for t in tables.metadata.tables.values() if t.info["kind"] is kind}, kind


def test_every_failure_of_the_protocol_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "failures.md").read_text()
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`", page)
    assert len(named) > 30
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []
