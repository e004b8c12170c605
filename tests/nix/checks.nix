# The checks that need no machines, as derivations.
{
  pkgs,
  formatter,
  optionsDoc,
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
      cp --recursive ${source} source
      chmod --recursive u+w source
      cd source
      export HOME=$TMPDIR
      ${script}
      touch $out
    '';
in
{
  # What needs nginx, Nix or machines skips here; ./run-tests.sh runs it.
  unit-tests = check "unit-tests" [
    python
    pkgs.git
  ] "pytest pkgs/hostenv-core pkgs/hostenv-node pkgs/hostenv-provider";

  lint =
    check "lint"
      [
        pkgs.deadnix
        pkgs.ruff
      ]
      ''
        ruff check
        deadnix --fail .
      '';

  format = formatter.check source;

  types = check "types" [ python ] ''
    for package in {pkgs/*,tests/scenarios,tests/nixos}/hostenv_*; do mypy "$package"; done
  '';

  options-doc = check "options-doc" [ ] ''
    if ! diff --unified docs/options.md ${optionsDoc}; then
      echo "docs/options.md is not what the modules say: cp \$(nix build --print-out-paths .#options-doc) docs/options.md" >&2
      exit 1
    fi
  '';
}
