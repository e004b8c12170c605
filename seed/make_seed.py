"""Makes the demo's seed: `seed.sql.gz`, a database dump, and `files/`, the site's public files.

The same bytes come out at every run, so that a checksum taken on one node means something on another:

    python3 seed/make_seed.py [DIRECTORY]

DIRECTORY is the seed's own folder when left out. The dump holds tables of the demo only and imports with
`mysql DATABASE < seed.sql`, into an empty database as well as over an earlier import.
"""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

MARKER = "from-node-a"


@dataclass(frozen=True)
class Article:
    """A row of `hostenv_demo_article`; `image` is a path below the public files."""

    title: str
    body: str
    image: str


ARTICLES = (
    Article(
        "A site on the move",
        "This text travels in the database dump, the picture beside it in the files.",
        "articles/waves.png",
    ),
    Article(
        "Héberger, déplacer, retrouver",
        "Accents, « quotes » and emoji 🚚 must arrive as they left.",
        "articles/carte du café.svg",
    ),
    Article(
        "It's a back\\slash",
        "Quotes ' and \" and a \\ and <b>markup</b> & entities: nothing of it may change.",
        "articles/plaid.png",
    ),
)


def sql_text(text: str) -> str:
    """`text` as a MariaDB string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def dump() -> str:
    """The whole dump, as mariadb-dump would lay it out."""
    articles = ",\n".join(
        f"({number},{sql_text(article.title)},{sql_text(article.body)},{sql_text(article.image)})"
        for number, article in enumerate(ARTICLES, start=1)
    )
    options = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"
    return f"""\
-- MariaDB dump: the hostenv demo's own tables, written by seed/make_seed.py
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40101 SET NAMES utf8mb4 */;

DROP TABLE IF EXISTS `hostenv_demo_marker`;
CREATE TABLE `hostenv_demo_marker` (
  `id` int(11) NOT NULL,
  `note` varchar(255) NOT NULL,
  PRIMARY KEY (`id`)
) {options};
INSERT INTO `hostenv_demo_marker` VALUES (1,{sql_text(MARKER)});

DROP TABLE IF EXISTS `hostenv_demo_article`;
CREATE TABLE `hostenv_demo_article` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `title` varchar(255) NOT NULL,
  `body` text NOT NULL,
  `image` varchar(255) NOT NULL,
  PRIMARY KEY (`id`)
) {options};
INSERT INTO `hostenv_demo_article` VALUES
{articles};

DROP TABLE IF EXISTS `hostenv_demo_note`;
CREATE TABLE `hostenv_demo_note` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `note` varchar(255) NOT NULL,
  `created` timestamp NOT NULL DEFAULT current_timestamp(),
  PRIMARY KEY (`id`)
) {options};

/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
-- Dump completed
"""


def gzip(data: bytes) -> bytes:
    """`data` as a gzip file without name and time, so that equal data gives equal bytes."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return header + deflate.compress(data) + deflate.flush() + struct.pack("<II", zlib.crc32(data), len(data))


def png(width: int, height: int, pixels: bytes) -> bytes:
    """An 8-bit RGB picture; `pixels` holds its rows from top to bottom, three bytes a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    stride = width * 3
    rows = b"".join(b"\0" + pixels[row * stride : (row + 1) * stride] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def waves(width: int, height: int) -> bytes:
    """Bands of blue that shift from row to row."""
    return bytes(
        value
        for y in range(height)
        for x in range(width)
        for value in ((x * y // 64) % 64, 96 + (x + y * y // 50) % 96, 160 + (y * 95) // height)
    )


def plaid(width: int, height: int) -> bytes:
    """Crossed stripes of red and green."""
    return bytes(
        value
        for y in range(height)
        for x in range(width)
        for value in (200 if x // 16 % 2 else 90, 180 if y // 16 % 2 else 70, (x ^ y) & 0x3F)
    )


CAFE_MAP = """\
<svg xmlns="http://www.w3.org/2000/svg" width="320" height="200" viewBox="0 0 320 200">
  <rect width="320" height="200" fill="#f4efe6"/>
  <path d="M0 120 C80 80 160 180 320 90" fill="none" stroke="#7aa6c2" stroke-width="18"/>
  <circle cx="200" cy="70" r="12" fill="#b4452c"/>
  <text x="220" y="75" font-family="sans-serif" font-size="16">café</text>
</svg>
"""


def public_files() -> dict[str, bytes]:
    """Content of every public file by its path below `files/`."""
    return {
        "about.txt": b"Public files of the hostenv demo, made by seed/make_seed.py.\n",
        "articles/carte du café.svg": CAFE_MAP.encode(),
        "articles/plaid.png": png(320, 200, plaid(320, 200)),
        "articles/waves.png": png(320, 200, waves(320, 200)),
    }


def main(arguments: list[str]) -> None:
    """Writes dump and files below the directory named by the first argument."""
    directory = Path(arguments[0]) if arguments else Path(__file__).resolve().parent
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "seed.sql.gz").write_bytes(gzip(dump().encode()))
    for name, content in public_files().items():
        path = directory / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main(sys.argv[1:])
