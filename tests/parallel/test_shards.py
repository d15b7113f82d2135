"""Hosts share one stream of items, also when their number changes."""

import itertools

import pytest

from fac_jax.parallel.shards import HostShard, resharded
from fac_jax.types import InputError


@pytest.mark.parametrize("hosts", [1, 2, 5])
def test_shares_are_disjoint_and_complete(hosts: int) -> None:
    taken = [[HostShard(host, hosts, base=7).number(i) for i in range(40)] for host in range(hosts)]
    assert sorted(itertools.chain(*taken)) == list(range(7, 7 + 40 * hosts))
    if hosts > 1:  # a mixture in turn would give a host one source alone
        assert {number % hosts for number in taken[0]} == set(range(hosts))


def state(host: int, drawn: int, waiting: list[int], base: int = 0, hosts: int = 3) -> dict:
    return {"sources": {"a": 9}, "host": host, "hosts": hosts, "base": base, "drawn": drawn, "waiting": waiting}


@pytest.mark.parametrize("hosts", [1, 2, 3, 4])
def test_with_another_number_of_hosts_nothing_is_lost_or_seen_twice(hosts: int) -> None:
    drawn = (12, 9, 14)
    shares = [HostShard(host, 3, base=5) for host in range(3)]
    own = [[share.number(i) for i in range(count)] for share, count in zip(shares, drawn, strict=True)]
    old = [state(host, drawn[host], own[host][-4:], base=5) for host in range(3)]
    seen = set(itertools.chain(*(numbers[:-4] for numbers in own)))
    new = resharded(old, hosts)
    assert [s["host"] for s in new] == list(range(hosts)) and {s["hosts"] for s in new} == {hosts}
    follows = [s["waiting"] + [HostShard(s["host"], hosts, s["base"]).number(i) for i in range(20)] for s in new]
    after = list(itertools.chain(*follows))
    assert len(after) == len(set(after)) and not seen & set(after)
    assert sorted(seen | set(after)) == list(range(5, 5 + len(seen) + len(after)))
    assert max(len(s["waiting"]) for s in new) - min(len(s["waiting"]) for s in new) <= 1
    assert resharded(list(reversed(old)), hosts) == new


def test_states_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(InputError, match="states of hosts 0, 2 were given; hand over those of all 3 hosts"):
        resharded([state(0, 1, []), state(2, 1, [])], 2)
    with pytest.raises(InputError, match="not of the same run"):
        resharded([state(0, 1, []), state(1, 1, [], base=3), state(2, 1, [])], 2)
