# `nix run .#demo`: the migration on its three NixOS machines, stage by stage, with the wizard.
{ pkgs, hostenv }:
let
  inherit (pkgs) lib;
  tree = "${pkgs.hostenv-demo}/share/hostenv";

  addresses = {
    node-a = "127.0.0.2";
    node-b = "127.0.0.3";
    provider = "127.0.0.4";
  };
  endpoints = {
    node-a = "http://${addresses.node-a}:8080";
    node-b = "http://${addresses.node-b}:8080";
  }
  // lib.mapAttrs' (name: address: lib.nameValuePair "${name}-ssh" "ssh://${address}:2222") addresses;

  test = pkgs.testers.runNixOSTest {
    imports = [ ./local-provider-migration.nix ];
    _module.args.hostenv = hostenv;
    name = lib.mkForce "hostenv-demo";
    # people look around for as long as they like
    globalTimeout = lib.mkForce (7 * 24 * 3600);

    nodes = lib.mapAttrs (name: address: {
      imports = [
        (import ./reachable.nix {
          inherit address;
          ports = {
            "2222" = 22;
          }
          // lib.optionalAttrs (name != "provider") { "8080" = 80; };
        })
      ];
      # the run's key, and nobody else's, comes in while the machines run
      services.openssh = {
        enable = true;
        settings.PasswordAuthentication = false;
        settings.KbdInteractiveAuthentication = false;
      };
      # its name on the lab's machines
      systemd.services.sshd.aliases = [ "ssh.service" ];
    }) addresses;

    testScript = lib.mkForce (
      { nodes, ... }:
      let
        memory = lib.foldl' (sum: node: sum + node.virtualisation.memorySize) 0 (lib.attrValues nodes);
      in
      ''
        import json

        from hostenv_demo import nixos

        nixos.guide(globals(), json.loads("""${builtins.toJSON endpoints}"""), ${toString memory})
      ''
    );
    # the wizard's package is on the driver's path only while it runs
    skipTypeCheck = true;
    extraDriverArgs = lib.mkForce [ ];
  };
in
pkgs.writeShellApplication {
  name = "hostenv-demo";
  meta.description = pkgs.hostenv-demo.meta.description;
  runtimeInputs = [
    pkgs.git
    pkgs.openssh
  ];
  text = ''
    export PYTHONPATH=${tree}/pkgs/hostenv-demo:${tree}/pkgs/hostenv-lab:${tree}/pkgs/hostenv-core
    exec ${lib.getExe test.driver} "$@"
  '';
}
