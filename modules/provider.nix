# The machine that plans environments and starts their moves. What it runs is in the package; here is what differs on
# NixOS: wanted units, accounts, the paths of tools, the front end and the firewall.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.hostenv-provider;
  json = pkgs.formats.json { };
  # a key of the file that was an option beside it
  renamed =
    key:
    lib.mkRenamedOptionModule
      [ "services" "hostenv-provider" key ]
      [ "services" "hostenv-provider" "settings" key ];
  hostName = types.strMatching "[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?";
  inherit (config.services) nginx;
  encrypted = cfg.sslCertificate != null;
  snippets = "${cfg.package}/share/hostenv-provider/nginx";

  # of the store a project's flake is shown the programs that evaluate it, and nothing else
  evaluationPrograms = pkgs.runCommand "hostenv-evaluation-programs" { } ''
    folder=$out/lib/systemd/system/hostenv-evaluate@.service.d
    mkdir --parents $folder
    echo '[Service]' > $folder/programs.conf
    sed 's/^/BindReadOnlyPaths=/' ${
      pkgs.closureInfo {
        rootPaths = [
          cfg.package
          (lib.getBin config.nix.package)
        ];
      }
    }/store-paths >> $folder/programs.conf
  '';
in
{
  imports = [
    ./nginx.nix
    (renamed "backupQuota")
    (renamed "jobTimeout")
    (renamed "sourceFolders")
    (renamed "sourceNetworks")
    (renamed "verifyTimeout")
  ];

  options.services.hostenv-provider = {
    enable = lib.mkEnableOption "the hostenv provider, which plans environments and moves them between nodes";

    package = lib.mkPackageOption (import ../pkgs pkgs) "hostenv-provider" {
      pkgsText = "hostenv.packages.\${system}";
    };

    domain = mkOption {
      type = hostName;
      example = "provider.example.org";
      description = "The name under which nodes and Git hosts reach this machine.";
    };

    sslCertificate = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/var/lib/acme/provider.example.org/fullchain.pem";
      description = ''
        The certificate of {option}`services.hostenv-provider.domain`. Without one, node tokens, secrets and backups
        travel in clear text: leave it out only in a network that you trust.
      '';
    };

    sslCertificateKey = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/var/lib/acme/provider.example.org/key.pem";
      description = "The private key of {option}`services.hostenv-provider.sslCertificate`.";
    };

    hostenvHostname = mkOption {
      type = hostName;
      example = "sites.example.org";
      description = ''
        The domain below which each environment gets a host name. It belongs to
        {option}`services.hostenv-provider.nodes`; without nodes it is not needed.
      '';
    };

    nodes = mkOption {
      type = types.attrsOf (
        types.submodule {
          options.address = mkOption {
            type = types.str;
            example = "192.0.2.1";
            description = "The address at which the provider reaches the node's front door.";
          };
        }
      );
      default = { };
      example = {
        node-a.address = "192.0.2.1";
        node-b.address = "192.0.2.2";
      };
      description = ''
        The nodes with which the provider repository starts, by their names. They are used once, when there is no
        repository yet; from then on its `provider.json` says what the nodes are. Leave it empty to run
        `hostenv-provider init` yourself.
      '';
    };

    defaultNode = mkOption {
      type = types.str;
      example = "node-a";
      description = ''
        Which of {option}`services.hostenv-provider.nodes` hosts the environments for which nothing else is said.
        Without nodes it is not needed.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to open the ports of HTTP and, with a certificate, HTTPS.";
    };

    settings = mkOption {
      type = types.submodule {
        freeformType = json.type;
        options = {
          backupQuota = mkOption {
            type = types.ints.between 16777216 1125899906842624;
            default = 107374182400;
            description = ''
              Bytes that the backups of one environment may hold on this machine; 100 GiB by default. What is over it is
              refused, and the job says so.
            '';
          };

          jobTimeout = mkOption {
            type = types.ints.positive;
            default = 7200;
            description = "Seconds without progress after which a waiting job fails.";
          };

          retention = {
            deliveries = mkOption {
              type = types.ints.between 1 36500;
              default = 30;
              description = ''
                Days for which webhook deliveries are remembered: one that is repeated within them starts no second job.
              '';
            };

            jobs = mkOption {
              type = types.ints.between 1 36500;
              default = 90;
              description = ''
                Days for which jobs are kept after their end. The last 20 of a project stay, and what is still needed.
              '';
            };
          };

          sourceFolders = mkOption {
            type = types.listOf types.path;
            default = [ ];
            example = [ "/srv/projects" ];
            description = ''
              Folders of this machine in which projects' repositories may be (`git+file://`). They are read with the
              service's rights: name only folders in which nobody writes whom you would not trust with the provider's data.
            '';
          };

          sourceNetworks = mkOption {
            type = types.listOf types.str;
            default = [ ];
            example = [
              "10.1.0.0/16"
              "fd00:1::/64"
            ];
            description = ''
              Networks in which projects' Git hosts may be although they are not public: private, loopback and link-local
              addresses and this machine's own are refused otherwise. From these networks alone projects may come by
              `git+http://`.
            '';
          };

          verifyTimeout = mkOption {
            type = types.ints.positive;
            default = 300;
            description = ''
              Seconds for which the provider's own check waits for an environment that is silent (no connection, a
              time-out, 502 to 504). Wrong answers are given up after a few of them in a row.
            '';
          };
        };
      };
      default = { };
      description = ''
        What `/etc/hostenv/provider.json` says. The module fills in the keys that are not listed here.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = encrypted == (cfg.sslCertificateKey != null);
        message = ''
          services.hostenv-provider.sslCertificate and sslCertificateKey belong together: set both, or neither.
        '';
      }
      {
        assertion = cfg.sslCertificateKey == null || !lib.hasPrefix builtins.storeDir cfg.sslCertificateKey;
        message = ''
          services.hostenv-provider.sslCertificateKey is in the Nix store, where every user can read it: give the path
          of a file outside the store, as a string.
        '';
      }
      {
        assertion = cfg.settings.verifyTimeout < cfg.settings.jobTimeout;
        message = ''
          services.hostenv-provider.settings.verifyTimeout must be shorter than jobTimeout
          (${toString cfg.settings.jobTimeout} s), or no job can outlive its own check: lower it.
        '';
      }
      {
        assertion = cfg.nodes == { } || cfg.nodes ? ${cfg.defaultNode};
        message = ''
          services.hostenv-provider.defaultNode is none of services.hostenv-provider.nodes: set it to one of
          ${toString (lib.attrNames cfg.nodes)}.
        '';
      }
      {
        assertion = nginx.enable;
        message = ''
          services.hostenv-provider serves webhooks, Git and backups through nginx: leave services.nginx.enable on.
        '';
      }
    ];

    services.hostenv-provider.settings = {
      dataDir = "/var/lib/hostenv-provider";
      socket = "/run/hostenv-provider/hostenv-provider.sock";
      user = "hostenv-provider";
      publicUrl = "${if encrypted then "https" else "http"}://${cfg.domain}";
      tools = {
        git = lib.getExe pkgs.git;
        nix = lib.getExe' config.nix.package "nix";
        restic = lib.getExe pkgs.restic;
      };
    };

    environment.systemPackages = [ cfg.package ];

    # the daemon obeys whoever may ask it: not every account of this machine
    nix.settings.allowed-users = [
      "root"
      "hostenv-provider"
    ];

    # the package's nginx snippet includes it
    environment.etc."hostenv/provider-tls.conf" = lib.mkIf encrypted {
      text = ''
        listen 443 ssl;
        listen [::]:443 ssl;
        ssl_certificate ${cfg.sslCertificate};
        ssl_certificate_key ${toString cfg.sslCertificateKey};
      '';
    };
    systemd.services.nginx.restartTriggers = lib.mkIf encrypted [
      config.environment.etc."hostenv/provider-tls.conf".text
    ];

    environment.etc."hostenv/provider.json".source = json.generate "provider.json" cfg.settings;

    users.users.hostenv-provider = {
      isSystemUser = true;
      group = "hostenv-provider";
      home = "/var/lib/hostenv-provider";
    };
    users.groups.hostenv-provider = { };
    # the service's socket is open to its group, and nginx is its only client on the network's side
    users.users.${nginx.user}.extraGroups = lib.mkIf nginx.enable [ "hostenv-provider" ];

    systemd.packages = [
      cfg.package
      evaluationPrograms
    ];
    systemd.tmpfiles.packages = [ cfg.package ];

    # [Install] of a package's units is ignored
    systemd.services.hostenv-provider.wantedBy = [ "multi-user.target" ];
    systemd.services.hostenv-backups.wantedBy = [ "multi-user.target" ];
    systemd.sockets.hostenv-evaluate.wantedBy = [ "sockets.target" ];
    systemd.sockets.hostenv-git.wantedBy = [ "sockets.target" ];

    systemd.services.hostenv-provider-init = lib.mkIf (cfg.nodes != { }) {
      description = "Make the provider repository";
      wantedBy = [ "multi-user.target" ];
      before = [ "hostenv-provider.service" ];
      unitConfig.ConditionPathExists = "!/var/lib/hostenv-provider/git/provider.git";
      serviceConfig = {
        Type = "oneshot";
        ExecStart = lib.escapeShellArgs (
          [
            (lib.getExe cfg.package)
            "init"
            "--hostname=${cfg.hostenvHostname}"
            "--node-for=default=${cfg.defaultNode}"
          ]
          ++ lib.mapAttrsToList (name: node: "--node=${name}=${node.address}") cfg.nodes
        );
      };
    };

    services.nginx = {
      enable = true;
      appendHttpConfig = "include ${snippets}/provider.conf;";
    };

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall (
      [ 80 ] ++ lib.optional encrypted 443
    );
  };
}
