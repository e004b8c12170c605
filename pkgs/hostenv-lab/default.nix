{
  lib,
  python3Packages,
  hostenv-core ? python3Packages.callPackage ../hostenv-core { },
  e2fsprogs,
  iproute2,
  qemu,
  systemd,
  util-linux,
}:
python3Packages.buildPythonApplication {
  pname = "hostenv-lab";
  inherit ((lib.importTOML ./pyproject.toml).project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./pyproject.toml
      ./hostenv_lab
    ];
  };

  build-system = [ python3Packages.setuptools ];
  dependencies = [ hostenv-core ];
  # The guests' scripts run on Debian machines.
  dontPatchShebangs = true;

  makeWrapperArgs = [
    "--prefix PATH : ${
      lib.makeBinPath [
        e2fsprogs
        iproute2
        qemu
        systemd
        util-linux
      ]
    }"
  ];

  pythonImportsCheck = [ "hostenv_lab" ];

  meta = import ../meta.nix { inherit lib; } // {
    description = "Runs a NixOS testScript on Debian machines, without Nix";
    mainProgram = "hostenv-lab";
  };
}
