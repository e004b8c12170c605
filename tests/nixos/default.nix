# The flake's outputs on a package set whose programs are Debian's: what `tests/nixos/run` builds.
{
  nixpkgs,
  comin,
  project,
  # a built comin; without it the lab's stand-in
  cominProgram ? null,
}:
let
  packages = import (nixpkgs + "/pkgs/top-level") {
    localSystem.system = "x86_64-linux";
    config = {
      allowAliases = true;
      allowBroken = true;
      allowUnsupportedSystem = true;
    };
    overlays = [
      (import ./packages.nix { inherit nixpkgs project cominProgram; })
      (import ./python.nix { inherit nixpkgs; })
      (import ./tests.nix)
    ];
    stdenvStages = import ./stdenv.nix nixpkgs;
  };
  flakes = import (project + "/tests/nix/project.nix") {
    inherit nixpkgs comin project;
    adapt =
      flake:
      flake
      // {
        legacyPackages = flake.legacyPackages // {
          x86_64-linux = packages;
        };
      };
  };
  inherit (packages) lib;
  inherit (flakes) hostenv;
  of = outputs: outputs.x86_64-linux;
in
hostenv
// {
  # all of it that needs no machine, and what starts some
  withoutMachines = packages.linkFarm "hostenv-without-machines" (
    of hostenv.packages
    // lib.filterAttrs (_: check: !check ? driver) (of hostenv.checks)
    // {
      inherit ((of hostenv.checks).migration) driverInteractive;
      formatter = of hostenv.formatter;
      shell = (of hostenv.devShells).default;
    }
    // lib.mapAttrs' (name: app: lib.nameValuePair "app-${name}" app.program) (of hostenv.apps)
  );
}
