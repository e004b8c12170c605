# The migration, on three NixOS machines: provider, node-a and node-b. The script beside this file also runs, unchanged,
# on the lab's Debian machines.
{
  config,
  hostPkgs,
  lib,
  hostenv,
  ...
}:
let
  machines = import ./machines.nix hostenv;

  node = {
    imports = [ machines.node ];
    virtualisation = {
      cores = 2;
      memorySize = 2048;
      diskSize = 6144;
    };
  };

  greeting = ''
    Three machines in one network: provider, node_a, node_b. Nothing runs yet. Type

      test_script()        the whole migration, as the check runs it
      start_all()          only boot the machines
      node_a.shell_interact()    a root shell (Ctrl-D leaves it)

    While they run, this host reaches node-a at http://127.0.0.2:8080 and node-b at http://127.0.0.3:8080; send the
    header "Host: demo.hostenv.local". Ctrl-D ends the session and the machines.
  '';

  # the host's way to a node, for people who want to see the site move
  reachable =
    address:
    import ./reachable.nix {
      inherit address;
      ports."8080" = 80;
    };
in
{
  name = "hostenv-migration";
  meta.timeout = 7200;
  globalTimeout = 5400;

  defaults = {
    imports = [ machines.defaults ];
    virtualisation.writableStore = true;
    # a generation is small, but a store in memory would take it from MariaDB
    virtualisation.writableStoreUseTmpfs = false;
  };

  nodes = {
    provider = {
      imports = [ machines.provider ];
      virtualisation = {
        cores = 2;
        memorySize = 1536;
        diskSize = 4096;
      };
    };
    node-a = node;
    node-b = node;
  };

  testScript = builtins.readFile ./script.py;

  extraPythonPackages = p: [ p.requests ];
  extraDriverArgs = [ "--junit-xml=junit.xml" ];

  interactive.nodes = {
    node-a = reachable "127.0.0.2";
    node-b = reachable "127.0.0.3";
  };
  passthru.driverInteractive = lib.mkForce (
    hostPkgs.writeShellApplication {
      name = "nixos-test-driver";
      text = ''
        printf '%s\n' ${lib.escapeShellArg greeting} >&2
        exec ${lib.getExe config.interactive.driver} "$@"
      '';
    }
  );
}
