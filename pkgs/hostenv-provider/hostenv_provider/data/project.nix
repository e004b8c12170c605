# What `nix eval` evaluates for a project: its flake is untrusted code and gets nothing but itself.
{
  tree,
  system,
}:
let
  flake = import (tree + "/flake.nix");
  outputs = flake.outputs { inherit self; };
  self = outputs // {
    inherit outputs;
    outPath = toString tree;
  };
in
if flake.inputs or { } != { } then
  throw "the flake has inputs: a project's flake may have none"
else
  outputs.lib.hostenv.${system}.environments
