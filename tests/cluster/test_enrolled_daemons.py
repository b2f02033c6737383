"""How machines come to be nodes, and what becomes of them, by the commands an operator has."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.cluster.daemons import (
    in_touch_with,
    join,
    lay_out_first,
    led_by,
    move,
    running,
    told,
    voters,
)
from tests.shared.local_cluster import free_addresses


@pytest.mark.unhurried
async def test_a_machine_joins_by_a_token_gets_a_vote_and_can_be_removed(
    tmp_path: Path,
) -> None:
    a, d, listen = (f"{host}:{port}" for host, port in free_addresses(3))
    toml = await lay_out_first(tmp_path / "c", a)
    async with running(toml, "a") as first:
        await first.until(voters("a"))
        refused = await told("invite", "--listen", listen, *first.options)
        assert "the authority's key is not on this node" in refused
        (tmp_path / "c" / "ca").rename(first.paths.authority_dir)
        theirs = await join(first, listen, tmp_path / "d", d)
        async with running(theirs, "d") as second:
            document = await second.until(voters("a", "d"))
            assert document["notes"][0].startswith("two voters tolerate no failure")
            assert "ask on another node" in await told("remove", "d", *second.options)
            assert await told("remove", "d", *first.options) == "d is no member"
            document = await first.until(voters("a"))
            assert [node["name"] for node in document["nodes"]] == ["a"]


@pytest.mark.unhurried
async def test_a_machine_certified_by_hand_needs_no_token(tmp_path: Path) -> None:
    a, b = (f"{host}:{port}" for host, port in free_addresses(2))
    folder = tmp_path / "c"
    toml = await lay_out_first(folder, a)
    async with running(toml, "a") as first:
        await first.until(voters("a"))
        assert "is the data directory of b" in await told("certify", folder, "b")
        assert await told("add", "b", b, "--learner", *first.options) == "b is a member: start it"
        theirs = folder / "b.toml"
        node = f'[[node]]\nname = "b"\naddress = "{b}"\ndata_dir = "nodes/b"\nrole = "learner"'
        theirs.write_text(toml.read_text().replace("[[service]]", f"{node}\n\n[[service]]"))
        async with running(theirs, "b") as second:
            await second.until(lambda d: [n["role"] for n in d["nodes"]] == ["voter", "learner"])
            assert await told("promote", "b", *first.options) == "b votes"
            assert await told("demote", "b", *first.options) == "b has no vote"


@pytest.mark.unhurried
async def test_three_machines_lead_die_forget_move_and_leave(tmp_path: Path) -> None:
    a, d, e, listen, elsewhere = (f"{host}:{port}" for host, port in free_addresses(5))
    toml = await lay_out_first(tmp_path / "c", a)
    (tmp_path / "c" / "ca").rename(tmp_path / "c" / "nodes" / "a" / "ca")
    async with running(toml, "a") as first:
        await first.until(voters("a"))
        second_toml = await join(first, listen, tmp_path / "d", d)
        third_toml = await join(first, listen, tmp_path / "e", e)
        async with running(second_toml, "d") as second, running(third_toml, "e") as third:
            await first.until(voters("a", "d", "e"))
            # who was let in leads
            assert "d leads" in await told("transfer", "d", *first.options)
            # a node that was killed, and was told of nobody at its start, is back
            await first.kill()
            await first.start()
            await first.until(in_touch_with("d"))
            # a voter whose disk is lost forgets nothing that counts, and gets its vote back
            await third.kill()
            shutil.rmtree(third.paths.raft_dir)
            await third.start()
            await third.until(voters("a", "d", "e"))
            # a leader is killed amid a change: whatever came of it, asking again does no harm
            asking = asyncio.create_task(told("demote", "e", *first.options))
            await second.kill()
            await second.start()
            await asking
            await first.until(in_touch_with("d"))
            await told("demote", "e", *first.options)
            await first.until(voters("a", "d"))
            # a node moves: links go on until it does
            assert await told("node", "set-address", "d", elsewhere, *first.options) == (
                f"d is reached at {elsewhere}"
            )
            await second.kill()
            move(second_toml, d, elsewhere)
            await second.start()
            await first.until(in_touch_with("d"))
            # one leaves: nobody speaks with it any more
            assert await told("remove", "e", *first.options) == "e is no member"
            await third.until(led_by(None))
            document = await second.until(lambda document: len(document["nodes"]) == 2)
            assert [node["name"] for node in document["nodes"]] == ["a", "d"]
