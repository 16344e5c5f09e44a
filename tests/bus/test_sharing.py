"""Who gets how much: for any members, topics, backlogs and budgets."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.bus.sharing import assign_ranges, share_out

names = st.text("abcdef", min_size=1, max_size=3)


@given(members=st.sets(names, min_size=1, max_size=8), partitions=st.integers(1, 40))
def test_ranges_cover_everything_once_are_consecutive_and_nearly_equal(members, partitions):
    owners = assign_ranges({member: ["t"] for member in members}, {"t": partitions})
    run = [owners["t", n] for n in range(partitions)]
    assert run == sorted(run)
    sizes = [Counter(run)[member] for member in members]
    assert sum(sizes) == partitions
    assert max(sizes) - min(sizes) <= 1


@given(members=st.sets(names, min_size=1, max_size=8), partitions=st.integers(1, 40))
def test_topics_with_equally_many_partitions_are_assigned_alike(members, partitions):
    owners = assign_ranges(
        {member: ["acks", "operations"] for member in members}, {"acks": partitions, "operations": partitions}
    )
    assert all(owners["acks", n] == owners["operations", n] for n in range(partitions))


@given(st.dictionaries(names, st.sets(st.sampled_from("tuv")), max_size=6))
def test_a_member_gets_only_what_it_asked_for(subscriptions):
    owners = assign_ranges(subscriptions, {"t": 5, "u": 1, "v": 12})
    assert all(topic in subscriptions[member] for (topic, _), member in owners.items())
    assert {topic for topic, _ in owners} == set().union(*subscriptions.values())


backlogs = st.lists(st.integers(0, 50), max_size=12)


@given(available=backlogs, budget=st.integers(0, 200), turn=st.integers(0, 1000))
def test_a_batch_is_as_full_as_it_can_be(available, budget, turn):
    shares = share_out(available, budget, turn)
    assert sum(shares) == min(budget, sum(available))
    assert all(0 <= share <= most for share, most in zip(shares, available, strict=True))


@given(available=backlogs, budget=st.integers(0, 200), turn=st.integers(0, 1000))
def test_nobody_gets_more_than_another_who_wants_more(available, budget, turn):
    shares = share_out(available, budget, turn)
    hungry = [share for share, most in zip(shares, available, strict=True) if share < most]
    assert max(shares, default=0) <= min(hungry, default=budget) + 1


@given(available=st.lists(st.integers(1, 50), min_size=1, max_size=12), budget=st.integers(1, 12))
def test_every_partition_is_served_within_a_round(available, budget):
    budget = min(budget, len(available))
    served: set[int] = set()
    for turn in range(len(available)):
        served |= {place for place, share in enumerate(share_out(available, budget, turn)) if share}
    assert served == set(range(len(available)))
