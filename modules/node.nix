# A machine that hosts environments. What it runs is in the package; here is what differs on NixOS: wanted units, comin
# as a module, the paths of tools, the front door and the firewall.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.hostenv-node;
  nginx = config.services.nginx;
  json = pkgs.formats.json { };
  # a key of the file that was an option beside it
  renamed =
    key:
    lib.mkRenamedOptionModule
      [ "services" "hostenv-node" key ]
      [ "services" "hostenv-node" "settings" key ];

  revision = config.system.configurationRevision;
  # a node reads its commit from the name of what it is switched to
  generation = builtins.path {
    path = cfg.slice;
    name = "hostenv-${cfg.name}-${toString revision}";
  };

  # the path that the package's units watch
  tokenFile = "/etc/hostenv/node-token";
  tool = lib.getExe';
  tools = {
    git = lib.getExe pkgs.git;
    nginx = lib.getExe nginx.package;
    mariadb = tool pkgs.mariadb "mariadb";
    mariadbd = tool pkgs.mariadb "mariadbd";
    mariadb-backup = tool pkgs.mariadb "mariadb-backup";
    mariadb-binlog = tool pkgs.mariadb "mariadb-binlog";
    mariadb-dump = tool pkgs.mariadb "mariadb-dump";
    mariadb-install-db = tool pkgs.mariadb "mariadb-install-db";
    php = tool cfg.php "php";
    php-fpm = tool cfg.php "php-fpm";
    restic = lib.getExe pkgs.restic;
    systemctl = tool config.systemd.package "systemctl";
    loginctl = tool config.systemd.package "loginctl";
    systemd-run = tool config.systemd.package "systemd-run";
    tar = lib.getExe pkgs.gnutar;
    useradd = tool pkgs.shadow "useradd";
    groupadd = tool pkgs.shadow "groupadd";
    usermod = tool pkgs.shadow "usermod";
    comin = lib.getExe config.services.comin.package;
    hostenv-node = lib.getExe cfg.package;
  };
in
{
  imports = [
    ./nginx.nix
    (renamed "actionTimeout")
    (renamed "applications")
    (renamed "frontDoorPort")
    (renamed "setAsideRetentionDays")
  ];

  options.services.hostenv-node = {
    enable = lib.mkEnableOption "hosting of environments that a hostenv provider plans";

    package = lib.mkPackageOption (import ../pkgs pkgs) "hostenv-node" {
      pkgsText = "hostenv.packages.\${system}";
    };

    name = mkOption {
      type = types.str;
      default = config.networking.hostName;
      defaultText = lib.literalExpression "config.networking.hostName";
      example = "node-a";
      description = "This node's name in the provider repository.";
    };

    apiBaseUrl = mkOption {
      type = types.strMatching "https?://[^/]+";
      example = "https://provider.example.org";
      description = ''
        The provider's address, without a path. With `http` the node's token, secrets and backups travel in clear text:
        use it only in a network that you trust.
      '';
    };

    tokenFile = mkOption {
      type = types.str;
      default = tokenFile;
      example = "/run/secrets/hostenv-node-token";
      description = ''
        The file that holds this node's token, as `hostenv-provider comin-tokens --show` prints it. Only root may read
        it. comin starts when it appears and restarts when it changes.
      '';
    };

    period = mkOption {
      type = types.ints.positive;
      default = 30;
      description = "comin's polling interval in seconds.";
    };

    openFirewall = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to open {option}`services.hostenv-node.settings.frontDoorPort`.";
    };

    php = lib.mkPackageOption pkgs "php" {
      example = "pkgs.php.withExtensions ({ enabled, all }: enabled ++ [ all.redis ])";
      extraDescription = "It runs the environments, with its extensions.";
    };

    slice = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = lib.literalExpression "./generated/nodes/node-a";
      description = ''
        This node's folder of the plan, when comin switches the node's whole NixOS system. Leave it out when comin
        follows the flake that `hostenv-provider init` made, which says what is hosted and leaves the system alone.
      '';
    };

    settings = mkOption {
      type = types.submodule {
        freeformType = json.type;
        options = {
          actionTimeout = mkOption {
            type = types.ints.positive;
            default = 900;
            description = "Seconds that one action on an environment may take, waits for other nodes not counted.";
          };

          applications = mkOption {
            type = types.attrsOf (
              types.submodule {
                options.root = mkOption {
                  type = types.path;
                  example = lib.literalExpression ''"''${pkgs.drupal}/share/php/drupal"'';
                  description = "The folder that holds the application's code.";
                };
              }
            );
            default.drupal.root = "${pkgs.drupal}/share/php/drupal";
            defaultText = lib.literalExpression ''{ drupal.root = "''${pkgs.drupal}/share/php/drupal"; }'';
            description = "Code that this node supplies, by the `application.name` of the projects that ask for it.";
          };

          frontDoorPort = mkOption {
            type = types.port;
            default = 80;
            description = "The port on which the system's nginx serves the environments.";
          };

          parallelJobs = mkOption {
            type = types.ints.between 1 64;
            default = 4;
            description = ''
              How many jobs may work on environments at once. One that waits for another node does not count; one whose action
              hangs does, until {option}`services.hostenv-node.settings.actionTimeout` ends it.
            '';
          };

          setAsideRetentionDays = mkOption {
            type = types.ints.positive;
            default = 30;
            description = "Days for which data that a restore replaced are kept.";
          };
        };
      };
      default = { };
      description = ''
        What `/etc/hostenv/node.json` says. The module fills in the keys that are not listed here.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        # the rule of the provider, which calls itself `provider` among a job's nodes
        assertion =
          builtins.match "[a-z]([a-z0-9-]{0,61}[a-z0-9])?" cfg.name != null && cfg.name != "provider";
        message = ''
          services.hostenv-node.name is ${builtins.toJSON cfg.name}, which is no node name: set it, or networking.hostName,
          to the name under which provider.json knows this node (up to 63 lower-case letters, digits and dashes,
          beginning with a letter, and not "provider").
        '';
      }
      {
        assertion = lib.hasPrefix "/" cfg.tokenFile && !lib.hasPrefix builtins.storeDir cfg.tokenFile;
        message = ''
          services.hostenv-node.tokenFile must be the absolute path of a file outside the Nix store, where only root can
          read it: put there what `hostenv-provider comin-tokens --show ${cfg.name}` prints.
        '';
      }
      {
        assertion = config.users.mutableUsers;
        message = ''
          services.hostenv-node makes a Unix user for each environment, which NixOS would delete at its next activation:
          leave users.mutableUsers on.
        '';
      }
      {
        assertion = nginx.enable;
        message = ''
          services.hostenv-node serves its environments through the system's nginx: leave services.nginx.enable on.
        '';
      }
      {
        assertion = lib.all (host: !host.default) (lib.attrValues nginx.virtualHosts);
        message = ''
          services.hostenv-node closes connections for unknown hosts, so no other virtual host can be the default one:
          remove `default` from services.nginx.virtualHosts.
        '';
      }
      {
        assertion = !(config.services.hostenv-provider.enable or false && cfg.settings.frontDoorPort == 80);
        message = ''
          The provider of this machine already answers on port 80: set services.hostenv-node.settings.frontDoorPort to
          another.
        '';
      }
      {
        assertion = config.services.comin.enable && !config.services.comin.debug;
        message = ''
          services.hostenv-node is driven by comin, whose debug mode would log this node's token: leave
          services.comin.enable on and services.comin.debug off.
        '';
      }
      {
        assertion = config.nix.enable;
        message = ''
          services.hostenv-node gets its generations from the Nix daemon: leave nix.enable on.
        '';
      }
      {
        assertion = cfg.slice == null || revision != null;
        message = ''
          services.hostenv-node.slice needs the commit that it comes from: set system.configurationRevision to the
          flake's `self.rev`, and deploy from a clean tree.
        '';
      }
    ];

    services.hostenv-node.settings = {
      node = cfg.name;
      inherit (cfg) apiBaseUrl;
      inherit tokenFile;
      stateDir = "/var/lib/hostenv";
      frontDoorGroup = nginx.group;
      shell = "/run/current-system/sw/bin/bash";
      mimeTypes = "/etc/hostenv/mime.types";
      tools = lib.mapAttrs (name: _: "/etc/hostenv/tools/${name}") tools;
      cominProfile = lib.mkIf (cfg.slice != null) "/etc/hostenv/generation";
    };

    environment.systemPackages = [ cfg.package ];

    # the daemon obeys whoever may ask it, and environments' users have no business there
    nix.settings.allowed-users = [ "root" ];

    environment.etc = lib.mkMerge [
      { "hostenv/node.json".source = json.generate "node.json" cfg.settings; }
      # Environments' units name these paths and outlive the system that rendered them: a store path would one day be
      # collected as garbage.
      (lib.mapAttrs' (
        name: program: lib.nameValuePair "hostenv/tools/${name}" { source = program; }
      ) tools)
      { "hostenv/mime.types".source = "${nginx.package}/conf/mime.types"; }
      (lib.mkIf (cfg.tokenFile != tokenFile) {
        "hostenv/node-token" = {
          source = cfg.tokenFile;
          mode = "direct-symlink";
        };
      })
      (lib.mkIf (cfg.slice != null) { "hostenv/generation".source = generation; })
    ];

    systemd.packages = [ cfg.package ];
    systemd.tmpfiles.packages = [ cfg.package ];

    # [Install] of a package's units is ignored
    systemd.services.hostenv-runtime.wantedBy = [ "multi-user.target" ];
    systemd.timers.hostenv-activate.wantedBy = [ "timers.target" ];
    systemd.paths.hostenv-token = {
      wantedBy = [ "multi-user.target" ];
      # the package's path is then a link, and what it leads to is what appears
      pathConfig.PathChanged = lib.mkIf (cfg.tokenFile != tokenFile) cfg.tokenFile;
    };
    # a new system waits for no migration and stops none
    systemd.services.hostenv-activate.restartIfChanged = false;
    systemd.services."hostenv-job@".restartIfChanged = false;
    # what a boot recreates is there, and belongs to a migration under way
    systemd.services.hostenv-runtime.restartIfChanged = false;

    services.comin = {
      enable = true;
      hostname = cfg.name;
      postDeploymentCommand = lib.getExe' cfg.package "hostenv-comin-activate";
      exporter.listen_address = "127.0.0.1";
      remotes = [
        {
          name = "provider";
          url = "${cfg.apiBaseUrl}/git/nodes/${cfg.name}.git";
          auth = {
            username = cfg.name;
            access_token_path = tokenFile;
          };
          poller.period = cfg.period;
          # only the provider says what a node hosts
          branches.testing.name = "";
        }
      ];
    };

    systemd.services.comin = {
      # the generation's switch calls hostenv-node
      path = [ cfg.package ];
      environment = {
        HOSTENV_COMIN_NODE_NAME = cfg.name;
        HOSTENV_COMIN_API_BASE_URL = cfg.apiBaseUrl;
        HOSTENV_COMIN_TOKEN_FILE = tokenFile;
        HOSTENV_COMIN_ACTION_TIMEOUT = toString cfg.settings.actionTimeout;
      };
    };

    systemd.services.hostenv-switch = lib.mkIf (cfg.slice != null) {
      description = "Hand this node's part of the plan to hostenv";
      wantedBy = [ "multi-user.target" ];
      before = [ "hostenv-activate.service" ];
      restartTriggers = [ generation ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${lib.getExe cfg.package} switch ${generation}";
      };
    };

    services.nginx = {
      enable = true;
      # a fixed path of the configuration, and reloads that keep connections
      enableReload = true;
      appendHttpConfig = "include ${cfg.package}/share/hostenv-node/nginx/front-door.conf;";
    };

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ cfg.settings.frontDoorPort ];
  };
}
