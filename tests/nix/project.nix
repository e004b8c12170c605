# A flake's outputs with its inputs given as folders: evaluates where nothing can be fetched.
{
  nixpkgs,
  comin,
  project,
  # what is done to nixpkgs before the others see it
  adapt ? (packages: packages),
}:
let
  flake =
    source: inputs:
    let
      outputs = (import (source + "/flake.nix")).outputs (inputs // { inherit self; });
      self = outputs // {
        inherit inputs outputs;
        outPath = source;
        sourceInfo.outPath = source;
        lastModified = 0;
        lastModifiedDate = "19700101000000";
        narHash = "";
        rev = "0123456789abcdef0123456789abcdef01234567";
        shortRev = "0123456";
      };
    in
    self;
  packages = adapt (flake nixpkgs { });
in
{
  inherit flake;
  nixpkgs = packages;
  hostenv = flake project {
    nixpkgs = packages;
    comin = flake comin {
      nixpkgs = packages;
      treefmt-nix = { };
      flake-compat = { };
    };
  };
}
