from __future__ import annotations

from collections import Counter
from itertools import combinations

import phonenumbers
import pytest

from consumers.samples.people import TENANTS, Subject, people
from schemas.identifiers import normalise

EVERYBODY = people(2000)


def of_tenant(tenant: str) -> list[Subject]:
    return [subject for subject in EVERYBODY if subject.tenant == tenant]


def test_the_seed_decides_everything():
    assert people(300, seed=7) == people(300, seed=7)
    assert people(300, seed=7) != people(300, seed=8)


def test_two_tenants_share_the_number_given_with_ids_from_1001_on():
    acme, globex = map(of_tenant, TENANTS)
    assert (len(acme), len(globex)) == (1200, 800)
    assert [subject.user_id for subject in globex] == list(range(1001, 1801))
    assert {subject.user_id for subject in globex} <= {subject.user_id for subject in acme}


@pytest.mark.parametrize("count", [39, 10_001])
def test_impossible_numbers_of_people_are_refused(count: int):
    with pytest.raises(ValueError, match="between 40 and 10,000"):
        people(count)


@pytest.mark.parametrize("count", [40, 41, 10_000])
def test_the_smallest_and_the_largest_world(count: int):
    everybody = people(count)
    assert len(everybody) == count
    assert len({subject.key for subject in everybody}) == count
    assert any(subject.email_elsewhere for subject in everybody)
    assert any(subject.phone_at_home for subject in everybody)


@pytest.mark.parametrize("tenant", TENANTS)
def test_nothing_that_identifies_is_shared_within_a_tenant_but_household_phones(tenant: str):
    subjects = of_tenant(tenant)
    assert not shared(email for subject in subjects for email in subject.emails)
    for attribute in ("name", "street", "external_id", "ip"):
        assert not shared(getattr(subject, attribute) for subject in subjects), attribute
    assert not shared(visitor for subject in subjects for visitor in subject.visitor_ids)
    at_home = {subject.phone for subject in subjects if subject.phone_at_home}
    assert shared(subject.phone for subject in subjects) == at_home != set()


def shared(values) -> set[str]:
    return {value for value, count in Counter(values).items() if count > 1}


def test_emails_and_phones_are_shared_across_tenants_and_marked():
    acme, globex = map(of_tenant, TENANTS)
    common = {email for one in acme for email in one.emails} & {email for one in globex for email in one.emails}
    assert len(common) >= 30
    assert {s.key for s in EVERYBODY if s.email_elsewhere} == {s.key for s in EVERYBODY if common & {*s.emails}}
    phones = {one.phone for one in acme} & {one.phone for one in globex}
    assert {s.phone for s in EVERYBODY if s.phone_elsewhere} == phones
    names = {s.phone: s.name for s in acme}
    assert sum(names.get(s.phone, s.name) != s.name for s in globex) >= 8  # one phone, two people


@pytest.mark.parametrize("tenant", TENANTS)
def test_some_addresses_end_with_another_subjects_whole_address(tenant: str):
    emails = {subject.email for subject in of_tenant(tenant)}
    nested = [email for email in emails if any(email.endswith("." + other) for other in emails)]
    assert len(nested) >= 2


def test_identifiers_are_in_the_contracts_normal_form():
    for subject in EVERYBODY:
        assert all(normalise("email", email) == email for email in subject.emails)
        assert normalise("phone", subject.phone) == subject.phone
        assert phonenumbers.is_possible_number(phonenumbers.parse(subject.phone))


def test_six_languages_and_seven_countries():
    assert {subject.language for subject in EVERYBODY} == {"en", "it", "de", "fr", "es", "ja"}
    assert {subject.country for subject in EVERYBODY} == {"GB", "US", "IT", "DE", "FR", "ES", "JP"}


def test_no_name_is_part_of_another_at_the_same_tenant():
    """Japanese is written without spaces: a name within a longer one could not be told from it."""
    names = [subject.name for subject in of_tenant("acme") if subject.language == "ja"]
    assert len(names) > 100
    assert not [(a, b) for a, b in combinations(names, 2) if a in b or b in a]
