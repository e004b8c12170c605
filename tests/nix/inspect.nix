# What check_systems.py looks at, as plain data: of the test's three machines what no booted one shows, the machine of the
# provider template, the flake's outputs, and wrong configurations with the messages that refuse them.
{
  nixpkgs,
  comin,
  project,
  template,
}:
let
  flakes = import ./project.nix { inherit nixpkgs comin project; };
  inherit (flakes) hostenv;
  inherit (flakes.nixpkgs) lib;

  machine = config: {
    inherit (config) warnings;
    assertions = map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
    configuration = builtins.toJSON (settings config);
    etcSources = lib.mapAttrs (_: file: "${file.source}") (
      lib.filterAttrs (name: _: lib.hasPrefix "hostenv" name) config.environment.etc
    );
    nginx = { inherit (config.services.nginx) eventsConfig; };
    virtualisation = {
      inherit (config.virtualisation)
        memorySize
        diskSize
        writableStore
        writableStoreUseTmpfs
        ;
    };
    comin =
      if config.services.comin.enable or false then
        (import (comin + "/nix/comin-config.nix") {
          inherit config lib;
          pkgs = hostenv.checks.x86_64-linux.migration.config.hostPkgs;
        }).cominConfig
      else
        null;
  };

  # what a machine's program is told
  settings =
    { services, ... }:
    if services.hostenv-node.enable or false then
      services.hostenv-node.settings
    else
      services.hostenv-provider.settings;

  scenarioNames = map (lib.removeSuffix ".py") (
    lib.filter (file: lib.hasSuffix ".py" file && !lib.hasPrefix "test_" file) (
      lib.attrNames (builtins.readDir (project + "/tests/scenarios"))
    )
  );

  # built and booted by tests/nixos, which says more and takes less
  bootedNames =
    scenarioNames
    ++ lib.attrNames (
      import (project + "/tests/nixos/checks.nix") {
        pkgs = { };
        hostenv = { };
      }
    );

  perSystem =
    system:
    let
      of = attrs: lib.mapAttrs (_: derivation: derivation.drvPath) attrs;
    in
    {
      packages = of hostenv.packages.${system};
      tests = lib.mapAttrs (_: package: lib.attrNames (package.tests or { })) hostenv.packages.${system};
      checkNames = lib.attrNames hostenv.checks.${system};
      checks = of (removeAttrs hostenv.checks.${system} bootedNames);
      devShells = of hostenv.devShells.${system};
      formatter = hostenv.formatter.${system}.drvPath;
      apps = lib.mapAttrs (_: app: { inherit (app) type program; }) hostenv.apps.${system};
      driverInteractive = hostenv.checks.${system}.migration.driverInteractive.drvPath;
      driver = hostenv.checks.${system}.migration.driver.drvPath;
      hydraJobs = lib.mapAttrs (_: job: (job.${system} or { drvPath = null; }).drvPath or null) (
        removeAttrs hostenv.hydraJobs ([ "packages" ] ++ bootedNames)
      );
    };

  system =
    modules:
    lib.nixosSystem {
      system = "x86_64-linux";
      modules = modules ++ [
        hostenv.nixosModules.default
        {
          boot.isContainer = true;
          system.stateVersion = lib.trivial.release;
          networking.hostName = lib.mkDefault "node-a";
        }
      ];
    };

  refusals =
    modules: map (a: a.message) (lib.filter (a: !a.assertion) (system modules).config.assertions);

  provider = options: {
    services.hostenv-provider = {
      enable = true;
      domain = "provider.example.org";
    }
    // options;
  };
  node = options: {
    services.hostenv-node = {
      enable = true;
      apiBaseUrl = "https://provider.example.org";
    }
    // options;
  };

  # what was an option of its own before it was a key of `settings`
  moved = {
    provider = {
      backupQuota = 1073741824;
      jobTimeout = 3600;
      sourceFolders = [ "/srv/projects" ];
      sourceNetworks = [ "10.1.0.0/16" ];
      verifyTimeout = 60;
    };
    node = {
      actionTimeout = 60;
      applications.shop.root = "/srv/shop";
      frontDoorPort = 8080;
      setAsideRetentionDays = 3;
    };
  };
in
{
  machines = lib.mapAttrs (_: machine) hostenv.checks.x86_64-linux.migration.config.nodes;

  systems = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] perSystem;

  # one of them stands for all, which differ in their scripts
  scenarios = {
    names = lib.filter (name: hostenv.checks.x86_64-linux ? ${name}) scenarioNames;
    moves = hostenv.checks.x86_64-linux.moves.drvPath;
  };

  test =
    let
      inherit (hostenv.checks.x86_64-linux.migration) config;
    in
    {
      inherit (config) extraDriverArgs globalTimeout;
      inherit (config.meta) timeout;
      sameScript = config.testScriptString == builtins.readFile (project + "/tests/script.py");
      skipped = config.skipLint || config.skipTypeCheck;
      interactive = lib.mapAttrs (_: node: node.virtualisation.forwardPorts) config.interactive.nodes;
    };

  # what each package says that it can run
  programs =
    let
      inherit (hostenv.checks.x86_64-linux.migration.config) nodes;
    in
    map
      (package: {
        inherit (package) pname;
        outputs = map (output: "${package.${output}}") package.outputs;
        mainProgram = package.meta.mainProgram or null;
      })
      (
        (with nodes.node-a.nixpkgs.pkgs; [
          bashInteractive
          drupal
          fcgiwrap
          git
          gnutar
          mariadb
          php
          restic
          restic-rest-server
          shadow
          util-linux
        ])
        ++ [
          nodes.node-a.nix.package
          nodes.node-a.services.comin.package
          nodes.node-a.services.hostenv-node.package
          nodes.node-a.services.nginx.package
          nodes.node-a.systemd.package
          nodes.provider.services.hostenv-provider.package
        ]
      );

  # Debian's paths in the sources, and what the packages put in their place
  paths = {
    hostenv-provider = hostenv.packages.x86_64-linux.hostenv-provider.paths;
    hostenv-node = hostenv.packages.x86_64-linux.hostenv-node.paths;
  };

  template =
    let
      operator = flakes.flake template {
        inherit (flakes) nixpkgs;
        inherit hostenv;
      };
    in
    lib.mapAttrs (_: system: {
      inherit (system.config) warnings;
      inherit (system.config.services.comin) machineId;
      toplevel = system.config.system.build.toplevel.drvPath;
      switch = system.config.systemd.units."hostenv-switch.service".text;
      wantedBy = system.config.systemd.services.hostenv-switch.wantedBy;
      generation = "${system.config.environment.etc."hostenv/generation".source}";
      configuration = builtins.toJSON (settings system.config);
    }) operator.nixosConfigurations;

  # docs/options.md is made of it
  options = hostenv.packages.x86_64-linux.options-doc.optionsNix;

  renamed =
    let
      inherit
        (system [
          (provider moved.provider)
          (node moved.node)
        ])
        config
        ;
      of = service: keys: builtins.intersectAttrs keys config.services."hostenv-${service}".settings;
    in
    {
      inherit moved;
      settings = lib.mapAttrs of moved;
      inherit (config) warnings;
    };

  # option → whether its type takes values of each of which something is wrong
  mistyped =
    let
      inherit ((system [ ]).options.services) hostenv-provider hostenv-node;
    in
    lib.mapAttrs (_: case: map case.option.type.check case.values) {
      "services.hostenv-provider.domain" = {
        option = hostenv-provider.domain;
        values = [
          null
          ""
          "https://provider.example.org"
        ];
      };
      "services.hostenv-provider.hostenvHostname" = {
        option = hostenv-provider.hostenvHostname;
        values = [
          null
          ".example.org"
        ];
      };
      "services.hostenv-provider.nodes" = {
        option = hostenv-provider.nodes;
        values = [
          [
            {
              name = "node-a";
              address = "192.0.2.1";
            }
          ]
        ];
      };
      "services.hostenv-node.apiBaseUrl" = {
        option = hostenv-node.apiBaseUrl;
        values = [
          null
          "provider.example.org"
          "https://provider.example.org/"
        ];
      };
    };

  right = refusals [
    (provider {
      hostenvHostname = "sites.example.org";
      nodes.node-a.address = "192.0.2.1";
      defaultNode = "node-a";
    })
    (node { settings.frontDoorPort = 8080; })
  ];

  # Each is wrong in one way; `option` is what the one message that refuses it must name.
  wrong =
    lib.mapAttrsToList
      (what: case: {
        inherit what;
        inherit (case) option;
        messages = refusals case.modules;
      })
      {
        "a certificate without its key" = {
          option = "sslCertificateKey";
          modules = [ (provider { sslCertificate = "/run/keys/provider.pem"; }) ];
        };
        "a private key that everybody can read" = {
          option = "sslCertificateKey";
          modules = [
            (provider {
              sslCertificate = "/run/keys/provider.pem";
              sslCertificateKey = "${./project.nix}";
            })
          ];
        };
        "a check that outlives its job" = {
          option = "services.hostenv-provider.settings.verifyTimeout";
          modules = [ (provider { settings.verifyTimeout = 7200; }) ];
        };
        "a provider without nginx" = {
          option = "services.nginx.enable";
          modules = [
            (provider { })
            { services.nginx.enable = lib.mkForce false; }
          ];
        };
        "a default node that is none" = {
          option = "services.hostenv-provider.defaultNode";
          modules = [
            (provider {
              hostenvHostname = "sites.example.org";
              nodes.node-a.address = "192.0.2.1";
              defaultNode = "node-b";
            })
          ];
        };
        "a node that has no name" = {
          option = "services.hostenv-node.name";
          modules = [ (node { name = ""; }) ];
        };
        "a node whose name begins with a digit" = {
          option = "services.hostenv-node.name";
          modules = [ (node { name = "1node"; }) ];
        };
        "a node with the provider's name" = {
          option = "services.hostenv-node.name";
          modules = [ (node { name = "provider"; }) ];
        };
        "a node without a token file" = {
          option = "services.hostenv-node.tokenFile";
          modules = [ (node { tokenFile = ""; }) ];
        };
        "a token that everybody can read" = {
          option = "services.hostenv-node.tokenFile";
          modules = [ (node { tokenFile = "${./project.nix}"; }) ];
        };
        "users that NixOS would delete" = {
          option = "users.mutableUsers";
          modules = [
            (node { })
            {
              users.mutableUsers = false;
              users.users.root.password = "secret";
            }
          ];
        };
        "a second default host" = {
          option = "services.nginx.virtualHosts";
          modules = [
            (node { })
            { services.nginx.virtualHosts."shop.example.org".default = true; }
          ];
        };
        "provider and node on one port" = {
          option = "services.hostenv-node.settings.frontDoorPort";
          modules = [
            (provider { })
            (node { })
          ];
        };
        "comin that logs tokens" = {
          option = "services.comin.debug";
          modules = [
            (node { })
            { services.comin.debug = true; }
          ];
        };
        "a system of an unknown commit" = {
          option = "services.hostenv-node.slice";
          modules = [ (node { slice = ./.; }) ];
        };
      };
}
