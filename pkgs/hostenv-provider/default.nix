{
  lib,
  python3Packages,
  hostenv-core ? python3Packages.callPackage ../hostenv-core { },
  fcgiwrap,
  git,
  openssh,
  restic-rest-server,
  systemd,
  # the flake's checks, which its overlay adds
  hostenvTests ? { },
}:
let
  paths = {
    "/usr/bin/hostenv-provider" = "${placeholder "out"}/bin/hostenv-provider";
    "/usr/bin/restic-rest-server" = lib.getExe restic-rest-server;
    "/usr/bin/systemctl" = lib.getExe' systemd "systemctl";
    "/usr/lib/git-core/git-http-backend" = "${git}/libexec/git-core/git-http-backend";
    "/usr/sbin/fcgiwrap" = lib.getExe fcgiwrap;
  };
  machineFiles = import ../machine-files.nix {
    inherit lib paths;
    name = "hostenv-provider";
  };
in
python3Packages.buildPythonApplication {
  pname = "hostenv-provider";
  inherit ((lib.importTOML ./pyproject.toml).project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./pyproject.toml
      ./hostenv_provider
      ./systemd
      ./nginx
      (lib.fileset.maybeMissing ./sysusers.d)
      ./tmpfiles.d
    ];
  };

  build-system = [ python3Packages.setuptools ];
  dependencies = [ hostenv-core ];

  inherit (machineFiles) postPatch postInstall;
  # Git fetches projects over SSH with ssh.
  makeWrapperArgs = [
    "--prefix PATH : ${
      lib.makeBinPath [
        git
        openssh
      ]
    }"
  ];
  pythonImportsCheck = [ "hostenv_provider.cli" ];

  passthru = {
    inherit paths;
    tests = hostenvTests;
  };

  meta = import ../meta.nix { inherit lib; } // {
    description = "Control plane of hostenv: plans environments, starts and follows their moves between nodes";
    mainProgram = "hostenv-provider";
  };
}
