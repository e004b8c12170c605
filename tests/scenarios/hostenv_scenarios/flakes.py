"""What a project's flake may try in order to leave its box: every builtin of Nix that can read or fetch.

An expression has `{port}`, at which somebody counts connections, and `{rev}`, `{hash}` and `{path}` of what
another project's source and the provider's secrets are.
"""

from dataclasses import dataclass

SECRET = "/var/lib/hostenv-provider/tokens.json"
OTHER = "/var/lib/hostenv-provider/git/demo__other.git"


@dataclass(frozen=True)
class Attempt:
    """An expression that must be refused; with `answer` it may have this harmless value instead."""

    builtin: str
    expression: str
    answer: object = None


ATTEMPTS = (
    Attempt("fetchurl", 'builtins.readFile (builtins.fetchurl "http://127.0.0.1:{port}/x")'),
    Attempt("fetchurl", 'builtins.fetchurl {{ url = "http://127.0.0.1:{port}/x"; sha256 = "{hash}"; }}'),
    Attempt("fetchurl", 'builtins.readFile (builtins.fetchurl "file://{path}")'),
    Attempt("fetchTarball", 'builtins.fetchTarball "http://127.0.0.1:{port}/x.tar"'),
    Attempt("fetchTarball", 'builtins.fetchTarball {{ url = "http://[::1]:{port}/x"; sha256 = "{hash}"; }}'),
    Attempt("fetchTarball", 'builtins.fetchTarball "file://{path}"'),
    Attempt("fetchGit", 'builtins.fetchGit "http://127.0.0.1:{port}/x"'),
    Attempt("fetchGit", 'builtins.fetchGit {{ url = "http://127.0.0.1:{port}/x"; rev = "{rev}"; }}'),
    Attempt("fetchGit", 'builtins.fetchGit {{ url = "ssh://127.0.0.1:{port}/x"; ref = "main"; }}'),
    Attempt("fetchGit", 'builtins.fetchGit {{ url = "ext::touch /tmp/here"; ref = "main"; }}'),
    Attempt("fetchGit", 'builtins.fetchGit {{ url = "file://{other}"; rev = "{rev}"; }}'),
    Attempt("fetchGit", "builtins.fetchGit {other}"),
    Attempt("fetchMercurial", 'builtins.fetchMercurial "http://127.0.0.1:{port}/x"'),
    Attempt("fetchTree", 'builtins.fetchTree {{ type = "git"; url = "file://{other}"; rev = "{rev}"; }}'),
    Attempt("fetchTree", 'builtins.fetchTree {{ type = "path"; path = "{path}"; narHash = "{hash}"; }}'),
    Attempt("fetchTree", 'builtins.fetchTree {{ type = "path"; path = "/etc"; }}'),
    Attempt("fetchTree", 'builtins.fetchTree {{ type = "tarball"; url = "http://127.0.0.1:{port}/x"; }}'),
    Attempt("fetchTree", 'builtins.fetchTree {{ type = "file"; url = "http://127.0.0.1:{port}/x"; }}'),
    Attempt("fetchTree", 'builtins.fetchTree {{ type = "github"; owner = "a"; repo = "b"; }}'),
    Attempt("fetchTree", 'builtins.fetchTree "nixpkgs"'),
    Attempt("getFlake", 'builtins.getFlake "git+file://{other}?rev={rev}"'),
    Attempt("getFlake", 'builtins.getFlake "path:/var/lib/hostenv-provider/secrets?narHash={hash}"'),
    Attempt("getFlake", 'builtins.getFlake "tarball+http://127.0.0.1:{port}/x?narHash={hash}"'),
    Attempt("getFlake", 'builtins.getFlake "git+http://127.0.0.1:{port}/x?rev={rev}"'),
    Attempt("getFlake", 'builtins.getFlake "git+ssh://127.0.0.1:{port}/x?rev={rev}"'),
    Attempt("getFlake", "builtins.getFlake (toString ./.)"),
    # reads an address, fetches nothing, and is part of the language from some version on
    Attempt(
        "parseFlakeRef",
        'builtins.parseFlakeRef "git+http://127.0.0.1:1/x"',
        {"type": "git", "url": "http://127.0.0.1:1/x"},
    ),
    Attempt("flakeRefToString", 'builtins.flakeRefToString {{ type = "path"; path = "/etc"; }}'),
    Attempt(
        "fetchClosure", 'builtins.fetchClosure {{ fromStore = "http://127.0.0.1:{port}"; fromPath = /x; }}'
    ),
    Attempt("path", "builtins.path {{ path = {path}; }}"),
    Attempt("path", 'builtins.path {{ path = /nix/store; sha256 = "{hash}"; name = "x"; }}'),
    Attempt("path", "builtins.path {{ path = /etc; filter = path: _: builtins.trace path true; }}"),
    Attempt("filterSource", "builtins.filterSource (_: _: true) /etc"),
    Attempt("storePath", "builtins.storePath /nix/store"),
    Attempt("storePath", 'builtins.storePath "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-source"'),
    Attempt("readFile", 'builtins.readFile "{path}"'),
    Attempt("readFile", "builtins.readFile /proc/1/environ"),
    Attempt("readFile", "builtins.readFile /proc/self/environ"),
    Attempt("readFile", "builtins.readFile /etc/hostenv/provider.json"),
    Attempt("readFile", "builtins.readFile ./link"),
    Attempt("readFile", 'builtins.readFile (./. + "/../../../../{path}")'),
    Attempt("readFile", "builtins.readFile ./folder/passwd"),
    # of what leads to its own folder, and nothing beside that
    Attempt("readDir", "builtins.readDir /.", {"tmp": "directory"}),
    Attempt("readDir", "builtins.readDir /nix/store"),
    Attempt("readDir", "builtins.readDir ./folder"),
    Attempt("readDir", "builtins.readDir ../.", {"source": "directory"}),
    Attempt("readFileType", "builtins.readFileType {path}"),
    Attempt("pathExists", "builtins.pathExists {path}", False),
    Attempt("pathExists", "builtins.pathExists /etc/passwd", False),
    Attempt("hashFile", 'builtins.hashFile "sha256" {path}'),
    Attempt("import", "import /etc/hostname"),
    Attempt("import", "import ./folder/passwd"),
    Attempt("import", "import ../."),
    Attempt("scopedImport", "scopedImport {{ }} /etc/hostname"),
    Attempt(
        "findFile", 'builtins.readFile (builtins.findFile [ {{ prefix = "x"; path = "/etc"; }} ] "x/passwd")'
    ),
    Attempt(
        "findFile", 'builtins.findFile [ {{ prefix = "x"; path = "http://127.0.0.1:{port}/x.tar"; }} ] "x/y"'
    ),
    Attempt("findFile", 'builtins.findFile [ {{ prefix = "x"; path = "flake:nixpkgs"; }} ] "x/y"'),
    Attempt("nixPath", "<nixpkgs>"),
    Attempt(
        "derivation",
        'builtins.readFile (derivation {{ name = "x"; system = "builtin"; builder = "builtin:fetchurl";'
        ' url = "http://127.0.0.1:{port}/x"; outputHashMode = "flat"; outputHash = "{hash}"; }})',
    ),
    Attempt(
        "derivationStrict",
        'import (derivation {{ name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; }}).outPath',
    ),
    Attempt(
        "import",
        'builtins.readFile (import <nix/fetchurl.nix> {{ url = "file://{path}"; hash = "{hash}"; }})',
    ),
    Attempt(
        "outputOf",
        'builtins.readFile (builtins.outputOf (derivation {{ name = "x"; system = builtins.currentSystem;'
        ' builder = "/bin/sh"; }}).drvPath "out")',
    ),
    Attempt("exec", 'builtins.exec [ "id" ]'),
    Attempt("importNative", 'builtins.importNative ./link "x"'),
    Attempt("getEnv", 'builtins.getEnv "HOME" + builtins.getEnv "PATH"', ""),
    Attempt("toFile", 'builtins.readFile (builtins.toFile "x" "y")'),
)

_HARMLESS = """
abort add addDrvOutputDependencies addErrorContext all any appendContext attrNames attrValues baseNameOf
bitAnd bitOr bitXor break builtins catAttrs ceil compareVersions concatLists concatMap concatStringsSep
convertHash currentSystem currentTime deepSeq dirOf div elem elemAt false filter floor foldl' fromJSON
fromTOML functionArgs genList genericClosure getAttr getContext groupBy hasAttr hasContext hashString
head intersectAttrs isAttrs isBool isFloat isFunction isInt isList isNull isPath isString langVersion
length lessThan listToAttrs map mapAttrs match mul nixVersion null parseDrvName partition placeholder
removeAttrs replaceStrings seq sort split splitVersion storeDir stringLength sub substring tail throw
toJSON toPath toString toXML trace traceVerbose true tryEval typeOf unsafeDiscardOutputDependency
unsafeDiscardStringContext unsafeGetAttrPos warn zipAttrsWith
"""
HARMLESS = frozenset(_HARMLESS.split())
"""The builtins that neither read nor fetch. One in neither list has to be looked at and put into one."""
