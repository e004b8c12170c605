"""What the store keeps of the nodes' own repositories: their slices, and who has not come to one yet."""

import sqlite3
from collections.abc import Iterable

from hostenv_provider.plan.generated import slice_hash
from hostenv_provider.rules.stored import NodeCommit
from hostenv_provider.store.queries import Queries

SLICES_KEPT = 20
"""How many slices of a node are kept: the latest ones, to which its newest commits point."""


class NodeCommits(Queries):
    """Each method is one transaction."""

    def keep_slice(self, node: str, text: str) -> None:
        """Have a slice ready before the node can see a commit that points to it."""
        with self._database.transaction() as db:
            insert_slice(db, node, text)

    def slice(self, node: str, sha256: str) -> str | None:
        """The node's slice of this hash, if it is kept."""
        with self._database.reading() as db:
            row = db.execute(
                "SELECT content FROM slices WHERE node = ? AND sha256 = ?", (node, sha256)
            ).fetchone()
            return None if row is None else str(row["content"])

    def node_commits(self, job_id: str) -> dict[str, str | None]:
        """The commit of each node that has an intent of this job; None if it was never made."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT node, commit_sha FROM intents WHERE job = ? ORDER BY node", (job_id,)
            ).fetchall()
            return {row["node"]: row["commit_sha"] for row in rows}

    def replace_commit(self, job_id: str, node: str, commit: NodeCommit) -> None:
        """A node's intent is at another commit than before, which nobody has seen."""
        with self._database.transaction() as db:
            insert_slice(db, node, commit.slice)
            db.execute(
                "UPDATE intents SET commit_sha = ? WHERE job = ? AND node = ?", (commit.sha, job_id, node)
            )

    def begin_following(self, nodes: Iterable[str]) -> None:
        """These nodes still follow the provider's repository, as all did in earlier versions."""
        with self._database.transaction() as db:
            db.executemany("INSERT OR IGNORE INTO followers (node) VALUES (?)", [(node,) for node in nodes])

    def follows_provider(self, node: str) -> bool:
        """Whether the node still follows the provider's repository."""
        with self._database.reading() as db:
            row = db.execute("SELECT EXISTS (SELECT 1 FROM followers WHERE node = ?)", (node,)).fetchone()
            return bool(row[0])

    def end_following(self, node: str) -> None:
        """The node has come to its own repository, for good."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM followers WHERE node = ?", (node,))


def insert_slice(db: sqlite3.Connection, node: str, text: str) -> None:
    """Keep a slice, as the node's latest, and no more of them than may be asked for."""
    # Replaced, so that one that is used again is the latest again.
    db.execute(
        "INSERT OR REPLACE INTO slices (node, sha256, content) VALUES (?, ?, ?)",
        (node, slice_hash(text), text),
    )
    db.execute(
        "DELETE FROM slices WHERE node = ? AND number NOT IN"
        " (SELECT number FROM slices WHERE node = ? ORDER BY number DESC LIMIT ?)",
        (node, node, SLICES_KEPT),
    )
