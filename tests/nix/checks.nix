# The checks that need no machines, as derivations.
{
  pkgs,
  nixfmt,
  source,
}:
let
  python = pkgs.python3.withPackages (ps: [
    ps.hypothesis
    ps.mypy
    ps.pytest
    ps.requests
    ps.types-requests
  ]);
  check =
    name: tools: script:
    pkgs.runCommand "hostenv-${name}" { nativeBuildInputs = tools; } ''
      cp --recursive --no-preserve=mode ${source} source
      cd source
      export HOME=$TMPDIR
      ${script}
      touch $out
    '';
in
{
  unit-tests = check "unit-tests" [
    python
    pkgs.git
    pkgs.nix
    pkgs.nginx
    pkgs.openssl
    pkgs.sqlite
  ] "pytest pkgs";

  lint = check "lint" [ pkgs.ruff ] ''
    ruff check
    ruff format --check
  '';

  types = check "types" [ python ] ''
    for package in pkgs/*/hostenv_*; do mypy "$package"; done
  '';

  nix-format =
    check "nix-format"
      [
        nixfmt
        pkgs.deadnix
      ]
      ''
        find . -name '*.nix' -exec nixfmt --check {} +
        deadnix --fail .
      '';
}
