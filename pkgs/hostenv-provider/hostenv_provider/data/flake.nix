{
  description = "What each hostenv node hosts; see provider.json and generated/plan.json";

  inputs = {
    # begin projects: kept by `hostenv-provider project add`
    # end projects
  };

  outputs =
    { self, ... }:
    let
      settings = builtins.fromJSON (builtins.readFile ./provider.json);

      # builtin:buildenv needs no package set and no builder, so that a generation is built offline by any Nix.
      generation =
        node:
        derivation {
          name = "hostenv-${node}-${self.rev or "uncommitted"}";
          system = "builtin";
          builder = "builtin:buildenv";
          manifest = "/dummy";
          derivations = [
            "true"
            5
            1
            (slice node)
          ];
          allowSubstitutes = false;
          preferLocalBuild = true;
        };

      slice =
        node:
        if builtins.pathExists (./generated/nodes + "/${node}") then
          builtins.path {
            path = ./generated/nodes + "/${node}";
            name = "node-${node}";
          }
        else
          throw "node ${node} is in provider.json but not in generated/nodes: run `hostenv-provider plan`";
    in
    {
      nixosConfigurations = builtins.mapAttrs (node: _: {
        config = {
          services.comin.machineId = null;
          system.build.toplevel = generation node;
        };
      }) settings.nodes;
    };
}
