# What a flake.nix says of its projects, in the form in which a lock file repeats it.
inputs:
let
  projects = builtins.filter (name: builtins.match ".*__.*" name != null) (builtins.attrNames inputs);
  asked =
    input: if input ? url then builtins.parseFlakeRef input.url else removeAttrs input [ "flake" ];
in
builtins.listToAttrs (
  map (name: {
    inherit name;
    value = {
      asked = asked inputs.${name};
      flake = inputs.${name}.flake or true;
    };
  }) projects
)
