"""The sites of the scenarios, by their names alone (contract 2)."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """Environment `main` of project `demo__<name>`; `name` is one short word.

    `extra_host` is its second virtual host, `folder` the project's repository on the provider.
    """

    name: str

    @property
    def project(self) -> str:
        return f"demo__{self.name}"

    @property
    def hash(self) -> str:
        return hashlib.sha256(f"demo-{self.name}-main\n".encode()).hexdigest()

    @property
    def user(self) -> str:
        return f"{self.name}-main-{self.hash[:7]}"

    @property
    def host(self) -> str:
        return f"{self.user}.demo.hostenv.test"

    @property
    def extra_host(self) -> str:
        return "demo.hostenv.local" if self.name == "drupal" else f"{self.name}.hostenv.local"

    @property
    def folder(self) -> str:
        return f"/srv/{self.name}"


DRUPAL = Site("drupal")
SECOND = Site("second")
