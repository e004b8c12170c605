# The migration on containers of nixpkgs' own test driver, for builders without KVM.
{
  lib,
  options,
  hostenv,
  ...
}:
let
  machines = import ./machines.nix hostenv;
in
{
  config = {
    name = "hostenv-migration-container";
    meta.timeout = 7200;
    globalTimeout = 5400;

    inherit (machines) defaults;
    containerDefaults = ./switched-container.nix;
    containers = {
      inherit (machines) provider;
      node-a = machines.node;
      node-b = machines.node;
    };

    testScript = builtins.readFile ./container-preamble.py + builtins.readFile ./script.py;

    extraPythonPackages = p: [ p.requests ];
    extraDriverArgs = [ "--junit-xml=junit.xml" ];
  }
  # whatever the machines are, newer releases ask for it
  // lib.optionalAttrs (options ? requiredFeatures) { requiredFeatures.kvm = false; };
}
