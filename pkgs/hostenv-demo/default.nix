{
  lib,
  python3Packages,
  hostenv-lab,
}:
python3Packages.buildPythonApplication {
  pname = "hostenv-demo";
  inherit ((lib.importTOML ./pyproject.toml).project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./pyproject.toml
      ./hostenv_demo
    ];
  };

  build-system = [ python3Packages.setuptools ];
  dependencies = [ hostenv-lab ];

  pythonImportsCheck = [ "hostenv_demo" ];

  meta = {
    description = "Watch a live website move from one machine to another by a Git push";
    license = lib.licenses.mit;
    mainProgram = "hostenv-demo";
    platforms = lib.platforms.linux;
  };
}
