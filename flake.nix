{
  description = "hostenv: moves a live site between nodes because somebody pushed to Git";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    comin = {
      url = "github:nlewo/comin/v0.13.0";
      inputs = {
        nixpkgs.follows = "nixpkgs";
        # comin's own formatting checks need them, its package and module do not
        treefmt-nix.follows = "";
        flake-compat.follows = "";
      };
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      comin,
    }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forAllSystems =
        function:
        lib.genAttrs systems (
          system: function (nixpkgs.legacyPackages.${system}.extend self.overlays.default)
        );
      programs = pkgs: {
        inherit (pkgs)
          hostenv-provider
          hostenv-node
          hostenv-lab
          hostenv-demo
          ;
      };
    in
    {
      overlays.default = final: _: {
        hostenv-provider = final.callPackage ./pkgs/hostenv-provider { };
        hostenv-node = final.callPackage ./pkgs/hostenv-node { };
        hostenv-lab = final.callPackage ./pkgs/hostenv-lab { };
        hostenv-demo = final.callPackage ./pkgs/hostenv-demo { };
      };

      packages = forAllSystems (pkgs: programs pkgs // { default = pkgs.hostenv-demo; });

      nixosModules = {
        provider = ./modules/provider.nix;
        node.imports = [
          comin.nixosModules.comin
          ./modules/node.nix
        ];
        default.imports = [
          self.nixosModules.provider
          self.nixosModules.node
        ];
      };

      checks = forAllSystems (
        pkgs:
        {
          migration = pkgs.testers.runNixOSTest {
            imports = [ ./tests/local-provider-migration.nix ];
            _module.args.hostenv = self.nixosModules;
          };
        }
        // import ./tests/nix/checks.nix {
          inherit pkgs;
          source = ./.;
        }
      );

      apps = forAllSystems (
        pkgs:
        lib.mapAttrs
          (name: app: {
            type = "app";
            program = app.program;
            meta.description = app.description;
          })
          {
            default = {
              program = lib.getExe pkgs.hostenv-demo;
              description = "The demo: a site moves from one machine to another";
            };
          }
      );

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShellNoCC {
          packages = [
            (pkgs.python3.withPackages (ps: [
              ps.hypothesis
              ps.mypy
              ps.pytest
              ps.requests
              ps.types-requests
            ]))
            pkgs.deadnix
            pkgs.git
            pkgs.nixfmt-tree
            pkgs.qemu
            pkgs.restic
            pkgs.ruff
            pkgs.shellcheck
          ];
        };
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt-tree);

      hydraJobs =
        lib.genAttrs (lib.attrNames self.checks.x86_64-linux) (
          check: lib.mapAttrs (_: checks: checks.${check}) self.checks
        )
        // {
          packages = self.packages;
        };

      templates.provider = {
        path = ./templates/provider;
        description = "A provider repository whose nodes are switched whole by comin";
      };
    };
}
