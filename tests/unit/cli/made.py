"""A node's cluster.toml and storage, as its operator finds them."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from rbcluster.cli.main import main
from rbcluster.config import load_config
from rbcluster.core.ids import NodeId
from rbcluster.daemon import STATE_MACHINE, storage_place
from rbcluster.raft.machine import MachineState
from rbcluster.raft.storage import Storage, StoragePlace, open_storage

A = NodeId("a")


class Made:
    """A cluster.toml, and the storage of node a."""

    def __init__(self, directory: Path, names: str) -> None:
        self.toml = directory / "cluster.toml"
        nodes = (
            f'[[node]]\nname = "{name}"\naddress = "127.0.0.1:{7000 + number}"\ndata_dir = "{name}"'
            for number, name in enumerate(names)
        )
        service = (
            '[[service]]\nname = "web"\nports = ["80 127.0.0.1:8080"]\n'
            'address = "2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd.onion"'
        )
        self.toml.write_text("\n".join(['[cluster]\nname = "t"', *nodes, service]))

    @property
    def place(self) -> StoragePlace:
        return storage_place(load_config(self.toml), A)

    def open(self) -> Storage:  # type: ignore[type-arg]
        return open_storage(self.place, MachineState(STATE_MACHINE))

    def reset(self, *options: str, answer: str = "") -> Result:
        arguments = ["reset-node", "--config", str(self.toml), "--node", "a", *options]
        return CliRunner().invoke(main, arguments, input=answer)

    @property
    def kept(self) -> list[str]:
        return sorted(
            path.name.partition(".set-aside-")[0] for path in self.toml.parent.glob("a/*")
        )
