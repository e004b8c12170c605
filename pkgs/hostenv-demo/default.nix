{
  lib,
  python3Packages,
  hostenv-core,
  hostenv-lab,
}:
let
  tree = "${placeholder "out"}/share/hostenv";
in
python3Packages.buildPythonApplication {
  pname = "hostenv-demo";
  inherit ((lib.importTOML ./pyproject.toml).project) version;
  pyproject = true;

  # The demo lays the programs' sources, the seed and the project into its machines.
  src = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions [
      ./.
      ../hostenv-core
      ../hostenv-lab
      ../hostenv-node
      ../hostenv-provider
      ../../seed
      ../../tests/script.py
    ];
  };
  sourceRoot = "source/pkgs/hostenv-demo";

  build-system = [ python3Packages.setuptools ];
  dependencies = [
    hostenv-core
    hostenv-lab
  ];

  postInstall = ''
    mkdir --parents $out/share
    cp --recursive $src ${tree}
    chmod --recursive u+w ${tree}
  '';
  # The tree's scripts run on Debian machines.
  dontPatchShebangs = true;
  # The modules find the tree as the folder that they are in.
  makeWrapperArgs = [
    "--prefix PYTHONPATH : ${
      lib.concatMapStringsSep ":" (name: "${tree}/pkgs/${name}") [
        "hostenv-demo"
        "hostenv-lab"
        "hostenv-core"
      ]
    }"
  ];

  pythonImportsCheck = [ "hostenv_demo" ];

  meta = import ../meta.nix { inherit lib; } // {
    description = "Watch a live website move from one machine to another by a Git push";
    mainProgram = "hostenv-demo";
  };
}
