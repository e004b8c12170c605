# A provider repository by which comin switches the whole NixOS system of each node, and with it what the node hosts.
{
  description = "Our hostenv nodes: their systems, and the environments that they host";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    hostenv = {
      url = "git+https://git.example.org/hostenv";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    # begin projects: kept by `hostenv-provider project add`
    # end projects
  };

  outputs =
    {
      self,
      nixpkgs,
      hostenv,
      ...
    }:
    let
      settings = builtins.fromJSON (builtins.readFile ./provider.json);

      node =
        name: _:
        nixpkgs.lib.nixosSystem {
          modules = [
            hostenv.nixosModules.node
            ./nodes/common.nix
            (./nodes + "/${name}.nix")
            {
              networking.hostName = name;
              # every commit is a generation of its own, and a node reads from it how far its plan reaches
              system.configurationRevision = self.rev or null;
              services.hostenv-node.slice = ./generated/nodes + "/${name}";
            }
          ];
        };
    in
    {
      nixosConfigurations = builtins.mapAttrs node settings.nodes;
    };
}
