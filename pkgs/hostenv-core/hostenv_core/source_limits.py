"""How much a project's source may be. The provider refuses what is more; a node does not rely on that."""

MAX_BYTES = 1 << 30
MAX_FILES = 200_000
MAX_DEPTH = 64
TOO_MANY_FILES = f"has too many files: {MAX_FILES} are the most"


def excess(size: int, files: int, depth: int) -> str | None:
    """What is too much, in words; `size` in bytes, `depth` in folders in one another. None if nothing is."""
    for what, value, most in (
        ("MiB", size >> 20, MAX_BYTES >> 20),
        ("files", files, MAX_FILES),
        ("folders in one another", depth, MAX_DEPTH),
    ):
        if value > most:
            return f"has {value} {what}, {most} are the most: remove what the site does not need"
    return None
