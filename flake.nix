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
      packageSets = lib.genAttrs systems (
        system: nixpkgs.legacyPackages.${system}.extend self.overlays.default
      );
      forAllSystems = function: lib.mapAttrs (_: function) packageSets;
      formatter =
        pkgs:
        pkgs.nixfmt-tree.override {
          # the same formatter, rewritten; a nixpkgs that has it can format without Haskell
          nixfmtPackage = pkgs.nixfmt-rs or pkgs.nixfmt;
          runtimeInputs = [ pkgs.ruff ];
          settings.formatter.ruff = {
            command = "ruff";
            options = [ "format" ];
            includes = [ "*.py" ];
          };
        };
      # nixpkgs' test driver knows containers since 26.05
      driverHasContainers =
        pkgs: builtins.pathExists (pkgs.path + "/nixos/modules/virtualisation/nspawn-container");
      programs = pkgs: {
        inherit (pkgs)
          hostenv-core
          hostenv-provider
          hostenv-node
          hostenv-lab
          hostenv-demo
          ;
      };
      optionsDoc = pkgs: pkgs.callPackage ./modules/options-doc.nix { };
      tests =
        pkgs:
        {
          migration = pkgs.testers.runNixOSTest {
            imports = [ ./tests/local-provider-migration.nix ];
            _module.args.hostenv = self.nixosModules;
          };
        }
        // lib.optionalAttrs (driverHasContainers pkgs) {
          migration-container = pkgs.testers.runNixOSTest {
            imports = [ ./tests/migration-container.nix ];
            _module.args.hostenv = self.nixosModules;
          };
        }
        // import ./tests/scenarios {
          inherit pkgs;
          hostenv = self.nixosModules;
        }
        // import ./tests/nixos/checks.nix {
          inherit pkgs;
          hostenv = self.nixosModules;
        }
        // import ./tests/nix/checks.nix {
          inherit pkgs;
          formatter = formatter pkgs;
          optionsDoc = optionsDoc pkgs;
          source = ./.;
        };
    in
    {
      overlays.default = final: _: import ./pkgs final // { hostenvTests = tests final; };

      packages = forAllSystems (
        pkgs:
        programs pkgs
        // {
          default = pkgs.hostenv-demo;
          options-doc = optionsDoc pkgs;
        }
      );

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

      checks = forAllSystems (pkgs: pkgs.hostenvTests);

      apps = forAllSystems (
        pkgs:
        let
          app = package: program: {
            type = "app";
            program = lib.getExe' package program;
            meta.description = package.meta.description;
          };
          demo = app (import ./tests/demo.nix {
            inherit pkgs;
            hostenv = self.nixosModules;
          }) "hostenv-demo";
        in
        {
          inherit demo;
          default = demo;
          lab = app pkgs.hostenv-lab "hostenv-lab";
          trigger-webhook = app pkgs.hostenv-demo "hostenv-trigger-webhook";
        }
      );

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShellNoCC {
          packages = [
            (pkgs.python3.withPackages (ps: [
              ps.greenlet
              ps.hypothesis
              ps.mypy
              ps.pytest
              ps.requests
              ps.types-requests
            ]))
            pkgs.deadnix
            pkgs.fcgiwrap
            pkgs.git
            pkgs.mariadb
            pkgs.nginx
            pkgs.php
            (formatter pkgs)
            pkgs.qemu
            pkgs.restic
            pkgs.ruff
            pkgs.shellcheck-minimal
          ];
        };
      });

      formatter = forAllSystems formatter;

      hydraJobs =
        lib.genAttrs (lib.attrNames self.checks.x86_64-linux) (
          check: lib.mapAttrs (_: checks: checks.${check}) self.checks
        )
        // {
          inherit (self) packages;
        };

      templates.provider = {
        path = ./templates/provider;
        description = "A provider repository whose nodes are switched whole by comin";
        welcomeText = ''
          1. On the provider: `hostenv-provider init`, then clone its provider.git and remove the clone's flake.nix and
             provider.json.
          2. Here: name your nodes in provider.json, put their hardware into nodes/<node>.nix and your provider's address
             into nodes/common.nix; `nix flake lock`, commit, push.
          3. On the provider: `hostenv-provider project add` and `hostenv-provider plan`, as in every provider
             repository.
        '';
      };
    };
}
