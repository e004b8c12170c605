# What `nix eval` is asked about a project: its flake is a stranger's and gets nothing but itself.
{
  source,
  system,
}:
let
  tree = builtins.fetchTree source;
  flake = import (tree + "/flake.nix");
  outputs = flake.outputs { inherit self; };
  self = outputs // {
    inherit outputs;
    inherit (tree) outPath;
  };
in
if flake.inputs or { } != { } then
  throw "the flake has inputs: a project's flake may have none"
else
  outputs.lib.hostenv.${system}.environments
