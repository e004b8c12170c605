"""Flakes as no honest project has them, made up from a seed: what reads or fetches, how, and what tells it.

In a flake's texts `@port@` is where somebody counts connections and `@store@` a file of the provider's store.
"""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

_T = TypeVar("_T")

SECRET = "/var/lib/hostenv-provider/secrets/canary.json"
CONFIGURATION = "/etc/hostenv/provider.json"
OTHERS_SOURCE = "/srv/other/canary"
PROTECTED = (SECRET, CONFIGURATION, OTHERS_SOURCE, "@store@")
"""The files whose contents no flake may tell."""

# Nix expressions of a text that leads to one of these files.
_PLACES = (
    '"{path}"',
    '(toString (/. + "{path}"))',
    '(toString ./. + "/../../../../../..{path}")',
    '(toString ./folder/../.. + "{path}")',
    "(toString ./link)",
    "(toString ./links/link)",
    '(toString ./root + "{path}")',
    '(builtins.unsafeDiscardStringContext "${{./link}}")',
    '"/proc/self/root{path}"',
    '"/proc/1/root{path}"',
    '"/proc/self/cwd/..{path}"',
    '"/proc/self/fd/0"',
    '"/proc/self/environ"',
    '"/proc/self/mountinfo"',
    '"/dev/stdin"',
    '"/run/hostenv-evaluate.sock"',
    '"file://{path}"',
    '"http://127.0.0.1:@port@{path}"',
    '"http://[::1]:@port@{path}"',
    '"http://2130706433:@port@{path}"',
    '"ssh://127.0.0.1:@port@{path}"',
    '"git+file:///srv/other"',
)

_HASH = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
_READERS = (
    "builtins.readFile {place}",
    "builtins.readFile (/. + {place})",
    "builtins.readDir (/. + {place})",
    "builtins.readDir (builtins.dirOf {place})",
    'builtins.hashFile "sha256" (/. + {place})',
    "builtins.readFileType (/. + {place})",
    "builtins.pathExists (/. + {place})",
    "import (/. + {place})",
    "builtins.scopedImport {{ }} (/. + {place})",
    "builtins.readFile (builtins.path {{ path = /. + {place}; }})",
    f'builtins.readFile (builtins.path {{{{ path = /. + {{place}}; sha256 = "{_HASH}"; }}}})',
    "builtins.readDir (builtins.filterSource (_: _: true) (builtins.dirOf (/. + {place})))",
    'builtins.readFile "${{/. + {place}}}"',
    "builtins.readFile (builtins.storePath {place})",
    'builtins.readFile (builtins.findFile [ {{ prefix = "x"; path = builtins.dirOf {place}; }} ]'
    ' ("x/" + builtins.baseNameOf {place}))',
    "builtins.readFile (builtins.fetchurl {place})",
    "builtins.readDir (builtins.fetchTarball {place})",
    "builtins.readDir (builtins.fetchGit {place}).outPath",
    "builtins.readDir (builtins.fetchMercurial {place}).outPath",
    'builtins.readFile (builtins.fetchTree {{ type = "path"; path = {place}; }}).outPath',
    'builtins.readDir (builtins.fetchTree {{ type = "git"; url = {place}; }}).outPath',
    f'builtins.fetchClosure {{{{ fromStore = {{place}}; fromPath = "{_HASH}"; }}}}',
    f'builtins.getFlake ("path:" + {{place}} + "?narHash={_HASH}")',
    "builtins.getFlake {place}",
    'builtins.readFile (derivation {{ name = "x"; system = "builtin"; builder = "builtin:fetchurl";'
    f' url = {{place}}; outputHashMode = "flat"; outputHash = "{_HASH}"; }}}})',
    'import (derivation {{ name = "x"; system = builtins.currentSystem; builder = {place}; }}).outPath',
    'builtins.exec [ "cat" {place} ]',
    'builtins.importNative (/. + {place}) "x"',
    'builtins.getEnv "HOME" + builtins.getEnv "LISTEN_FDS"',
)
_HUGE = (
    '(let s = n: if n == 0 then "x" else let t = s (n - 1); in t + t; in s 40)',
    "(let f = x: f (x + 1); in f 0)",
    "(builtins.foldl' (a: _: [ a ]) 1 (builtins.genList (x: x) 200000))",
    '(builtins.genList (x: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") 1000000)',
    "(9223372036854775807 + 1)",
    '(builtins.fromJSON "1e999")',
    '(builtins.fromJSON (builtins.concatStringsSep "" (builtins.genList (_: "[") 1000000)))',
    '(builtins.match "(a*)*b" (builtins.concatStringsSep "" (builtins.genList (_: "a") 100000)))',
    "(let l = builtins.genList (x: x) 3000; in builtins.length (builtins.concatMap (x: l) l))",
    r'(builtins.fromJSON "\"\\u001b[2J\\u0000\\ud800\"")',
)
_WRAPPERS = (
    "{e}",
    "(builtins.tryEval {e}).value",
    "(builtins.seq {e} {e})",
    "(builtins.head (map (x: x) [ {e} ]))",
    "(import ./identity.nix {e})",
    "(builtins.scopedImport {{ it = {e}; }} ./it.nix)",
    "(builtins.fromJSON (builtins.toJSON {e}))",
    '(builtins.addErrorContext "while it is told" {e})',
    "(builtins.genericClosure {{ startSet = [ {{ key = 1; value = {e}; }} ]; operator = _: [ ]; }})",
)
_TELLERS = (
    "{{ probe = {e}; }}",
    "{{ probe = builtins.toJSON {e}; }}",
    "throw (builtins.toJSON {e})",
    "abort (builtins.toJSON {e})",
    "builtins.trace (builtins.toJSON {e}) {{ }}",
    "{{ ${{builtins.toJSON {e}}} = 1; }}",
    'builtins.fromJSON ("[" + builtins.toJSON {e})',
    "builtins.getAttr (builtins.toJSON {e}) {{ }}",
    'builtins.hashString "sha256" (builtins.toJSON {e})',
    "map (i: builtins.substring i 1 (builtins.toJSON {e})) (builtins.genList (i: i) 400)",
    '{{ probe = builtins.replaceStrings [ "a" ] [ "-" ] (builtins.toJSON {e}); }}',
)

_LOCK = json.dumps(
    {
        "nodes": {
            "x": {"locked": {"type": "path", "path": "/var/lib/hostenv-provider/secrets", "narHash": _HASH}},
            "root": {"inputs": {"x": "x"}},
        },
        "root": "root",
        "version": 7,
    }
)
_OUTPUTS = "outputs = { self, ... }@all: { lib.hostenv = rec { x86_64-linux.environments = %s;" + (
    " aarch64-linux = x86_64-linux; }; };"
)


@dataclass(frozen=True)
class Tree:
    """What else is in a flake's source; `head` stands before its outputs."""

    name: str
    head: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


TREES: Sequence[Tree] = (
    Tree("plain"),
    Tree("a lock file that lies", files={"flake.lock": _LOCK}),
    Tree("a lock file that is none", files={"flake.lock": "[" * 10_000}),
    Tree(
        "an input by path",
        head='inputs.x.url = "path:/var/lib/hostenv-provider";',
        files={"flake.lock": _LOCK},
    ),
    Tree("a relative input", head='inputs.x.url = "path:./folder";'),
    Tree("an input over the network", head='inputs.x.url = "git+http://127.0.0.1:@port@/x";'),
    Tree(
        "settings of Nix", head='nixConfig = { restrict-eval = false; allowed-uris = "http: file: path:"; };'
    ),
    Tree("a hook of Nix", head="nixConfig = { post-build-hook = ./hook; plugin-files = [ ./hook ]; };"),
    Tree("a relative sub-flake", files={"sub/flake.nix": '{ outputs = _: builtins.readDir "/etc"; }'}),
    Tree(
        "attributes of Git",
        files={".gitattributes": "* export-subst filter=x ident\n", "id": "$Id$ $Format:%H$"},
    ),
    Tree(
        "submodules",
        files={".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = http://127.0.0.1:@port@/x\n'},
    ),
    Tree("odd names", files={"new\nline": "x", "-rf": "x", "\x1b[2J": "x", "a" * 200: "x"}),
    Tree("deep folders", files={"/".join("d" * 60): "x"}),
    Tree("the flake is a link", links={"flake.nix": CONFIGURATION}),
    Tree("links in circles", links={"a": "b", "b": "a", "c": "c/c"}),
    Tree(
        "configuration of its own", files={"nix.conf": "restrict-eval = false\n", ".config/nix/nix.conf": "x"}
    ),
)


@dataclass(frozen=True)
class Flake:
    """One flake: its files by path, its links by path, and what it tries."""

    seed: int
    number: int
    tree: str
    environments: str
    files: Mapping[str, str]
    links: Mapping[str, str]

    def __str__(self) -> str:
        return f"flake {self.number} of seed {self.seed}: {self.tree}: {self.environments}"


def flakes(seed: int, count: int) -> list[Flake]:
    """The same for the same seed; each tree, place, reader and so on comes up before one does again."""
    chance = random.Random(seed)
    drawn: dict[int, list[object]] = {}

    def draw(among: Sequence[_T]) -> _T:
        left = drawn.setdefault(id(among), [])
        if not left:
            left.extend(chance.sample(among, len(among)))
        return left.pop()  # type: ignore[return-value]

    made = []
    for number in range(count):
        path, tree = draw(PROTECTED), draw(TREES)
        # One in eight reads nothing, but is too much of something.
        huge = number % 8 == 7
        tried = draw(_HUGE) if huge else draw(_READERS).format(place=draw(_PLACES).format(path=path))
        told = f"({tried})"
        for _ in range(chance.randint(0, 2)):
            told = draw(_WRAPPERS).format(e=told)
        told = draw(_TELLERS).format(e=told)
        if chance.random() < 0.3:
            told = re.sub(r"builtins\.(\w)(\w+)", r'builtins.${"\1" + "\2"}', told)
        files = {
            "flake.nix": f"{{ {tree.head} {_OUTPUTS % told} }}",
            "identity.nix": "it: it",
            "it.nix": "it",
            "folder/file": "x",
            **tree.files,
        }
        links = {"link": path, "links/link": "../link", "root": "/", **tree.links}
        files = {name: text for name, text in files.items() if name not in links}
        made.append(Flake(seed, number, tree.name, told, files, links))
    return made
