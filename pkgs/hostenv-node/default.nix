{
  lib,
  python3Packages,
  hostenv-core ? python3Packages.callPackage ../hostenv-core { },
  systemd,
  # the flake's checks, which its overlay adds
  hostenvTests ? { },
}:
let
  paths = {
    "/usr/bin/hostenv-comin-activate" = "${placeholder "out"}/bin/hostenv-comin-activate";
    "/usr/bin/hostenv-node" = "${placeholder "out"}/bin/hostenv-node";
    "/usr/bin/systemctl" = lib.getExe' systemd "systemctl";
  };
  machineFiles = import ../machine-files.nix {
    inherit lib paths;
    name = "hostenv-node";
  };
in
python3Packages.buildPythonApplication {
  pname = "hostenv-node";
  inherit ((lib.importTOML ./pyproject.toml).project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./pyproject.toml
      ./hostenv_node
      ./systemd
      ./nginx
      (lib.fileset.maybeMissing ./sysusers.d)
      ./tmpfiles.d
    ];
  };

  build-system = [ python3Packages.setuptools ];
  dependencies = [
    hostenv-core
    python3Packages.requests
  ];

  inherit (machineFiles) postPatch postInstall;
  # The command imports them only when it needs them.
  pythonImportsCheck = map (name: "hostenv_node.${name}") [
    "cli"
    "comin.hook"
    "jobs.activation"
    "jobs.job_run"
    "runtime.operations"
    "user.apply"
  ];

  passthru = {
    inherit paths;
    tests = hostenvTests;
  };

  meta = import ../meta.nix { inherit lib; } // {
    description = "A hostenv node: hosts environments, and backs up, restores and activates them on request";
    mainProgram = "hostenv-node";
  };
}
