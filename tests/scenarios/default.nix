# Each fault scenario as a NixOS test, on the machines of the migration.
{
  pkgs,
  hostenv,
}:
let
  # of the driver's own Python
  shared =
    pythonPackages:
    pythonPackages.buildPythonPackage {
      pname = "hostenv-scenarios";
      inherit ((pkgs.lib.importTOML ./pyproject.toml).project) version;
      pyproject = true;
      src = pkgs.lib.fileset.toSource {
        root = ./.;
        fileset = pkgs.lib.fileset.unions [
          ./pyproject.toml
          ./hostenv_scenarios
        ];
      };
      build-system = [ pythonPackages.setuptools ];
      pythonImportsCheck = [ "hostenv_scenarios" ];
    };

  scenario =
    script:
    pkgs.testers.runNixOSTest (
      { lib, ... }:
      {
        imports = [ ../local-provider-migration.nix ];
        _module.args.hostenv = hostenv;
        name = lib.mkForce "hostenv-${script}";
        defaults =
          { pkgs, ... }:
          {
            environment.systemPackages = [
              # visitors and traps are programs of their own on the machines
              pkgs.python3
              # with which a node tries what it may do
              pkgs.git
              pkgs.mariadb
            ];
          };
        testScript = lib.mkForce (builtins.readFile (./. + "/${script}.py"));
        extraPythonPackages = lib.mkForce (p: [
          p.requests
          (shared p)
        ]);
      }
    );

  scripts = pkgs.lib.filter (
    file: pkgs.lib.hasSuffix ".py" file && !pkgs.lib.hasPrefix "test_" file
  ) (pkgs.lib.attrNames (builtins.readDir ./.));
in
pkgs.lib.genAttrs (map (pkgs.lib.removeSuffix ".py") scripts) scenario
