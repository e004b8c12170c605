{
  lib,
  buildPythonPackage,
  setuptools,
}:
buildPythonPackage {
  pname = "hostenv-core";
  inherit ((lib.importTOML ./pyproject.toml).project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./pyproject.toml
      ./hostenv_core
    ];
  };

  build-system = [ setuptools ];

  pythonImportsCheck = [ "hostenv_core" ];

  meta = import ../meta.nix { inherit lib; } // {
    description = "What hostenv's provider, nodes, lab and demo mean by the same words";
  };
}
